"""What the documentation is made of: pages, their code blocks, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^(`{3,}|:{3,})(\S*)[^\n]*\n(.*?)^\1$", re.M | re.S)
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


def pages() -> list[Path]:
    """Every page that people read, the changelog's history left out."""
    top = [ROOT / "README.md", ROOT / "README.vi.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
    return [*top, *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A code block of a page, with the number of its first line."""

    page: Path
    line: int
    language: str
    code: str

    @property
    def place(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def blocks(page: Path, language: str) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    listed = []
    for match in FENCE.finditer(text):
        if match[2] == language:
            line = text.count("\n", 0, match.start(3)) + 1
            listed.append(Block(page, line, language, match[3]))
    return listed


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> Iterator[str]:
    """Targets inside the repository."""
    for match in LINK.finditer(CODE.sub("", prose(page))):
        if "://" not in match[1] and not match[1].startswith("mailto:"):
            yield match[1]


def anchors(page: Path) -> set[str]:
    """Names that headings can be linked by."""
    names = set()
    for match in HEADING.finditer(prose(page)):
        title = LINK_TEXT.sub(r"\1", match[1]).replace("`", "").lower()
        names.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return names


LINK_TEXT = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def commands(code: str) -> Iterator[str]:
    """Command lines of a shell block, without comments and the brackets of optional parts."""
    for line in code.replace("\\\n", " ").splitlines():
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        text = re.sub(r"\[(-[^\]]*)\]", r"\1", text)
        if text:
            yield text
