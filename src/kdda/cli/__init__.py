"""The command line. `kdda --help` must answer at once, so no command imports torch before it is used."""

from kdda.cli import training, using
from kdda.cli.shared import app, main

__all__ = ["app", "main", "training", "using"]
