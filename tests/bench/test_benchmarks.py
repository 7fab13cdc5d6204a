"""The benchmarks' common part: aims and their table, `python bench/all.py`, and what a quick run is."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "bench"))  # scripts, which import each other by their names

from aims import SCRIPTS, Aim, Result, publish, read_results, table_of_aims  # noqa: E402
from page import arguments  # noqa: E402

FAST = Aim("a step", 1.8523, "≥", 2.5, "× kdda's")
SMALL = Aim("memory", 1000.4, "≤", 1024, "MB")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with the markers of a script and of the table of all aims."""
    path = tmp_path / "docs" / "performance.md"
    path.parent.mkdir()
    parts = ["# Title"]
    for marker in ("bench/aims.py", "bench/step.py mini-nli"):
        parts += [f"<!-- {marker}:start -->", "old", f"<!-- {marker}:end -->", "between"]
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


@pytest.fixture
def all_benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """bench/all.py with a list of the commands that it would have run; those with a name in `failing` fail."""
    module = importlib.import_module("all")
    commands: list[list[str]] = []
    failing: set[str] = set()

    def run(*command: object) -> None:
        commands.append(list(map(str, command)))
        if any(name in part for name in failing for part in commands[-1]):
            raise module.Failed("ended with code 3")

    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(importlib.import_module("tiny"), "tiny_recipe", lambda task, folder: f"{folder}/{task}.yaml")

    def main(*options: str) -> list[list[str]]:
        monkeypatch.setattr(sys, "argv", ["all.py", *options])
        module.main()
        return commands

    main.failing = failing  # type: ignore[attr-defined]
    main.commands = commands  # type: ignore[attr-defined]
    return main


def test_the_table_shows_every_aim_and_counts_those_that_are_reached() -> None:
    count, _, titles, _, slow, small = table_of_aims([Result("step", "", [FAST, SMALL], "a machine", "2026-11-29")])
    assert count == "1 of 2 aims are reached."
    assert titles == "| aim | measured | goal | reached | script | date |"
    assert slow == "| a step (× kdda's) | 1.852 | ≥ 2.5 | **no** | `step.py` | 2026-11-29 |"
    assert small == "| memory (MB) | 1,000 | ≤ 1,024 | yes | `step.py` | 2026-11-29 |"


def test_a_script_writes_its_tables_its_aims_and_the_table_of_all_aims(page: Path) -> None:
    options = arguments("A script.").parse_args(["--write", str(page)])
    publish(options, "step", ["| a table |"], [FAST, SMALL], "mini-nli")
    text = page.read_text(encoding="utf-8")
    assert "old" not in text
    assert "<!-- bench/step.py mini-nli:start -->\n| a table |\n<!-- bench/step.py mini-nli:end -->\nbetween" in text
    assert "1 of 2 aims are reached." in text
    (result,) = read_results(page.parent)
    assert (result.script, result.part, list(result.aims)) == ("step", "mini-nli", [FAST, SMALL])


def test_without_write_a_script_only_prints(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.read_text(encoding="utf-8")
    publish(arguments("A script.").parse_args([]), "step", ["| a table |"], [FAST], "mini-nli")
    assert capsys.readouterr().out == "| a table |\naim: a step: 1.852 × kdda's, goal ≥ 2.5: not reached\n"
    assert page.read_text(encoding="utf-8") == before
    assert not read_results(page.parent)


def test_a_quick_run_is_not_written_and_a_missing_page_is_named(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["--quick", "--write", str(page)], "--quick tries the script out"),
        (["--write", "nowhere.md"], "nowhere.md is no file"),
    ):
        with pytest.raises(SystemExit) as stop:
            arguments("A script.").parse_args(options)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err


def test_the_page_of_the_docs_has_the_table_of_the_results() -> None:
    docs = ROOT / "docs"
    table = "\n".join(table_of_aims(read_results(docs)))
    page = (docs / "performance.md").read_text(encoding="utf-8")
    assert table in page, "python bench/aims.py docs/performance.md writes it"


def test_all_runs_every_script_and_makes_each_student_once(all_benchmarks: Any, page: Path) -> None:
    commands = all_benchmarks("--write", str(page))
    scripts, students = [], []
    for command in commands:
        if "kdda" in command:
            students.append(command[command.index("run") + 1])
        else:
            scripts.append(Path(command[1]).stem)
            assert command[-2] == "--write"
            assert Path(command[-1]).parent == page.parent
    assert scripts == list(SCRIPTS)
    assert students == ["mini-nli", "mini-qa"]


def test_every_script_that_publishes_results_is_one_of_all() -> None:
    publishing = set()
    for path in (ROOT / "bench").glob("*.py"):
        if "publish(options" in path.read_text(encoding="utf-8"):
            publishing.add(path.stem)
    assert publishing == set(SCRIPTS)


def test_all_goes_on_after_a_failure_and_names_it_at_the_end(
    all_benchmarks: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    all_benchmarks.failing.update({"grid.py", "nli.yaml"})
    with pytest.raises(SystemExit) as stop:
        all_benchmarks("--quick", "--only", "grid", "serve", "kills")
    assert stop.value.code == 1
    *_, grid, serve, kills = capsys.readouterr().out.splitlines()
    assert grid == "grid.py: 0.0 min, FAILED: ended with code 3"
    assert serve.startswith("serve.py: ")
    assert "FAILED" in serve  # there is no student to serve
    assert kills == "kills.py: 0.0 min, done"
    assert Path(all_benchmarks.commands[-1][1]).name == "kills.py"
    assert all_benchmarks.commands[-1][-1] == "--quick"


@pytest.mark.slow
def test_a_script_runs_quickly_by_the_command_for_all() -> None:
    command = [sys.executable, str(ROOT / "bench" / "all.py"), "--quick", "--only", "rows"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "aim: memory of a run on 200 rows" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("min, done")
