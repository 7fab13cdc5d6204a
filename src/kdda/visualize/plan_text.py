"""A transport plan as lines of characters for a terminal: a square a pair of tokens, five shades (`SHADES`)."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from numpy import ndarray

from kdda.runtime.wording import worded

SHADES = " ░▒▓█"  # from no mass to all of a token's

PLAIN_SHADES = " .:+#"  # where the terminal's encoding lacks the others


def plan_lines(
    first: Sequence[str], second: Sequence[str], shares: Float[ndarray, "n m"], encoding: str = "utf-8"
) -> list[str]:
    """A plan as a drawing: a line a token of the first model, a column a token of the second, which are numbered.

    Args:
        first, second: the tokens of the two models.
        shares: row i says which share of token i goes to each token of the second model; rows sum to 1.
        encoding: of the terminal.

    >>> import numpy
    >>> for line in plan_lines(["I", "run"], ["I", "r", "un"], numpy.array([[1, 0, 0], [0, 0.5, 0.5]])):
    ...     print(line)
             1  2  3
      1 I   ██
      2 run    ▓▓ ▓▓
    columns: 1 I, 2 r, 3 un
    """
    shades = _shades_of(encoding)
    number_width = len(str(max(len(first), len(second))))
    token_width = max(map(len, first))
    margin = " " * (2 + number_width + 1 + token_width + 1)
    numbers = ""
    legend = []
    for number, token in enumerate(second, start=1):
        numbers += f"{number:>2} "
        legend.append(f"{number} {token}")
    lines = [(margin + numbers).rstrip()]
    for number, (token, row) in enumerate(zip(first, shares, strict=True), start=1):
        squares = ""
        for share in row:
            squares += 2 * _shade(float(share), shades) + " "
        lines.append(f"  {number:>{number_width}} {token:<{token_width}} {squares}".rstrip())
    return [*lines, f"{worded('columns')}: {', '.join(legend)}"]


def _shades_of(encoding: str) -> str:
    """`SHADES`, or `PLAIN_SHADES` where an encoding lacks them."""
    try:
        SHADES.encode(encoding)
    except UnicodeEncodeError:
        return PLAIN_SHADES
    return SHADES


def _shade(share: float, shades: str) -> str:
    """The character for a share of a token's mass, from 0 to 1.

    >>> _shade(0.02, SHADES), _shade(0.1, SHADES), _shade(0.99, SHADES)
    (' ', '░', '█')
    """
    if share < 0.05:
        return shades[0]
    return shades[min(len(shades) - 1, 1 + int(share * (len(shades) - 1)))]
