"""Two teachers, one multilingual student, your datasets: the trainer, with a callback of yours.

    python examples/two_teachers.py
    python examples/two_teachers.py --vi vi.jsonl --vi-dev vi.dev.jsonl --en en.jsonl --vi-teacher vinai/phobert-base

Rows are JSON lines with `premise`, `hypothesis` and `label`. By default they are kdda's embedded corpus, and the models
are mini models: about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
from typing import Any

from transformers import TrainerCallback

import kdda
from kdda import DistillationConfig, DistillationTrainer, Teacher


class PrintScores(TrainerCallback):
    """Any callback of transformers works; this one prints the score of each epoch."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        print(f"epoch {state.epoch:.0f}: accuracy {metrics['eval_accuracy']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="mini/multilingual")
    parser.add_argument("--vi-teacher", default="mini/vietnamese")
    parser.add_argument("--en-teacher", default="mini/english")
    parser.add_argument("--vi", default="embedded:nli/vi/train")
    parser.add_argument("--vi-dev", default="embedded:nli/vi/dev")
    parser.add_argument("--en", default="embedded:nli/en/train")
    parser.add_argument("--weight", type=float, default=0.3, help="the distillation weight λ")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", default="two-teachers")
    options = parser.parse_args()

    trainer = DistillationTrainer(
        student=options.student,
        teachers={"vi": Teacher(options.vi_teacher), "en": Teacher(options.en_teacher)},
        task="nli",
        train_dataset={"vi": options.vi, "en": options.en},
        eval_dataset={"vi": options.vi_dev},
        args=DistillationConfig(
            options.out,
            distill_weight=options.weight,
            num_train_epochs=options.epochs,
            learning_rate=1e-4,
            per_device_train_batch_size=8,
            head="standardized",
        ),
        callbacks=[PrintScores()],
    )
    trainer.train()
    trainer.save_model(f"{options.out}/final")

    model = kdda.load(f"{options.out}/final")
    print(model.entails("Cô giáo dạy hát.", "Trong lớp có người."))


if __name__ == "__main__":
    main()
