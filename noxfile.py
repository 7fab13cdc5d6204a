"""The versions that kdda supports, one command each: `nox -s tests-3.12`, `lowest`, `torch-lowest`, `wheel`, …

`nox --list` names the sessions. Each makes an environment of its own and runs the quick tests below in about a minute;
`nox -s tests-3.13 -- tests` runs all. A session whose Python is not on the machine is skipped.
"""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.sessions = ["tests", "lowest", "wheel"]

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
LOWEST_PYTHON = PYTHONS[0]

# The lowest versions of pyproject.toml for which a session of its own asks; `lowest` takes all lowest ones at once.
LOWEST = {"torch": "torch==2.4.*", "transformers": "transformers==5.3.*"}

EXTRAS = "mini,serve,systems,export,xlsx,zstd,sentencepiece,opensearch"
TOOLS = ["pytest>=8", "hypothesis>=6.100", "beartype>=0.20", "scikit-learn>=1.5", "psutil>=6", "POT>=0.9.6"]

# One quick file of every room that calls other libraries.
QUICK = [
    "tests/test_recipe.py",
    "tests/data/test_sources.py",
    "tests/losses/test_distillation.py",
    "tests/retrieval/test_index.py",
    "tests/runtime/test_device.py",
    "tests/teachers/test_cache.py",
    "tests/training/test_from_teacher.py",
]

IMPORT_ALL = """
import importlib, pkgutil, sys, kdda
for module in pkgutil.walk_packages(kdda.__path__, "kdda."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("Python", sys.version.split()[0], "imports every module")
"""


def check(session: nox.Session) -> None:
    """Import every module, call the command line, and run the tests that `--` names, or the quick ones."""
    session.run("python", "-c", IMPORT_ALL)
    session.run("kdda", "--version")
    session.run("kdda", "recipes", silent=True)
    # without jaxtyping's checks of shapes: its older versions cannot be told to make them before a conftest is read
    options = ["-o", "addopts=-q --strict-markers", "-p", "no:cacheprovider"]
    session.run("pytest", *options, *(session.posargs or QUICK), env={"HF_HUB_OFFLINE": "1"})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The newest versions of everything, under each Python."""
    session.install(f".[{EXTRAS}]", *TOOLS)
    check(session)


@nox.session(python=LOWEST_PYTHON)
def lowest(session: nox.Session) -> None:
    """The lowest version of every package that pyproject.toml names, extras included."""
    extras = []
    for extra in EXTRAS.split(","):
        extras += ["--extra", extra]
    session.install("--resolution", "lowest-direct", "-r", "pyproject.toml", *extras)
    session.install("--no-deps", ".")
    session.install(*TOOLS)
    check(session)


@nox.session(python=LOWEST_PYTHON, name="torch-lowest")
def torch_lowest(session: nox.Session) -> None:
    """The lowest torch with the newest of all else."""
    session.install(f".[{EXTRAS}]", LOWEST["torch"], *TOOLS)
    check(session)


@nox.session(python=LOWEST_PYTHON, name="transformers-lowest")
def transformers_lowest(session: nox.Session) -> None:
    """The lowest transformers with the newest of all else."""
    session.install(f".[{EXTRAS}]", LOWEST["transformers"], *TOOLS)
    check(session)


@nox.session(python=LOWEST_PYTHON)
def wheel(session: nox.Session) -> None:
    """What users get: the wheel, built of the sdist, with the extra mini, in an environment without the sources."""
    folder = Path(session.create_tmp()).resolve()
    for old in folder.glob("kdda-*"):
        old.unlink()
    session.run("uv", "build", "--out-dir", str(folder), external=True)
    (built,) = folder.glob("kdda-*.whl")
    session.install(f"{built}[mini]")
    session.chdir(folder)
    session.run("kdda", "--version")
    session.run("kdda", "plan", "mini-nli")
