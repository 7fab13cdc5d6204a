"""Built-in recipes are printed as they are written, and the shell completes their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import shellingham
import yaml

from kdda.recipe.load import built_in, find, load_recipe


def test_a_recipe_is_printed_as_it_is_written(command: Any) -> None:
    code, text, errors = command("recipes", "--show", "mini-nli")
    assert (code, text, errors) == (0, find("mini-nli").read_text(encoding="utf-8"), "")


@pytest.mark.parametrize("name", ["mini-nli-lambda", "effect/nli-monolingual"])
def test_a_printed_recipe_is_one_in_any_folder(
    command: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, text, _ = command("recipes", "--show", name)
    assert "extends" in yaml.safe_load(text)
    copy = tmp_path / "copy.yaml"
    copy.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert load_recipe(str(copy)).model_dump(exclude={"name"}) == load_recipe(name).model_dump(exclude={"name"})


def test_a_misspelt_recipe_is_refused_with_the_nearest_name(command: Any) -> None:
    code, text, errors = command("recipes", "--show", "mini-nly")
    assert (code, text) == (2, "") and 'did you mean "mini-nli"?' in errors


def completed(*words: str) -> str:
    """What the shell offers for a command line whose last word is incomplete."""
    environment = {"_KDDA_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; from kdda.cli import main; sys.argv = ['kdda']; main()"
    environment |= os.environ
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return process.stdout


def test_the_shell_completes_the_names_of_recipes() -> None:
    assert completed("kdda", "run", "mini-n").split() == [name for name in built_in() if name.startswith("mini-n")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_completion_is_printed(command: Any, shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shellingham, "detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    code, script, _ = command("--show-completion")
    assert code == 0 and "_KDDA_COMPLETE" in script


SCRIPT = """
import sys
from kdda.cli.shared import main
for arguments in {calls}:
    sys.argv = ["kdda", *arguments.split()]
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    print(arguments, code, "torch" in sys.modules)
"""


def test_refusals_that_need_no_model_come_before_torch_is_imported(tmp_path: Path) -> None:
    calls = {
        "plan mini-nli --set training.epochs=0": 2,
        "plan mini-nli --arms teacher-kdda": 2,
        "plan mini-nli --set data.vi.train=nowhere.jsonl": 1,
        "run mini-nli --set data.vi.train=nowhere.jsonl": 2,
        "run mini-nli --set teachers.vi=./nowhere": 2,
        "run mini-nli --save some": 2,
    }
    command = [sys.executable, "-c", SCRIPT.format(calls=list(calls))]
    out = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    for call, code in calls.items():
        assert f"{call} {code} False" in out.stdout, out.stdout + out.stderr
    assert 'MISSING: data.vi.train: no file "' in out.stdout and 'teacher vi: no folder "' in out.stderr
