"""Stored teacher states are what the teacher would say."""

from pathlib import Path

import torch

from kdda.distill.cache import TeacherStates
from kdda.models import load
from kdda.tasks import Excerpt
from tests.conftest import LABELS, make_model


def test_stored_states_equal_live_ones_in_bfloat16(tmp_path: Path) -> None:
    teacher = load(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)
    encoder = teacher.encoder(64)
    excerpts = [Excerpt((text,), None) for text in ("cat runs", "dog", "very not hen fish sleeps")]
    stored = TeacherStates(teacher, encoder, excerpts, LABELS)
    live = TeacherStates(teacher, encoder, excerpts, LABELS, budget=0)
    assert stored.stored is not None and live.stored is None
    a, b = stored.batch([2, 0]), live.batch([2, 0])
    assert a.mask is not None and b.mask is not None and torch.equal(a.mask, b.mask)
    assert torch.allclose(a.states[a.mask], b.states[b.mask], rtol=2**-7, atol=1e-6)
    assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert abs(stored.scale / live.scale - 1) < 0.01


def test_logits_are_put_into_the_students_order_of_labels(tmp_path: Path) -> None:
    teacher = load(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)
    encoder = teacher.encoder(64)
    excerpts = [Excerpt((text,), None) for text in ("cat runs", "dog runs")]
    same = TeacherStates(teacher, encoder, excerpts, LABELS).batch([0])
    turned = TeacherStates(teacher, encoder, excerpts, LABELS[::-1]).batch([0])
    assert torch.equal(same.logits.flip(-1), turned.logits)
