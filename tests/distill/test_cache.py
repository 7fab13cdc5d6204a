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


def test_a_teacher_with_a_smaller_limit_reads_the_whole_span_in_parts(tmp_path: Path) -> None:
    teacher = load(make_model(tmp_path / "teacher"), head="question-answering")
    question, context = "not hen", "cat runs very dog sleeps not hen fish runs"
    span = (4, len(context))
    small, whole = teacher.encoder(9), teacher.encoder(64)
    excerpt = Excerpt((question, context), span)
    parts = TeacherStates(teacher, small, [excerpt], ())
    once = TeacherStates(teacher, whole, [excerpt], ())
    assert len(parts.windows[0]) > 1 and len(once.windows[0]) == 1
    tokens = 3 + 2 + 8  # specials, question, the context's words in the span: each of them once
    assert parts.batch([0]).states.shape == once.batch([0]).states.shape == (1, tokens, 16)
    assert parts.batch([0]).logits is None
    first = parts.windows[0][0]
    alone = TeacherStates(teacher, small, [Excerpt((question, context), first.last_span)], ()).batch([0])
    assert torch.equal(parts.batch([0]).states[0, : len(first)], alone.states[0])


def test_logits_are_put_into_the_students_order_of_labels(tmp_path: Path) -> None:
    teacher = load(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)
    encoder = teacher.encoder(64)
    excerpts = [Excerpt((text,), None) for text in ("cat runs", "dog runs")]
    same = TeacherStates(teacher, encoder, excerpts, LABELS).batch([0])
    turned = TeacherStates(teacher, encoder, excerpts, LABELS[::-1]).batch([0])
    assert torch.equal(same.logits.flip(-1), turned.logits)
