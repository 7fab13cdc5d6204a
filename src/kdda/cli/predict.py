"""The commands that use a model: `evaluate`, `predict`, `translation-retrieval` and `export`, with their options."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from kdda.cli.language import tr_message
from kdda.cli.next_steps import predict_command
from kdda.cli.shared import (
    PLUGIN,
    Device,
    app,
    check_model_folder,
    note,
    parse_columns,
    parse_label_map,
    parse_mapping,
    parse_names,
    parse_pairs,
    show,
    show_table,
    warn,
)
from kdda.errors import KddaError, did_you_mean
from kdda.runtime.folders import check_folder, check_output_file
from kdda.runtime.numbers import count_of
from kdda.runtime.plugins import import_plugins

if TYPE_CHECKING:
    from kdda.embeddings.translation_retrieval import TranslationRetrieval
    from kdda.inference.files import FileJob
    from kdda.inference.predictor import Predictor
    from kdda.tasks.base import Task

TASK = "A task's name; the model's by default."

COLUMNS = "The file's names: premise=sentence1,options=choice1,choice2; or a mapping as in a recipe: {label: gold}."

HEADER = "Names of the columns of a CSV or TSV without a first line."

TASK_OPTIONS = "Options of the task instead of those that the model stores, as YAML: {fields: [claim, context]}."


# Scores that each label has → what they measure.
MEASURES = {"per_label": "F1", "per_label_precision": "precision", "per_label_recall": "recall"}


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="A checkpoint: a folder, such as runs/qa/student-kdda/seed-1/model.")],
    data: Annotated[str, typer.Option(help="A file (SQuAD JSON, JSONL, JSON, CSV, TSV, Parquet), or a Hub split.")],
    task: Annotated[str, typer.Option(help=TASK)] = "",
    task_options: Annotated[str, typer.Option(help=TASK_OPTIONS)] = "",
    language: Annotated[str, typer.Option(help="Whose scoring rules hold; the model's by default.")] = "",
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    labels: Annotated[
        str, typer.Option(help="The file's labels: 0=entailment,1=neutral; -=null leaves such rows out.")
    ] = "",
    select: Annotated[str, typer.Option(help="Only rows with these values of columns: language=vi.")] = "",
    header: Annotated[str, typer.Option(help=HEADER)] = "",
    out: Annotated[Path, typer.Option(help="Where the predictions go.")] = Path("predictions.jsonl"),
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    plugin: Annotated[list[str] | None, typer.Option(help=PLUGIN)] = None,
    device: Device = "",
) -> None:
    """Score a checkpoint on a file and save its predictions."""
    check_output_file("--out", out)
    import_plugins(plugin or [])
    from kdda.data.examples import OPTION_ADVICE, Schema
    from kdda.data.sources import Source
    from kdda.inference.evaluate import evaluate_rows, write_predictions

    source = Source(data, parse_names(header) or None, parse_pairs("--select", select))
    schema = Schema((), parse_columns(columns), parse_label_map("--labels", labels), OPTION_ADVICE)
    evaluation = evaluate_rows(
        model, source, schema, task or None, language or None, parse_mapping("--task-options", task_options)
    )
    write_predictions(out, evaluation.predictions)
    for warning in evaluation.warnings:
        warn(warning)
    if json_:
        print(json.dumps(evaluation.scores, ensure_ascii=False, allow_nan=False))
        return
    for name, value in evaluation.scores.items():
        if isinstance(value, dict):
            measure = MEASURES.get(name, name)
            for label, score in value.items():
                show(f"{f'{label}, {measure}':20} {score:.1f}")
            continue
        text = f"{value:.1f}" if isinstance(value, float) else str(value)
        print(f"{tr_message(name.replace('_', ' ')):20} {text}")
    show(f"predictions in {out}")


PRECISION = "auto: bfloat16 where the processor has it, faster, with other third digits; fp32; bf16."


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="A folder (a student, an export, any fine-tuned checkpoint) or a Hub id.")
    ],
    question: Annotated[str | None, typer.Option(help="One question, with --context.")] = None,
    context: Annotated[str | None, typer.Option(help="The passage that holds the answer.")] = None,
    premise: Annotated[str | None, typer.Option(help="One premise, with --hypothesis.")] = None,
    hypothesis: Annotated[str | None, typer.Option(help="What may follow from the premise.")] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            help="The text, for a model that reads one; else a field of any task, as field=value. May repeat."
        ),
    ] = None,
    input_: Annotated[
        Path | None,
        typer.Option("--input", help="Rows with the task's fields: JSONL, CSV, Parquet, ….gz; - reads standard input."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="JSONL rows: id, answer, start, end, score; or label. Texts and gold labels are not in it: join by "
            "id. Without it they are printed."
        ),
    ] = None,
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    header: Annotated[str, typer.Option(help=HEADER)] = "",
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Skip bad rows.")] = False,
    no_answer: Annotated[
        bool | None, typer.Option("--no-answer/--always-answer", help="Instead of what the model's config says.")
    ] = None,
    precision: Annotated[str, typer.Option(help=PRECISION)] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object, for one row.")] = False,
    task: Annotated[str, typer.Option(help=TASK)] = "",
    task_options: Annotated[str, typer.Option(help=TASK_OPTIONS)] = "",
    plugin: Annotated[list[str] | None, typer.Option(help=PLUGIN)] = None,
    device: Device = "",
) -> None:
    """Answer one question or label one row, or every row of a file or of standard input.

    A file is read in bounded memory, and the same command continues where it was stopped. Rows from a pipe are objects
    of JSON, or texts for a model that reads one, a line each; their predictions are printed.
    """
    given = {"question": question, "context": context, "premise": premise, "hypothesis": hypothesis}
    import_plugins(plugin or [])
    from kdda.data.examples import Schema
    from kdda.inference.files import STANDARD, FileJob, is_piped
    from kdda.inference.predictor import load, task_of_model

    has_texts = bool(text) or any(value is not None for value in given.values())
    _check_not_empty(given, text or [])
    if input_ is None and output is None and not has_texts and is_piped():
        input_ = STANDARD
    if input_ is not None and output is None:
        output = STANDARD
    _check_inputs(has_texts, input_, output, bool(columns or header))
    options = parse_mapping("--task-options", task_options)
    if input_ is None and not has_texts:
        command = predict_command(model, task_of_model(model, task or None, options))
        raise KddaError(f"no row is given: {command}, or --input FILE, or rows on standard input")
    open_predictor = partial(
        load, model, task=task or None, no_answer=no_answer, precision=precision, task_options=options
    )
    if input_ is not None and output is not None:
        schema = Schema(columns=parse_columns(columns))
        on_bad_row: Literal["raise", "skip"] = "skip" if skip_bad_rows else "raise"
        _predict_rows(FileJob(input_, output, on_bad_row, schema, parse_names(header) or None), open_predictor)
        return
    values = _one_row(model, task_of_model(model, task or None, options), given, text or [])
    predictor = open_predictor()
    result = predictor.predict_texts(**values)
    print(json.dumps(result.as_dict(), ensure_ascii=False, allow_nan=False) if json_ else result)
    _print_warnings(predictor)


def _check_not_empty(given: Mapping[str, str | None], texts: Sequence[str]) -> None:
    """Refuse a text that is given and empty; `given` are options by name, `texts` the values of --text."""
    options = list(given.items())
    for value in texts:
        options.append(("text", value))
    for name, text in options:
        if text is not None and not text.strip():
            raise KddaError(f"--{name} is empty, expected its text (is it a variable of the shell that is not set?)")


def _check_inputs(has_texts: bool, source: Path | None, output: Path | None, names_columns: bool) -> None:
    """Refuse a call that names no row, one row and a file, or what belongs to a file that is not there."""
    if output is not None and source is None:
        raise KddaError("--output is for the predictions of --input, and there is none: --input FILE")
    if has_texts and source is not None:
        raise KddaError("got a row and --input, expected one of them")
    if names_columns and source is None:
        raise KddaError("--columns and --header name those of the file of --input, and there is none")


def _predict_rows(job: FileJob, open_predictor: Callable[[], Predictor]) -> None:
    """Predict the rows of a file or of standard input; what was done is printed beside the predictions."""
    from kdda.inference.files import STANDARD, predict_file, print_predictions, with_input_stored

    with with_input_stored(job) as stored:
        stored.check_places()
        predictor = open_predictor()
        if stored.out == STANDARD:
            note(print_predictions(predictor, stored))
        else:
            show(predict_file(predictor, stored))
    _print_warnings(predictor)


def _print_warnings(predictor: Predictor) -> None:
    """Print what a predictor warns of on standard error."""
    for warning in predictor.warnings:
        warn(warning)


def _one_row(model: str, task: Task, given: Mapping[str, str | None], texts: Sequence[str]) -> dict[str, Any]:
    """One row's values by field, a list where the field holds a list.

    Args:
        model: as the command line names it, for messages.
        given: field → its text, of the fields that have an option; None where it was not given.
        texts: the values of --text.

    Raises:
        KddaError: fields that the task does not have, or some of its fields missing.
    """
    by_field: dict[str, list[str]] = {}
    for field, value in given.items():
        if value is not None:
            by_field[field] = [value]
    for option in texts:
        field, value = _field_and_text(option, task, model)
        by_field.setdefault(field, []).append(value)
    return _checked_fields(model, task, by_field)


def _field_and_text(option: str, task: Task, model: str) -> tuple[str, str]:
    """The field and the text of ``--text field=value``, or of ``--text "A text."`` for a task that reads one text.

    A text may hold an equals sign: what stands before it is a field only if it is one, or a misspelt one.
    """
    field, equals, value = option.partition("=")
    field = field.strip()
    names_field = bool(equals) and (field in _all_fields(task) or bool(did_you_mean(field, task.fields)))
    if names_field or (equals and field.isidentifier() and task.only_field is None):
        if not value.strip():
            raise KddaError(f'--text: "{field}" is empty, expected its text behind the equals sign')
        return field, value
    if task.only_field is None:
        raise KddaError(
            f'--text: got "{option}", and task {task.name} reads several texts: {predict_command(model, task)}'
        )
    return task.only_field, option


def _all_fields(task: Task) -> set[str]:
    """The text fields of a task and of every registered one: before an equals sign these are no part of a text."""
    from kdda.tasks.registry import TASKS

    fields = set(task.fields)
    for other in TASKS.values():
        fields.update(other.fields)
    return fields


def _checked_fields(model: str, task: Task, texts: Mapping[str, list[str]]) -> dict[str, Any]:
    """One row's values by field, a list where the field holds a list; other fields than the task's are refused."""
    got = ", ".join(sorted(texts))
    if not set(texts) & set(task.fields):
        raise KddaError(f'got {got}: "{model}" {task.describe()}; expected: {predict_command(model, task)}')
    values: dict[str, Any] = {}
    for field, several in texts.items():
        if len(several) > 1 and field in task.fields and field not in task.list_fields:
            raise KddaError(f'"{field}" is given {len(several)} times, and it holds one text')
        values[field] = several if field in task.list_fields else several[-1]
    if not set(task.fields) - set(task.optional_fields) <= set(values) <= set(task.fields):
        raise KddaError(f"task {task.name}: got {got}, expected each of its fields: {predict_command(model, task)}")
    return values


@app.command()
def translation_retrieval(
    models: Annotated[list[str], typer.Argument(help="Encoders: folders of students, mini models, Hub ids.")],
    data: Annotated[str, typer.Option(help="A file whose rows hold a text and its translation.")],
    columns: Annotated[str, typer.Option(help="The columns of source and target texts.")] = "vi,en",
    header: Annotated[str, typer.Option(help=HEADER)] = "",
    layers: Annotated[
        int | None, typer.Option(help="Keep this many layers of each model, evenly spaced; all by default.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects.")] = False,
    device: Device = "",
) -> None:
    """Score embedding models by translation retrieval: how often a text's nearest neighbour is its translation."""
    from kdda.data.sources import Source, read_rows
    from kdda.embeddings.encoder import MeanPoolingModel
    from kdda.embeddings.translation_retrieval import evaluate_translation_retrieval, translated_texts

    languages = parse_names(columns)
    if len(languages) != 2:
        raise KddaError(f'--columns: got "{columns}", expected two names: vi,en')
    source, target = translated_texts(
        read_rows(Source(data, parse_names(header) or None)), (languages[0], languages[1])
    )
    scores = {}
    for model in models:
        scores[model] = evaluate_translation_retrieval(MeanPoolingModel.load(model, layers), source, target)
    if json_:
        objects = [{"model": model, **vars(score), "margin": score.margin} for model, score in scores.items()]
        print(json.dumps(objects, allow_nan=False))
        return
    _print_translation_retrieval(scores, languages)


def _print_translation_retrieval(scores: Mapping[str, TranslationRetrieval], languages: list[str]) -> None:
    """Print the models' scores as a Markdown table; `languages` are the columns of source and target texts."""
    from kdda.report.render import Table

    src, tgt = languages
    header = ["model", f"{src} → {tgt}", f"{tgt} → {src}", "translation cosine", "other cosine", "margin"]
    rows, pairs = [], 0
    for model, score in scores.items():
        values = (score.src_to_tgt, score.tgt_to_src, score.translation_cosine, score.other_cosine, score.margin)
        rows.append([model, *(f"{value:.1f}" for value in values)])
        pairs = score.pairs
    notes = [
        f"{src} → {tgt}: accuracy, the share of {src} texts whose nearest {tgt} text is their translation. Cosines are "
        "means over translations and over all other pairs. Last hidden states, pooled by their mean unless a model "
        "stores another way; all in per cent."
    ]
    show_table(Table(f"Translation retrieval, {count_of(pairs, 'pair')}", header, rows, notes))


@app.command()
def export(
    model: Annotated[str, typer.Argument(help="A fine-tuned checkpoint: a folder or a Hub id.")],
    out: Annotated[Path, typer.Argument(help="A new folder, which kdda predict and kdda serve then run.")],
    format_: Annotated[str, typer.Option("--format", help="onnx")] = "onnx",
    int8: Annotated[bool, typer.Option("--int8", help="8-bit weights in the matrix products.")] = False,
    data: Annotated[str, typer.Option(help="Rows to check the export on; the embedded corpora by default.")] = "",
    columns: Annotated[str, typer.Option(help=COLUMNS)] = "",
    header: Annotated[str, typer.Option(help=HEADER)] = "",
    task: Annotated[str, typer.Option(help=TASK)] = "",
    task_options: Annotated[str, typer.Option(help=TASK_OPTIONS)] = "",
    plugin: Annotated[list[str] | None, typer.Option(help=PLUGIN)] = None,
) -> None:
    """Write a checkpoint as an ONNX graph, and check it against the checkpoint on real rows."""
    check_model_folder("OUT", out)
    check_folder(out)
    if not data and (columns or header):
        raise KddaError("--columns and --header name those of the file of --data, and there is none")
    import_plugins(plugin or [])
    from kdda.data.sources import Source
    from kdda.inference.onnx import export as run_export
    from kdda.runtime.live import BRIEF, showing

    source = Source(data, parse_names(header) or None) if data else ""
    options = parse_mapping("--task-options", task_options)
    with showing(str(out), delay=BRIEF):
        exported = run_export(model, out, format_, int8, source, task or None, options, parse_columns(columns))
    show(f"{exported}\n{out}: {exported.megabytes:,.1f} MB")
