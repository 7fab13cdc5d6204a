"""A straightforward program for comparison: transformers' Trainer, geomloss, a teacher's forward pass in each step, and
every row of the vocabulary trained.

It reads the same windows as kdda in the same batches, so that the two differ in how they compute, not in what.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from geomloss import SamplesLoss
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)

from kdda.experiment.context import RunContext
from kdda.models.load import load_tokenizer
from kdda.recipe.schema import Recipe
from kdda.runtime.device import compute_device
from kdda.text.encode import Encoder, Window
from kdda.training.sampler import LanguageBatchSampler
from kdda.transport.sinkhorn import sinkhorn_divergence

HEADS = {"qa": AutoModelForQuestionAnswering, "nli": AutoModelForSequenceClassification}


@dataclass(frozen=True)
class SolverSettings:
    """The program's settings.

    Attributes:
        student: folder of the student's checkpoint.
        teachers: language → folder of its fine-tuned teacher; without teachers the student learns the task alone.
        scales: language → the number that its costs are divided by.
        longest: tokens that every batch is padded to; `None` pads to the batch's longest window.
        exact: compute the divergence by kdda.transport, to see what else differs.
    """

    student: str
    teachers: Mapping[str, str]
    scales: Mapping[str, float]
    longest: int | None = None
    exact: bool = False


def tokenized(
    context: RunContext, settings: SolverSettings, languages: Sequence[str], encoder: Encoder
) -> list[dict[str, Any]]:
    """Every window of the training rows, as the student and the teacher read it, the languages one after another.

    Args:
        encoder: the student's.
    """
    recipe, task = context.recipe, context.task
    rows: list[dict[str, Any]] = []
    for language in languages:
        features = task.encode(context.data[language]["train"], encoder)
        targets = task.targets(features, context.labels)
        teacher_inputs = _teacher_inputs(recipe, settings, language, task.text_spans(features))
        for i, window in enumerate(features.windows):
            row: dict[str, Any] = {"language": language, "inputs": _inputs(window), "teacher": None}
            row["targets"] = {name: int(values[i]) for name, values in targets.items()}
            if teacher_inputs:
                row["teacher"] = teacher_inputs[i]
            rows.append(row)
    return rows


def _inputs(window: Window) -> dict[str, list[int]]:
    return {
        "input_ids": list(window.ids),
        "token_type_ids": list(window.types),
        "attention_mask": [1] * len(window),
    }


def encoder_of(name: str, recipe: Recipe) -> Encoder:
    """A checkpoint's tokenizer, without its weights."""
    return Encoder(*load_tokenizer(name), recipe.training.max_length, recipe.training.stride)


def _teacher_inputs(
    recipe: Recipe, settings: SolverSettings, language: str, text_spans: Sequence[Any]
) -> list[dict[str, list[int]]]:
    """The same texts through the tokenizer of the language's teacher, a window for each of the student's."""
    if language not in settings.teachers:
        return []
    encoder = encoder_of(settings.teachers[language], recipe)
    inputs = []
    for text_span in text_spans:
        if text_span.span is None:
            windows = encoder.encode(*([text] for text in text_span.texts))
        else:
            windows = encoder.windows(text_span.texts, span=text_span.span, overlap=0)
        assert len(windows) == 1, "this program cannot train on windows that the teacher must read in two"
        inputs.append(_inputs(windows[0]))
    return inputs


def padded(rows: Sequence[Mapping[str, list[int]]], longest: int | None) -> dict[str, Tensor]:
    """Rows padded to the longest, or to a length; padding has masks and weights of 0, so its ids do not matter."""
    width = longest or max(len(row["input_ids"]) for row in rows)
    return {name: torch.tensor([row[name] + [0] * (width - len(row[name])) for row in rows]) for name in rows[0]}


Divergence = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of two batches of states and their masks


def from_geomloss(objective: str, epsilon: float) -> Divergence:
    """The objectives ``sinkhorn`` and ``energy`` by geomloss, in which padding has weight 0."""
    loss = SamplesLoss(objective, p=2, blur=epsilon**0.5, scaling=0.9, debias=True, backend="tensorized")
    return lambda x, y, x_mask, y_mask: loss(_weights(x_mask), x, _weights(y_mask), y)


def _weights(mask: Tensor) -> Tensor:
    return mask / mask.sum(dim=1, keepdim=True)


def exact(objective: str, epsilon: float) -> Divergence:
    """The objective ``sinkhorn`` by kdda.transport, solved to its tolerance."""
    assert objective == "sinkhorn"
    return lambda x, y, x_mask, y_mask: (
        sinkhorn_divergence(x, y, x_mask=x_mask.bool(), y_mask=y_mask.bool(), epsilon=epsilon).value
    )


class PlainTrainer(Trainer):  # type: ignore[misc]
    """Fine-tunes with L_task + λ·mean S_ε, or without teachers."""

    def __init__(
        self,
        recipe: Recipe,
        settings: SolverSettings,
        encoder: Encoder,
        rows: list[dict[str, Any]],
        seed: int,
        **options: Any,
    ):
        tokenizer = encoder.tokenizer  # which a Trainer saves with the model
        super().__init__(train_dataset=rows, data_collator=self.collate, processing_class=tokenizer, **options)
        self.encoder = encoder
        self.model_accepts_loss_kwargs = False
        self.recipe, self.settings, self.seed = recipe, settings, seed
        self.teachers = {name: AutoModel.from_pretrained(folder).eval() for name, folder in settings.teachers.items()}
        make_divergence = exact if settings.exact else from_geomloss
        self.divergence = make_divergence(recipe.distill.objective, recipe.distill.epsilon)

    def get_train_dataloader(self) -> DataLoader[Any]:
        lengths: dict[str, list[int]] = {}
        for row in self.train_dataset:
            lengths.setdefault(row["language"], []).append(len(row["inputs"]["input_ids"]))
        batches = LanguageBatchSampler(lengths, self.recipe.training.batch_size, self.seed)
        return DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.collate)  # type: ignore[arg-type]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        longest = self.settings.longest
        batch: dict[str, Any] = padded([row["inputs"] for row in rows], longest)
        for name in rows[0]["targets"]:
            batch[name] = torch.tensor([row["targets"][name] for row in rows])
        teacher_inputs = None
        if self.teachers:
            teacher_inputs = padded([row["teacher"] for row in rows], longest)
        return {**batch, "language": rows[0]["language"], "teacher": teacher_inputs}

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        language, teacher_inputs = inputs.pop("language"), inputs.pop("teacher")
        outputs = model(**inputs, output_hidden_states=bool(self.teachers))
        loss = outputs.loss
        if self.teachers:
            with torch.no_grad():
                teacher_states = self.teachers[language](**teacher_inputs).last_hidden_state
            unit = self.settings.scales[language] ** -0.5
            masks = inputs["attention_mask"], teacher_inputs["attention_mask"]
            divergence = self.divergence(outputs.hidden_states[-1] * unit, teacher_states * unit, *masks)
            loss = loss + self.recipe.distill.weight * divergence.mean()
        return (loss, outputs) if return_outputs else loss


def plain_trainer(
    context: RunContext, settings: SolverSettings, languages: Sequence[str], seed: int, out: Path, **more: Any
) -> PlainTrainer:
    """The program, ready to train by a recipe; settings that the recipe does not name have transformers' defaults."""
    recipe, task = context.recipe, context.task
    model = HEADS[task.name].from_pretrained(settings.student)
    training = recipe.training
    encoder = encoder_of(settings.student, recipe)
    rows = tokenized(context, settings, languages, encoder)
    lengths = {name: [0] * sum(row["language"] == name for row in rows) for name in languages}
    steps = training.epochs * len(LanguageBatchSampler(lengths, training.batch_size, seed))
    options = {
        "num_train_epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "warmup_steps": math.ceil(steps * training.warmup),
        "per_device_train_batch_size": training.batch_size,
        "logging_steps": training.log_every,
        "save_strategy": "no",
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "bf16": training.precision == "bf16",
        "use_cpu": compute_device().type == "cpu",
    }
    arguments = TrainingArguments(str(out), seed=seed, **(options | more))
    trainer = PlainTrainer(recipe, settings, encoder, rows, seed, model=model, args=arguments)
    trainer.remove_callback(PrinterCallback)
    return trainer
