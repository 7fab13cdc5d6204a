"""`DistillationTerm`: how far a batch's student states are from those of its language's teachers; what is compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations, TokenLogits
from kdda.models.hidden_states import attention_masses, hidden_at
from kdda.recipe.schema import has_masses
from kdda.tasks.base import Task
from kdda.tasks.places import PaddedLogitPlaces
from kdda.teachers.align import LearnedMaps
from kdda.teachers.cache import TeacherCache
from kdda.training.config import DistillationConfig
from kdda.training.prepare import PreparedTeacher
from kdda.training.teacher_leads import TeacherLeads
from kdda.training.term_log import DIVERGENCE, MARGINAL_ERROR


class ComparedWindows(NamedTuple):
    """What is compared of some windows of a language, beside the outputs of the student.

    Attributes:
        language: of the windows, whose teachers they are compared with.
        windows: their numbers among the training windows of the language.
        read: index of each teacher → its stored states (`TeacherCache.read`), also of some that was stopped since.
        counted: true at tokens that are compared.
        windows_share: factor of the means over these windows, with which they add up to the batch's.
        places: intervals of the tokens' characters, where the loss reads them.
        words: intervals of the words, likewise.
        logit_places: the tokens whose logits are compared; None where those of tokens are not.
        labels: gold labels of the windows; None for a task without labels.
    """

    language: str
    windows: Sequence[int]
    read: Mapping[int, Any]
    counted: Bool[Tensor, "batch tokens"]
    windows_share: float
    places: Float[Tensor, "batch tokens 2"] | None
    words: Float[Tensor, "batch words 2"] | None
    logit_places: PaddedLogitPlaces | None
    labels: Int[Tensor, " batch"] | None

    @classmethod
    def taken_from(cls, inputs: dict[str, Any], labels: Tensor | None) -> ComparedWindows:
        """Take out of a part of a batch what `BatchPreparation` has added to the student's inputs for this."""
        logit_places = None
        if "logit_tokens" in inputs:
            logit_places = PaddedLogitPlaces(inputs.pop("logit_tokens"), inputs.pop("logit_characters"))
        return cls(
            language=inputs.pop("language"),
            windows=inputs.pop("windows"),
            read=inputs.pop("read"),
            counted=inputs.pop("counted"),
            windows_share=inputs.pop("windows_share"),
            places=inputs.pop("places", None),
            words=inputs.pop("words", None),
            logit_places=logit_places,
            labels=labels,
        )


class DistillationTerm:
    """The mean divergence of the student from the teachers of a language, each times its weight.

    Args:
        loss: computes the divergence from one teacher.
        args: the layers that are compared, and the masses of tokens.
        task: whether its logits are compared, too.
        teachers: language → its teachers, of which the weights are read.
        caches: language → the stored states of these teachers, in the same order.
        maps: of the student's states, by language, teacher and layer (`align: learned`); None otherwise.
        leads: which teachers are not stopped.
    """

    def __init__(
        self,
        loss: DistillationLoss,
        args: DistillationConfig,
        task: Task,
        teachers: Mapping[str, Sequence[PreparedTeacher]],
        caches: Mapping[str, Sequence[TeacherCache]],
        maps: LearnedMaps | None,
        leads: TeacherLeads,
    ):
        self._loss = loss
        self._args = args
        self._task = task
        self._teachers = teachers
        self._caches = caches
        self._maps = maps
        self._leads = leads

    def of(self, model: Any, outputs: Any, compared: ComparedWindows) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The term of some windows, and what is logged of it.

        Args:
            model: the student, whose attention gives the tokens' masses where `tokens` asks for it.
            outputs: of the student for the windows, with hidden states and in its graph.
            compared: the windows; at least one teacher of their language is not stopped.

        Raises:
            NotFiniteValueError: the states are not finite.
        """
        student = self._student(model, outputs, compared)
        caches = self._caches[compared.language]
        total: Any = 0
        means: dict[int, Tensor] = {}  # by the teachers' indices
        errors = []
        for index in self._leads.active(compared.language):
            cache = caches[index]
            weight = self._teachers[compared.language][index].weight
            ours = self._mapped(student, compared.language, index)
            theirs = cache.batch(compared.windows, compared.read[index])
            term = self._loss.divergence(ours, theirs, labels=compared.labels, scales=cache.scales)
            mean = term.mean if compared.windows_share == 1.0 else compared.windows_share * term.mean
            total = total + (mean if weight == 1.0 else weight * mean)
            means[index] = mean.detach()
            errors.append(term.marginal_error)
        logged = {DIVERGENCE: torch.stack(list(means.values())).mean(), MARGINAL_ERROR: torch.stack(errors).max()}
        if len(caches) > 1:
            for index, mean in means.items():
                logged[f"{DIVERGENCE}_{index + 1}"] = mean
        return total / len(means), logged

    def _student(self, model: Any, outputs: Any, compared: ComparedWindows) -> list[Representations]:
        """The student's representations, one a layer, in its graph."""
        logits = outputs.logits if self._task.compares_logits else None
        token_logits = None
        if compared.logit_places is not None:
            chosen = compared.logit_places.chosen(self._task.token_logits(outputs))
            token_logits = TokenLogits(chosen, compared.logit_places.characters)
        layers = []
        for layer in self._args.layers:
            mask = compared.counted
            if has_masses(self._args.tokens):
                mask = attention_masses(model, outputs, compared.counted, layer, self._args.tokens)
            states = hidden_at(outputs, layer)
            layers.append(
                Representations(
                    states, mask, logits, places=compared.places, words=compared.words, token_logits=token_logits
                )
            )
        return layers

    def _mapped(self, student: list[Representations], language: str, teacher: int) -> list[Representations]:
        """The student's representations as one of a language's teachers is compared with them (`align: learned`)."""
        if self._maps is None:
            return student
        mapped = []
        for number, layer in enumerate(student):
            mapped.append(replace(layer, states=self._maps(layer.states, language, teacher, number)))
        return mapped
