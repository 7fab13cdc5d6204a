"""Integer division that rounds up (`ceil_div`)."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a / b, rounded up.

    >>> ceil_div(7, 2), ceil_div(6, 2), ceil_div(0, 5)
    (4, 3, 0)
    """
    return -(-a // b)
