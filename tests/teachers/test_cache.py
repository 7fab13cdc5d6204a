"""Stored teacher states are what the teacher computes."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file

from kdda.errors import KddaError
from kdda.losses.distillation import DistillationLoss
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations
from kdda.models.hidden_states import attention_masses, check_attention_is_readable
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.recipe.schema import Masses
from kdda.tasks.features import TextSpan
from kdda.teachers.cache import TeacherCache
from kdda.teachers.inputs import TeacherInputs
from kdda.teachers.store import save_checked
from kdda.text.encode import Encoder
from kdda.text.places import padded_places
from tests.conftest import LABELS, make_model

TEXTS = ("cat runs", "dog", "very not hen fish sleeps", "hen", "fish not")
SPANS = [TextSpan((text,), None) for text in TEXTS]
PAIRS = [("cat runs", "dog"), ("very not hen fish sleeps", "hen"), ("dog", "fish not")]
PAIR_SPANS = [TextSpan(pair, None) for pair in PAIRS]
SPECIALS = 3  # around and between two texts


@pytest.fixture
def teacher(tmp_path: Path) -> Checkpoint:
    return load_checkpoint(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)


def cache_of(teacher: Checkpoint, folder: Path | None = None, spans: Any = None, **options: Any) -> TeacherCache:
    options = {"labels": LABELS, "max_length": 64, "precision": "fp32", "folder": folder, **options}
    return TeacherCache.build(teacher, SPANS if spans is None else spans, **options)


def batch(cache: TeacherCache, rows: Any) -> Representations:
    """Of the only layer."""
    (representations,) = cache.batch(rows)
    return representations


def same(a: Representations, b: Representations) -> bool:
    return torch.equal(a.states, b.states) and torch.equal(a.mask, b.mask) and torch.equal(a.logits, b.logits)


def test_stored_states_equal_live_ones_in_bfloat16(teacher: Checkpoint, tmp_path: Path) -> None:
    stored, live = cache_of(teacher, tmp_path / "store"), cache_of(teacher)
    assert stored.is_stored and not live.is_stored
    a, b = batch(stored, [2, 0]), batch(live, [2, 0])
    assert a.mask is not None and b.mask is not None and torch.equal(a.mask, b.mask)
    assert torch.allclose(a.states[a.mask], b.states[b.mask], rtol=2**-7, atol=1e-6)
    assert torch.allclose(a.logits, b.logits, atol=1e-5)
    assert abs(stored.scales[0] / live.scales[0] - 1) < 0.01
    assert stored.stored_bytes == live.stored_bytes == 2 * 16 * int(batch(live, range(5)).mask.sum())


def test_states_are_written_once_and_read_from_then_on(teacher: Checkpoint, tmp_path: Path) -> None:
    first, second = cache_of(teacher, tmp_path), cache_of(teacher, tmp_path)
    assert (first.shards_written, second.shards_written) == (1, 0)
    assert same(batch(first, [1, 4]), batch(second, [1, 4])) and first.scales == second.scales


def test_neither_stored_nor_live_states_keep_the_teachers_tokenizer_in_memory(tmp_path: Path) -> None:
    for folder in (tmp_path / "store", None):
        teacher = load_checkpoint(
            make_model(tmp_path / ("stored" if folder else "live")), head="classification", labels=LABELS
        )
        cache, tokenizer = cache_of(teacher, folder), weakref.ref(teacher.tokenizer)
        del teacher
        gc.collect()
        assert tokenizer() is None and batch(cache, [2, 0]).states.shape[0] == 2


def test_states_over_the_budget_are_not_stored(teacher: Checkpoint, tmp_path: Path) -> None:
    assert not cache_of(teacher, tmp_path, budget=10.0).is_stored
    assert not list(tmp_path.rglob("shard-*"))


def test_a_teacher_is_left_as_it_was(teacher: Checkpoint, tmp_path: Path) -> None:
    teacher.model.train()
    before = {name: weight.clone() for name, weight in teacher.model.state_dict().items()}
    for folder in (tmp_path / "store", None):
        batch(cache_of(teacher, folder), [0])
    assert teacher.model.training
    assert all(weight.requires_grad for weight in teacher.model.parameters())
    after = teacher.model.state_dict()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_large_stores_have_several_shards_and_missing_ones_alone_are_written(
    teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batch(cache_of(teacher, tmp_path / "whole"), range(5))
    monkeypatch.setattr("kdda.teachers.store.SHARD_BYTES", 2 * 16 * 8)
    assert cache_of(teacher, tmp_path / "small").shards_written == 3
    next((tmp_path / "small").rglob("shard-00002*")).unlink()  # as a kill would leave it
    again = cache_of(teacher, tmp_path / "small")
    assert again.shards_written == 1 and torch.allclose(batch(again, range(5)).states, whole.states, atol=1e-2)


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), RuntimeError("MPS backend out of memory")])
def test_states_are_stored_in_smaller_batches_where_memory_runs_out_and_it_is_told(
    teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    whole = batch(cache_of(teacher, tmp_path / "whole"), range(5))
    forward = teacher.model.forward

    def forward_of_two(input_ids: torch.Tensor, **inputs: Any) -> Any:
        if len(input_ids) > 2:
            raise error
        return forward(input_ids, **inputs)

    monkeypatch.setattr(teacher.model, "forward", forward_of_two)
    lines: list[str] = []
    small = cache_of(teacher, tmp_path / "small", say=lines.append)
    assert torch.allclose(batch(small, range(5)).states, whole.states, atol=1e-2)
    (cut, again) = lines
    assert "5 rows at once do not fit into the memory of cpu; 3 from here on" in cut and "2 from here on" in again


def test_a_row_that_memory_does_not_hold_is_refused_with_what_would_do(
    teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(**_: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(teacher.model, "forward", forward)
    with pytest.raises(KddaError, match=r"a row of \d+ tokens .* memory of cpu; lower training.max_length"):
        cache_of(teacher, tmp_path)


@pytest.mark.parametrize("harm", ["truncated", "flipped bit", "another teacher's"])
def test_a_damaged_or_foreign_shard_is_computed_again(teacher: Checkpoint, tmp_path: Path, harm: str) -> None:
    want = batch(cache_of(teacher, tmp_path), range(5))
    (shard,) = tmp_path.rglob("shard-*")
    whole = shard.read_bytes()
    if harm == "truncated":
        shard.write_bytes(whole[:-7])
    elif harm == "flipped bit":
        shard.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    else:
        save_checked(shard, load_file(shard), "another")
    again = cache_of(teacher, tmp_path)
    assert again.shards_written == 1 and same(batch(again, range(5)), want)


def test_another_weight_or_token_is_another_store(teacher: Checkpoint, tmp_path: Path) -> None:
    cache_of(teacher, tmp_path)
    assert cache_of(teacher, tmp_path, SPANS[:-1]).shards_written == 1
    with torch.no_grad():
        next(teacher.model.parameters())[0, 0] += 1e-3
    assert cache_of(teacher, tmp_path).shards_written == 1


def test_stored_self_terms_change_neither_value_nor_gradient(teacher: Checkpoint, tmp_path: Path) -> None:
    loss = DistillationLoss()
    first = cache_of(teacher, tmp_path)
    plain = batch(first, [0, 2, 3])
    for cache in (first, cache_of(teacher, tmp_path)):
        cache.precompute_self_terms(loss)
        known = batch(cache, [0, 2, 3])
        assert known.self_term is not None
        results = []
        for side in (plain, known):
            x = torch.randn(3, 6, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
            value = loss.divergence([Representations(x)], [side], scales=cache.scales).mean
            results.append((value.detach(), *torch.autograd.grad(value, x)))
        assert torch.allclose(results[0][0], results[1][0], rtol=1e-5)
        assert torch.equal(results[0][1], results[1][1])


def test_a_full_disk_is_told_in_a_line(teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdda.teachers.store.save_file", full)
    with pytest.raises(KddaError, match=r"No space left on device.*teacher_cache_gb=0"):
        cache_of(teacher, tmp_path)


def test_a_teacher_that_reads_fewer_tokens_reads_the_whole_span_in_parts(tmp_path: Path) -> None:
    teacher = load_checkpoint(make_model(tmp_path / "teacher"), head="question-answering")
    question, context = "not hen", "cat runs very dog sleeps not hen fish runs"
    span = TextSpan((question, context), (4, len(context)))
    parts = cache_of(teacher, None, [span], labels=(), max_length=9)
    once = cache_of(teacher, None, [span], labels=())
    windows = TeacherInputs(teacher.encoder(9), [span]).rows[0]
    assert len(windows) > 1
    tokens = 3 + 2 + 8  # specials, question, the context's words in the span: each of them once
    assert batch(parts, [0]).states.shape == batch(once, [0]).states.shape == (1, tokens, 16)
    assert batch(parts, [0]).logits is None
    first = TextSpan((question, context), windows[0].context_span)
    alone = batch(cache_of(teacher, None, [first], labels=(), max_length=9), [0])
    assert torch.equal(batch(parts, [0]).states[0, : len(windows[0])], alone.states[0])


def test_logits_are_put_into_the_students_order_of_labels(teacher: Checkpoint) -> None:
    plain = batch(cache_of(teacher), [0])
    reversed_ = batch(cache_of(teacher, labels=LABELS[::-1]), [0])
    assert torch.equal(plain.logits.flip(-1), reversed_.logits)


def test_a_shuffled_teacher_gives_each_row_the_states_of_another(teacher: Checkpoint) -> None:
    plain, shuffled = batch(cache_of(teacher), range(5)), batch(cache_of(teacher, shuffle=True), range(5))
    for row in range(5):
        others = [other for other in range(5) if torch.equal(plain.logits[other], shuffled.logits[row])]
        assert others and others != [row]


def test_tokens_have_the_places_that_the_students_have(teacher: Checkpoint, tmp_path: Path) -> None:
    windows = teacher.encoder(64).encode(*zip(*PAIRS, strict=True))
    expected = padded_places(windows, [(0, len(second)) for _, second in PAIRS])
    for folder in (None, tmp_path):
        for tokens in ("all", "text", "attended"):
            side = batch(cache_of(teacher, folder, PAIR_SPANS, tokens=tokens, places=True), range(3))
            mask = Encoder.text_mask(windows) if tokens == "text" else torch.ones(expected.shape[:2]) > 0
            assert side.places is not None and side.mask is not None
            for row in range(3):
                of_row = expected[row, : len(windows[row])][mask[row, : len(windows[row])]]
                assert torch.equal(side.places[row, side.mask[row] > 0], of_row)
    assert batch(cache_of(teacher, None, PAIR_SPANS), [0]).places is None


def test_a_span_that_is_read_in_parts_has_the_places_that_it_has_when_read_at_once(tmp_path: Path) -> None:
    teacher = load_checkpoint(make_model(tmp_path / "teacher"), head="question-answering")
    question, context = "not hen", "cat runs very dog sleeps not hen fish runs"
    span = TextSpan((question, context), (4, len(context)))
    of = {"spans": [span], "labels": (), "places": True}
    parts, once = batch(cache_of(teacher, max_length=9, **of), [0]), batch(cache_of(teacher, **of), [0])
    assert parts.places is not None and once.places is not None
    assert not torch.equal(parts.places, once.places)  # the last special token stands behind the first part
    assert sorted(parts.places[0].tolist()) == sorted(once.places[0].tolist())
    aligned = OBJECTIVES["aligned"](once, once, ObjectiveSettings(scale=1.0))
    assert aligned.value.item() == 0
    student = replace(once, states=parts.states[:, parts.places[0, :, 0].argsort()])
    assert OBJECTIVES["aligned"](student, parts, ObjectiveSettings(scale=1.0)).value.item() == 0


def test_a_shuffled_teacher_has_the_places_of_the_rows_whose_states_it_gives(teacher: Checkpoint) -> None:
    plain = batch(cache_of(teacher, places=True), range(5))
    shuffled = batch(cache_of(teacher, places=True, shuffle=True), range(5))
    assert plain.places is not None and shuffled.places is not None
    for row in range(5):
        (source,) = [other for other in range(5) if torch.equal(plain.logits[other], shuffled.logits[row])]
        assert torch.equal(shuffled.places[row], plain.places[source])


def test_layer_one_is_the_last_and_layer_zero_the_embeddings(teacher: Checkpoint) -> None:
    encoder = teacher.encoder(64)
    with torch.no_grad():
        inputs = encoder.pad(encoder.encode(*zip(*PAIRS, strict=True)))
        hidden = teacher.model(**inputs, output_hidden_states=True).hidden_states
    cache = cache_of(teacher, None, PAIR_SPANS, layers=[0.0, 0.5, 1.0])
    for side, want in zip(cache.batch(range(3)), (hidden[0], hidden[1], hidden[-1]), strict=True):
        assert side.mask is not None and torch.allclose(side.states[side.mask], want[side.mask], atol=1e-5)


def test_layers_are_stored_apart(teacher: Checkpoint, tmp_path: Path) -> None:
    both = cache_of(teacher, tmp_path, PAIR_SPANS, layers=[0.5, 1.0])
    assert both.shards_written == 2 and both.scales[0] != both.scales[1]
    assert cache_of(teacher, tmp_path, PAIR_SPANS, layers=[0.5]).shards_written == 0


def test_special_tokens_can_be_skipped(teacher: Checkpoint) -> None:
    encoder = teacher.encoder(64)
    every, texts = TeacherInputs(encoder, PAIR_SPANS, "all"), TeacherInputs(encoder, PAIR_SPANS, "text")
    assert (every.lengths - texts.lengths == SPECIALS).all() and every.digest != texts.digest
    mask = Encoder.text_mask(encoder.encode(*zip(*PAIRS, strict=True)))
    whole = batch(cache_of(teacher, None, PAIR_SPANS), range(3))
    alone = batch(cache_of(teacher, None, PAIR_SPANS, tokens="text"), range(3))
    assert mask.sum(dim=1).tolist() == texts.lengths.tolist()
    assert alone.mask is not None and torch.allclose(alone.states[alone.mask], whole.states[mask], atol=1e-6)


@pytest.mark.parametrize("tokens", get_args(Masses))
@pytest.mark.parametrize("layer", [0.5, 1.0])
def test_tokens_have_their_masses_by_the_attention_of_the_layer(teacher: Checkpoint, layer: float, tokens: str) -> None:
    encoder = teacher.encoder(64)
    weighted = batch(cache_of(teacher, None, PAIR_SPANS, tokens=tokens, layers=[layer]), range(3))
    plain = batch(cache_of(teacher, None, PAIR_SPANS, layers=[layer]), range(3))
    teacher.model.set_attn_implementation("eager")
    with torch.no_grad():
        inputs = encoder.pad(encoder.encode(*zip(*PAIRS, strict=True)))
        attentions = teacher.model(**inputs, output_attentions=True).attentions
    attention = attentions[int(2 * layer) - 1]  # [batch, heads, from, to]
    real = inputs["attention_mask"].float()
    if tokens == "attended":
        want = attention.mean(dim=1)[:, 0]
    elif tokens == "received":
        want = (attention.mean(dim=1) * real[:, :, None]).sum(dim=1)
        assert torch.allclose(want.sum(dim=1), real.sum(dim=1))  # 1 a token on average
    else:
        entropy = torch.special.entr(attention).sum(dim=3).mean(dim=1)
        want = real * (real.sum(dim=1, keepdim=True).log() - entropy + 1e-6)
    assert weighted.mask is not None and weighted.mask.shape == want.shape
    assert torch.allclose(weighted.mask, want, atol=1e-6)
    assert torch.allclose(weighted.states, plain.states, atol=1e-6)


def test_masses_are_stored_beside_the_states_that_they_weigh(teacher: Checkpoint, tmp_path: Path) -> None:
    live = cache_of(teacher, None, PAIR_SPANS, tokens="attended")
    stored = cache_of(teacher, tmp_path, PAIR_SPANS, tokens="attended")
    again = cache_of(teacher, tmp_path, PAIR_SPANS, tokens="attended")
    assert (stored.shards_written, again.shards_written) == (1, 0) and again.scales == stored.scales
    for cache in (stored, again):
        assert torch.allclose(batch(cache, [2, 0]).mask, batch(live, [2, 0]).mask, atol=1e-6)
    assert cache_of(teacher, tmp_path, PAIR_SPANS).shards_written == 1
    tokens = int(TeacherInputs(teacher.encoder(64), PAIR_SPANS).lengths.sum())
    assert stored.stored_bytes == tokens * (2 * 16 + 4)


def test_an_attention_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(KddaError, match=r"and there/it is of type mpnet; take tokens: all"):
        check_attention_is_readable("there/it", "mpnet", "received")


@pytest.mark.parametrize("tokens", get_args(Masses))
def test_a_token_that_is_alone_has_mass(teacher: Checkpoint, tokens: str) -> None:
    inputs = {"input_ids": torch.tensor([[5, 1], [5, 6]]), "attention_mask": torch.tensor([[1, 0], [1, 1]])}
    with torch.no_grad():
        outputs = teacher.model(**inputs, output_hidden_states=True)
    masses = attention_masses(teacher.model, outputs, inputs["attention_mask"].bool(), 1.0, tokens)
    assert masses[0, 0] > 0 and masses[0, 1] == 0


def test_masses_of_different_kinds_are_stored_apart(teacher: Checkpoint, tmp_path: Path) -> None:
    for tokens in get_args(Masses):
        assert cache_of(teacher, tmp_path, PAIR_SPANS, tokens=tokens).shards_written == 1
