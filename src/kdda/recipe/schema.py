"""What a recipe may say, with every default and bound: `Training`, `Distill`, `Arm`, `Data`, `System`, `Recipe`; which
languages an arm trains on (`Recipe.languages`), and the recipe's targets.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)


class Strict(BaseModel):
    """Unknown keys and numbers that are not finite are errors; recipes do not change after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


# Choices of `distill.tokens` that give tokens different masses, by each model's attention.
Masses = Literal["attended", "received", "entropy"]

Tokens = Literal["all", "text", Masses]

# Of stored teacher states: bfloat16, or 8 bits with a scale a token.
CachePrecision = Literal["bf16", "int8"]

MANY = 1_000_000_000  # more of anything is a slip of the keyboard

SEEDS = 2**32  # NumPy takes seeds below


def has_masses(tokens: str) -> bool:
    """Whether a choice of `distill.tokens` gives tokens different masses.

    >>> has_masses("received"), has_masses("text")
    (True, False)
    """
    return tokens in get_args(Masses)


def _without_repetition(values: list[Any]) -> list[Any]:
    """A list whose entries are all different."""
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"every entry once, and {value!r} is there twice")
    return values


def _label_name(value: Any) -> Any:
    """The name of a label, as text where YAML reads a whole number: ``labels: [1, 2, 3]`` of ordinal classes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


LabelName = Annotated[str, BeforeValidator(_label_name)]


def _labels(names: list[str]) -> list[str]:
    """Names of labels: none (the task's), or two at least."""
    if len(names) == 1 or not all(name.strip() for name in names):
        raise ValueError("two labels or more, each with a name")
    return _without_repetition(names)


def _targets(value: Any) -> Any:
    """A recipe's target: a language, or a list of several; a list of one is that one."""
    if isinstance(value, str):
        return value
    are_names = isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)
    if not are_names:
        raise ValueError("a language, or a list of languages")
    _without_repetition(value)
    return value if len(value) > 1 else value[0]


def target_list(target: str | Sequence[str]) -> list[str]:
    """The target languages of a recipe's field `target`, which holds one or several.

    >>> target_list("vi"), target_list(["vi", "id"])
    (['vi'], ['vi', 'id'])
    """
    return [target] if isinstance(target, str) else list(target)


def _finite(value: Any) -> Any:
    """A free setting, in which every number is finite."""
    parts = []
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list):
        parts = value
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"finite numbers, and {value} is none")
    for part in parts:
        _finite(part)
    return value


FreeSettings = dict[str, Annotated[Any, AfterValidator(_finite)]]

Seed = Annotated[int, Field(ge=0, lt=SEEDS)]

Rows = Annotated[int, Field(ge=1, le=MANY)]


def _layers(value: Any) -> Any:
    """Which layers stay: a number, ``first 6``, or a list of indices, which becomes a tuple.

    Raises:
        ValueError: anything else.
    """
    if value is None or (isinstance(value, str) and re.fullmatch(r"first [1-9]\d*", value)):
        return value
    if isinstance(value, list | tuple):
        are_indices = all(type(layer) is int and layer >= 0 for layer in value)
        if are_indices and value and sorted(set(value)) == list(value):
            return tuple(value)
    elif type(value) is int and value >= 1:  # a boolean is an integer, too
        return value
    raise ValueError('a number from 1, "first 6", or a list of layers in rising order from 0')


class ModelSpec(Strict):
    """A model: ``mini/…``, a local folder, or a Hub id.

    `layers`: so many evenly spaced ones of its layers; ``first 6``; or a list of layers, from 0. All by default.
    """

    model: str
    layers: Annotated[Any, BeforeValidator(_layers)] = None
    segmenter: str | None = None


SAMPLING_TEMPERATURE = 2.0  # of `sampling: temperature` where no other is given: Raffel et al. 2020, §3.5.2

Sampling = Literal["proportional", "temperature"]

SamplingTemperature = Annotated[float, Field(ge=1)]


def language_temperature(sampling: str, temperature: float | None) -> float:
    """The temperature by which languages are sampled; 1 samples them in proportion to their rows.

    Args:
        temperature: as a recipe gives it; None is `SAMPLING_TEMPERATURE`.
    """
    if sampling == "proportional":
        return 1.0
    return temperature or SAMPLING_TEMPERATURE


class Training(Strict):
    """How a model is fine-tuned. The paper: AdamW, linear decay after 10 % warm-up, 2 epochs, batch 32.

    `micro_batch_size`: rows of a batch that are in memory at once; the gradient is the whole batch's whatever it is.
    All of them by default, and half as many whenever a device's memory does not suffice.
    `stride`: tokens that two windows of one long context share (reading).
    `warmup`: a part of all steps, or from 1 on so many steps.
    `attention_dropout`: instead of the model's; at 0 attention is one fused kernel on a CPU, and steps are faster.
    `head`: a new head is drawn as transformers does, or standardises what it reads (`kdda.models.heads`).
    `precision`: of the forward pass; ``auto`` is bfloat16 where the device computes in it. Weights stay float32.
    `gradient_checkpointing`: layers are computed again in the backward pass instead of stored: the same weights, in
    less memory and more time.
    `arguments`: further fields of transformers' `TrainingArguments`, such as ``{report_to: tensorboard}``.
    `compile`: the model's forward and backward become compiled kernels (torch.compile).
    `sampling`: of languages of unequal size: ``proportional``, every row once an epoch, or ``temperature``: an epoch
    has as many batches, and languages share them by p_l ∝ n_l^(1/T) with T the `sampling_temperature`.
    """

    learning_rate: float = Field(2e-5, gt=0)
    epochs: int = Field(2, ge=1, le=MANY)
    batch_size: int = Field(32, ge=1, le=MANY)
    micro_batch_size: int | None = Field(None, ge=1, le=MANY)
    max_length: int = Field(128, ge=8, le=MANY)
    stride: int = Field(128, ge=0, le=MANY)
    warmup: float = Field(0.1, ge=0)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    log_every: int = Field(10, ge=1, le=MANY)
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    head: Literal["plain", "standardized"] = "plain"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    sampling: Sampling = "proportional"
    sampling_temperature: SamplingTemperature | None = None
    arguments: FreeSettings = {}

    @field_validator("sampling_temperature")
    @classmethod
    def _is_of_temperature_sampling(cls, temperature: float | None, info: Any) -> float | None:
        """Refuse a temperature without effect; `info.data` holds the fields before this one."""
        if temperature is not None and info.data.get("sampling") == "proportional":
            raise ValueError("no such field, or sampling: temperature beside it")
        return temperature

    @property
    def language_temperature(self) -> float:
        """The temperature by which languages are sampled; 1 samples them in proportion to their rows."""
        return language_temperature(self.sampling, self.sampling_temperature)


class TrainingChanges(Strict):
    """What a teacher's fine-tuning does differently from the recipe's `training`."""

    learning_rate: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1, le=MANY)
    batch_size: int | None = Field(None, ge=1, le=MANY)
    max_length: int | None = Field(None, ge=8, le=MANY)


class ArmTraining(TrainingChanges):
    """What an arm does differently from the recipe's `training`; an arm with a learning rate does not search for it."""

    stride: int | None = Field(None, ge=0, le=MANY)
    warmup: float | None = Field(None, ge=0)
    weight_decay: float | None = Field(None, ge=0)
    sampling: Sampling | None = None
    sampling_temperature: SamplingTemperature | None = None


def model_shorthand(value: Any) -> Any:
    """A model's settings; a name alone, which recipes may write instead, becomes ``{"model": name}``."""
    return {"model": value} if isinstance(value, str) else value


def _keep_shorthand(value: Any) -> Any:
    """Settings of `Sentences`; a number alone, which recipes may write instead, becomes ``{"keep": number}``."""
    return {"keep": value} if isinstance(value, int) and not isinstance(value, bool) else value


class Sentences(Strict):
    """ViReader: an arm that reads the `keep` sentences of a passage that are nearest to the question.

    `model`: the encoder whose embeddings are compared; by default the arm's student as it was before fine-tuning.
    """

    keep: int = Field(5, ge=1, le=MANY)
    model: str | None = None


class System(Strict):
    """An open-domain system: an arm's model that reads passages which a retriever finds in the target language.

    `retriever`: the name of a registered retriever; `retriever_options`: what it takes, such as a cluster's `url`.
    `passages`: how many are read for a question; `mu`: the reader's weight in a score, the rest being retrieval's. Of
    several values those with the best F1 on the development rows are chosen.
    """

    arm: str
    retriever: str = "bm25"
    retriever_options: FreeSettings = {}
    passages: list[Rows] = Field([1, 3, 5, 10], min_length=1)
    mu: list[Annotated[float, Field(ge=0, le=1)]] = Field([1.0], min_length=1)


class TeacherSpec(ModelSpec):
    """A teacher of one language; fine-tuned on that language's data first, unless `finetuned` says it is already.

    `random`: a control that knows nothing: weights drawn by `seed`, and not fine-tuned either.
    `weight`: of its divergence, beside the distillation weight λ.
    `train`: the language whose labelled rows it is fine-tuned on; the teacher's by default, and another one where its
    language has no labels.
    `rows`: of that language, that it is fine-tuned on; as many as the student has by default.
    `align`: instead of the recipe's `distill.align`.
    """

    finetuned: bool = False
    train: str | None = None
    rows: Rows | None = None
    random: bool = False
    weight: float = Field(1.0, ge=0)
    seed: Seed = 1
    training: TrainingChanges = TrainingChanges()
    align: Literal["none", "procrustes", "learned"] | None = None


class StudentSpec(ModelSpec):
    """A student: a model by its name, or one that starts as a teacher.

    `from_teacher`: the language whose fine-tuned teacher the student starts as, with its weights, head and tokenizer;
    `layers` are then that teacher's that stay.
    """

    model: str = ""
    from_teacher: str | None = None

    @model_validator(mode="after")
    def _has_one_source(self) -> StudentSpec:
        if bool(self.model) == bool(self.from_teacher):
            raise ValueError("either model: NAME, or from_teacher: LANGUAGE")
        return self


Student = Annotated[StudentSpec, BeforeValidator(model_shorthand)]

Teacher = Annotated[TeacherSpec, BeforeValidator(model_shorthand)]


def _kind_of_teachers(value: Any) -> str:
    """Which member of the union `Teachers` a value is checked as."""
    return "list[teachers]" if isinstance(value, list) else "dict[teacher]"


Teachers = Annotated[
    Annotated[Teacher, Tag("dict[teacher]")] | Annotated[list[Teacher], Field(min_length=1), Tag("list[teachers]")],
    Discriminator(_kind_of_teachers),
]
"""A language's teacher, or a list of several."""


def _teacher_changes(value: Any) -> Any:
    """An arm's changes of a language's teachers; names of models alone become ``{"model": name}``."""
    if isinstance(value, list):
        return [model_shorthand(item) for item in value]
    return model_shorthand(value)


def _label_map(value: Any) -> Any:
    """A map of labels with text as keys, whatever type YAML has read them as: rows' labels become text the same way.
    The word ``none`` stands for rows without labels.

    YAML reads the key of ``0: entailment`` as a number, and a bare ``no`` as False, whose text is "False". A row with
    the label `False` meets that entry; one with the text "no" needs a quoted key.
    """
    if isinstance(value, Mapping):
        return {str(k): v for k, v in value.items()}
    if value != "none":
        raise ValueError("a mapping of the file's labels, or none for training rows without labels")
    return value


def _kind_of_source(value: Any) -> str:
    """Which member of the union `SourceName` a value is checked as."""
    return "list[str]" if isinstance(value, list) else "str"


SourceName = Annotated[
    Annotated[str, Tag("str")] | Annotated[list[str], Field(min_length=1), Tag("list[str]")],
    Discriminator(_kind_of_source),
]
"""A source of rows, or several, whose rows follow one another."""


def _text_values(value: Any) -> Any:
    """A mapping, perhaps of mappings, with text as values, whatever type YAML has read them as."""
    if not isinstance(value, Mapping):
        return value
    texts = {}
    for key, item in value.items():
        texts[key] = _text_values(item) if isinstance(item, Mapping) else str(item)
    return texts


def _kind_of_selection(value: Any) -> str:
    """Which member of the union `Selection` a value is checked as."""
    return "dict[split]" if isinstance(value, Mapping) else "str"


Selection = Annotated[
    Annotated[str, Tag("str")] | Annotated[dict[Literal["train", "dev", "test"], str], Tag("dict[split]")],
    Discriminator(_kind_of_selection),
]
"""The value of a column that rows have which are read; or the value of each split's rows."""


class Data(Strict):
    """One language's rows: a source a split, and how they name their columns and labels.

    Without `train` no arm is trained on the language, and its scores are zero-shot.
    `holdout`: split → the share of the training rows that is this split instead, where it has no source.
    `select`: column → the value of it that this language's rows have, in files of several languages; or split → the
    value of its rows, in files of several splits.
    `access`: how one gets them, for people who lack them.
    `labels`: the file's label → a label name, or null; or ``none``: the training rows have no labels, and the language
    is distilled from its teacher alone. Its development and test rows, where there are any, have label names.
    """

    train: SourceName | None = None
    dev: SourceName | None = None
    test: SourceName | None = None
    holdout: dict[Literal["dev", "test"], Annotated[float, Field(gt=0, lt=1)]] = {}
    select: Annotated[dict[str, Selection], BeforeValidator(_text_values)] = {}
    access: str = ""
    columns: dict[str, str | Annotated[list[str], Field(min_length=1)]] = {}
    labels: Annotated[dict[str, LabelName | None] | Literal["none"], BeforeValidator(_label_map)] = {}
    header: list[str] | None = None
    limit: dict[Literal["train", "dev", "test"], Rows] = {}
    on_bad_row: Literal["raise", "skip"] = "raise"

    @model_validator(mode="after")
    def _has_one_origin_a_split(self) -> Data:
        """Refuse labels without development rows, a split with two origins, and held-out rows that are not there."""
        if self.has_labels and not self.has("dev"):
            raise ValueError("development rows: dev: SOURCE, or a share of the training rows, holdout: {dev: 0.1}")
        for split in self.holdout:
            if getattr(self, split) is not None:
                raise ValueError(f"{split} rows from its source or from holdout, and it has both")
        if self.holdout and not self.has_labels:
            raise ValueError("training rows with labels, of which holdout takes a share")
        if sum(self.holdout.values()) >= 1:
            raise ValueError("shares of holdout that leave training rows: less than 1 together")
        return self

    def has(self, split: Literal["train", "dev", "test"]) -> bool:
        """Whether there are rows of a split: from a source, or held out of the training rows."""
        return getattr(self, split) is not None or split in self.holdout

    def selection(self, split: Literal["train", "dev", "test"]) -> dict[str, str]:
        """Column → the value of it that a split's rows have which are read."""
        values = {}
        for column, value in self.select.items():
            if isinstance(value, str):
                values[column] = value
            elif split in value:
                values[column] = value[split]
        return values

    @property
    def has_labels(self) -> bool:
        """Whether there are training rows with labels."""
        return self.train is not None and self.labels != "none"

    @property
    def is_unlabelled(self) -> bool:
        """Whether there are training rows, and they have no labels."""
        return self.train is not None and self.labels == "none"

    @property
    def label_map(self) -> Mapping[str, str | None]:
        """The file's label → a label name or None; empty where no name differs."""
        return {} if isinstance(self.labels, str) else self.labels


class Distill(Strict):
    """The transport term of docs/method.md, 5–7.

    `options`: settings of the objective itself, such as ``bandwidth`` of ``mmd-gaussian``.
    `schedule`: λ from first to last step: ``constant``, ``linear_decay`` to 0, or ``linear_warmup`` from 0.
    `layers`: where states are taken, as parts of a model's depth: 1 is its last layer, 0.5 the one half way up. The
    term is the mean over them.
    `tokens`: ``all`` real tokens alike; those of ``text`` alone, without special tokens; or all, each with a mass by
    the attention there: the first token's to it (``attended``), all tokens' to it (``received``), or by how far its
    attention is from uniform (``entropy``).
    `points`: what states are compared of: each model's ``tokens``, or the ``words`` of the text, whose states are means
    of their tokens'.
    `example_weighting`: the weight of a row: ``none``, all alike; ``teacher_correct``, 1 where the teacher predicts the
    gold label and 0 elsewhere; ``teacher_confidence``, the probability that the teacher gives the gold label.
    `logit_weight`: how much of `kd-logits` is added to the objective, at the recipe's `temperature`.
    `shuffle_teacher`: a control: each row gets the teacher states of another row.
    `align`: how teachers' states come into the student's space, whatever both widths are: ``none``; ``procrustes``, by
    a fixed turn, shift and scale in closed form; ``learned``, by a linear map of the student's states on top of it,
    trained with the student and dropped at the end.
    `stop_when_ahead`: once the student's score on the development rows of a target language is above a teacher's, at
    an evaluation during training, it is no longer distilled from this teacher.
    """

    objective: str = "sinkhorn"
    options: FreeSettings = {}
    weight: float = Field(0.3, alias="lambda", ge=0)
    epsilon: float = Field(0.005, gt=0)
    scale: Literal["teacher", "none", "cosine", "layernorm"] | Annotated[float, Field(gt=0)] = "teacher"
    combine: Literal["sum", "interpolate"] = "sum"
    tolerance: float = Field(1e-4, gt=0, le=1)
    max_iterations: int = Field(500, ge=1, le=MANY)
    temperature: float = Field(2.0, gt=0)
    schedule: Literal["constant", "linear_decay", "linear_warmup"] = "constant"
    layers: list[Annotated[float, Field(ge=0, le=1)]] = Field([1.0], min_length=1)
    tokens: Tokens = "all"
    points: Literal["tokens", "words"] = "tokens"
    example_weighting: Literal["none", "teacher_correct", "teacher_confidence"] = "none"
    logit_weight: float = Field(0.0, ge=0)
    shuffle_teacher: bool = False
    align: Literal["none", "procrustes", "learned"] = "none"
    stop_when_ahead: bool = False

    @field_validator("combine")
    @classmethod
    def _leaves_the_task_a_weight(cls, combine: str, info: Any) -> str:
        """Refuse λ above 1 where the task's loss has the weight 1 − λ; `info.data` holds the fields before this one."""
        weight = info.data.get("weight", 0)
        if combine == "interpolate" and weight > 1:
            raise ValueError(
                f"sum, since lambda is {weight:g}: interpolate gives the task's loss the weight 1 − lambda"
            )
        return combine


class Arm(Strict):
    """One row of the comparison: on which languages the student trains, and whether it is distilled.

    `train`: ``target``, the target languages; ``all``; or a list. Of the former two, an arm has the languages that it
    can be trained on: those with labelled rows, and those with unlabelled rows and a teacher that it is distilled from.
    `distill` may also be a mapping of what this arm does differently from the recipe's `distill`.
    `teachers`: what it does differently from the recipe's `teachers`, a language: a mapping changes each of the
    language's teachers, a list or a mapping with another model replaces several; null disables them.
    `student`: instead of the recipe's.
    `training`: what it does differently from the recipe's.
    `rows`: so many training rows of a language, drawn whatever the recipe's limit is.
    `sentences`: how many of a passage's it reads (reading); all by default.
    """

    train: Literal["target", "all"] | Annotated[list[str], AfterValidator(_without_repetition)] = "all"
    distill: bool | FreeSettings = False
    teachers: dict[str, Annotated[FreeSettings | list[FreeSettings] | None, BeforeValidator(_teacher_changes)]] = {}
    student: Student | None = None
    training: ArmTraining = ArmTraining()
    rows: dict[str, Rows] = {}
    sentences: Annotated[Sentences | None, BeforeValidator(_keep_shorthand)] = None


ARMS: dict[str, Arm] = {
    "student": Arm(train="target"),
    "student-da": Arm(train="all"),
    "student-kdda": Arm(train="all", distill=True),
}


class Recipe(Strict):
    """An experiment: a student, a teacher a language or several, data a language, and the arms to compare.

    `task_options`: settings of the task itself, which it checks, such as ``{fields: [claim, evidence]}`` of `classify`.
    `labels`: names of the labels, in the order of the head's outputs; by default the task's, or those of the training
    rows.
    `target`: the language whose development rows select models and whose test rows are compared; or a list of several,
    whose scores are averaged.
    `learning_rates`: instead of the training's; each arm's is the one that does best on the development rows.
    `teacher_cache_gb`: teacher states that take no more are computed once and stored for all runs; 0 stores none.
    `teacher_cache_precision`: of stored states; ``int8`` takes half the disk of ``bf16`` and rounds more.
    `plugins`: modules to import first, which register tasks, objectives or retrievers of the user's.
    `vocabulary`: of the students that are saved: ``whole``, or ``trimmed`` to what the recipe's rows need, as by
    ``kdda trim``; teachers stay whole.
    `systems`: arms as readers of the whole corpus (reading); their table comes after that of the arms.
    """

    name: str
    task: str
    task_options: FreeSettings = {}
    target: Annotated[str | list[str], BeforeValidator(_targets)]
    labels: Annotated[list[LabelName], AfterValidator(_labels)] = []
    student: Student
    teachers: dict[str, Teachers] = {}
    data: dict[str, Data]
    training: Training = Training()
    learning_rates: Annotated[list[Annotated[float, Field(gt=0)]], AfterValidator(_without_repetition)] = []
    distill: Distill = Distill()
    arms: dict[str, Arm] = ARMS
    systems: dict[str, System] = {}
    seeds: Annotated[list[Seed], AfterValidator(_without_repetition)] = Field([1], min_length=1)
    teacher_cache_gb: float = Field(20.0, ge=0)
    teacher_cache_precision: CachePrecision = "bf16"
    plugins: list[str] = []
    vocabulary: Literal["whole", "trimmed"] = "whole"
    note: str = ""

    @model_validator(mode="after")
    def _leave_out_arms_without_rows(self) -> Recipe:
        """Leave out those of the default arms that cannot be trained, such as `student` of a target without labels."""
        if "arms" in self.model_fields_set or not set(self.targets) <= set(self.data):
            return self
        arms = {name: arm for name, arm in self.arms.items() if self.languages(name)}
        object.__setattr__(self, "arms", arms)  # recipes are frozen
        return self

    @property
    def targets(self) -> list[str]:
        """The target languages, one or several."""
        return target_list(self.target)

    @property
    def unlabelled(self) -> list[str]:
        """The languages whose training rows have no labels."""
        return [language for language, data in self.data.items() if data.is_unlabelled]

    def languages(self, arm: str) -> list[str]:
        """The languages an arm trains on."""
        names = self.arms[arm].train
        if isinstance(names, list):
            return list(names)
        chosen = self.targets if names == "target" else list(self.data)
        return [language for language in chosen if self._can_train_on(arm, language)]

    def _can_train_on(self, arm: str, language: str) -> bool:
        """Whether a language has labelled rows, or unlabelled ones and a teacher that an arm is distilled from."""
        data = self.data.get(language)
        if data is None:  # a target without data, which is refused later
            return False
        is_taught = self.distillation(arm) is not None and bool(self._teachers(arm, language))
        return data.has_labels or (data.is_unlabelled and is_taught)

    def student_of(self, arm: str) -> ModelSpec:
        """An arm's student; the recipe's by default. One that starts as a teacher has that teacher's model."""
        student = self.arms[arm].student or self.student
        for teacher in self.source_of(arm).values():
            return ModelSpec(
                model=teacher.model,
                layers=student.layers or teacher.layers,
                segmenter=student.segmenter or teacher.segmenter,
            )
        return student

    def source_of(self, arm: str) -> dict[str, TeacherSpec]:
        """The teacher that an arm's student starts as, by its language; none where it is a model by its name.

        It is the first of its language, with the arm's changes; the recipe's where the arm disables it.
        """
        student = self.arms[arm].student or self.student
        if student.from_teacher is None:
            return {}
        teachers = self._teachers(arm, student.from_teacher) or self.teachers_by_language()[student.from_teacher]
        return {student.from_teacher: teachers[0]}

    def needed_teachers(self, arm: str) -> list[tuple[str, TeacherSpec]]:
        """The teachers that must be fine-tuned before an arm's student: those it starts as, or is distilled from."""
        return [*self.source_of(arm).items(), *self.teachers_of(arm)]

    def distillation(self, arm: str) -> Distill | None:
        """An arm's distillation settings, or None where it is not distilled."""
        changes = self.arms[arm].distill
        if changes is False:
            return None
        settings = self.distill.model_dump(by_alias=True)
        if isinstance(changes, dict):
            settings |= changes
        return Distill.model_validate(settings)

    def teachers_of(self, arm: str) -> list[tuple[str, TeacherSpec]]:
        """The teachers that an arm is distilled from, each with its language; none if it is not distilled."""
        teachers: list[tuple[str, TeacherSpec]] = []
        if self.distillation(arm) is None:
            return teachers
        for language in self.languages(arm):
            for teacher in self._teachers(arm, language):
                teachers.append((language, teacher))
        return teachers

    def teachers_by_language(self) -> dict[str, list[TeacherSpec]]:
        """Language → its teachers before any arm's changes."""
        teachers = {}
        for language, value in self.teachers.items():
            teachers[language] = value if isinstance(value, list) else [value]
        return teachers

    def _teachers(self, arm: str, language: str) -> list[TeacherSpec]:
        """A language's teachers with an arm's changes; none where there is none, or the arm disables them."""
        teachers = self.teachers_by_language().get(language, [])
        arm_teachers = self.arms[arm].teachers
        if language not in arm_teachers:
            return teachers
        changes = arm_teachers[language]
        if changes is None:
            return []
        if isinstance(changes, list):
            return [TeacherSpec.model_validate(values) for values in changes]
        if not teachers or (len(teachers) > 1 and "model" in changes):
            return [TeacherSpec.model_validate(changes)]
        changed = []
        for teacher in teachers:
            changed.append(TeacherSpec.model_validate({**teacher.model_dump(), **changes}))
        return changed

    def of_run(self, arm: str, seed: int, learning_rate: float | None = None) -> Recipe:
        """The part of the recipe that decides one run, which its folder has as recipe.yaml.

        Args:
            learning_rate: the run's, where the recipe searches for it; None is its training's.
        """
        changes: dict[str, Any] = {"arms": {arm: self.arms[arm]}, "seeds": [seed], "systems": {}, "learning_rates": []}
        if learning_rate:
            changes["learning_rates"] = [learning_rate]
        if self.distillation(arm) is None:
            changes |= {"teachers": self.source_of(arm), "distill": Distill()}
        return self.model_copy(update=changes)

    def rates_of(self, arm: str) -> list[float | None]:
        """The learning rates that an arm runs at; None is its training's."""
        if self.arms[arm].training.learning_rate or not self.learning_rates:
            return [None]
        return [*self.learning_rates]

    def training_of(self, arm: str, learning_rate: float | None = None) -> Training:
        """How an arm is trained.

        Args:
            learning_rate: one of `rates_of`.
        """
        changes = self.arms[arm].training.model_dump(exclude_none=True)
        if learning_rate:
            changes["learning_rate"] = learning_rate
        if changes.get("sampling") == "proportional":
            changes.setdefault("sampling_temperature", None)
        return Training.model_validate({**self.training.model_dump(), **changes})

    def sentences_of(self, arm: str) -> Sentences | None:
        """ViReader's sentences of an arm, with the model that selects them."""
        sentences = self.arms[arm].sentences
        if sentences is None:
            return None
        model = sentences.model or self.student_of(arm).model
        return sentences.model_copy(update={"model": model})

    def teacher_training(self, teacher: TeacherSpec) -> Training:
        """How a teacher is fine-tuned."""
        return self.training.model_copy(update=teacher.training.model_dump(exclude_none=True))

    def to_yaml(self) -> str:
        """The recipe with all its fields, as YAML."""
        fields = self.model_dump(by_alias=True)
        if not self.labels:  # the task's, which a recipe asks for by leaving them out
            del fields["labels"]
        if self.training.sampling == "proportional":  # folders of runs that are older than the field stay as they are
            del fields["training"]["sampling"], fields["training"]["sampling_temperature"]
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
