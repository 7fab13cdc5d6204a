"""Plugins: a user's modules, which register tasks, objectives or retrievers when imported; where they are sought."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from kdda.errors import KddaError


def import_plugins(names: Sequence[str], folder: Path | None = None) -> None:
    """Import modules by their import paths.

    Args:
        names: import paths such as ``my_package.my_task``.
        folder: searched after `sys.path`; the working folder by default.

    Raises:
        KddaError: a module that does not exist, or that fails while it is imported.
    """
    search_path = str(folder or Path.cwd())
    if names and search_path not in sys.path:
        sys.path.append(search_path)
    for name in names:
        try:
            import_module(name)
        except KddaError:
            raise
        except Exception as error:  # whatever a user's module raises while it is imported
            reason = f"{type(error).__name__}: {error}"
            raise KddaError(
                f'plugin "{name}" could not be imported ({reason}); give an import path such as my_package.my_task, '
                f"of a module that is installed, on PYTHONPATH, or in {search_path}"
            ) from error
