"""The architecture: a file imports only from floors below its room, or from its room; the page names every file."""

import ast
import re
import runpy
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import kdda

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "kdda"
FLOORS = {
    0: ["errors"],
    1: ["runtime", "transport", "metrics"],
    2: ["recipe"],
    3: ["text", "data", "runs", "losses"],
    4: ["models", "tasks", "hub", "report"],
    5: ["teachers", "inference", "embeddings", "visualize"],
    6: ["training", "retrieval", "baselines"],
    7: ["experiment", "serve"],
    8: ["draft"],
    9: ["cli", "__main__"],
}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module or ""} if node.module != "kdda" else {f"kdda.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("kdda.")}


def files() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py"]


def test_one_file_chooses_where_to_compute() -> None:
    choice = re.compile(r"(?<!distributed)\.is_available\(|current_accelerator\(|device\(\"(cuda|mps|xpu)")
    for path in files():
        if path.relative_to(PACKAGE) != Path("runtime/device.py"):
            assert not choice.search(path.read_text(encoding="utf-8")), f"{path.name}: compute_device() chooses"


def test_every_file_has_a_floor() -> None:
    assert {room(path) for path in files()} <= set(FLOOR)


def test_a_file_imports_only_from_floors_below_or_its_own_room() -> None:
    for path in files():
        own = room(path)
        for other in imported_rooms(path) - {own}:
            same_top = own == "__main__" and other == "cli"
            assert FLOOR[other] < FLOOR[own] or same_top, f"{path.relative_to(ROOT)} imports kdda.{other}"


def test_the_architecture_page_names_every_file_and_what_it_defines() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    tree = runpy.run_path(str(ROOT / "tools" / "tree.py"))
    assert page == tree["with_tree"](page), "python tools/tree.py writes the page's list of files"
    named = set(re.findall(r"^\| `([^`]+\.py)` \| \S", page, re.M))
    written = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    assert named == written, "every file needs a docstring"


# What Windows has not: modules of the standard library, and functions of os.
UNIX_MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "tty"}
UNIX_FUNCTIONS = {"fork", "getpgid", "getuid", "killpg", "pread", "pwrite", "setsid", "statvfs", "uname"}


def test_every_file_can_be_imported_under_windows() -> None:
    for path in files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:  # at import; inside a function the system is looked at first
            if isinstance(node, ast.Import):
                assert not UNIX_MODULES & {alias.name for alias in node.names}, path.name
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in UNIX_MODULES, path.name
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in UNIX_FUNCTIONS, f"{path.name}:{node.lineno}: os.{node.attr}"


def test_transport_stands_alone() -> None:
    for path in (PACKAGE / "transport").glob("*.py"):
        assert imported_rooms(path) <= {"transport"}


def modules_after(code: str) -> set[str]:
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(out.stdout.split())


def test_the_report_never_imports_torch() -> None:
    assert not {"torch", "transformers"} & modules_after("import kdda.report.build, kdda.hub.card")


def test_the_command_line_answers_without_torch() -> None:
    assert not {"torch", "transformers", "datasets"} & modules_after("import kdda.cli")


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in files():
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def code_lines(path: Path, tree: ast.Module) -> int:
    """Lines that hold code: neither blank, nor comments, nor docstrings."""
    lines: set[int] = set()
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    with path.open(encoding="utf-8") as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type not in ignored:
                lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


@pytest.mark.parametrize(
    ("kinds", "most"),
    [((ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp), 20), ((ast.IfExp,), 12)],
    ids=["comprehensions", "ternaries"],
)
def test_lines_breathe(kinds: tuple[type[ast.AST], ...], most: int) -> None:
    lines = count = 0
    for path, tree in trees():
        lines += code_lines(path, tree)
        count += sum(isinstance(node, kinds) for node in ast.walk(tree))
    assert 1000 * count / lines <= most


def test_functions_stay_short() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.body[0].lineno + 1
                assert length <= 40, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"


def test_rooms_import_each_other_in_no_circle() -> None:
    """Modules of one room may import each other, but not in turn."""
    imports: dict[str, set[str]] = {}
    for path, tree in trees():
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        imports[name] = set()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kdda."):
                imports[name].add(node.module)
    finished: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join([*above, name])
        if name in finished:
            return
        for other in sorted(imports.get(name, ())):
            visit(other, (*above, name))
        finished.add(name)

    for name in sorted(imports):
        visit(name, ())


def test_importing_kdda_touches_neither_torch_nor_the_environment() -> None:
    code = (
        "import os, sys; before = dict(os.environ); import kdda; assert dict(os.environ) == before; "
        "assert len(dir(kdda)) > 10; assert not {'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


IMPORT_TWICE = """
import importlib, logging, os, pkgutil, sys
import kdda

def levels():
    loggers = {None: logging.getLogger(), **logging.Logger.manager.loggerDict}
    return {name: logger.level for name, logger in loggers.items() if isinstance(logger, logging.Logger)}

def import_all():
    for module in pkgutil.walk_packages(kdda.__path__, "kdda."):
        if module.name != "kdda.__main__":
            importlib.import_module(module.name)

environment = dict(os.environ)
import_all()  # with the libraries that it uses, which may set what they like
os.environ.clear()
os.environ.update(environment)
for name in [name for name in sys.modules if name.partition(".")[0] == "kdda"]:
    del sys.modules[name]
for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]:
    if isinstance(logger, logging.Logger):
        logger.setLevel(logging.NOTSET)
before = levels()
import kdda
import_all()
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
changed = {name: level for name, level in levels().items() if before.get(name, logging.NOTSET) != level}
assert not changed, changed
"""


def test_importing_any_module_changes_neither_the_environment_nor_a_loggers_level() -> None:
    pytest.importorskip("gradio", reason='needs pip install "kdda[serve]"')
    result = subprocess.run([sys.executable, "-c", IMPORT_TWICE], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_public_name_is_there() -> None:
    for name in kdda.__all__:
        assert getattr(kdda, name).__doc__
