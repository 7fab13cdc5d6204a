"""The packages of the extra `serve` (fastapi, gradio, h11, prometheus_client, uvicorn); loads none of them."""

from __future__ import annotations

from importlib.util import find_spec

from kdda.errors import KddaError

PACKAGES = ("fastapi", "gradio", "h11", "prometheus_client", "uvicorn")  # all that the room imports


def missing_package() -> str:
    """The first package that serving needs and that is not installed; empty where all are."""
    for package in PACKAGES:
        if find_spec(package) is None:
            return package
    return ""


def check_packages(user: str) -> None:
    """Refuse to start without the packages that serving needs, before anything is loaded.

    Args:
        user: the command or option that needs them.

    Raises:
        KddaError: one of them is not installed; says how to install all.
    """
    package = missing_package()
    if package:
        raise KddaError(f'{user} needs {package}: pip install "kdda[serve]"')
