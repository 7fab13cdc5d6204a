"""Word segmenters that are not installed say what they need, and two of them can be compared on a file."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdda.cli import app
from kdda.errors import KddaError
from kdda.text.segment import segment


def test_vncorenlp_says_in_one_line_what_it_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDDA_VNCORENLP", str(tmp_path))
    with pytest.raises(KddaError, match=r"vncorenlp.*needs.*VnCoreNLP-1.2.jar.*github") as refused:
        segment("Hà Nội", "vncorenlp")
    assert "\n" not in str(refused.value)


def test_two_segmenters_are_compared_on_a_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("Hà Nội là thủ đô.\n\nÔng ấy ăn.\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["compare-segmenters", str(file), "vi", "none"])
    assert result.exit_code == 0
    assert "2 texts" in result.output and "Hà_Nội là thủ_đô ." in result.output
