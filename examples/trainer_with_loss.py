"""A transformers.Trainer of yours with kdda's distillation loss: one student, one frozen teacher, two tokenizers.

    python examples/trainer_with_loss.py --data rows.jsonl --teacher my-teacher

Rows are JSON lines with `premise`, `hypothesis` and `label`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
)

from kdda import DistillationLoss
from kdda.losses.representations import Representations

LABELS = ["entailment", "neutral", "contradiction"]


class Collator:
    """Reads each text twice: through the student's tokenizer, and through the teacher's."""

    def __init__(self, student: Any, teacher: Any):
        self.student, self.teacher = student, teacher

    def __call__(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        premises = [row["premise"] for row in rows]
        hypotheses = [row["hypothesis"] for row in rows]
        options = {"padding": True, "truncation": True, "max_length": 64, "return_tensors": "pt"}
        inputs = dict(self.student(premises, hypotheses, **options))
        inputs["labels"] = torch.tensor([LABELS.index(row["label"]) for row in rows])
        inputs["teacher_inputs"] = dict(self.teacher(premises, hypotheses, **options))
        return inputs


class MyTrainer(Trainer):
    """Adds λ times the divergence between both models' last hidden states to the task's loss."""

    def __init__(self, *, teacher: Any, distillation_loss: DistillationLoss, **options: Any):
        super().__init__(**options)
        self.teacher = teacher.eval().requires_grad_(False)
        self.distillation_loss = distillation_loss

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        teacher_inputs = inputs.pop("teacher_inputs")
        outputs = model(**inputs, output_hidden_states=True)
        with torch.no_grad():
            teacher_outputs = self.teacher(**teacher_inputs)
        student = Representations(outputs.hidden_states[-1], inputs["attention_mask"].bool())
        teacher = Representations(teacher_outputs.last_hidden_state, teacher_inputs["attention_mask"].bool())
        output = self.distillation_loss(outputs.loss, student, teacher)
        return (output.loss, outputs) if return_outputs else output.loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="FacebookAI/xlm-roberta-base")
    parser.add_argument("--teacher", default="FacebookAI/roberta-base")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", default="trainer")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()

    rows = [json.loads(line) for line in Path(options.data).read_text(encoding="utf-8").splitlines()]
    student_tokenizer = AutoTokenizer.from_pretrained(options.student)
    teacher_tokenizer = AutoTokenizer.from_pretrained(options.teacher)
    trainer = MyTrainer(
        model=AutoModelForSequenceClassification.from_pretrained(options.student, num_labels=len(LABELS)),
        teacher=AutoModel.from_pretrained(options.teacher),
        distillation_loss=DistillationLoss("sinkhorn", weight=0.3),
        args=TrainingArguments(
            options.out, max_steps=options.steps, report_to="none", remove_unused_columns=False, use_cpu=True
        ),
        train_dataset=rows,
        data_collator=Collator(student_tokenizer, teacher_tokenizer),
    )
    result = trainer.train()
    trainer.save_model(f"{options.out}/final")
    student_tokenizer.save_pretrained(f"{options.out}/final")
    print(f"{result.global_step} steps, mean loss {result.training_loss:.3f}, saved in {options.out}/final")


if __name__ == "__main__":
    main()
