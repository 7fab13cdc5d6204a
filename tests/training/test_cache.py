"""Stored teacher states are what the teacher would say."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.representations import Representations
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.recipe.schema import Distill
from kdda.tasks.base import TextSpan
from kdda.teachers.cache import TeacherCache
from kdda.teachers.inputs import TeacherInputs
from kdda.teachers.store import save_checked
from tests.conftest import LABELS, make_model

TEXTS = ("cat runs", "dog", "very not hen fish sleeps", "hen", "fish not")
EXCERPTS = [TextSpan((text,), None) for text in TEXTS]


@pytest.fixture
def teacher(tmp_path: Path) -> Checkpoint:
    return load_checkpoint(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)


def states(teacher: Checkpoint, store: Path | None = None, text_spans: list[TextSpan] = EXCERPTS) -> TeacherCache:
    return TeacherCache(teacher, TeacherInputs(teacher.encoder(64), text_spans), LABELS, store)


def same(a: Representations, b: Representations) -> bool:
    return torch.equal(a.states, b.states) and torch.equal(a.mask, b.mask) and torch.equal(a.logits, b.logits)


def test_stored_states_equal_live_ones_in_bfloat16(teacher: Checkpoint, tmp_path: Path) -> None:
    stored, live = states(teacher, tmp_path / "store"), states(teacher)
    a, b = stored.batch([2, 0]), live.batch([2, 0])
    assert a.mask is not None and b.mask is not None and torch.equal(a.mask, b.mask)
    assert torch.allclose(a.states[a.mask], b.states[b.mask], rtol=2**-7, atol=1e-6)
    assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert abs(stored.scale / live.scale - 1) < 0.01
    assert TeacherInputs(teacher.encoder(64), EXCERPTS).stored_bytes(16) == 2 * 16 * int(
        live.batch(range(5)).mask.sum()
    )


def test_states_are_written_once_and_found_again(teacher: Checkpoint, tmp_path: Path) -> None:
    first, second = states(teacher, tmp_path), states(teacher, tmp_path)
    assert (first.written, second.written) == (1, 0)
    assert same(first.batch([1, 4]), second.batch([1, 4])) and first.scale == second.scale


def test_large_stores_have_several_blocks_and_missing_ones_alone_are_written(
    teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = states(teacher, tmp_path / "whole").batch(range(5))
    monkeypatch.setattr("kdda.teachers.store.BLOCK_BYTES", 2 * 16 * 8)
    first = states(teacher, tmp_path / "small")
    assert first.written == 3
    next((tmp_path / "small").rglob("block-00002*")).unlink()  # as a kill would leave it
    again = states(teacher, tmp_path / "small")
    assert again.written == 1 and torch.allclose(again.batch(range(5)).states, whole.states, atol=1e-2)


@pytest.mark.parametrize("harm", ["cut", "flip", "foreign"])
def test_a_damaged_or_foreign_block_is_computed_again(teacher: Checkpoint, tmp_path: Path, harm: str) -> None:
    want = states(teacher, tmp_path).batch(range(5))
    (block,) = tmp_path.rglob("block-*")
    whole = block.read_bytes()
    if harm == "cut":
        block.write_bytes(whole[:-7])
    elif harm == "flip":
        block.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    else:
        save_checked(block, load_file(block), "another")
    again = states(teacher, tmp_path)
    assert again.written == 1 and same(again.batch(range(5)), want)


def test_another_weight_or_token_is_another_store(teacher: Checkpoint, tmp_path: Path) -> None:
    states(teacher, tmp_path)
    assert states(teacher, tmp_path, EXCERPTS[:-1]).written == 1
    with torch.no_grad():
        next(teacher.model.parameters())[0, 0] += 1e-3
    assert states(teacher, tmp_path).written == 1


def test_stored_self_terms_change_neither_value_nor_gradient(teacher: Checkpoint, tmp_path: Path) -> None:
    own = states(teacher, tmp_path)
    loss = DistillationLoss(Distill(), {"aa": [own.scale]})
    plain = own.batch([0, 2, 3])
    for found in (own, states(teacher, tmp_path)):
        found.precompute_self_terms(loss.objective_settings("aa"))
        known = found.batch([0, 2, 3])
        assert known.self_term is not None
        results = []
        for side in (plain, known):
            x = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
            value = loss.transport("aa", [Representations(x)], [side]).mean
            results.append((value.detach(), *torch.autograd.grad(value, x)))
        assert torch.allclose(results[0][0], results[1][0], rtol=1e-5)
        assert torch.equal(results[0][1], results[1][1])


def test_a_full_disk_is_said_in_a_line(teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdda.teachers.store.save_file", full)
    with pytest.raises(KddaError, match=r"No space left on device.*teacher_cache_gb=0"):
        states(teacher, tmp_path)


def test_a_teacher_with_a_smaller_limit_reads_the_whole_span_in_parts(tmp_path: Path) -> None:
    teacher = load_checkpoint(make_model(tmp_path / "teacher"), head="question-answering")
    question, context = "not hen", "cat runs very dog sleeps not hen fish runs"
    span = (4, len(context))
    small, whole = teacher.encoder(9), teacher.encoder(64)
    excerpt = TextSpan((question, context), span)
    parts = TeacherCache(teacher, TeacherInputs(small, [excerpt]), ())
    once = TeacherCache(teacher, TeacherInputs(whole, [excerpt]), ())
    assert len(parts.windows[0]) > 1 and len(once.windows[0]) == 1
    tokens = 3 + 2 + 8  # specials, question, the context's words in the span: each of them once
    assert parts.batch([0]).states.shape == once.batch([0]).states.shape == (1, tokens, 16)
    assert parts.batch([0]).logits is None
    first = parts.windows[0][0]
    part = TeacherInputs(small, [TextSpan((question, context), first.context_span)])
    alone = TeacherCache(teacher, part, ()).batch([0])
    assert torch.equal(parts.batch([0]).states[0, : len(first)], alone.states[0])


def test_logits_are_put_into_the_students_order_of_labels(teacher: Checkpoint) -> None:
    read = TeacherInputs(teacher.encoder(64), EXCERPTS)
    kept = TeacherCache(teacher, read, LABELS).batch([0])
    turned = TeacherCache(teacher, read, LABELS[::-1]).batch([0])
    assert torch.equal(kept.logits.flip(-1), turned.logits)
