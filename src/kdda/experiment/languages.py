"""Warnings and notes of plan and run: languages without teacher, labels or training rows; arms that repeat another."""

from __future__ import annotations

from collections.abc import Sequence

from kdda.recipe.schema import Recipe


def language_warnings(recipe: Recipe, arms: Sequence[str]) -> list[str]:
    """A sentence for each language that some arms train on without a teacher, or that none trains on.

    And one for each arm that repeats another, as `student-da` repeats `student` in a recipe of one language.
    A teacher that an arm disables on purpose is not missed.
    """
    without_teacher: dict[str, list[str]] = {}  # language → distilled arms that train on it
    warnings = []
    for arm in arms:
        taught = dict(recipe.teachers_of(arm))
        for language in recipe.languages(arm):
            is_missed = bool(taught) and language not in taught and language not in recipe.arms[arm].teachers
            if is_missed and not recipe.data[language].is_unlabelled:
                without_teacher.setdefault(language, []).append(arm)
        if not any(recipe.data[language].has_labels for language in recipe.languages(arm)):
            warnings.append(f"{arm} trains on no row with a label: its head learns nothing of the task's labels")
    for language, names in without_teacher.items():
        warnings.append(f"{language} has no teacher: {_joined(names)} on the task's loss alone in this language")
    for language, data in recipe.data.items():
        if data.train is None:
            unused = ", and its teacher is not used" if language in recipe.teachers else ""
            warnings.append(f"{language} has no training rows: its scores are zero-shot{unused}")
    return warnings + _repetitions(recipe, arms)


def language_notes(recipe: Recipe, arms: Sequence[str]) -> list[str]:
    """A sentence for each language without labels, which is as its recipe wants it, with the arms that train on it."""
    without_labels: dict[str, list[str]] = {}
    for arm in arms:
        for language in recipe.languages(arm):
            if recipe.data[language].is_unlabelled:
                without_labels.setdefault(language, []).append(arm)
    notes = []
    for language, names in without_labels.items():
        notes.append(
            f"{language} has no labels: {_joined(names)} in it on what its teacher gives alone, the task's loss is 0"
        )
    return notes


def _repetitions(recipe: Recipe, arms: Sequence[str]) -> list[str]:
    """A sentence for each arm that trains what one before it does."""
    first_with: dict[str, str] = {}  # what decides an arm's training, as text → the first such arm
    warnings = []
    for arm in arms:
        languages = recipe.languages(arm)
        settings = recipe.arms[arm]
        models = [recipe.student_of(arm), recipe.needed_teachers(arm), recipe.sentences_of(arm)]
        training = [settings.rows, recipe.training_of(arm), recipe.rates_of(arm), recipe.distillation(arm)]
        decisive = repr([languages, *training, *models])
        first = first_with.setdefault(decisive, arm)
        if first != arm:
            warnings.append(f"{arm} repeats {first}: both train the same student on {', '.join(languages)} alike")
    return warnings


def _joined(arms: Sequence[str]) -> str:
    """Some arms as the subject of a sentence, with its verb.

    >>> _joined(["student-kdda"]), _joined(["a", "b"])
    ('student-kdda trains', 'a, b train')
    """
    verb = "trains" if len(arms) == 1 else "train"
    return f"{', '.join(arms)} {verb}"
