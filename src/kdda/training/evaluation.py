"""`EvaluatingTrainer`: scores of development rows, predictions, and what is logged of them; one target or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray
from transformers import EvalPrediction, Trainer, TrainerControl

from kdda.data.examples import Example
from kdda.errors import DivergedError, KddaError, NotFiniteError
from kdda.models.cpu_kernels import fast_cpu_kernels
from kdda.runtime import distributed
from kdda.runtime.live import tell
from kdda.runtime.progress import Say
from kdda.tasks.base import Prediction
from kdda.tasks.features import Features
from kdda.tasks.prediction import predict, window_candidates
from kdda.training.callbacks import MetricsLog, ProgressBar
from kdda.training.data import TrainingData
from kdda.training.fine_tune import EncodedData
from kdda.training.prepare import PreparedTeacher
from kdda.training.reuse import Reuse
from kdda.training.teacher_leads import TeacherLeads


class EvaluatingTrainer(Trainer):  # type: ignore[misc]
    """transformers' Trainer with the scores and predictions of a task, of one target language or several.

    Attributes:
        data: rows, task and labels.
        encoded: the rows as the student reads them.
        say: told of teachers that lead or no longer do.
        reuse: keeps what other trainings encode alike.
        prepared: language → its teachers, once they are fine-tuned.
        leads: which teachers are ahead of the student; there is one once `train` has begun.
        progress_bar: hidden while a line is printed.
    """

    data: TrainingData
    encoded: EncodedData
    say: Say
    reuse: Reuse
    prepared: dict[str, list[PreparedTeacher]]
    leads: TeacherLeads
    progress_bar: ProgressBar

    def __init__(self, **options: Any):
        super().__init__(**options)
        self._metrics_log: MetricsLog | None = None  # opened by `train`, which knows whether it resumes
        self._evaluated: dict[int, Mapping[str, Sequence[Prediction]]] = {}  # by step of the training and language

    @property
    def metrics_log(self) -> MetricsLog:
        """Writes metrics.jsonl; there is one once `train` has begun."""
        assert self._metrics_log is not None, "train() opens the log"
        return self._metrics_log

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Scores on development rows.

        Args:
            eval_dataset: rows of the (first) target language, or language → rows; by default the development rows of
                all targets.

        Returns:
            ``{"eval_accuracy": 61.3, …}`` in per cent; ``eval_vi_accuracy`` where languages are named. Of several
            targets both: each one's, and their mean as ``eval_accuracy``.
        """
        metrics: dict[str, float] = {}
        if isinstance(eval_dataset, Mapping):
            for language, dataset in eval_dataset.items():
                metrics |= self._evaluate_rows(self.predict(dataset, language), f"{metric_key_prefix}_{language}")
        elif eval_dataset is None or eval_dataset is self.eval_dataset:
            metrics = self._evaluate_targets(metric_key_prefix)
        else:
            metrics = self._evaluate_rows(self.predict(eval_dataset), metric_key_prefix)
        self.control: TrainerControl = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluate_targets(self, prefix: str) -> dict[str, float]:
        """Scores on the targets' development rows: of the only target, or each one's and the means, which select."""
        if not self.encoded.dev:
            raise KddaError("evaluate: no eval_dataset was given, here or to the trainer")
        scores: dict[str, dict[str, Any]] = {}
        metrics: dict[str, dict[str, float]] = {}  # language → its scores, with `prefix_` before their names
        predictions: dict[str, Sequence[Prediction]] = {}
        for language, features in self.encoded.dev.items():
            predictions[language] = self._predict_features(features, language)
            scores[language] = self.data.task.score(predictions[language], self.data.labels)
            metrics[language] = self._metrics_of(predictions[language], scores[language], prefix)
        first, *others = scores
        event = scores[first]
        selecting = metrics[first]
        if others:
            event = {**mean_scores(list(scores.values())), "languages": scores}
            selecting = mean_scores(list(metrics.values()))
        if self.is_in_train:
            self._keep_predictions(predictions)
            self._write_evaluation(event, selecting)
            self._compare_with_teachers(scores)
        named = {}  # each target's, by names with its language
        for language in metrics if others else ():
            for name, value in metrics[language].items():
                named[name.replace(prefix, f"{prefix}_{language}", 1)] = value
        return {**selecting, **named}

    def _keep_predictions(self, predictions: Mapping[str, Sequence[Prediction]]) -> None:
        """Keep the predictions of an evaluation of the training, beside those of the best evaluation so far."""
        kept = {self.state.global_step: predictions}
        best = self.state.best_global_step  # does not know this evaluation yet
        if best in self._evaluated:
            kept[best] = self._evaluated[best]
        self._evaluated = kept

    def predict_development(self, language: str) -> Sequence[Prediction]:
        """The trained student's predictions of a target's development rows, a row each, in order.

        The model that a training ends with is that of one of its evaluations, mostly; what it predicted there is
        returned then.
        """
        step: int | None = self.state.global_step
        if self.args.load_best_model_at_end:
            step = self.state.best_global_step
        if step in self._evaluated and not self.is_in_train:
            return self._evaluated[step][language]
        return self._predict_features(self.encoded.dev[language], language)

    def _evaluate_rows(self, predictions: Sequence[Prediction], prefix: str) -> dict[str, float]:
        """Scores of one dataset, with `prefix_` before their names; during training they are logged as well."""
        scores = self.data.task.score(predictions, self.data.labels)
        metrics = self._metrics_of(predictions, scores, prefix)
        if self.is_in_train:
            self._write_evaluation(scores, metrics)
        return metrics

    def _metrics_of(
        self, predictions: Sequence[Prediction], scores: Mapping[str, Any], prefix: str
    ) -> dict[str, float]:
        """A dataset's scores that are numbers, and those of a user's `compute_metrics`, with `prefix_` before them."""
        metrics = {}
        for name, value in scores.items():
            if isinstance(value, int | float):
                metrics[f"{prefix}_{name}"] = float(value)
        if self.compute_metrics is not None:
            arrays = EvalPrediction(*self.data.task.eval_prediction(predictions, self.data.labels))
            for name, value in self.compute_metrics(arrays).items():
                metrics[name if name.startswith(f"{prefix}_") else f"{prefix}_{name}"] = value
        return metrics

    def _write_evaluation(self, scores: Mapping[str, Any], metrics: dict[str, float]) -> None:
        """Log an evaluation of the training as an event, and to the trackers."""
        self.metrics_log.write("dev", step=self.state.global_step, epoch=self.state.epoch, **scores)
        self._log_to_trackers(metrics)

    def _compare_with_teachers(self, scores: Mapping[str, Mapping[str, Any]]) -> None:
        """Say and log, after an evaluation of the training, which teachers lead; stop those that no longer do so.

        Args:
            scores: language → the student's scores on its development rows.
        """
        if not self.prepared:
            return
        student = {}  # language → its score
        for language, of_language in scores.items():
            student[language] = float(of_language[self.data.task.metric])
        epoch = self.state.epoch or 0.0
        leads = self.leads.compare(distributed.broadcast(student), epoch)  # all processes must stop the same teachers
        for lead in leads:
            self.metrics_log.write("teacher-lead", step=self.state.global_step, epoch=epoch, **lead.event())
        if leads:
            line = self.leads.describe(leads, epoch)
            self._log_to_trackers(self.leads.scalars(leads))
            tell({"note": line})
            with self.progress_bar.hidden():
                self.say(f"  {self.args.run_name}: {line}")

    def predict(self, test_dataset: Any, language: str | None = None, **_: Any) -> Sequence[Prediction]:  # type: ignore[override]
        """The task's predictions, a row each, in order.

        Args:
            test_dataset: rows, as `train_dataset` has them for one language.
            language: whose scoring rules hold; the target by default.
        """
        examples = self.data.examples(test_dataset, "test_dataset")
        features = self.reuse.encode(self.data.task, examples, self.encoded.encoder)
        return self._predict_features(features, language or self.data.target)

    def scores(self, examples: Sequence[Example], language: str) -> dict[str, Any]:
        """The task's scores of some examples, in per cent."""
        return self.data.task.score(self.predict(examples, language), self.data.labels)

    def encode(self, texts: Sequence[str]) -> Float32[ndarray, "texts width"]:
        """The vector of each text, of length 1, by the model of a task that embeds (`Task.embeds`)."""
        examples = []
        for number, text in enumerate(texts):
            examples.append(Example(str(number), (text,), group=""))
        features = self.data.task.encode(examples, self.encoded.encoder)
        self._move_model_to_device(self.model, self.args.device)
        with self._kernels():
            return np.stack(window_candidates(self.model, self.data.task, features, self.encoded.encoder))

    def _predict_features(self, features: Features, language: str) -> Sequence[Prediction]:
        """Predictions of encoded rows, a row each."""
        self._move_model_to_device(self.model, self.args.device)  # an evaluation may come before any training
        try:
            with self._kernels():
                return predict(self.model, self.data.task, features, self.encoded.encoder, self.data.labels, language)
        except NotFiniteError as error:
            if not self.is_in_train:
                raise
            raise self._diverged(str(error)) from None

    def _log_to_trackers(self, logs: dict[str, float]) -> None:
        """What Trainer's `log` does: keep the values in the history, and hand them to callbacks and trackers."""
        if self.state.epoch is not None:
            logs["epoch"] = self.state.epoch
        self.state.log_history.append({**logs, "step": self.state.global_step})
        self.control = self.callback_handler.on_log(self.args, self.state, self.control, logs)

    def _kernels(self) -> AbstractContextManager[None]:
        """A block in which models compute by the kernels that are fastest here; torch.compile makes its kernels."""
        if self.args.torch_compile:
            return nullcontext()
        return fast_cpu_kernels(self.args.device)

    def _diverged(self, what: str) -> DivergedError:
        """The error of a training that cannot go on, at the present step; `what` is not finite."""
        # steps are counted once they are done: in a batch, the present one is the next
        step = min(self.state.global_step + 1, max(1, self.state.max_steps))
        place = f"step {step} of {self.state.max_steps} of {self.args.run_name}"
        return DivergedError(f"diverged at {place}: {what}; lower the learning rate or the distillation weight")


def mean_scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The means over several languages of their scores that are numbers.

    Args:
        scores: a language's by name; all languages have the same names.

    >>> mean_scores([{"accuracy": 50.0, "per_label": {}}, {"accuracy": 60.0, "per_label": {}}])
    {'accuracy': 55.0}
    """
    means = {}
    for name, value in scores[0].items():
        if isinstance(value, int | float):
            means[name] = fmean(of_language[name] for of_language in scores)
    return means
