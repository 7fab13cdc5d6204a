"""Maps between a teacher's space and a student's (`align`): none, procrustes (closed form, 4 chunks a text), learned.

Both models read the same calibration texts. Each text's states are pooled into four chunks by relative position, which
gives pairs of points whatever both tokenizations are. The map is fixed by them: a teacher's stored states stay as the
teacher has computed them, so that one store serves students of any width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor, nn

from kdda.errors import KddaError, unknown_choice
from kdda.models.fingerprint import bytes_of
from kdda.runtime import distributed
from kdda.runtime.numbers import count_of
from kdda.transport.numerics import full_precision

ALIGNMENTS = ("none", "procrustes", "learned")

CHUNKS = 4  # of a text, each pooled to one point

RANK_TOLERANCE = 1e-5  # singular values below this part of the largest say nothing: rounding of float32 states

DIGEST_LENGTH = 16  # hexadecimal digits


def check_alignment(align: str) -> None:
    """Refuse an alignment that does not exist.

    Raises:
        KddaError: names those that do.
    """
    if align not in ALIGNMENTS:
        raise KddaError(unknown_choice("align", align, ALIGNMENTS))


@dataclass(frozen=True, eq=False)
class ProcrustesMap:
    """k ↦ factor · (k − teacher_mean) Q + student_mean, from a teacher's space into a student's.

    Attributes:
        rotation: Q, semi-orthogonal: it keeps distances where the teacher is as wide as the student or narrower, and
            projects where the teacher is wider.
        factor: gives the mapped chunks the spread of the student's.
        correlation: of both models' chunks after the map, from 0 to 1.
        pairs: of chunks, that it was computed from.
        rank: directions of the teacher's space that it keeps.
    """

    teacher_mean: Float64[Tensor, " teacher_width"]
    rotation: Float64[Tensor, "teacher_width student_width"]
    factor: float
    student_mean: Float64[Tensor, " student_width"]
    correlation: float
    pairs: int
    rank: int

    @classmethod
    def fit(
        cls, student: Float[Tensor, "pairs student_width"], teacher: Float[Tensor, "pairs teacher_width"]
    ) -> ProcrustesMap:
        """The map that brings a teacher's points nearest to a student's, in closed form.

        With the centred points X of the student and Y of the teacher and YᵀX = U S Vᵀ, Q = U Vᵀ maximises ⟨YQ, X⟩ over
        semi-orthogonal matrices; the factor is ‖X‖ / ‖YQ‖. Directions in which the points say nothing (S = 0 but for
        rounding) are left out. Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem",
        Psychometrika 31(1), 1966; with unequal widths it is the solution for ⟨YQ, X⟩, not for ‖X − YQ‖.

        Args:
            student, teacher: as many points in the same order.

        >>> points = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 5.0]])
        >>> turned = 3 * points @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 7
        >>> ProcrustesMap.fit(points, turned)(turned).allclose(points, atol=1e-5)
        True
        """
        x, y = student.double(), teacher.double()
        x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
        x = x - x_mean
        y = y - y_mean
        left, values, right = torch.linalg.svd(y.T @ x, full_matrices=False)
        # without any spread, as with one text of one token, no direction is known: all is mapped to the student's mean
        rank = int((values > RANK_TOLERANCE * values[0].clamp(min=1e-30)).sum())
        rotation = left[:, :rank] @ right[:rank]
        spread = (y @ rotation).norm().clamp(min=1e-30)
        factor = float(x.norm() / spread)
        correlation = float(values[:rank].sum() / (spread * x.norm()).clamp(min=1e-30))
        return cls(y_mean, rotation, factor, x_mean, correlation, len(x), rank)

    def __call__(self, states: Float[Tensor, "*batch teacher_width"]) -> Float[Tensor, "*batch student_width"]:
        """A teacher's states in the student's space, in float32, whatever autocast says."""
        with full_precision(states.device):
            centred = states.float() - self.teacher_mean.to(states.device, torch.float32)
            matrix = (self.factor * self.rotation).to(states.device, torch.float32)
            return centred @ matrix + self.student_mean.to(states.device, torch.float32)

    @property
    def digest(self) -> str:
        """A name that changes with any digit of the map; what is stored of mapped states is named by it."""
        sha = hashlib.sha256(repr(self.factor).encode())
        for tensor in (self.teacher_mean, self.rotation, self.student_mean):
            sha.update(bytes_of(tensor))
        return sha.hexdigest()[:DIGEST_LENGTH]

    def __str__(self) -> str:
        """The map in messages."""
        teacher_width, student_width = self.rotation.shape
        widths = (
            f"{teacher_width} → {student_width} wide" if teacher_width != student_width else f"{student_width} wide"
        )
        return (
            f"{count_of(self.pairs, 'pair')} of chunks, {widths}, rank {self.rank}, correlation {self.correlation:.2f}"
        )


def pooled_chunks(
    states: Float[Tensor, "texts tokens width"], mask: Shaped[Tensor, "texts tokens"]
) -> Float64[Tensor, "texts chunks width"]:
    """The mean state of each quarter of each text, by relative position among the tokens that count.

    A token at the border of two quarters counts for both, in parts; a text of one token gives four equal chunks.

    Args:
        mask: above 0 at tokens that count, which every text must have.

    >>> pooled_chunks(torch.tensor([[[0.0], [1.0], [2.0], [9.0]]]), torch.tensor([[True, True, False, True]]))[0, :, 0]
    tensor([0.0000, 0.6667, 3.6667, 9.0000], dtype=torch.float64)
    """
    counted = mask.cpu() > 0
    tokens = counted.sum(dim=1, keepdim=True).double()
    # each token covers [start, end) of its text, which is [0, 1)
    start = (counted.cumsum(dim=1) - 1) / tokens
    end = start + 1 / tokens
    edges = torch.arange(CHUNKS, dtype=torch.float64)[None, :, None] / CHUNKS
    overlap = torch.minimum(end[:, None], edges + 1 / CHUNKS) - torch.maximum(start[:, None], edges)
    weights = CHUNKS * overlap.clamp(min=0) * counted[:, None]
    return weights @ states.cpu().double()  # some devices have no float64


def fit_everywhere(
    student: Float64[Tensor, "pairs student_width"], teacher: Float64[Tensor, "pairs teacher_width"]
) -> ProcrustesMap:
    """`ProcrustesMap.fit` of the main process, in all processes that train one model together."""
    fitted = ProcrustesMap.fit(student, teacher) if distributed.is_main_process() else None
    everywhere = distributed.broadcast(fitted)
    assert everywhere is not None
    return everywhere


class LearnedMaps(nn.Module):
    """`align: learned`: a linear map of the student's states for each teacher and layer, which training changes.

    It acts on the student's side, after the teacher's fixed map: a trained map of the teacher's states could shrink
    both clouds to one point, where the divergence is 0. It begins as the identity, is trained by the student's
    optimizer, and is no part of the saved model.

    Args:
        layers: language → of each teacher of it, the layers that are compared; 0 for one without a learned map.
        width: of the student's states.
    """

    def __init__(self, layers: Mapping[str, Sequence[int]], width: int):
        super().__init__()
        self.maps = nn.ModuleDict()
        for key in _keys(layers):
            linear = nn.Linear(width, width)
            nn.init.eye_(linear.weight)
            nn.init.zeros_(linear.bias)
            self.maps[key] = linear

    def forward(
        self, states: Float[Tensor, "batch tokens width"], language: str, teacher: int, layer: int
    ) -> Float[Tensor, "batch tokens width"]:
        """The student's states as one of its teachers is compared with them; unchanged without a learned map.

        Args:
            teacher: its number among those of the language.
            layer: its number among those that are compared.
        """
        key = _key(language, teacher, layer)
        if key not in self.maps:
            return states
        with full_precision(states.device):
            mapped: Tensor = self.maps[key](states.float())
        return mapped

    def average_gradients(self) -> None:
        """The mean of all processes' gradients, in each of them, as accelerate computes it for the student's."""
        if distributed.size() == 1:
            return
        for parameter in self.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= distributed.size()


def _keys(layers: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """The names of all maps."""
    for language, counts in layers.items():
        for teacher, count in enumerate(counts):
            for layer in range(count):
                yield _key(language, teacher, layer)


def _key(language: str, teacher: int, layer: int) -> str:
    """The name of a map; a dot, which may stand in no name of a module, is replaced."""
    return f"{language.replace('.', '_')} {teacher} {layer}"
