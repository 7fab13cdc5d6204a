"""What a recipe's languages lack, as warnings of plan and run: a teacher, labels of training rows, training rows."""

from __future__ import annotations

from collections.abc import Sequence

from kdda.recipe.schema import Recipe


def language_warnings(recipe: Recipe, arms: Sequence[str]) -> list[str]:
    """A sentence for each language that some arms train on without a teacher or without labels, or do not train on.

    A teacher that an arm disables on purpose is not missed.
    """
    without_teacher: dict[str, list[str]] = {}  # language → distilled arms that train on it
    without_labels: dict[str, list[str]] = {}
    warnings = []
    for arm in arms:
        taught = dict(recipe.teachers_of(arm))
        for language in recipe.languages(arm):
            is_missed = bool(taught) and language not in taught and language not in recipe.arms[arm].teachers
            if recipe.data[language].is_unlabelled:
                without_labels.setdefault(language, []).append(arm)
            elif is_missed:
                without_teacher.setdefault(language, []).append(arm)
        if not any(recipe.data[language].has_labels for language in recipe.languages(arm)):
            warnings.append(f"{arm} trains on no row with a label: its head learns nothing of the task's labels")
    for language, names in without_teacher.items():
        warnings.append(f"{language} has no teacher: {_joined(names)} on the task's loss alone in this language")
    for language, names in without_labels.items():
        warnings.append(
            f"{language} has no labels: {_joined(names)} in it on what its teacher gives alone, the task's loss is 0"
        )
    for language, data in recipe.data.items():
        if data.train is None:
            unused = ", and its teacher is not used" if language in recipe.teachers else ""
            warnings.append(f"{language} has no training rows: its scores are zero-shot{unused}")
    return warnings


def _joined(arms: Sequence[str]) -> str:
    """Some arms as the subject of a sentence, with its verb.

    >>> _joined(["student-kdda"]), _joined(["a", "b"])
    ('student-kdda trains', 'a, b train')
    """
    verb = "trains" if len(arms) == 1 else "train"
    return f"{', '.join(arms)} {verb}"
