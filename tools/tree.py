"""Write every file of src/kdda into docs/architecture.md: the first sentence of its docstring, and what it defines.

python tools/tree.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "kdda"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree:start -->", "<!-- tree:end -->"


def summary(module: ast.Module) -> str:
    """The first sentence of a file's docstring, for a cell of a table."""
    docstring = ast.get_docstring(module) or ""
    sentence = docstring.partition("\n\n")[0].replace("\n", " ")
    return sentence.rstrip(".").replace("|", "\\|")


def definitions(module: ast.Module) -> list[str]:
    """The public constants of a file, with values that are plain numbers or short texts, its classes and functions."""
    names: list[str] = []
    for node in module.body:
        if isinstance(node, ast.Assign):
            names += constants(node)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id.isupper():
            names.append(node.target.id)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
    return [f"`{name}`" for name in names if not name.startswith("_")]


def constants(node: ast.Assign) -> Iterator[str]:
    """Names in capitals that an assignment binds, such as `PASSAGES = 10`; several in `A, B = 1, 2`."""
    for target in node.targets:
        pairs = [(target, node.value)]
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(target.elts, node.value.elts, strict=True))
        for name, value in pairs:
            if isinstance(name, ast.Name) and name.id.isupper():
                yield f"{name.id}{plain_value(value)}"


def plain_value(value: ast.expr) -> str:
    """` = 10` for a number, a short text, or arithmetic of numbers such as `16 * 2**20`; else nothing."""
    is_plain = all(
        isinstance(node, ast.Constant | ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop)
        for node in ast.walk(value)
    )
    written = ast.unparse(value)
    if not is_plain or len(written) > 24 or "|" in written or "`" in written:
        return ""
    return f" = {written}"


def rooms() -> dict[str, list[Path]]:
    """Files of each room, those of the package itself first."""
    files: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        files.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    return files


def lines() -> list[str]:
    """The tables of all rooms, in Markdown."""
    written = []
    for room, paths in rooms().items():
        title = f"### {room}/" if room else "### The package"
        written += ["", title, "", "| file | what | defines |", "|---|---|---|"]
        for path in paths:
            name = path.relative_to(PACKAGE).as_posix()
            module = ast.parse(path.read_text(encoding="utf-8"))
            written.append(f"| `{name}` | {summary(module)} | {' '.join(definitions(module))} |")
    return [*written, ""]


def with_tree(page: str) -> str:
    """The architecture page with the tables of today's files."""
    before, rest = page.split(START)
    _, after = rest.split(END)
    text = "\n".join(lines())
    return f"{before}{START}{text}{END}{after}"


def main() -> None:
    PAGE.write_text(with_tree(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
