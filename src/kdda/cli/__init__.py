"""The command line. `kdda --help` must answer at once, so no command imports torch before it is used."""

from kdda.cli import checkpoints, corpus, doctor, first_try, new, predict, report, run_folders, segmenters, serve, train
from kdda.cli.output_options import CommandWithOutputOptions
from kdda.cli.shared import app, main

# The commands in the order of a newcomer's way, with what `kdda --help` says of each: 51 characters fit into its line.
SUMMARIES = {
    "try": "See in a minute what a teacher adds to a student.",
    "new": "Write a recipe for your files of rows.",
    "plan": "Show what a recipe needs and will cost here.",
    "run": "Train and compare the arms of a recipe.",
    "report": "Tables, differences and intervals from runs.",
    "runs": "List runs with state, score and size on disk.",
    "predict": "Answer a question, or label a row or a file.",
    "serve": "Serve models over HTTP, with a page at /.",
    "index": "Index a corpus of documents, for kdda ask.",
    "ask": "Ask a whole corpus a question.",
    "recipes": "List the built-in recipes, or print one.",
    "evaluate": "Score a checkpoint on a file.",
    "plot": "Draw runs, or a plan between two models.",
    "clean": "Remove checkpoints and stored teacher states.",
    "doctor": "Check this installation, or checkpoints.",
    "push": "Send a saved model to the Hugging Face Hub.",
    "export": "Write a checkpoint as an ONNX graph.",
    "trim": "Write a checkpoint with a smaller vocabulary.",
    "convert": "Convert pickled weights to safetensors.",
    "compare-segmenters": "Compare two word segmenters on a file.",
    "translation-retrieval": "Score embedding models by finding translations.",
}


def _arrange_commands() -> None:
    """Put the commands into the order of `SUMMARIES`, and give each its summary and the options of all."""
    by_name = {}
    for registered in app.registered_commands:
        if registered.callback is not None:
            by_name[registered.name or registered.callback.__name__.replace("_", "-")] = registered
    app.registered_commands.clear()
    for name, summary in SUMMARIES.items():
        registered = by_name.pop(name)
        registered.cls = CommandWithOutputOptions
        registered.short_help = summary
        app.registered_commands.append(registered)
    assert not by_name, "a command without a summary"


_arrange_commands()

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
