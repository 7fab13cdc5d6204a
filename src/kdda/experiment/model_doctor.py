"""`kdda doctor MODEL`: whether a checkpoint's tokenizer and model fit, what it can do, and if a recipe can use it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdda.errors import KddaError
from kdda.experiment.context import task_of
from kdda.hub.licences import licence, warning_of
from kdda.models.classes import NO_HEAD, has_head, outputs_config
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.models.resolve import resolve
from kdda.recipe.schema import Recipe
from kdda.runtime.numbers import count_of
from kdda.tasks.base import Task
from kdda.tasks.registry import TASKS
from kdda.text.tokenize import TokenizedText, TokenizerAdapter

SENTENCE = "Cô giáo ở Hà Nội đang dạy học sinh hát; the teacher sings, too (2024)."

SYLLABLES = ("ma", "má", "mà", "mả", "mã", "mạ")  # six words, which tones alone tell apart

SPECIALS = ("pad", "bos", "eos", "cls", "sep", "unk", "mask")

OK, WARNING, ERROR = "ok", "WARNING", "ERROR"


@dataclass(frozen=True)
class Finding:
    """One line about a checkpoint.

    Attributes:
        state: `OK`; `WARNING`, where it works worse than it could; or `ERROR`, where it cannot be used.
    """

    subject: str
    state: str
    detail: str


class ModelReport:
    """The findings about one checkpoint.

    Args:
        name: a mini model, a folder or a Hub id.

    Attributes:
        checkpoint: the opened model, or None where it cannot be opened.
        findings: in the order in which a table shows them.
    """

    def __init__(self, name: str):
        self.name = name
        self.checkpoint: Checkpoint | None = None
        self.findings: list[Finding] = []
        try:
            self.checkpoint = load_checkpoint(name)
        except KddaError as error:
            self.findings.append(Finding("opens", ERROR, str(error)))
            return
        for check in CHECKS:
            self.findings += check(self.checkpoint)

    @property
    def is_usable(self) -> bool:
        """Whether nothing keeps kdda from using it."""
        return all(finding.state != ERROR for finding in self.findings)

    def lines(self) -> list[str]:
        """The name, and a line a finding."""
        lines = [self.name]
        for finding in self.findings:
            lines.append(f"  {finding.state:8}{finding.subject:18}{finding.detail}")
        return lines

    def tokens(self) -> str:
        """The sample sentence in this model's tokens, parted by bars; empty where it cannot be opened."""
        if self.checkpoint is None:
            return ""
        tokenized = _tokenized(self.checkpoint, SENTENCE)
        pairs = zip(tokenized.starts.tolist(), tokenized.ends.tolist(), strict=True)
        return " | ".join(SENTENCE[start:end] for start, end in pairs)


def examine_models(names: Sequence[str]) -> list[ModelReport]:
    """A report for each checkpoint."""
    return [ModelReport(name) for name in names]


def tokenization_lines(reports: Sequence[ModelReport]) -> list[str]:
    """One sentence in the tokens of each model: no model is ever given the tokens of another."""
    lines = [f"One sentence as each model reads it, in its tokens: {SENTENCE}"]
    for report in reports:
        if report.checkpoint is not None:
            tokens = report.tokens()
            lines += [f"  {report.name}, {count_of(tokens.count(' | ') + 1, 'token')}", f"    {tokens}"]
    return lines


def fit_lines(recipe: Recipe, reports: Sequence[ModelReport]) -> list[str]:
    """Which checkpoints fit as student and as teachers of a recipe, by its task, its objective and their widths."""
    student = ModelReport(recipe.student.model)
    lines = [f"In recipe {recipe.name}: task {recipe.task}, student {student.name}, {recipe.distill.objective}"]
    for report in reports:
        if report.checkpoint is not None:
            lines.append(f"  {report.name}: as student {_as_student(recipe, report)}")
            lines.append(f"  {report.name}: as teacher of this student {_as_teacher(recipe, student, report)}")
    return lines


def _as_student(recipe: Recipe, report: ModelReport) -> str:
    """Whether a model can be trained on the recipe's task: its head can be opened, or is new."""
    try:
        opened = load_checkpoint(report.name, head=task_of(recipe).head)
    except KddaError as error:
        return f"no: {error}"
    return "yes, with a new head" if opened.new_head else "yes, with its head"


def _as_teacher(recipe: Recipe, student: ModelReport, report: ModelReport) -> str:
    """Whether the recipe's objective can compare a model's states with the student's."""
    from kdda.losses.registry import objective_named

    if student.checkpoint is None or report.checkpoint is None:
        return "the student cannot be opened"
    widths = (report.checkpoint.width, student.checkpoint.width)
    aligned = recipe.distill.align != "none"
    for teachers in recipe.teachers_by_language().values():
        for teacher in teachers:
            aligned = aligned or (teacher.model == report.name and (teacher.align or "none") != "none")
    if widths[0] == widths[1] or aligned or not objective_named(recipe.distill.objective).equal_widths:
        return "yes"
    return f"only with distill.align: {widths[0]} wide, the student {widths[1]}"


def _check_architecture(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Its class, depth, width, number of parameters, and the longest text it can read."""
    config = checkpoint.model.config
    parameters = sum(weight.numel() for weight in checkpoint.model.parameters())
    layers = getattr(config, "num_hidden_layers", "?")
    detail = f"{type(checkpoint.model).__name__}, {layers} layers × {checkpoint.width}, {parameters / 1e6:,.1f} million"
    yield Finding("opens", OK, f"{detail} parameters, {checkpoint.encoder(10**9).max_length:,} tokens at most")


def _check_tasks(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Its task as its config says it, or the tasks that its head can have."""
    config = checkpoint.model.config
    saved = getattr(config, "kdda_task", None)
    architectures = ", ".join(getattr(config, "architectures", None) or ("no head",))
    names = [task.name for task in TASKS.values() if _fits(config, task, checkpoint.name)]
    if saved:
        yield Finding("task", OK, f"{saved} ({architectures})")
    elif names:
        yield Finding("task", OK, f"{' or '.join(names)}, by its head ({architectures})")
    else:
        yield Finding("task", OK, f"none yet ({architectures}): it is fine-tuned first, as student or teacher")


def _fits(config: Any, task: Task, name: str) -> bool:
    """Whether a checkpoint's head is one of a task, with as many outputs; a task without a head shows in none."""
    if task.head == NO_HEAD or not has_head(config, task.head):
        return False
    try:
        task.check_outputs(outputs_config(config, task.head), name)
    except KddaError:
        return False
    return True


def _check_licence(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Its licence; a warning where that binds whoever redistributes a model made of it."""
    name = licence(checkpoint.name)
    warning = warning_of(name)
    yield Finding("licence", WARNING if warning else OK, warning or name)


def _check_ids(checkpoint: Checkpoint) -> Iterator[Finding]:
    """How many tokens the tokenizer has, and how many rows the embedding."""
    rows = checkpoint.model.get_input_embeddings().weight.shape[0]
    highest = max(checkpoint.tokenizer.get_vocab().values())
    yield Finding("ids", OK, f"{len(checkpoint.tokenizer.get_vocab()):,} tokens, ids up to {highest:,}, {rows:,} rows")


def _check_specials(checkpoint: Checkpoint) -> Iterator[Finding]:
    """The special ids of the config, which must be those of the tokenizer; and padding, which batches need."""
    config = checkpoint.model.config
    if checkpoint.tokenizer.pad_token_id is None:
        yield Finding("padding", ERROR, "the tokenizer has no pad token, so rows cannot be batched")
    differences = []
    for special in SPECIALS:
        of_config = getattr(config, f"{special}_token_id", None)
        of_tokenizer = getattr(checkpoint.tokenizer, f"{special}_token_id", None)
        if isinstance(of_config, int) and of_tokenizer is not None and of_config != of_tokenizer:
            differences.append(f"{special}: config {of_config}, tokenizer {of_tokenizer}")
    if differences:
        yield Finding("special tokens", WARNING, f"config and tokenizer differ ({'; '.join(differences)})")
    else:
        around = checkpoint.tokenizer.convert_ids_to_tokens(_special_ids(checkpoint))
        yield Finding("special tokens", OK, f"of a pair: {' '.join(around)}")


def _special_ids(checkpoint: Checkpoint) -> list[int]:
    """The ids of the special tokens before, between and after the two texts of a pair."""
    template = TokenizerAdapter(checkpoint.tokenizer, checkpoint.segmenter).template(texts=2)
    ids: list[int] = []
    for specials in template.specials:  # three lists of ids: before the first text, after it, after the second
        ids += specials
    return ids


def _check_spelling(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Case and Vietnamese tones, which a tokenizer may drop, and letters that it does not know."""
    tones = {tuple(_tokenized(checkpoint, syllable).ids.tolist()) for syllable in SYLLABLES}
    if len(tones) < len(SYLLABLES):
        yield Finding("tones", WARNING, f"{' '.join(SYLLABLES)} become {len(tones)} words: the tokenizer drops tones")
    else:
        yield Finding("tones", OK, f"{' '.join(SYLLABLES)} stay six words")
    lower, upper = _tokenized(checkpoint, "hà nội"), _tokenized(checkpoint, "Hà Nội")
    if lower.ids.tolist() == upper.ids.tolist():
        yield Finding("case", WARNING, "lower case alone: names look like other words")
    else:
        yield Finding("case", OK, "kept")
    unknown = _tokenized(checkpoint, SENTENCE).ids.tolist().count(checkpoint.tokenizer.unk_token_id)
    yield Finding("unknown tokens", WARNING if unknown else OK, f"{unknown} in: {SENTENCE}")


def _check_offsets(checkpoint: Checkpoint) -> Iterator[Finding]:
    """The tokens' places, which answers are cut by: together they must hold every letter of the text, in order."""
    tokenized = _tokenized(checkpoint, SENTENCE)
    covered = set[int]()
    for start, end in zip(tokenized.starts.tolist(), tokenized.ends.tolist(), strict=True):
        covered.update(range(start, end))
    missing = [letter for place, letter in enumerate(SENTENCE) if place not in covered and not letter.isspace()]
    if missing:
        yield Finding("places of tokens", ERROR, f"no token holds {' '.join(missing)}: answers would be cut")
    else:
        yield Finding("places of tokens", OK, "every letter belongs to a token")


def _check_segmentation(checkpoint: Checkpoint) -> Iterator[Finding]:
    words = {"none": "raw text", "vi": "Vietnamese words, segmented by underthesea first"}
    yield Finding("reads", OK, words.get(checkpoint.segmenter, f"words, segmented by {checkpoint.segmenter} first"))


def _check_sentencepiece(checkpoint: Checkpoint) -> Iterator[Finding]:
    """The pieces of a fast tokenizer beside those of the SentencePiece file that it was converted from."""
    folder = resolve(checkpoint.name)
    files = sorted(Path(folder).glob("*.model")) if folder is not None and Path(folder).is_dir() else []
    if not files or not checkpoint.tokenizer.is_fast:
        return
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        yield Finding("fast and slow", WARNING, f'not compared with {files[0].name}: pip install "kdda[sentencepiece]"')
        return
    slow = SentencePieceProcessor(model_file=str(files[0])).encode(SENTENCE, out_type=str)
    fast = checkpoint.tokenizer.tokenize(SENTENCE)
    state, detail = OK, f"the fast tokenizer has the pieces of {files[0].name}"
    if slow != fast:
        state, detail = ERROR, f"the fast tokenizer gives other pieces than {files[0].name}: {fast} and {slow}"
    yield Finding("fast and slow", state, detail)


def _tokenized(checkpoint: Checkpoint, text: str) -> TokenizedText:
    """A text in a model's tokens, without special ones."""
    (tokenized,) = TokenizerAdapter(checkpoint.tokenizer, checkpoint.segmenter).tokenize([text])
    return tokenized


CHECKS: tuple[Callable[[Any], Iterator[Finding]], ...] = (
    _check_architecture,
    _check_tasks,
    _check_licence,
    _check_ids,
    _check_specials,
    _check_spelling,
    _check_offsets,
    _check_segmentation,
    _check_sentencepiece,
)
