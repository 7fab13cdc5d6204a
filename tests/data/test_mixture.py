"""One-language batches."""

from hypothesis import given, settings
from hypothesis import strategies as st

from kdda.training.sampler import LanguageBatchSampler

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
