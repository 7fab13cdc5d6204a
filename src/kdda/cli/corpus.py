"""The commands `index` (passages of 1,000 characters, 200 shared) and `ask`, with their options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kdda.cli.language import is_vietnamese
from kdda.cli.shared import Device, app, note, show, warn
from kdda.errors import KddaError
from kdda.recipe.yaml_text import parse_yaml

if TYPE_CHECKING:
    from kdda.retrieval.open_domain import CorpusAnswer


@app.command()
def index(
    corpus: Annotated[Path, typer.Argument(help="JSONL (id, text, title, source), a text file, or a folder of such.")],
    out: Annotated[Path, typer.Argument(help="The index's folder.")],
    add: Annotated[bool, typer.Option("--add", help="Add to an existing index, with its settings.")] = False,
    no_segment: Annotated[
        bool, typer.Option("--no-segment", help="Match syllables alone, without Vietnamese words beside them.")
    ] = False,
    dense: Annotated[str, typer.Option(help="A model for dense vectors: a folder, a mini model, a Hub id.")] = "",
    size: Annotated[int, typer.Option(help="Characters of a passage at most.", min=100)] = 1000,
    overlap: Annotated[int, typer.Option(help="Characters that two passages share at most.", min=0)] = 200,
    device: Device = "",
) -> None:
    """Split documents into passages and index them, for `kdda ask` and the page's Ask the corpus."""
    from kdda.retrieval.index import IndexSettings
    from kdda.retrieval.passages import read_documents
    from kdda.retrieval.writer import IndexWriter
    from kdda.runtime.live import BRIEF, showing

    if add and (no_segment or dense):
        raise KddaError("--add keeps the settings of the index: leave out --no-segment and --dense")
    settings = IndexSettings(segmenter="none" if no_segment else "vi", size=size, overlap=overlap, dense=dense)
    writer = IndexWriter(out, settings, say=note)
    with showing(str(out), delay=BRIEF):
        summary = writer.build(read_documents(corpus, out, warn), add)
    show(f"{summary} → {out}")
    note(f'Next: kdda ask {out} MODEL "…", with a model that answers questions (task qa)')


@app.command()
def ask(
    index: Annotated[str, typer.Argument(help="A folder of `kdda index`; for opensearch, the cluster's index.")],
    model: Annotated[str, typer.Argument(help="A model that answers: a folder, an export, a Hub id.")],
    question: Annotated[str | None, typer.Argument(help="What to ask.", show_default=False)] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    best: Annotated[int, typer.Option(help="Answers at most.", min=1)] = 5,
    passages: Annotated[int, typer.Option(help="Passages that are read.", min=1)] = 10,
    mu: Annotated[
        float,
        typer.Option(help="The reader's weight in a score, the rest being retrieval's.", min=0, max=1),
    ] = 0.5,
    retriever: Annotated[
        str, typer.Option(help="bm25, dense or fusion (an index with --dense), opensearch, or a plugin's.")
    ] = "bm25",
    retriever_option: Annotated[
        list[str] | None, typer.Option(help="An option of the retriever: url=https://localhost:9200. May repeat.")
    ] = None,
    plugin: Annotated[list[str] | None, typer.Option(help="A module that registers a retriever. May repeat.")] = None,
    device: Device = "",
) -> None:
    """Ask a whole corpus: answers with their source, and the passage with the answer marked."""
    from kdda.baselines.vireader import reader_of
    from kdda.inference.predictor import load, task_of_model
    from kdda.retrieval.pipeline import Corpus
    from kdda.retrieval.registry import open_retriever
    from kdda.runtime.plugins import import_plugins

    if question is None:
        raise KddaError(_what_to_ask(index, model))
    import_plugins(plugin or [])
    opened = open_retriever(retriever, index, _parse_options(retriever_option or []))
    task = task_of_model(model)
    if "answer" not in task.methods:
        raise KddaError(f'"{model}" is a model of task {task.name}; kdda ask needs one that answers questions, task qa')
    searched = Corpus(opened, reader_of(load(model)), passages, mu)
    answers = searched.ask(question, best)
    if json_:
        objects = [answer.as_dict() for answer in answers]
        print(json.dumps(objects, ensure_ascii=False, allow_nan=False))
    else:
        _print_answers(answers, searched.score_in_words("vi" if is_vietnamese() else "en"))


def _what_to_ask(index: str, last: str) -> str:
    """What `kdda ask` lacks that was given two arguments, by what the last of them is."""
    if Path(last).is_dir():
        return f'the question is missing: put it last, in quotes: kdda ask {quote(index)} {quote(last)} "…"'
    return (
        f'the model is missing, which stands between the index and the question: kdda ask {quote(index)} MODEL "{last}"'
    )


def _parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """The options of ``--retriever-option name=value``; values are YAML, so that numbers and booleans can be given."""
    options = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise KddaError(f'--retriever-option: got "{text}", expected name=value')
        options[name], _ = parse_yaml(value, f"--retriever-option {text:.80}", has_lines=False)
    return options


def _print_answers(answers: list[CorpusAnswer], explanation: str) -> None:
    """Answers with their passages, below what their scores are: coloured on a terminal, in brackets elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not answers:
        show("No passage holds a word of this question.")
        return
    console.print(Text(explanation, "dim"), end="\n\n", soft_wrap=not console.is_terminal)
    for answer in answers:
        heading = f"{answer.answer}  ({answer.score:.2f}, {answer.passage.source})"
        console.print(Text(heading, "bold"), soft_wrap=True)
        is_coloured = console.is_terminal and not console.no_color
        mark = answer.answer if is_coloured else f"⟦{answer.answer}⟧"
        before, after = answer.around
        text = Text.assemble(before, (mark, "bold black on yellow"), after, "\n")
        console.print(text, soft_wrap=not console.is_terminal)
