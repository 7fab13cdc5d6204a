"""Commands that use a model: answers and labels, a corpus, exports, a server, pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.shared import app, names
from kdda.errors import KddaError

if TYPE_CHECKING:
    from kdda.predict import Predictor
    from kdda.systems import Answer, Corpus

PRECISION = "auto: bfloat16 where the processor has it, faster, with other third digits; fp32; bf16."


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="A folder (a student, an export, any QA or NLI checkpoint) or a Hub id.")
    ],
    question: Annotated[str, typer.Option(help="One question, with --context.")] = "",
    context: Annotated[str, typer.Option(help="The passage that holds the answer.")] = "",
    premise: Annotated[str, typer.Option(help="One premise, with --hypothesis.")] = "",
    hypothesis: Annotated[str, typer.Option(help="What may follow from the premise.")] = "",
    input_: Annotated[
        Path | None, typer.Option("--input", help="JSONL rows: id, question, context; or id, premise, hypothesis.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="JSONL rows: id, answer, start, end, score; or label.")] = None,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out.")] = False,
    no_answer: Annotated[
        bool | None, typer.Option("--no-answer/--always-answer", help="Instead of what the model says of itself.")
    ] = None,
    precision: Annotated[str, typer.Option(help=PRECISION)] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object, for one pair.")] = False,
) -> None:
    """Answer one question or label one pair, or every row of a file.

    A file is read in bounded memory, and the same command goes on where it was stopped.
    """
    asked = [(question, context), (premise, hypothesis)]
    if (input_ is None) != (output is None):
        raise KddaError("--input and --output go together")
    if sum(map(any, asked)) + (input_ is not None) != 1 or any(any(pair) and not all(pair) for pair in asked):
        raise KddaError("give --question and --context, or --premise and --hypothesis, or --input and --output")
    from kdda.predict import FileJob, load, predict_file

    predictor = load(model, no_answer=no_answer, precision=precision)
    if input_ is not None and output is not None:
        print(predict_file(predictor, FileJob(input_, output, "skip" if skip_bad_rows else "raise")))
    else:
        one = predictor.answer(question, context) if question else predictor.entails(premise, hypothesis)
        assert not isinstance(one, list)
        print(json.dumps(one.as_dict(), ensure_ascii=False) if json_ else one)
    for remark in predictor.remarks:
        print(remark, file=sys.stderr)


@app.command()
def translations(
    models: Annotated[list[str], typer.Argument(help="Any encoders: folders of students, mini models, Hub ids.")],
    data: Annotated[str, typer.Option(help="A file whose rows hold a text and its translation.")],
    columns: Annotated[str, typer.Option(help="The two columns.")] = "vi,en",
    layers: Annotated[
        int | None, typer.Option(help="Keep so many of each model, as a recipe's student does; all by default.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """Say how well models' vectors find the translations of texts, before a fine-tuning and after."""
    from kdda.data import Source, read_rows
    from kdda.predict import Embedder, translated_texts
    from kdda.predict import translations as hold

    sides = names(columns)
    if len(sides) != 2:
        raise KddaError(f'--columns: found "{columns}", expected two names: vi,en')
    first, second = translated_texts(read_rows(Source(data)), (sides[0], sides[1]))
    found = {model: hold(Embedder.load(model, layers), first, second) for model in models}
    if json_:
        print(json.dumps([{"model": model, **vars(own), "margin": own.margin} for model, own in found.items()]))
        return
    from kdda.report import Table, to_markdown

    header = ["model", f"{sides[0]} → {sides[1]}", f"{sides[1]} → {sides[0]}", "translations", "others", "margin"]
    cells = {model: (own.forth, own.back, own.similarity, own.others, own.margin) for model, own in found.items()}
    rows = [[model, *(f"{value:.1f}" for value in own)] for model, own in cells.items()]
    notes = ["Nearest texts that are the translation, and mean cosines, of mean last states; all in per cent."]
    print(to_markdown(Table(f"{len(first):,} translations", header, rows, notes)))


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
    from kdda.systems import Settings, Writer, read_documents

    if add and (no_segment or dense):
        raise KddaError("--add reads as the index was made: leave out --no-segment and --dense")
    folder = str(Path(dense).resolve()) if Path(dense).is_dir() and dense else dense
    settings = Settings(segmenter="none" if no_segment else "vi", size=size, overlap=overlap, dense=folder)
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
    from kdda.predict import load
    from kdda.systems import Corpus

    found = Corpus.open(index, load(model), retriever, passages, mu).ask(question, best)
    if json_:
        print(json.dumps([own.as_dict() for own in found], ensure_ascii=False))
    else:
        _show(found)


def _show(found: list[Answer]) -> None:
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


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A fine-tuned checkpoint: a folder or a Hub id.")],
    out: Annotated[Path, typer.Argument(help="A new folder, which kdda predict and kdda serve then run.")],
    format_: Annotated[str, typer.Option("--format", help="onnx")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="8-bit weights in the matrix products.")] = False,
    data: Annotated[str, typer.Option(help="Rows to check the export on; the embedded corpora by default.")] = "",
) -> None:
    """Write a checkpoint as an ONNX graph, and check it against the checkpoint on real rows."""
    from kdda.export import export as run_export

    found = run_export(model, out, format_, int8, data)
    print(f"{found}\n{out}: {found.megabytes:,.1f} MB")


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(help="Folders: at most one that answers and one that labels.")],
    host: Annotated[str, typer.Option(help="Elsewhere than on this machine alone needs --token-env.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8000,
    token_env: Annotated[str, typer.Option(help="The environment variable that holds the clients' token.")] = "",
    runs: Annotated[list[Path] | None, typer.Option(help="Run folders that the page shows. May repeat.")] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Other models for the page's Transport: a folder, a Hub id. May repeat.")
    ] = None,
    index: Annotated[Path | None, typer.Option(help="A folder of kdda index, which the page asks.")] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The page at /.")] = True,
    batch: Annotated[int, typer.Option(help="Requests that are read together.", min=1)] = 32,
    queue: Annotated[int, typer.Option(help="Requests that may wait; more get 429.", min=1)] = 256,
    timeout: Annotated[float, typer.Option(help="Seconds until a request gets 504.", min=0.1)] = 10.0,
    characters: Annotated[int, typer.Option(help="Of a text; more get 422.", min=1, max=1_000_000)] = 50_000,
    precision: Annotated[str, typer.Option(help=PRECISION)] = "auto",
) -> None:
    """Serve models over HTTP, with a page at /. Ctrl-C or SIGTERM finishes what was taken, then stops."""
    from kdda.serve import Limits, Site, run_site

    limits = Limits(batch=batch, queue=queue, seconds=timeout, characters=characters)
    corpus = _opener(index) if index else None
    shown = (tuple(runs or ()), tuple(compare or ()), page)
    site = Site(models, limits, host, port, token_env, *shown, precision, corpus)
    run_site(site)


def _opener(index: Path) -> Callable[[Predictor], Corpus]:
    """What opens an index for the model that reads it; an index that is not there is said at once."""
    from kdda.systems import Corpus, Index

    Index.open(index)
    return lambda predictor: Corpus.open(index, predictor)


@app.command()
def plot(
    folders: Annotated[
        list[Path], typer.Argument(help="Run folders, for curves, λ and teachers; or models, for a plan.")
    ],
    out: Annotated[Path, typer.Option(help="A folder for the pictures.")] = Path("plots"),
    form: Annotated[str, typer.Option("--format", help="png or svg.")] = "png",
    teacher: Annotated[str, typer.Option(help="The other model of a plan: a folder, a Hub id, or a mini model.")] = "",
    text: Annotated[str, typer.Option(help="The sentence that both models of a plan read.")] = "",
    epsilon: Annotated[float, typer.Option(help="Of the plan.")] = 0.005,
) -> None:
    """Draw run folders (curves, λ, teachers), and with --teacher and --text the plan between two models."""
    from kdda.look import Sentence, plot_all

    for path in plot_all(folders, out, form, Sentence(text, teacher, epsilon) if teacher or text else None):
        print(path)
