"""What `kdda --help` says: commands in the order of a newcomer's way, each with a summary on one line."""

from __future__ import annotations

from typing import Any

import pytest

FIRST = ["try", "new", "plan", "run", "report", "runs", "predict", "serve"]


@pytest.mark.parametrize(("language", "title"), [("en", "Commands:"), ("vi", "Các lệnh:")])
def test_help_lists_the_commands_in_the_order_of_their_use_with_whole_summaries(
    command: Any, monkeypatch: pytest.MonkeyPatch, language: str, title: str
) -> None:
    monkeypatch.setenv("KDDA_LANG", language)
    monkeypatch.setenv("COLUMNS", "80")
    _, text, _ = command("--help")
    lines = text[text.index(title) :].splitlines()[1:]
    names = [line.split()[0] for line in lines]
    assert names[:8] == FIRST and names.index("convert") > 17 and len(names) == len(set(names)) == 21
    for line in lines:
        assert line[2] != " " and len(line) <= 80 and line.endswith(".") and not line.endswith("...")
