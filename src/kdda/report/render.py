"""Tables and figures apart from what they say, and the four forms in which they are written."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
body { color: #1a1a1a; background: #fff }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #555 }
p.note { color: #444; margin: .4rem 0 } svg { max-width: 100%; height: auto }
@media (prefers-color-scheme: dark) {
  body { background: #16181c; color: #e8e8e8 } th, td { border-color: #3a3d44 } p.note { color: #b8bcc4 }
  svg { background: #fff; border-radius: 4px }
}
"""


@dataclass(frozen=True)
class Table:
    """A titled table; `notes` say what a reader must know before quoting it."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A titled drawing, as SVG, and as matplotlib has it for other formats."""

    title: str
    svg: str
    drawing: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Report:
    """A report: what it is about, then tables and figures in their order."""

    title: str
    lines: list[str]
    parts: Sequence[Table | Figure]

    @property
    def tables(self) -> list[Table]:
        return [part for part in self.parts if isinstance(part, Table)]


def to_markdown(table: Table) -> str:
    """The table in Markdown, aligned to be read as it is."""
    widths = [max(len(row[i]) for row in [table.header, *table.rows]) for i in range(len(table.header))]
    lines = [
        "| "
        + " | ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in [table.header, *table.rows]
    ]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if i == 0 else ":") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:], "", *table.notes])


def markdown(document: Report) -> str:
    """Titles, tables and notes; figures are left to the page."""
    parts = [f"## {table.title}\n\n{to_markdown(table)}".rstrip() for table in document.tables]
    return "\n\n".join([f"# {document.title}", "\n".join(document.lines), *parts]) + "\n"


def latex(document: Report) -> str:
    """A `table` environment for each table, for documents that use booktabs."""
    return "\n\n".join(_latex_table(table) for table in document.tables) + "\n"


def _latex_table(table: Table) -> str:
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in [table.header, *table.rows]]
    body = [r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
    caption = _tex(" ".join([f"{table.title}.", *table.notes]))
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{{columns}}}",
            *body,
            r"\end{tabular}",
            rf"\caption{{{caption}}}",
            r"\end{table}",
        ]
    )


def _tex(text: str) -> str:
    for plain, written in (("\\", r"\textbackslash "), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#")):
        text = text.replace(plain, written)
    return text.replace("±", r"$\pm$").replace("−", "$-$").replace("λ", r"$\lambda$").replace("ε", r"$\varepsilon$")


def comma_separated(document: Report) -> str:
    """All tables, one below the other, each row led by its table's title."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for table in document.tables:
        writer.writerows([[table.title, *row] for row in [table.header, *table.rows]])
    return out.getvalue()


def html(document: Report) -> str:
    """One page that needs nothing else: no script, no font, no picture from elsewhere."""
    lines = "".join(f"<p>{escape(line)}</p>\n" for line in document.lines)
    parts = html_parts(document)
    title = escape(document.title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{lines}{parts}\n</body>\n</html>\n"
    )


def html_parts(document: Report) -> str:
    """The tables and figures alone, for a page that has its own frame."""
    return "\n".join(_html_part(part) for part in document.parts)


def _html_part(part: Table | Figure) -> str:
    heading = f"<h2>{escape(part.title)}</h2>\n"
    if isinstance(part, Figure):
        return heading + part.svg
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in part.header)
    rows = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in part.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>\n' for note in part.notes)
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'{heading}<div class="scroll">{table}</div>\n{notes}'


FORMS = {".md": markdown, ".tex": latex, ".csv": comma_separated, ".html": html}
