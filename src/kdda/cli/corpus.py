"""Commands that index a corpus and answer questions about it."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.shared import app
from kdda.errors import KddaError

if TYPE_CHECKING:
    from kdda.retrieval.open_domain import CorpusAnswer


@app.command()
def index(
    corpus: Annotated[Path, typer.Argument(help="JSONL (id, text, title, source), a text file, or a folder of such.")],
    out: Annotated[Path, typer.Argument(help="The index's folder.")],
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there, as it was made.")] = False,
    no_segment: Annotated[
        bool, typer.Option("--no-segment", help="Match syllables alone, without Vietnamese words beside them.")
    ] = False,
    dense: Annotated[str, typer.Option(help="A model whose vectors are kept, too: a folder, a mini model.")] = "",
    size: Annotated[int, typer.Option(help="Characters of a passage at most.", min=100)] = 1000,
    overlap: Annotated[int, typer.Option(help="Characters that two passages share at most.", min=0)] = 200,
) -> None:
    """Cut documents into passages and index them, for `kdda ask` and the page's Ask the corpus."""
    from kdda.retrieval.index import IndexSettings, Writer
    from kdda.retrieval.passages import read_documents

    if add and (no_segment or dense):
        raise KddaError("--add reads as the index was made: leave out --no-segment and --dense")
    folder = str(Path(dense).resolve()) if Path(dense).is_dir() and dense else dense
    settings = IndexSettings(segmenter="none" if no_segment else "vi", size=size, overlap=overlap, dense=folder)
    writer = Writer(out, settings, say=partial(print, file=sys.stderr))
    print(f"{writer.build(read_documents(corpus), add)} → {out}")


@app.command()
def ask(
    index: Annotated[Path, typer.Argument(help="A folder that `kdda index` wrote.")],
    model: Annotated[str, typer.Argument(help="A model that answers: a folder, an export, a Hub id.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    best: Annotated[int, typer.Option(help="Answers at most.", min=1)] = 5,
    passages: Annotated[int, typer.Option(help="Passages that are read.", min=1)] = 10,
    mu: Annotated[float, typer.Option(help="The reader's part of a score, beside retrieval's.", min=0, max=1)] = 0.5,
    retriever: Annotated[str, typer.Option(help="bm25, dense or fusion (these two need --dense).")] = "bm25",
) -> None:
    """Ask a whole corpus: answers with their source, and the passage with the answer marked."""
    from kdda.baselines.vireader import reader_of
    from kdda.inference.predictor import load
    from kdda.retrieval.pipeline import Corpus

    found = Corpus.open(index, reader_of(load(model)), retriever, passages, mu).ask(question, best)
    if json_:
        print(json.dumps([own.as_dict() for own in found], ensure_ascii=False))
    else:
        _show(found)


def _show(found: list[CorpusAnswer]) -> None:
    """Answers with their passages: the answer stands out in colour on a terminal, in brackets elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    if not found:
        print("No passage holds a word of this question.")
    for own in found:
        text, marks = own.passage.text, ("", "") if console.is_terminal else ("⟦", "⟧")
        marked = (marks[0] + own.answer + marks[1], "bold black on yellow")
        console.print(Text(f"{own.answer}  ({own.score:.2f}, {own.passage.source})", "bold"), soft_wrap=True)
        shown = Text.assemble(text[: own.start], marked, text[own.end :], "\n")
        console.print(shown, soft_wrap=not console.is_terminal)
