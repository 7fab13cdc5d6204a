"""`TrainingData`: a task's training and development examples by language, from datasets; the order of labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdda.data.adapters import to_rows
from kdda.data.examples import Example, Schema, check_rows
from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean
from kdda.tasks.base import Task

UNNAMED = "und"  # the language code of data whose language nobody names (ISO 639-2: undetermined)


@dataclass(frozen=True)
class TrainingData:
    """Examples of one task, by language.

    Attributes:
        task: with the settings that the training examples decide.
        labels: label names in the order of the head's outputs; none for tasks without labels.
        train: language → training examples.
        dev: language → development examples.
        target: the language whose development examples select the model.
    """

    task: Task
    labels: Sequence[str]
    train: Mapping[str, Sequence[Example]]
    dev: Mapping[str, Sequence[Example]]
    target: str

    @classmethod
    def from_datasets(
        cls,
        task: Task,
        train_dataset: Any,
        eval_dataset: Any = None,
        labels: Sequence[str] | None = None,
        target: str | None = None,
    ) -> TrainingData:
        """Check datasets as people have them in Python.

        Args:
            task: its fields are the columns of each row.
            train_dataset: language → dataset; or one dataset, whose language is then `target`. A dataset is a
                `datasets.Dataset`, a list of dicts, or a file.
            eval_dataset: the same for development rows; none for a training without model selection.
            labels: label names in the order of the head's outputs; by default the task's, or those of the training
                rows, sorted.
            target: the language whose development rows select the model; by default the first of `eval_dataset`.

        Raises:
            KddaError: a dataset that is none, a bad row, or a target without rows.
        """
        by_language = _by_language(train_dataset, target)
        dev_by_language = _by_language(eval_dataset, target) if eval_dataset is not None else {}
        rows = {name: _rows(dataset, f"train_dataset[{name!r}]") for name, dataset in by_language.items()}
        names = _label_names(task, labels, rows)  # in the order of the head's outputs
        train = {name: _examples(task, language_rows, names) for name, language_rows in rows.items()}
        dev = {}
        for name, dataset in dev_by_language.items():
            dev[name] = _examples(task, _rows(dataset, f"eval_dataset[{name!r}]"), names)
        chosen = target or next(iter(dev or train))  # the first language
        if dev and chosen not in dev:
            raise KddaError(f'target "{chosen}" has no eval_dataset{did_you_mean(chosen, dev)}')
        return cls(task.fitted(_chained(train.values())), names, train, dev, chosen)

    def of_language(self, language: str) -> TrainingData:
        """The examples of one language alone, which is then the target."""
        dev = {}
        if language in self.dev:
            dev[language] = self.dev[language]
        return TrainingData(self.task, self.labels, {language: self.train[language]}, dev, language)

    def examples(self, dataset: Any, name: str = "dataset") -> Sequence[Example]:
        """The examples of another dataset of this task."""
        return _examples(self.task, _rows(dataset, name), self.labels)


def _by_language(dataset: Any, target: str | None) -> Mapping[str, Any]:
    """Language → dataset; a single dataset is one of `target`, or of `UNNAMED`."""
    if not isinstance(dataset, Mapping):
        return {target or UNNAMED: dataset}
    if not dataset:
        raise KddaError("got no dataset, expected one a language, such as {'vi': rows}")
    return dataset


def _rows(dataset: Any, name: str) -> Sequence[Row] | Sequence[Example]:
    """A user's dataset as rows, or examples as they are; `name` is what messages call it."""
    is_checked = isinstance(dataset, Sequence) and len(dataset) > 0 and isinstance(dataset[0], Example)
    return dataset if is_checked else to_rows(dataset, name)


def _examples(task: Task, rows: Sequence[Row] | Sequence[Example], labels: Sequence[str]) -> Sequence[Example]:
    """Rows checked and converted to the task's examples; examples as they are."""
    if len(rows) and isinstance(rows[0], Example):
        return rows  # type: ignore[return-value]
    return check_rows(rows, task.convert(Schema(tuple(labels)))).examples  # type: ignore[arg-type]


def _label_names(task: Task, labels: Sequence[str] | None, rows: Mapping[str, Sequence[Any]]) -> list[str]:
    """The names as given, else the task's, else those of the training rows; none for unlabelled tasks.

    Raises:
        KddaError: names are neither given nor in the rows.
    """
    if not task.labelled:
        return []
    if labels or task.labels:
        return task.head_labels(labels or task.labels)
    for language_rows in rows.values():
        if len(language_rows) and isinstance(language_rows[0], Example):
            raise KddaError("labels: name them in the order of the head's outputs, such as ['negative', 'positive']")
    return task.labels_of((row, Schema()) for row in _chained(rows.values()))


def _chained(sequences: Iterable[Sequence[Any]]) -> Iterator[Any]:
    """The items of all sequences, one after the other."""
    for sequence in sequences:
        yield from sequence
