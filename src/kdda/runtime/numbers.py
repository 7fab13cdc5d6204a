"""Integer division that rounds up (`ceil_div`), and counts in words: 1 row, 2 rows (`counted`)."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up.

    >>> ceil_div(7, 2), ceil_div(6, 2), ceil_div(0, 5)
    (4, 3, 0)
    """
    return -(-a // b)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun, in the singular of one.

    Args:
        noun: in the singular.
        plural: of nouns that take more than an ``s``.

    >>> counted(1, "row"), counted(1200, "row"), counted(0, "class", "classes")
    ('1 row', '1,200 rows', '0 classes')
    """
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {plural or noun + 's'}"
