"""Every refusal names the page of the docs that explains it, and that page is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import kdda
from kdda.cli.doc_pages import PAGES, page_of_module
from kdda.cli.shared import app
from tests.docs.pages import DOCS, anchors

PACKAGE = Path(kdda.__file__).parent
# Modules that all rooms use, which refuse for the room that calls them.
OF_THE_CALLER = {"kdda.errors", "kdda.cli.shared"} | {
    f"kdda.runtime.{name}" for name in ("folders", "locks", "network", "text_files")
}


def refusing_modules() -> list[str]:
    """Every module that raises a KddaError."""
    modules = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if re.search(r"\b(KddaError|BrokenRunError|NotFiniteError)\(", path.read_text(encoding="utf-8")):
            parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
            modules.append(".".join(parts).removesuffix(".__init__"))
    return modules


def test_every_module_that_refuses_has_a_page() -> None:
    for module in refusing_modules():
        assert page_of_module(module) or module in OF_THE_CALLER, f"PAGES of kdda.cli.doc_pages lacks {module}"


def test_every_command_has_a_page() -> None:
    for command in app.registered_commands:
        assert command.callback and page_of_module(command.callback.__module__)


def test_every_page_and_heading_is_there() -> None:
    for page in set(PAGES.values()):
        name, _, heading = page.partition("#")
        assert (DOCS / name).is_file(), page
        assert not heading or heading in anchors(DOCS / name), page


def test_every_module_that_has_a_page_is_there() -> None:
    for module in PAGES:
        path = PACKAGE.parent / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (["plan", "mini-nly"], "recipes.md"),
        (["plan", "mini-nli", "--set", "epochs"], "recipes.md"),
        (["report", "nowhere"], "reporting.md"),
        (["predict", "nowhere", "--output", "a.jsonl"], "use.md"),
        (["evaluate", "m", "--data", "d", "--out", "no/such/folder/p.jsonl"], "use.md"),  # refused by a shared module
        (["index", "nowhere", "out"], "retrieval.md#passages-and-the-index"),
        (["new", "nowhere.csv"], "formats.md"),
        (["new"], "your-files.md"),
        (["plan", "mini-nli", "--sed", "1"], "recipes.md"),  # no such option
        (["serve"], "use.md#the-server"),  # no argument
        (["plam"], "commands.md"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_refusal_ends_with_its_page(
    command: Any, arguments: list[str] | str, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, errors = command(*arguments)
    assert code == 2
    assert errors.splitlines()[-1] == f"See docs/{page}"


def test_the_page_of_commands_lists_every_command(command: Any) -> None:
    _, help_text, _ = command("--help")
    names = re.findall(r"^  ([a-z][a-z-]+) ", help_text, re.M)
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.+?) \|", page, re.M)
    assert sorted(re.findall(r"`([a-z-]+)`", " ".join(rows))) == sorted(names)


def test_the_refusal_that_the_page_of_commands_quotes_is_what_is_printed(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    (quoted,) = re.findall(r"^```\n(kdda: .*?)^```", page, re.M | re.S)
    monkeypatch.chdir(tmp_path)
    recipe = "extends: mini-nli\nname: mine\ntraining:\n  batch_size: 16\n  epocs: 3\n"
    Path("my-recipe.yaml").write_text(recipe, encoding="utf-8")
    code, _, printed = command("plan", "my-recipe.yaml")
    assert code == 2 and re.fullmatch(re.escape(quoted).replace("…", ".*"), printed), printed
