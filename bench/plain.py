"""The program that a person writes first: transformers' Trainer, the teacher asked in each step, geomloss, every row of
the vocabulary trained.

It reads the windows that kdda reads, in the same batches, so that the two differ in how and not in what they compute.
"""

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
from kdda.text.encode import Encoder
from kdda.training.sampler import LanguageBatchSampler
from kdda.transport.sinkhorn import sinkhorn_divergence

HEADS = {"qa": AutoModelForQuestionAnswering, "nli": AutoModelForSequenceClassification}


@dataclass(frozen=True)
class SolverSettings:
    """What the program is told.

    Args:
        teachers: language → folder of its fine-tuned teacher; none fine-tunes without listening.
        scales: language → the number that its costs are divided by.
        longest: what every batch is padded to; its own longest window if `None`.
        exact: the divergence is kdda.transport's, to see what else differs.
    """

    student: str
    teachers: Mapping[str, str]
    scales: Mapping[str, float]
    longest: int | None = None
    exact: bool = False


def tokenized(context: RunContext, settings: SolverSettings, languages: Sequence[str]) -> list[dict[str, Any]]:
    """Every window of the training rows, as the student and the teacher read it, the languages one after another."""
    recipe, task = context.recipe, context.task
    encoder = encoder_of(settings.student, recipe)
    rows: list[dict[str, Any]] = []
    for language in languages:
        features = task.encode(context.data[language]["train"], encoder)
        targets = task.targets(features, context.labels)
        heard = _heard(recipe, settings, language, task.text_spans(features))
        for i, window in enumerate(features.windows):
            own = {
                "input_ids": list(window.ids),
                "token_type_ids": list(window.types),
                "attention_mask": [1] * len(window),
            }
            rows.append({"language": language, "inputs": own, "targets": {k: int(v[i]) for k, v in targets.items()}})
            rows[-1]["teacher"] = heard[i] if heard else None
    return rows


def encoder_of(name: str, recipe: Recipe) -> Encoder:
    """A checkpoint's tokenizer, without its weights."""
    return Encoder(*load_tokenizer(name), recipe.training.max_length, recipe.training.stride)


def _heard(
    recipe: Recipe, settings: SolverSettings, language: str, text_spans: Sequence[Any]
) -> list[dict[str, list[int]]]:
    if language not in settings.teachers:
        return []
    encoder = encoder_of(settings.teachers[language], recipe)
    found = []
    for excerpt in text_spans:
        one = (
            encoder.encode(*([t] for t in excerpt.texts))
            if excerpt.span is None
            else encoder.windows(excerpt.texts, span=excerpt.span, overlap=0)
        )
        assert len(one) == 1, "a window that the teacher reads in two is more than this program can do"
        found.append({"input_ids": one[0].ids, "token_type_ids": one[0].types, "attention_mask": [1] * len(one[0])})
    return found


def padded(rows: Sequence[Mapping[str, list[int]]], longest: int | None) -> dict[str, Tensor]:
    """To the batch's longest, or to a length; what padding says does not matter, since all masks and weights are 0."""
    width = longest or max(len(row["input_ids"]) for row in rows)
    return {name: torch.tensor([row[name] + [0] * (width - len(row[name])) for row in rows]) for name in rows[0]}


Divergence = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # of two batches of states and their masks


def from_geomloss(objective: str, epsilon: float) -> Divergence:
    """geomloss' own of kdda's objectives ``sinkhorn`` and ``energy``; padding is what has no weight."""
    loss = SamplesLoss(objective, p=2, blur=epsilon**0.5, scaling=0.9, debias=True, backend="tensorized")
    return lambda x, y, own, other: loss(_weights(own), x, _weights(other), y)


def _weights(mask: Tensor) -> Tensor:
    return mask / mask.sum(dim=1, keepdim=True)


def exact(objective: str, epsilon: float) -> Divergence:
    """kdda's, solved to its tolerance."""
    assert objective == "sinkhorn"
    return lambda x, y, own, other: (
        sinkhorn_divergence(x, y, x_mask=own.bool(), y_mask=other.bool(), epsilon=epsilon).value
    )


class PlainTrainer(Trainer):  # type: ignore[misc]
    """Fine-tunes with L_task + λ·mean S_ε, or without teachers."""

    def __init__(self, recipe: Recipe, settings: SolverSettings, rows: list[dict[str, Any]], seed: int, **options: Any):
        super().__init__(train_dataset=rows, data_collator=self.collate, **options)
        self.model_accepts_loss_kwargs = False
        self.recipe, self.settings, self.seed = recipe, settings, seed
        self.teachers = {name: AutoModel.from_pretrained(folder).eval() for name, folder in settings.teachers.items()}
        self.divergence = (exact if settings.exact else from_geomloss)(recipe.distill.objective, recipe.distill.epsilon)

    def get_train_dataloader(self) -> DataLoader[Any]:
        lengths: dict[str, list[int]] = {}
        for row in self.train_dataset:
            lengths.setdefault(row["language"], []).append(len(row["inputs"]["input_ids"]))
        batches = LanguageBatchSampler(lengths, self.recipe.training.batch_size, self.seed)
        return DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.collate)  # type: ignore[arg-type]

    def collate(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        longest = self.settings.longest
        batch: dict[str, Any] = padded([row["inputs"] for row in rows], longest)
        batch |= {name: torch.tensor([row["targets"][name] for row in rows]) for name in rows[0]["targets"]}
        heard = padded([row["teacher"] for row in rows], longest) if self.teachers else None
        return {**batch, "language": rows[0]["language"], "teacher": heard}

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, **_: Any) -> Any:
        language, heard = inputs.pop("language"), inputs.pop("teacher")
        outputs = model(**inputs, output_hidden_states=bool(self.teachers))
        loss = outputs.loss
        if self.teachers:
            with torch.no_grad():
                said = self.teachers[language](**heard).last_hidden_state
            unit = self.settings.scales[language] ** -0.5
            masks = inputs["attention_mask"], heard["attention_mask"]
            found = self.divergence(outputs.hidden_states[-1] * unit, said * unit, *masks)
            loss = loss + self.recipe.distill.weight * found.mean()
        return (loss, outputs) if return_outputs else loss


def plain_trainer(
    context: RunContext, settings: SolverSettings, languages: Sequence[str], seed: int, out: Path, **more: Any
) -> PlainTrainer:
    """The program, ready to train as the recipe says; what the recipe leaves open is transformers' default."""
    recipe, task = context.recipe, context.task
    model = HEADS[task.name].from_pretrained(settings.student)
    own = recipe.training
    rows = tokenized(context, settings, languages)
    lengths = {name: [0] * sum(row["language"] == name for row in rows) for name in languages}
    steps = own.epochs * len(LanguageBatchSampler(lengths, own.batch_size, seed))
    options = {
        "num_train_epochs": own.epochs,
        "learning_rate": own.learning_rate,
        "weight_decay": own.weight_decay,
        "max_grad_norm": own.max_grad_norm,
        "warmup_steps": -int(-steps * own.warmup // 1),
        "per_device_train_batch_size": own.batch_size,
        "logging_steps": own.log_every,
        "save_strategy": "no",
        "remove_unused_columns": False,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "bf16": own.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
    }
    arguments = TrainingArguments(str(out), seed=seed, **(options | more))
    trainer = PlainTrainer(recipe, settings, rows, seed, model=model, args=arguments)
    trainer.remove_callback(PrinterCallback)
    return trainer
