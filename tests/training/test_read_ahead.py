"""Batches are prepared ahead of their steps, in their order."""

import pytest
import torch

from kdda.training.read_ahead import AHEAD, ReadAhead


def test_batches_keep_their_order_and_the_next_ones_are_prepared() -> None:
    prepared: list[int] = []

    def prepare(batch: dict[str, int]) -> int:
        prepared.append(batch["number"])
        return 10 * batch["number"]

    ahead = ReadAhead(prepare)
    batches = iter([{"number": number} for number in range(7)])
    first = next(ahead.over(batches))
    assert first["prepared"].result() == 0 and next(batches) == {"number": AHEAD + 1}  # the others were taken
    rest = list(ahead.over(batches))
    assert [batch["prepared"].result() for batch in rest] == [10, 20, 40, 50, 60]
    assert prepared == [0, 1, 2, 4, 5, 6]
    ahead.close()


def test_other_batches_drop_those_that_wait_and_a_failure_reaches_the_step() -> None:
    def prepare(batch: dict[str, int]) -> int:
        return 1 // batch["number"]

    ahead = ReadAhead(prepare)
    next(ahead.over(iter([{"number": 1}, {"number": 1}])))
    (batch,) = ahead.over(iter([{"number": 0}]))
    with pytest.raises(ZeroDivisionError):
        batch["prepared"].result()
    ahead.close()


def test_the_thread_computes_without_helpers_and_leaves_the_others_theirs() -> None:
    count = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        ahead = ReadAhead(lambda _: torch.get_num_threads())
        assert ahead.submit({}).result() == 1
        assert torch.get_num_threads() == 2
        ahead.close()
    finally:
        torch.set_num_threads(count)
