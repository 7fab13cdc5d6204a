"""Write every file of src/kdda into docs/architecture.md, with the first sentence of its docstring.

python tools/tree.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "kdda"
PAGE = ROOT / "docs" / "architecture.md"
START, END = "<!-- tree:start -->", "<!-- tree:end -->"


def summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = docstring.partition("\n\n")[0].replace("\n", " ")
    return sentence.rstrip(".").replace("|", "\\|")


def rooms() -> dict[str, list[Path]]:
    """Files of each room, those of the package itself first."""
    files: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        files.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    return files


def lines() -> list[str]:
    written = []
    for room, paths in rooms().items():
        title = f"### {room}/" if room else "### The package"
        written += ["", title, "", "| file | what |", "|---|---|"]
        for path in paths:
            name = path.relative_to(PACKAGE).as_posix()
            written.append(f"| `{name}` | {summary(path)} |")
    return [*written, ""]


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    _, after = rest.split(END)
    text = "\n".join(lines())
    PAGE.write_text(f"{before}{START}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
