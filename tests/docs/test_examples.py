"""Every example of the docs runs as it stands, on tiny models in the places that it names; commands are parsed."""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
import typer
import yaml

import kdda
import kdda.models.load
from kdda.cli.shared import app
from kdda.experiment.context import task_of
from kdda.losses.registry import OBJECTIVES
from kdda.recipe.load import built_in, load_recipe
from kdda.serve.limits import Limits
from kdda.tasks.registry import TASKS
from tests.conftest import make_model, make_rows, write_rows
from tests.docs.pages import DOCS, ROOT, blocks, commands, name_of, pages
from tests.heads import make_judge, make_reader, make_tagger
from tests.serve.live import serving

READERS = ("runs/qa/student-da/seed-1/model", "runs/qa/student-kdda/seed-1/model")
JUDGES = ("runs/nli/student-da/seed-1/model", "runs/nli/student-kdda/seed-1/model")
TAGGER = "runs/tag/student-kdda/seed-1/model"
ENCODERS = ("FacebookAI/xlm-roberta-base", "FacebookAI/roberta-base", "vinai/phobert-base")
MINI = ("mini/multilingual", "mini/vietnamese", "mini/english")
# What needs a server of its own is imported and not run.
NOT_RUN = ("OpenSearch.connect",)
COMMANDS = typer.main.get_command(app)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder that holds what examples name; registries are as they were afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in READERS:
        make_reader(tmp_path / name, sharp=20)
    for name in JUDGES:
        make_judge(tmp_path / name)
    make_tagger(tmp_path / TAGGER)
    for seed, name in enumerate((*ENCODERS, *MINI)):
        make_model(tmp_path / "models" / name, seed=seed)
        if name in ENCODERS:
            shutil.copytree(tmp_path / "models" / name, tmp_path / name)
    make_pickle(tmp_path / "phobert-base")
    for language, toy in (("vi", "aa"), ("en", "bb")):
        for seed, split in enumerate(("train", "dev", "test")):
            write_rows(tmp_path / f"{language}.{split}.jsonl", make_rows(toy, 24, seed))
    resolve = kdda.models.load.resolve
    stand_ins = {name: str(tmp_path / "models" / name) for name in MINI}
    monkeypatch.setattr(kdda.models.load, "resolve", lambda name: stand_ins.get(name) or resolve(name))
    registries: list[dict[str, Any]] = [TASKS, OBJECTIVES]  # type: ignore[list-item]
    before = [dict(registry) for registry in registries]
    monkeypatch.setattr(sys, "path", list(sys.path))  # plugins are searched in the working folder
    modules = set(sys.modules)
    yield tmp_path
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def make_pickle(folder: Path) -> None:
    """A checkpoint whose weights are a pickle alone."""
    make_model(folder)
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def with_blocks(language: str) -> list[Path]:
    return [page for page in pages() if blocks(page, language)]


@pytest.mark.parametrize("page", with_blocks("python"), ids=name_of)
def test_python_runs_in_the_order_of_the_page(page: Path, place: Path) -> None:
    if "retriev" in name_of(page):
        make_index(place)
    names: dict[str, Any] = {}
    for block in blocks(page, "python"):
        if any(word in block.code for word in NOT_RUN):
            tree = ast.parse(block.code)
            tree.body = [line for line in tree.body if isinstance(line, ast.Import | ast.ImportFrom)]
            run(compile(tree, block.place, "exec"), names)
        else:
            run(compile(block.code, block.place, "exec"), names)


def run(code: Any, names: dict[str, Any]) -> None:
    exec(code, names)


def make_index(folder: Path) -> None:
    (folder / "van-ban").mkdir()
    (folder / "van-ban" / "hue.md").write_text("Huế là kinh đô. Sông Hương chảy qua thành phố.\n", encoding="utf-8")
    arguments = ["kdda", "index", "van-ban", "chi-muc", "--no-segment"]
    subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
    shutil.copytree("chi-muc", "corpus-index")


@pytest.mark.parametrize("page", with_blocks("sh"), ids=name_of)
def test_commands_are_there_with_their_options(page: Path) -> None:
    for block in blocks(page, "sh"):
        for line in commands(block.code):
            check_command(line, block.place)


def check_command(line: str, where: str) -> None:
    """A command of kdda is parsed by its parser; of others, the file or target that is named must be there."""
    words = [word for word in shlex.split(line) if not re.match(r"^[A-Z_]+=", word)]
    if "kdda" in words[:1] or "-m kdda" in line:
        check_kdda(words[words.index("kdda") + 1 :], where)
    elif words[0] in ("python", "pytest"):
        path = next((word for word in words[1:] if not word.startswith("-")), "")
        assert (ROOT / path).exists(), f"{where}: {line}: no {path}"
    elif words[0] == "make":
        targets = re.findall(r"^([\w.]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert set(words[1:]) <= set(targets), f"{where}: {line}"


def check_kdda(words: list[str], where: str) -> None:
    known = {option for parameter in COMMANDS.params for option in parameter.opts}
    while words and words[0].startswith("-"):  # flags of kdda itself, before a command or without one
        assert words[0] in known, f"{where}: kdda {words[0]}: no such option"
        words = words[1:]
    if not words:
        return
    name, *arguments = words
    assert isinstance(COMMANDS, click.Group) or hasattr(COMMANDS, "commands")
    assert name in COMMANDS.commands, f"{where}: kdda {name}: no such command"  # type: ignore[attr-defined]
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    try:
        context = command.make_context(name, arguments)
    except Exception as error:  # click's own kinds, which typer may bring itself
        pytest.fail(f"{where}: kdda {' '.join(words)}: {error}")
    recipe = context.params.get("recipe")
    if recipe and not recipe.endswith(".yaml") and recipe.upper() != recipe:
        assert recipe in built_in(), f"{where}: no recipe {recipe}"
        load_recipe(recipe, context.params.get("set_") or [])


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_commands_named_in_sentences_have_the_options_they_are_named_with(page: Path) -> None:
    for text in re.findall(r"`kdda ([^`]+)`", page.read_text(encoding="utf-8")):
        name, *words = text.split()
        if not re.fullmatch(r"[a-z][a-z-]*", name):
            continue
        assert name in COMMANDS.commands, f"{name_of(page)}: kdda {name}"  # type: ignore[attr-defined]
        known = {option for parameter in COMMANDS.commands[name].params for option in parameter.opts}  # type: ignore[attr-defined]
        options = {word.strip("[],.").partition("=")[0] for word in words if word.strip("[").startswith("--")}
        assert options <= known, f"{name_of(page)}: kdda {text}"


@pytest.mark.parametrize("page", with_blocks("yaml"), ids=name_of)
def test_recipes_are_recipes(page: Path, place: Path) -> None:
    code, rest = "", ""
    for block in blocks(page, "python"):  # a plugin is what stands before and where something is registered
        rest += f"{block.code}\n"
        if "register_" in block.code:
            code, rest = code + rest, ""
    for block in blocks(page, "yaml"):
        values = yaml.safe_load(block.code)
        if "task" not in values and "extends" not in values:
            continue
        for plugin in values.get("plugins", []):
            write_plugin(place, plugin, code)
        path = place / "my-recipe.yaml"
        path.write_text(block.code, encoding="utf-8")
        task_of(load_recipe(str(path)))  # which checks the task's options


def write_plugin(folder: Path, name: str, code: str) -> None:
    """The page's Python as the module that its recipe names."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl: apt-get install curl")
def test_the_curl_examples_run(place: Path) -> None:
    (block,) = [block for block in blocks(DOCS / "quickstart.md", "sh") if "curl" in block.code]
    with serving([kdda.load(READERS[0]), kdda.load(JUDGES[0])], Limits()) as server:
        script = block.code.replace("http://127.0.0.1:8000", server.url).replace("curl ", "curl --silent --fail ")
        done = subprocess.run(["bash", "-ec", script.replace("}'\n", "}'; echo\n")], capture_output=True, text=True)
    answer, label = (json.loads(line) for line in done.stdout.splitlines())
    assert answer["answer"] in "Hà Nội là thủ đô của Việt Nam." and set(label) == {"label", "probabilities"}


def test_every_language_of_a_block_is_known() -> None:
    known = {"python", "sh", "yaml", "{include}", "{toctree}", "{eval-rst}", "{literalinclude}", ""}
    for page in pages():
        languages = set(re.findall(r"^```(\S*)", page.read_text(encoding="utf-8"), re.M))
        assert languages <= known, f"{name_of(page)}: {languages - known}"
