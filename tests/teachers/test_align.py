"""Maps from a teacher's space into a student's: known ones are recovered, a turned teacher is the same teacher."""

from typing import Any

import pytest
import torch
from torch import Tensor

from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.tasks.features import TextSpan
from kdda.teachers.align import ProcrustesMap, pooled_chunks
from kdda.teachers.cache import TeacherCache
from tests.conftest import LABELS, make_model, make_rows

SPANS = [TextSpan((row["premise"], row["hypothesis"]), None) for row in make_rows("aa", 24, seed=0)]


def orthogonal(width: int, seed: int = 0) -> Tensor:
    matrix, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)).double())
    return matrix


def turn(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint, with last hidden states that are turned, stretched and shifted."""
    matrix = orthogonal(checkpoint.width, seed=5).float()

    def turned(module: Any, arguments: Any, output: Any) -> Any:
        output.last_hidden_state = 3 * output.last_hidden_state @ matrix + 7
        return output

    checkpoint.model.base_model.register_forward_hook(turned)
    return checkpoint


def student_chunks(width: int) -> Tensor:
    return torch.randn(len(SPANS), 4, width, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(("student", "teacher"), [(6, 6), (4, 9), (9, 4)])
def test_a_known_map_is_recovered_between_any_two_widths(student: int, teacher: int) -> None:
    width = min(student, teacher)
    inner = torch.randn(50, width, generator=torch.Generator().manual_seed(0)).double()
    students = 2 * inner @ orthogonal(student)[:width] - 1
    teachers = 0.5 * inner @ orthogonal(teacher, seed=1)[:width] + 4
    found = ProcrustesMap.fit(students, teachers)
    assert torch.allclose(found(teachers).double(), students, atol=1e-5)
    assert found.factor == pytest.approx(4) and found.correlation == pytest.approx(1) and found.rank == width
    gram = found.rotation @ found.rotation.T if teacher < student else found.rotation.T @ found.rotation
    assert torch.allclose(gram, torch.eye(width).double(), atol=1e-9)


def test_chunks_are_quarters_of_the_tokens_that_count_and_padding_says_nothing() -> None:
    states = torch.arange(8.0)[None, :, None].expand(1, 8, 2).clone()
    assert pooled_chunks(states, torch.ones(1, 8))[0, :, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    padded = torch.cat([states, torch.full((1, 3, 2), 1e9)], dim=1)
    mask = torch.cat([torch.ones(1, 8), torch.zeros(1, 3)], dim=1)
    assert torch.equal(pooled_chunks(padded, mask), pooled_chunks(states, torch.ones(1, 8)))
    assert pooled_chunks(states[:, :1] + 3, torch.ones(1, 1))[0, :, 0].tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("width", [16, 12, 24])
def test_an_orthogonally_turned_copy_of_a_teacher_gives_the_same_states_scale_and_self_terms(
    width: int, tmp_path: Any
) -> None:
    name = make_model(tmp_path / "teacher")
    options: dict[str, Any] = {"labels": LABELS, "max_length": 64, "precision": "fp32"}
    plain = TeacherCache.build(load_checkpoint(name, head="classification", labels=LABELS), SPANS, **options)
    turned = TeacherCache.build(turn(load_checkpoint(name, head="classification", labels=LABELS)), SPANS, **options)
    assert turned.scales[0] == pytest.approx(9 * plain.scales[0], rel=1e-4)
    for cache in (plain, turned):
        cache.align([student_chunks(width)])
    assert turned.scales[0] == pytest.approx(plain.scales[0], rel=1e-5)
    (a,), (b,) = plain.batch([3, 0, 7]), turned.batch([3, 0, 7])
    assert a.mask is not None and a.states.shape[2] == width
    assert torch.allclose(a.states[a.mask], b.states[a.mask], atol=1e-4)
    student = Representations(torch.randn(3, 5, width, generator=torch.Generator().manual_seed(2)))
    for objective in ("sinkhorn", "energy", "mse-pooled"):
        loss = DistillationLoss(objective)
        values = [loss.divergence([student], [side], scales=plain.scales).mean for side in (a, b)]
        assert values[0].item() == pytest.approx(values[1].item(), rel=1e-4)


def test_one_store_of_raw_states_serves_students_of_two_widths_and_their_self_terms_stay_apart(tmp_path: Any) -> None:
    checkpoint = load_checkpoint(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)
    loss = DistillationLoss("sinkhorn", epsilon=0.5)
    written = []
    self_terms = []
    for width in (8, 24, 8):
        cache = TeacherCache.build(checkpoint, SPANS, labels=LABELS, max_length=64, folder=tmp_path / "store")
        cache.align([student_chunks(width)])
        cache.precompute_self_terms(loss)
        written.append(cache.shards_written)
        (layer,) = cache.batch(range(4))
        assert layer.states.shape[2] == width
        assert layer.self_term is not None
        self_terms.append(layer.self_term)
    assert written == [1, 0, 0] and len(list(tmp_path.rglob("self-terms-*"))) == 2
    assert torch.equal(self_terms[0], self_terms[2]) and not torch.equal(self_terms[0], self_terms[1])
