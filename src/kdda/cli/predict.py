"""Commands that use a model: answers and labels, a corpus, exports, a server, pictures."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdda.cli.shared import app, parse_names, parse_pairs
from kdda.errors import KddaError

if TYPE_CHECKING:
    from kdda.embeddings.translation_retrieval import TranslationRetrieval


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint: a folder, such as runs/qa/student-kdda/seed-1/model.")],
    task: Annotated[str, typer.Option(help="qa or nli.")],
    data: Annotated[str, typer.Option(help="A file (SQuAD JSON, JSONL, JSON, CSV, TSV, Parquet), or a Hub split.")],
    language: Annotated[str, typer.Option(help="Whose scoring rules hold; the model's own by default.")] = "",
    columns: Annotated[str, typer.Option(help="The file's names: premise=sentence1,label=gold.")] = "",
    labels: Annotated[str, typer.Option(help="The file's labels: 0=entailment,1=neutral,2=contradiction.")] = "",
    header: Annotated[str, typer.Option(help="Names of the columns of a CSV or TSV without a first line.")] = "",
    out: Annotated[Path, typer.Option(help="Where the predictions go.")] = Path("predictions.jsonl"),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score a checkpoint on a file and save its predictions."""
    from kdda.data.examples import Schema
    from kdda.data.sources import Source
    from kdda.inference.evaluate import evaluate as run_evaluation
    from kdda.inference.evaluate import write_predictions

    schema = Schema((), parse_pairs("--columns", columns), parse_pairs("--labels", labels))
    found = run_evaluation(model, task, Source(data, parse_names(header) or None), schema, language or None)
    write_predictions(out, found.predictions)
    for remark in found.warnings:
        print(remark, file=sys.stderr)
    if json_:
        print(json.dumps(found.scores, ensure_ascii=False))
        return
    for name, value in found.scores.items():
        print(f"{name.replace('_', ' '):20} {f'{value:.1f}' if isinstance(value, float) else value}")
    print(f"predictions in {out}")


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
    from kdda.inference.files import FileJob, predict_file
    from kdda.inference.predictor import load

    predictor = load(model, no_answer=no_answer, precision=precision)
    if input_ is not None and output is not None:
        print(predict_file(predictor, FileJob(input_, output, "skip" if skip_bad_rows else "raise")))
    else:
        one = predictor.answer(question, context) if question else predictor.entails(premise, hypothesis)
        assert not isinstance(one, list)
        print(json.dumps(one.as_dict(), ensure_ascii=False) if json_ else one)
    for remark in predictor.warnings:
        print(remark, file=sys.stderr)


@app.command()
def translation_retrieval(
    models: Annotated[list[str], typer.Argument(help="Encoders: folders of students, mini models, Hub ids.")],
    data: Annotated[str, typer.Option(help="A file whose rows hold a text and its translation.")],
    columns: Annotated[str, typer.Option(help="The columns of source and target texts.")] = "vi,en",
    layers: Annotated[
        int | None, typer.Option(help="Keep this many layers of each model, evenly spaced; all by default.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
) -> None:
    """Score embedding models by translation retrieval: how often a text's nearest neighbour is its translation."""
    from kdda.data.sources import Source, read_rows
    from kdda.embeddings.encoder import MeanPoolingModel
    from kdda.embeddings.translation_retrieval import evaluate_translation_retrieval, translated_texts

    languages = parse_names(columns)
    if len(languages) != 2:
        raise KddaError(f'--columns: found "{columns}", expected two names: vi,en')
    source, target = translated_texts(read_rows(Source(data)), (languages[0], languages[1]))
    scores = {}
    for model in models:
        scores[model] = evaluate_translation_retrieval(MeanPoolingModel.load(model, layers), source, target)
    if json_:
        objects = [{"model": model, **vars(score), "margin": score.margin} for model, score in scores.items()]
        print(json.dumps(objects))
        return
    _print_translation_retrieval(scores, languages)


def _print_translation_retrieval(scores: Mapping[str, TranslationRetrieval], languages: list[str]) -> None:
    from kdda.report.render import Table, to_markdown

    src, tgt = languages
    header = ["model", f"{src} → {tgt}", f"{tgt} → {src}", "translation cosine", "other cosine", "margin"]
    rows, pairs = [], 0
    for model, score in scores.items():
        values = (score.src_to_tgt, score.tgt_to_src, score.translation_cosine, score.other_cosine, score.margin)
        rows.append([model, *(f"{value:.1f}" for value in values)])
        pairs = score.pairs
    notes = [
        f"{src} → {tgt}: accuracy, the share of {src} texts whose nearest {tgt} text is their translation. Cosines are "
        "means over translations and over all other pairs. Mean-pooled last hidden states; all in per cent."
    ]
    print(to_markdown(Table(f"Translation retrieval, {pairs:,} pairs", header, rows, notes)))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A fine-tuned checkpoint: a folder or a Hub id.")],
    out: Annotated[Path, typer.Argument(help="A new folder, which kdda predict and kdda serve then run.")],
    format_: Annotated[str, typer.Option("--format", help="onnx")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="8-bit weights in the matrix products.")] = False,
    data: Annotated[str, typer.Option(help="Rows to check the export on; the embedded corpora by default.")] = "",
) -> None:
    """Write a checkpoint as an ONNX graph, and check it against the checkpoint on real rows."""
    from kdda.inference.onnx import export as run_export

    found = run_export(model, out, format_, int8, data)
    print(f"{found}\n{out}: {found.megabytes:,.1f} MB")
