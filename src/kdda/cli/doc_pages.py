"""Which page of the docs explains an error: `PAGES`, by the module that refuses, and the line that names it."""

from __future__ import annotations

import sys
from types import TracebackType

DOCS = "docs/"  # of the repository, and of the source distribution

COMMANDS = "commands.md"  # explains what has no page of its kind: commands and options

# Module → the page, below `DOCS`, that explains what it refuses; a module has the page of its room, unless it has its
# own here. Modules that all rooms use, such as those of `runtime`, have none: the page is that of who called them.
PAGES = {
    "kdda.baselines": "retrieval.md#vireader",
    "kdda.cli.checkpoints": "models.md",
    "kdda.cli.corpus": "retrieval.md",
    "kdda.cli.doctor": "models.md",
    "kdda.cli.first_try": "quickstart.md#a-first-look",
    "kdda.cli.language": "commands.md#vietnamese",
    "kdda.cli.new": "your-files.md",
    "kdda.cli.output_options": "commands.md#more-and-less-output",
    "kdda.cli.predict": "use.md",
    "kdda.cli.report": "reporting.md",
    "kdda.cli.run_folders": "commands.md#runs-and-disk-space",
    "kdda.cli.segmenters": "choose-teacher.md#word-segmenters",
    "kdda.cli.serve": "use.md#the-server",
    "kdda.cli.train": "recipes.md",
    "kdda.data": "formats.md",
    "kdda.data.choices": "tasks/choose.md#rows",
    "kdda.data.conll": "tasks/tag.md#rows",
    "kdda.data.examples": "recipes.md#data",
    "kdda.data.questions": "reading.md#rows",
    "kdda.data.scored_pairs": "tasks/similarity.md#rows-and-options",
    "kdda.data.tag_schemes": "tasks/tag.md#rows",
    "kdda.data.tagged_rows": "tasks/tag.md#rows",
    "kdda.draft": "your-files.md",
    "kdda.embeddings": "use.md#translation-retrieval",
    "kdda.experiment": "recipes.md",
    "kdda.experiment.context": "recipes.md#the-run-folder",
    "kdda.experiment.executors": "recipes.md#many-runs",
    "kdda.experiment.missing": "recipes.md#data",
    "kdda.experiment.open_domain": "retrieval.md#the-table",
    "kdda.experiment.run": "recipes.md#the-run-folder",
    "kdda.experiment.splits": "recipes.md#data",
    "kdda.hub": "models.md#publishing",
    "kdda.inference": "use.md",
    "kdda.inference.evaluate": "reading.md#kdda-evaluate",
    "kdda.inference.files": "use.md#a-file",
    "kdda.inference.onnx": "use.md#exports",
    "kdda.inference.output_fingerprint": "use.md#a-file",
    "kdda.losses": "choose-objective.md",
    "kdda.losses.distillation": "recipes.md#distillation",
    "kdda.models": "models.md",
    "kdda.models.convert": "models.md#a-checkpoint-that-is-only-a-pickle",
    "kdda.models.depth": "models.md#depth",
    "kdda.models.families": "compatibility.md",
    "kdda.models.heads": "compatibility.md",
    "kdda.models.tokenizer_cut": "models.md#a-smaller-checkpoint",
    "kdda.models.trim": "models.md#a-smaller-checkpoint",
    "kdda.recipe": "recipes.md",
    "kdda.report": "reporting.md",
    "kdda.retrieval": "retrieval.md",
    "kdda.retrieval.opensearch": "retrieval.md#retrievers",
    "kdda.retrieval.passages": "retrieval.md#passages-and-the-index",
    "kdda.retrieval.registry": "retrieval.md#retrievers",
    "kdda.retrieval.segments": "retrieval.md#passages-and-the-index",
    "kdda.retrieval.writer": "retrieval.md#passages-and-the-index",
    "kdda.runs": "recipes.md#the-run-folder",
    "kdda.runs.cleaning": "commands.md#runs-and-disk-space",
    "kdda.runs.listing": "commands.md#runs-and-disk-space",
    "kdda.runtime.device": "recipes.md#many-runs",
    "kdda.runtime.plugins": "how-to/index.md#plugins",
    "kdda.serve": "use.md#the-server",
    "kdda.serve.experiments": "use.md#experiments",
    "kdda.tasks": "tasks/index.md",
    "kdda.tasks.choose": "tasks/choose.md",
    "kdda.tasks.classification": "tasks/classify.md",
    "kdda.tasks.classify": "tasks/classify.md",
    "kdda.tasks.qa": "reading.md",
    "kdda.tasks.similarity": "tasks/similarity.md",
    "kdda.tasks.tag": "tasks/tag.md",
    "kdda.teachers": "concepts.md#teacher-cache",
    "kdda.teachers.align": "choose-teacher.md#a-teacher-of-another-width",
    "kdda.text": "choose-teacher.md#each-model-reads-through-its-tokenizer",
    "kdda.text.segment": "choose-teacher.md#word-segmenters",
    "kdda.text.segmenters": "choose-teacher.md#word-segmenters",
    "kdda.training": "recipes.md#training",
    "kdda.training.compatibility": "choose-teacher.md#which-models-fit",
    "kdda.training.prepare": "choose-teacher.md",
    "kdda.transport": "transport.md",
    "kdda.visualize": "use.md#pictures",
}


def page_of_module(module: str) -> str:
    """The page that explains what a module refuses; empty for a module whose callers decide.

    >>> page_of_module("kdda.data.workbook")
    'formats.md'
    >>> page_of_module("kdda.runtime.folders")
    ''
    """
    while module:
        if module in PAGES:
            return PAGES[module]
        module = module.rpartition(".")[0]
    return ""


def page_of_error(error: BaseException) -> str:
    """The page that explains an error: that of the module which raised it, or of the nearest caller that has one."""
    modules = []  # of the calls that led to the error, the outermost first
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        modules.append(str(trace.tb_frame.f_globals.get("__name__", "")))
        trace = trace.tb_next
    for module in reversed(modules):
        page = page_of_module(module)
        if page:
            return page
    return COMMANDS


def see(page: str) -> str:
    """The line that names a page.

    >>> see("recipes.md#data")
    'See docs/recipes.md#data'
    """
    return f"See {DOCS}{page}"


def see_about(error: BaseException) -> str:
    """The line that names the page which explains an error."""
    return see(page_of_error(error))


def see_about_command(modules: dict[str, str]) -> str:
    """The line that names the page of the command which was called, for options and arguments that it does not take.

    Args:
        modules: a command's name → the module that defines it.
    """
    for argument in sys.argv[1:]:
        if argument in modules:
            return see(page_of_module(modules[argument]) or COMMANDS)
    return see(COMMANDS)
