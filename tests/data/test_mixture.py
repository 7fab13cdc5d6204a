"""One-language batches."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kdda.training.sampler import LanguageBatchSampler, batches_an_epoch

lengths = st.dictionaries(
    st.sampled_from(["vi", "en", "km"]), st.lists(st.integers(1, 60), min_size=1, max_size=90), min_size=1
)


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 9), st.integers(0, 3), st.integers(0, 2))
def test_every_row_comes_once_an_epoch_and_no_batch_mixes_languages(
    rows: dict[str, list[int]], size: int, seed: int, epoch: int
) -> None:
    batches = LanguageBatchSampler(rows, size, seed)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches)
    assert sorted(i for batch in found for i in batch) == list(range(sum(map(len, rows.values()))))
    language = [name for name, row in rows.items() for _ in row]
    assert all(len({language[i] for i in batch}) == 1 and len(batch) <= size for batch in found)


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = LanguageBatchSampler({"vi": list(range(40)), "en": list(range(30))}, 4, seed)
        batches.set_epoch(epoch)
        return list(batches)

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)


def test_languages_are_interleaved_in_proportion() -> None:
    batches = list(LanguageBatchSampler({"vi": [1] * 30, "en": [1] * 60}, 1, seed=3))
    for start in range(0, 90, 30):
        assert 9 <= sum(batch[0] < 30 for batch in batches[start : start + 30]) <= 11


def test_a_batch_holds_rows_of_like_length() -> None:
    chaotic = [(i * 37) % 100 for i in range(400)]
    spread = [
        max(chaotic[i] for i in b) - min(chaotic[i] for i in b) for b in LanguageBatchSampler({"vi": chaotic}, 8, 0)
    ]
    assert sum(spread) / len(spread) < 10


@settings(max_examples=60, deadline=None)
@given(lengths, st.integers(1, 9), st.integers(0, 3), st.floats(1, 50))
def test_under_a_temperature_an_epoch_keeps_its_length_and_passes_over_a_language_follow_one_another(
    rows: dict[str, list[int]], size: int, seed: int, temperature: float
) -> None:
    batches = LanguageBatchSampler(rows, size, seed, temperature)
    assert len(batches) == len(LanguageBatchSampler(rows, size, seed))
    assert sum(batches.batches_an_epoch.values()) == len(batches) and min(batches.batches_an_epoch.values()) > 0
    smallest = min(batches.batches_a_pass, key=lambda language: batches.batches_a_pass[language])
    assert batches.batches_an_epoch[smallest] >= batches.batches_a_pass[smallest]
    seen: list[int] = []
    for epoch in range(2):
        batches.set_epoch(epoch)
        epoch_batches = list(batches)
        assert len(epoch_batches) == len(batches)
        seen += [i for batch in epoch_batches for i in batch]
    uses = Counter(seen)
    start = 0
    for row in rows.values():
        counts = [uses[start + i] for i in range(len(row))]
        assert max(counts) - min(counts) <= 1  # passes follow one another over both epochs: no row is two ahead
        start += len(row)


def test_a_temperature_of_1_is_proportional_sampling_to_the_last_batch() -> None:
    rows = {"vi": list(range(40)), "en": list(range(30)), "km": [1]}
    for epoch in range(3):
        plain = LanguageBatchSampler(rows, 4, seed=1)
        heated = LanguageBatchSampler(rows, 4, seed=1, temperature=1.0)
        plain.set_epoch(epoch)
        heated.set_epoch(epoch)
        assert list(plain) == list(heated)


def test_shares_are_those_of_the_formula() -> None:
    assert batches_an_epoch({"vi": 100, "en": 900}, temperature=2.0) == {"vi": 250, "en": 750}
    assert batches_an_epoch({"vi": 3}, temperature=9.0) == {"vi": 3}
