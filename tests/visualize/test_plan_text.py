"""A plan drawn with characters: a line a token, a column a token of the other model, darker where more mass goes."""

from __future__ import annotations

import numpy as np

from kdda.visualize.plan_text import PLAIN_SHADES, SHADES, plan_lines


def test_every_token_has_its_line_and_every_column_its_token() -> None:
    first = [str(i) for i in range(12)]
    lines = plan_lines(first, ["a", "b"], np.tile([0.25, 0.75], (12, 1)))
    assert len(lines) == 14 and len({line.rindex(SHADES[4]) for line in lines[1:-1]}) == 1
    assert lines[-1] == "columns: 1 a, 2 b"


def test_a_terminal_without_shades_gets_letters_that_it_has() -> None:
    text = "\n".join(plan_lines(["x"], ["x", "y"], np.array([[0.9, 0.1]]), encoding="ascii"))
    assert text.isascii() and PLAIN_SHADES[4] in text and SHADES[4] not in text


def test_tokens_without_mass_between_them_leave_their_square_empty() -> None:
    drawn = plan_lines(["x"], ["x", "y"], np.array([[1.0, 0.0]]))[1]
    assert drawn == f"  1 x {2 * SHADES[4]}"
