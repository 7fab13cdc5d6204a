"""Integer division that rounds up (`ceil_div`), and counts in words: 1 row, 2 rows (`count_of`)."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up.

    >>> ceil_div(7, 2), ceil_div(6, 2), ceil_div(0, 5)
    (4, 3, 0)
    """
    return -(-a // b)


def count_of(count: int | float, noun: str, plural: str = "") -> str:
    """A count with its noun, in the singular of one.

    Args:
        noun: in the singular.
        plural: of nouns that take more than an ``s``.

    >>> count_of(1, "row"), count_of(1200, "row"), count_of(2.0, "batch", "batches"), count_of(0.5, "epoch")
    ('1 row', '1,200 rows', '2 batches', '0.5 epochs')
    """
    if count == 1:
        return f"1 {noun}"
    number = int(count) if count == int(count) else count
    return f"{number:,} {plural or noun + 's'}"
