"""Teacher states can be stored in 8 bits with a scale a token, in half the bytes of bfloat16."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdda import DistillationConfig, DistillationTrainer
from kdda.errors import KddaError
from kdda.losses.representations import Representations
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.tasks.features import TextSpan
from kdda.teachers.cache import TeacherCache
from kdda.teachers.shards import in_8_bits
from kdda.teachers.store import save_checked
from tests.conftest import LABELS, make_model, make_rows

TEXTS = ("cat runs", "dog", "very not hen fish sleeps", "hen", "fish not")
SPANS = [TextSpan((text,), None) for text in TEXTS]


@pytest.fixture
def teacher(tmp_path: Path) -> Checkpoint:
    return load_checkpoint(make_model(tmp_path / "teacher"), head="classification", labels=LABELS)


def cache_of(teacher: Checkpoint, folder: Path | None, stored_in: str = "int8") -> TeacherCache:
    return TeacherCache.build(
        teacher, SPANS, labels=LABELS, max_length=64, precision="fp32", folder=folder, stored_in=stored_in
    )


def batch(cache: TeacherCache) -> Representations:
    (representations,) = cache.batch(range(len(TEXTS)))
    return representations


def test_a_state_is_as_far_from_the_teachers_as_half_a_step_of_its_tokens_scale(
    teacher: Checkpoint, tmp_path: Path
) -> None:
    stored, live = batch(cache_of(teacher, tmp_path / "store")), batch(cache_of(teacher, None))
    assert stored.mask is not None and live.mask is not None and torch.equal(stored.mask, live.mask)
    assert stored.states.dtype == torch.float32 and torch.equal(stored.logits, live.logits)
    largest = live.states.abs().amax(dim=2, keepdim=True)
    difference = (stored.states - live.states).abs()
    assert (difference <= largest / 254 + 1e-6).all()
    assert (difference > largest / 1000).any()  # it is not bfloat16


def test_eight_bits_take_a_byte_a_value_and_four_a_token(teacher: Checkpoint, tmp_path: Path) -> None:
    stored, live = cache_of(teacher, tmp_path / "store"), cache_of(teacher, None)
    mask = batch(stored).mask
    assert mask is not None
    assert stored.stored_bytes == live.stored_bytes == int(mask.sum()) * (16 + 4)
    assert abs(stored.scales[0] / live.scales[0] - 1) < 0.01


def test_the_same_states_are_read_again_and_those_of_another_precision_are_stored_apart(
    teacher: Checkpoint, tmp_path: Path
) -> None:
    first = cache_of(teacher, tmp_path)
    other = cache_of(teacher, tmp_path, "bf16")
    again = cache_of(teacher, tmp_path)
    assert (first.shards_written, other.shards_written, again.shards_written) == (1, 1, 0)
    assert torch.equal(batch(first).states, batch(again).states)
    assert not torch.equal(batch(first).states, batch(other).states)


def test_shards_that_a_kill_has_left_out_are_written_alone(
    teacher: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdda.teachers.store.SHARD_BYTES", (16 + 4) * 8)
    want = batch(cache_of(teacher, tmp_path)).states
    shards = sorted(tmp_path.rglob("shard-*"))
    assert len(shards) == 3
    shards[1].unlink()
    shards[2].write_bytes(shards[2].read_bytes()[:-3])
    again = cache_of(teacher, tmp_path)
    assert again.shards_written == 2 and torch.equal(batch(again).states, want)


def test_a_shard_of_another_precision_under_the_name_of_a_store_is_computed_again(
    teacher: Checkpoint, tmp_path: Path
) -> None:
    want = batch(cache_of(teacher, tmp_path)).states
    (shard,) = tmp_path.rglob("shard-*")
    tensors = load_file(shard)
    tensors["states"] = tensors["states"].to(torch.bfloat16)
    save_checked(shard, tensors, shard.parent.name)
    again = cache_of(teacher, tmp_path)
    assert again.shards_written == 1 and torch.equal(batch(again).states, want)


def test_a_store_without_a_format_is_read_and_one_of_a_newer_format_is_refused(
    teacher: Checkpoint, tmp_path: Path
) -> None:
    cache_of(teacher, tmp_path, "bf16")
    (shard,) = tmp_path.rglob("shard-*")
    written = shard.read_bytes()
    save_checked(shard, load_file(shard), shard.parent.name)  # which names no format, as stores were at first
    assert cache_of(teacher, tmp_path, "bf16").shards_written == 0
    assert b'"format": "2"' in written
    shard.write_bytes(written.replace(b'"format": "2"', b'"format": "9"'))
    with pytest.raises(KddaError, match=r"shard-00000.safetensors has format 9 .* this kdda reads 1 and 2: update"):
        cache_of(teacher, tmp_path, "bf16")


def test_a_state_that_is_not_finite_is_not_finite_when_it_is_read() -> None:
    codes, scales = in_8_bits(torch.tensor([[1.0, torch.inf], [torch.nan, 1.0], [3.0, -1.0]]))
    read = codes * scales
    assert read.isfinite().all(dim=1).tolist() == [False, False, True]


def test_a_training_stores_its_teachers_states_in_the_precision_that_it_names(
    teacher: Checkpoint, tmp_path: Path
) -> None:
    student = load_checkpoint(make_model(tmp_path / "student"), head="classification", labels=LABELS)
    rows = make_rows("aa", 6, seed=0)
    args = DistillationConfig(
        str(tmp_path / "out"),
        per_device_train_batch_size=6,
        num_train_epochs=1,
        teacher_cache_precision="int8",
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    trainer = DistillationTrainer(
        (student.model, student.tokenizer),
        {"aa": (teacher.model, teacher.tokenizer)},
        task="nli",
        train_dataset={"aa": rows},
        args=args,
        say=lambda _: None,
    )
    trainer.train()
    (shard,) = (tmp_path / "out").rglob("shard-*")
    assert load_file(shard)["states"].dtype == torch.int8


def test_a_precision_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match=r'teacher_cache_precision.*"int4".*bf16, int8'):
        DistillationConfig(str(tmp_path), teacher_cache_precision="int4")
