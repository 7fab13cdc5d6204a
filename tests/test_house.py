"""The architecture is the house of the README: a file imports only from floors below its own, or its own room."""

import ast
import subprocess
import sys
from pathlib import Path

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
    8: ["cli", "__main__"],
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


def test_every_file_has_a_floor() -> None:
    assert {room(path) for path in files()} <= set(FLOOR)


def test_a_file_imports_only_from_floors_below_or_its_own_room() -> None:
    for path in files():
        own = room(path)
        for other in imported_rooms(path) - {own}:
            same_top = own == "__main__" and other == "cli"
            assert FLOOR[other] < FLOOR[own] or same_top, f"{path.relative_to(ROOT)} imports kdda.{other}"


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


def test_functions_stay_short() -> None:
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or 0) - node.body[0].lineno + 1
                assert length <= 60, f"{path.relative_to(ROOT)}: {node.name} has {length} lines"
