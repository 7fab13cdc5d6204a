"""The site builds without a warning, loads nothing from elsewhere, and every link and anchor of the docs is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kdda.cli.catalogue import Translator, read_catalogue
from tests.docs.pages import DOCS, ROOT, anchors, blocks, commands, links, name_of, pages

LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"([^\"]+)\"|<link\b[^>]*\bhref=\"([^\"]+)\"")
# What people look for, beside the project's terms.
TERMS = (
    "arm",
    "callback",
    "distillation loss",
    "divergence",
    "early stopping",
    "gradient accumulation",
    "graft",
    "hyperparameter search",
    "intermediate layer",
    "knowledge distillation",
    "marginal error",
    "mixed precision",
    "objective",
    "optimal transport",
    "oracle",
    "recipe",
    "scale",
    "seed",
    "student",
    "teacher",
    "teacher cache",
    "tracker",
    "truncation",
    "window",
)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    strict = ["-W", "--keep-going", "-n", "-q", "-d", str(tmp_path / "doctrees")]
    command = [sys.executable, "-m", "sphinx", *strict, str(DOCS), str(tmp_path / "html")]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    built = list((tmp_path / "html").rglob("*.html"))
    assert len(built) > 20
    for page in built:
        for source, sheet in LOADED.findall(page.read_text(encoding="utf-8")):
            assert not re.match(r"(https?:)?//", source or sheet), f"{page.name} loads {source or sheet}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)} links to {link}: no such file"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name_of(page)} links to {link}: no such heading"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 100


def test_the_glossary_has_the_words_that_people_look_for() -> None:
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    titles = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert set(TERMS) <= set(titles)
    assert titles == sorted(titles, key=str.lower)


def test_the_software_can_be_cited() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"].startswith("kdda") and citation["license"] == "Apache-2.0"
    assert citation["references"][0]["year"] == 2023


def test_the_pictures_are_small() -> None:
    for path in [*DOCS.rglob("*.png"), *DOCS.rglob("*.svg")]:
        if "_build" not in path.parts:
            assert path.stat().st_size < 300_000, name_of(path)


def test_the_readme_in_vietnamese_gives_the_commands_of_the_english_one() -> None:
    english = {line for block in blocks(ROOT / "README.md", "sh") for line in commands(block.code)}
    vietnamese = [line for block in blocks(ROOT / "README.vi.md", "sh") for line in commands(block.code)]
    assert set(vietnamese) - english == {"export KDDA_LANG=vi"}
    assert english <= set(vietnamese)


def shell_commands(page: Path) -> set[str]:
    """Every command of a page's shell blocks, its spaces made one."""
    lines = set()
    for block in blocks(page, "sh"):
        for line in commands(block.code):
            lines.add(" ".join(line.split()))
    return lines


def test_the_quickstart_in_vietnamese_gives_the_commands_of_the_english_one() -> None:
    assert shell_commands(DOCS / "quickstart.md") <= shell_commands(DOCS / "vi" / "quickstart.md")


def test_the_quickstart_in_vietnamese_says_what_the_english_pages_say_of_watching_predicting_and_cleaning() -> None:
    text = (DOCS / "vi" / "quickstart.md").read_text(encoding="utf-8")
    english = ""
    for name in ("quickstart.md", "commands.md", "use.md"):
        english += (DOCS / name).read_text(encoding="utf-8")
    for shown in (
        "kdda try",
        "kdda serve --experiments lab",
        "--watch 8001",
        'kdda predict MODEL --text "claim=…" --text "context=…"',
        "kdda clean runs --models --yes",
    ):
        assert shown in english and shown in text, shown
    for printed in (
        "columns as in training: text=comment",
        "epoch 9, accuracy on development rows: vi 53.3, its teacher 66.7 (it leads)",
        "teacher check, vi: teacher 66.7, student 53.3, student-da 60.0; vinai/phobert-base",
        "4 of 6 finished",
        "2 to come",
    ):
        assert printed in english and Translator(read_catalogue()).message(printed) in text, printed
    assert "kdda runs runs runs-mine" in text


def test_the_errors_in_vietnamese_are_in_the_words_of_the_command_line() -> None:
    catalogue = (ROOT / "src" / "kdda" / "cli" / "vi.po").read_text(encoding="utf-8")
    page = (DOCS / "vi" / "errors.md").read_text(encoding="utf-8")
    for words in (
        "mô hình của lượt chạy này đã bị kdda clean --models xóa",
        "mô hình của lượt chạy này không được lưu (--save) hoặc đã bị xóa",
        "đọc nhiều văn bản: ",
        "để chỉ rõ cột nào là trường nào",
    ):
        assert words in catalogue and words in page, words
