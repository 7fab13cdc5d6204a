"""What a recipe may say: strict models, a field a choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Strict(BaseModel):
    """Unknown keys are errors; recipes do not change after they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ModelSpec(Strict):
    """A model: ``mini/…``, a local folder, or a Hub id; with `layers`, evenly spaced ones are kept."""

    model: str
    layers: int | None = Field(None, ge=1)
    segmenter: str | None = None


class Training(Strict):
    """How a model is fine-tuned. The paper: AdamW, linear decay after 10 % warm-up, 2 epochs, batch 32.

    `micro_batch`: rows of a batch that are in memory at once; the gradient is the whole batch's whatever it is. All of
    them by default, and half as many whenever a device's memory does not suffice.
    `stride`: tokens that two windows of one long context share (reading).
    `attention_dropout`: instead of the model's own; at 0 attention is one fused kernel on a CPU, and steps are faster.
    `head`: a new head is drawn as transformers does, or standardises what it reads (`kdda.models.standardize_head`).
    `precision`: of the forward pass; ``auto`` is bfloat16 where the device computes in it. Weights stay float32.
    `gradient_checkpointing`: layers are computed again in the backward pass instead of kept: the same weights, in less
    memory and more time.
    `compile`: the model's forward and backward become compiled kernels (torch.compile).
    """

    learning_rate: float = Field(2e-5, gt=0)
    epochs: int = Field(2, ge=1)
    batch_size: int = Field(32, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    max_length: int = Field(128, ge=8)
    stride: int = Field(128, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    log_every: int = Field(10, ge=1)
    attention_dropout: float | None = Field(None, ge=0, lt=1)
    head: Literal["plain", "standardized"] = "plain"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False


class TrainingChanges(Strict):
    """What a teacher's fine-tuning does differently from the recipe's `training`."""

    learning_rate: float | None = Field(None, gt=0)
    epochs: int | None = Field(None, ge=1)
    batch_size: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=8)


def model_shorthand(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


class TeacherSpec(ModelSpec):
    """A teacher of one language; fine-tuned on that language's data first, unless `finetuned` says it is already.

    `random`: a control that knows nothing: weights drawn by `seed`, and not fine-tuned either.
    """

    finetuned: bool = False
    random: bool = False
    seed: int = 1
    training: TrainingChanges = TrainingChanges()


Student = Annotated[ModelSpec, BeforeValidator(model_shorthand)]
Teacher = Annotated[TeacherSpec, BeforeValidator(model_shorthand)]


def _label_names(value: Any) -> Any:
    # YAML reads 0: entailment with an integer key and a bare "no" as false; label values are compared as text.
    if isinstance(value, Mapping):
        return {str(k): v for k, v in value.items()}
    return value


class Data(Strict):
    """One language's rows: a source a split, and how they name their columns and labels.

    `access`: how one gets them, for people who lack them.
    """

    train: str
    dev: str
    test: str | None = None
    access: str = ""
    columns: dict[str, str] = {}
    labels: Annotated[dict[str, str | None], BeforeValidator(_label_names)] = {}
    header: list[str] | None = None
    limit: dict[Literal["train", "dev", "test"], int] = {}
    on_bad_row: Literal["raise", "skip"] = "raise"


class Distill(Strict):
    """The transport term of docs/method.md, 5–7.

    `shuffled`: a control: each row is shown what the teacher says of another row.
    """

    objective: str = "sinkhorn"
    weight: float = Field(0.3, alias="lambda", ge=0)
    epsilon: float = Field(0.005, gt=0)
    scale: Literal["teacher", "none", "cosine", "layernorm"] | float = "teacher"
    form: Literal["additive", "convex"] = "additive"
    tolerance: float = Field(1e-4, gt=0)
    max_iterations: int = Field(500, ge=1)
    temperature: float = Field(2.0, gt=0)
    shuffled: bool = False


class Arm(Strict):
    """One row of the comparison: on which languages the student trains, and whether teachers speak.

    `distill` may also be a mapping of what this arm does differently from the recipe's `distill`.
    `teachers`: what it does differently from the recipe's `teachers`, a language; null silences that language's.
    `student`: instead of the recipe's.
    """

    train: Literal["target", "all"] | list[str] = "all"
    distill: bool | dict[str, Any] = False
    teachers: dict[str, Annotated[dict[str, Any], BeforeValidator(model_shorthand)] | None] = {}
    student: Student | None = None


ARMS: dict[str, Arm] = {
    "student": Arm(train="target"),
    "student-da": Arm(train="all"),
    "student-kdda": Arm(train="all", distill=True),
}


class Recipe(Strict):
    """An experiment: a student, a teacher a language, data a language, and the arms to compare.

    `learning_rates`: instead of the training's; each arm's is the one that does best on the development rows.
    `store_gb`: teacher states that take no more are computed once and kept on disk for all runs; 0 keeps none.
    """

    name: str
    task: str
    target: str
    labels: list[str] = ["entailment", "neutral", "contradiction"]
    student: Student
    teachers: dict[str, Teacher] = {}
    data: dict[str, Data]
    training: Training = Training()
    learning_rates: list[Annotated[float, Field(gt=0)]] = []
    distill: Distill = Distill()
    arms: dict[str, Arm] = ARMS
    seeds: list[int] = Field([1], min_length=1)
    store_gb: float = Field(20.0, ge=0)
    note: str = ""

    def languages(self, arm: str) -> list[str]:
        """The languages an arm trains on."""
        wanted = self.arms[arm].train
        if wanted == "target":
            return [self.target]
        return list(self.data) if wanted == "all" else list(wanted)

    def student_of(self, arm: str) -> ModelSpec:
        return self.arms[arm].student or self.student

    def distillation(self, arm: str) -> Distill | None:
        """An arm's transport settings, or None where no teacher speaks."""
        own = self.arms[arm].distill
        if own is False:
            return None
        changes = own if isinstance(own, dict) else {}
        return Distill.model_validate({**self.distill.model_dump(by_alias=True), **changes})

    def teachers_of(self, arm: str) -> dict[str, TeacherSpec]:
        """The teachers that speak to an arm, by language; none if it does not distil."""
        if self.distillation(arm) is None:
            return {}
        return {language: spec for language in self.languages(arm) if (spec := self._teacher(arm, language))}

    def _teacher(self, arm: str, language: str) -> TeacherSpec | None:
        own = self.teachers.get(language)
        if language not in self.arms[arm].teachers:
            return own
        changes = self.arms[arm].teachers[language]
        return None if changes is None else TeacherSpec.model_validate({**(own.model_dump() if own else {}), **changes})

    def cell(self, arm: str, seed: int, learning_rate: float | None = None) -> Recipe:
        """The part of the recipe that decides one run; what a run folder keeps as its recipe.yaml."""
        plain = self.distillation(arm) is None
        changes: dict[str, Any] = {"arms": {arm: self.arms[arm]}, "seeds": [seed]}
        changes["learning_rates"] = [learning_rate] if learning_rate else []
        return self.model_copy(update=changes | ({"teachers": {}, "distill": Distill()} if plain else {}))

    def training_at(self, learning_rate: float | None) -> Training:
        return self.training.model_copy(update={"learning_rate": learning_rate} if learning_rate else {})

    def teacher_training(self, teacher: TeacherSpec) -> Training:
        return self.training.model_copy(update=teacher.training.model_dump(exclude_none=True))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(by_alias=True), sort_keys=False, allow_unicode=True)
