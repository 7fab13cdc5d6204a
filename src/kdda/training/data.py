"""`TrainingData`: a task's training and development examples by language, from datasets; the order of labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kdda.data.adapters import to_rows
from kdda.data.examples import Example, Schema, check_rows
from kdda.data.sources import Row
from kdda.errors import KddaError, did_you_mean, unknown_choice
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
        targets: the languages whose development examples select the model: by their mean score, where they are several.
        unlabelled: the languages whose training examples have no gold labels.
    """

    task: Task
    labels: Sequence[str]
    train: Mapping[str, Sequence[Example]]
    dev: Mapping[str, Sequence[Example]]
    targets: Sequence[str]
    unlabelled: Collection[str] = ()

    @property
    def target(self) -> str:
        """The first target language, the only one where there are not several."""
        return self.targets[0]

    @property
    def targets_with_dev(self) -> list[str]:
        """The target languages that have development examples."""
        return [language for language in self.targets if language in self.dev]

    @classmethod
    def from_datasets(
        cls,
        task: Task,
        train_dataset: Any,
        eval_dataset: Any = None,
        labels: Sequence[str] | None = None,
        target: str | Sequence[str] | None = None,
        unlabelled: Collection[str] = (),
    ) -> TrainingData:
        """Check datasets as people have them in Python.

        Args:
            task: its fields are the columns of each row.
            train_dataset: language → dataset; or one dataset, whose language is then `target`. A dataset is a
                `datasets.Dataset`, a list of dicts, or a file.
            eval_dataset: the same for development rows; none for a training without model selection.
            labels: label names in the order of the head's outputs; by default the task's, or those of the training
                rows, sorted.
            target: the language whose development rows select the model, or a list of several; by default the first of
                `eval_dataset`.
            unlabelled: languages of `train_dataset` whose rows have the task's text fields and no gold labels.

        Raises:
            KddaError: a dataset that is none, a bad row, or a target without rows.
        """
        named = _named_targets(target)
        by_language = _by_language(train_dataset, named)
        dev_by_language = _by_language(eval_dataset, named) if eval_dataset is not None else {}
        for language in unlabelled:
            if language not in by_language:
                raise KddaError(unknown_choice("unlabelled", language, by_language))
        rows = {name: _rows(dataset, f"train_dataset[{name!r}]") for name, dataset in by_language.items()}
        labelled_rows = {name: language_rows for name, language_rows in rows.items() if name not in unlabelled}
        names = _label_names(task, labels, labelled_rows)  # in the order of the head's outputs
        train = {}
        for name, language_rows in rows.items():
            train[name] = _examples(task, language_rows, names, is_labelled=name in labelled_rows)
        dev = {}
        for name, dataset in dev_by_language.items():
            dev[name] = _examples(task, _rows(dataset, f"eval_dataset[{name!r}]"), names)
        chosen = named or [next(iter(dev or train))]  # the first language
        for language in chosen:
            if dev and language not in dev:
                raise KddaError(f'target "{language}" has no eval_dataset{did_you_mean(language, dev)}')
        fitted = task.fitted(_chained([train[name] for name in labelled_rows]))
        return cls(fitted, names, train, dev, chosen, tuple(unlabelled))

    def of_language(self, language: str) -> TrainingData:
        """The examples of one language alone, which is then the target."""
        dev = {}
        if language in self.dev:
            dev[language] = self.dev[language]
        unlabelled = [language] if language in self.unlabelled else []
        return TrainingData(self.task, self.labels, {language: self.train[language]}, dev, [language], unlabelled)

    def examples(self, dataset: Any, name: str = "dataset") -> Sequence[Example]:
        """The examples of another dataset of this task."""
        return _examples(self.task, _rows(dataset, name), self.labels)


def _named_targets(target: str | Sequence[str] | None) -> list[str]:
    """The target languages that somebody names; none by default.

    Raises:
        KddaError: one that is named twice.
    """
    if target is None:
        return []
    names = [target] if isinstance(target, str) else list(target)
    for name in names:
        if names.count(name) > 1:
            raise KddaError(f'target: every language once, and "{name}" is there twice')
    return names


def _by_language(dataset: Any, targets: Sequence[str]) -> Mapping[str, Any]:
    """Language → dataset; a single dataset is one of the only target, or of `UNNAMED`."""
    if not isinstance(dataset, Mapping):
        if len(targets) > 1:
            raise KddaError(f"got one dataset for the targets {', '.join(targets)}, expected one a language")
        return {targets[0] if targets else UNNAMED: dataset}
    if not dataset:
        raise KddaError("got no dataset, expected one a language, such as {'vi': rows}")
    return dataset


def _rows(dataset: Any, name: str) -> Sequence[Row] | Sequence[Example]:
    """A user's dataset as rows, or examples as they are; `name` is what messages call it."""
    is_checked = isinstance(dataset, Sequence) and len(dataset) > 0 and isinstance(dataset[0], Example)
    return dataset if is_checked else to_rows(dataset, name)


def _examples(
    task: Task, rows: Sequence[Row] | Sequence[Example], labels: Sequence[str], is_labelled: bool = True
) -> Sequence[Example]:
    """Rows checked and converted to the task's examples, with gold labels or without; examples as they are."""
    if len(rows) and isinstance(rows[0], Example):
        return rows  # type: ignore[return-value]
    convert = task.convert if is_labelled else task.convert_unlabelled
    return check_rows(rows, convert(Schema(tuple(labels)))).examples  # type: ignore[arg-type]


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
