"""How much commands print: all by default, results, warnings and errors with --quiet, more with --verbose."""

from __future__ import annotations

import logging
import os

from rich.console import Console

VERBOSITY_VARIABLE = "KDDA_VERBOSITY"  # "quiet", "verbose" or nothing; worker processes inherit it

QUIET = "quiet"

VERBOSE = "verbose"


def set_verbosity(level: str) -> None:
    """Make this process and those that it starts print less or more.

    Args:
        level: `QUIET`: no progress, no bars of libraries; `VERBOSE`: the log of kdda and of transformers, too.
    """
    os.environ[VERBOSITY_VARIABLE] = level
    if level == QUIET:
        hide_library_bars()
    else:
        os.environ["TRANSFORMERS_VERBOSITY"] = "info"
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("kdda").setLevel(logging.INFO)


def hide_library_bars() -> None:
    """Hide the bars of transformers, datasets and the Hub, which read this when they are imported."""
    os.environ["TQDM_DISABLE"] = "1"


def is_quiet() -> bool:
    """Whether progress is not printed."""
    return os.environ.get(VERBOSITY_VARIABLE) == QUIET


def is_verbose() -> bool:
    """Whether errors are printed with their traceback, and logs are shown."""
    return os.environ.get(VERBOSITY_VARIABLE) == VERBOSE


def progress_console() -> Console:
    """Standard error for progress, which shows nothing under --quiet; without colours where NO_COLOR is set."""
    return Console(stderr=True, quiet=is_quiet())
