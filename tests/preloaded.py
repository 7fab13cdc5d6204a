"""What the server of tests/forks.py imports once, for all processes that are forked from it."""

import gc
from importlib import import_module

MODULES = (
    "kdda.cli",
    "kdda.experiment.open_domain",
    "kdda.experiment.run",
    "kdda.experiment.worker",
    "kdda.recipe.load",
    "kdda.training.trainer",
    "rich.console",
    "tests.forks",
    "transformers.models.bert.modeling_bert",
)

for name in MODULES:
    import_module(name)

gc.freeze()
