"""The command line. `kdda --help` must answer at once, so no command imports torch before it is used."""

from kdda.cli import checkpoints, corpus, doctor, first_try, new, predict, report, run_folders, segmenters, serve, train
from kdda.cli.output_options import CommandWithOutputOptions
from kdda.cli.shared import app, main

for registered in app.registered_commands:
    registered.cls = CommandWithOutputOptions

__all__ = [
    "app",
    "checkpoints",
    "corpus",
    "doctor",
    "first_try",
    "main",
    "new",
    "predict",
    "report",
    "run_folders",
    "segmenters",
    "serve",
    "train",
]
