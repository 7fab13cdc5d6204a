"""Tables and figures as data, and the four forms of a report: Markdown, LaTeX, CSV, HTML (with its style sheet)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from kdda.runtime.wording import output_language, worded

# CSS of tables, also for a page of another room, which sets --paper. Tables scroll inside their box with the first
# column in place; numbers stay on one line, words wrap.
TABLE_STYLE = """
.report .scroll { overflow-x: auto; max-width: 100% }
.report table { border-collapse: separate; border-spacing: 0; font-variant-numeric: tabular-nums }
.report th, .report td { padding: .3rem .5rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8884 }
.report th { vertical-align: bottom; white-space: normal; min-width: 4.5rem }
.report thead th { border-bottom: 2px solid #888 }
.report td.words { white-space: normal; min-width: 8.5rem }
.report th:first-child, .report td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere }
.report th:first-child, .report td:first-child { min-width: 7rem; max-width: 24rem; position: sticky; left: 0 }
.report th:first-child, .report td:first-child { background: var(--paper); border-right: 1px solid #8884 }
.report svg { max-width: 100%; height: auto; background: #fff; border-radius: 6px }
@media (max-width: 40rem) {
  .report th:first-child, .report td:first-child { max-width: 40vw; font-size: .85em }
}
"""

# CSS of the whole HTML page of a report, light or dark as the reader's system is
STYLE = (
    """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
body { --paper: #fff; color: #1a1a1a; background: var(--paper) }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem } p { overflow-wrap: anywhere }
p.note { color: #444; margin: .4rem 0 }
@media (prefers-color-scheme: dark) {
  body { --paper: #16181c; color: #e8e8e8 } p.note { color: #b8bcc4 }
}
"""
    + TABLE_STYLE
)


@dataclass(frozen=True)
class Table:
    """A titled table, whose cells are text as it is printed.

    Attributes:
        header: titles of the columns.
        rows: each as long as the header.
        notes: sentences below the table: what a reader must know before quoting it.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """A titled drawing.

    Attributes:
        svg: an ``<svg>`` element as text.
        drawing: matplotlib's figure, from which other formats are made.
    """

    title: str
    svg: str
    drawing: Any = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        lines: what it is about, below the title.
        parts: tables and figures, in their order.
    """

    title: str
    lines: list[str]
    parts: Sequence[Table | Figure]

    @property
    def tables(self) -> list[Table]:
        """The parts that are tables, in their order."""
        return [part for part in self.parts if isinstance(part, Table)]


def in_output_language(document: Report) -> Report:
    """The report in the language of this process' output (`kdda.runtime.wording`): for people, not for programs."""
    parts: list[Table | Figure] = []
    for part in document.parts:
        if isinstance(part, Table):
            parts.append(table_in_output_language(part))
        else:
            parts.append(replace(part, title=worded(part.title)))
    return Report(worded(document.title), [*map(worded, document.lines)], parts)


def table_in_output_language(table: Table) -> Table:
    """A table in the language of this process' output; names of arms and models in it stay."""
    rows = []
    for name, *cells in table.rows:
        # a name that is also a word, such as an arm called student, is no text to translate
        rows.append([worded(name) if " " in name else name, *map(worded, cells)])
    return Table(worded(table.title), [*map(worded, table.header)], rows, [*map(worded, table.notes)])


def to_markdown(table: Table) -> str:
    """The table in Markdown, in the language of the output, aligned to be read as it is, with its notes; no title."""
    return _markdown_table(table_in_output_language(table))


def _markdown_table(table: Table) -> str:
    """The table in Markdown, in the language that its words have."""
    widths = []
    for column in zip(table.header, *table.rows, strict=True):
        widths.append(max(map(len, column)))
    lines = [_markdown_row(table.header, widths), _markdown_rule(widths)]
    for row in table.rows:
        lines.append(_markdown_row(row, widths))
    return "\n".join([*lines, "", *table.notes])


def _markdown_rule(widths: Sequence[int]) -> str:
    """The line below a Markdown table's header; a colon aligns a column to the right.

    >>> _markdown_rule([4, 2])
    '|------|---:|'
    """
    first, *others = widths
    dashes = ["-" * (first + 2)]
    for width in others:
        dashes.append("-" * (width + 1) + ":")
    return f"|{'|'.join(dashes)}|"


def _markdown_row(row: Sequence[str], widths: Sequence[int]) -> str:
    """A row whose first cell is aligned to the left, the others to the right."""
    cells = [row[0].ljust(widths[0])]
    for cell, width in zip(row[1:], widths[1:], strict=True):
        cells.append(cell.rjust(width))
    return f"| {' | '.join(cells)} |"


def markdown(document: Report) -> str:
    """Titles, tables and notes in the language of the output; figures are for the HTML page alone."""
    document = in_output_language(document)
    parts = [f"# {document.title}", "\n".join(document.lines)]
    for table in document.tables:
        parts.append(f"## {table.title}\n\n{_markdown_table(table)}".rstrip())
    return "\n\n".join(parts) + "\n"


def read_markdown(text: str) -> Report:
    """The report that `markdown` has written, such as one that a command has printed.

    Args:
        text: a title, lines, and tables below their titles; cells that hold "|" cannot be told apart.
    """
    title = ""
    lines: list[str] = []
    tables: list[Table] = []
    for line in text.splitlines():
        if line.startswith("## "):
            tables.append(Table(line[3:], [], []))
        elif line.startswith("# ") and not title:
            title = line[2:]
        elif not tables and line:
            lines.append(line)
        elif line.startswith("|"):
            _add_markdown_row(tables[-1], line)
        elif line:
            tables[-1].notes.append(line)
    return Report(title, lines, tables)


def _add_markdown_row(table: Table, line: str) -> None:
    """Add a line of a Markdown table to what was read of it: its header, or a row; the rule between them is skipped."""
    if line.startswith("|--"):
        return
    cells = []
    for cell in line.strip("|").split("|"):
        cells.append(cell.strip())
    if table.header:
        table.rows.append(cells)
    else:
        table.header.extend(cells)


def latex(document: Report) -> str:
    """A `table` environment for each table, for documents that use booktabs."""
    return "\n\n".join(map(_latex_table, document.tables)) + "\n"


def _latex_table(table: Table) -> str:
    """A table in LaTeX, its title and notes as caption."""
    columns = "l" + "r" * (len(table.header) - 1)
    caption = _tex(" ".join([f"{table.title}.", *table.notes]))
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\toprule", _latex_row(table.header), r"\midrule", *map(_latex_row, table.rows), r"\bottomrule"]
    lines += [r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}"]
    return "\n".join(lines)


def _latex_row(row: Sequence[str]) -> str:
    r"""Cells as a line of a `tabular`: ``a & b \\``."""
    return " & ".join(map(_tex, row)) + r" \\"


def _tex(text: str) -> str:
    """A text with TeX's special characters escaped, and the symbols of our tables as mathematics."""
    escapes = (("\\", r"\textbackslash "), ("&", r"\&"), ("%", r"\%"), ("_", r"\_"), ("#", r"\#"))
    for plain, escaped in escapes:  # the backslash first: the other escapes contain one
        text = text.replace(plain, escaped)
    return text.replace("±", r"$\pm$").replace("−", "$-$").replace("λ", r"$\lambda$").replace("ε", r"$\varepsilon$")


def comma_separated(document: Report) -> str:
    """All tables as CSV, one below the other, each row led by its table's title; without notes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for table in document.tables:
        for row in [table.header, *table.rows]:
            writer.writerow([table.title, *row])
    return out.getvalue()


def html(document: Report) -> str:
    """One page in the language of the output that needs nothing else: no script, no font, no picture from elsewhere."""
    document = in_output_language(document)
    lines = ""
    for line in document.lines:
        lines += f"<p>{escape(line)}</p>\n"
    title = escape(document.title)
    return (
        f'<!doctype html>\n<html lang="{output_language()}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f'<style>{STYLE}</style>\n</head>\n<body>\n<main class="report">\n<h1>{title}</h1>\n{lines}'
        f"{html_parts(document)}\n</main>\n</body>\n</html>\n"
    )


def html_parts(document: Report) -> str:
    """The tables and figures alone, for a page that has its frame and `TABLE_STYLE`."""
    return "\n".join(map(_html_part, document.parts))


def _html_part(part: Table | Figure) -> str:
    """A heading, and the drawing or the table with its notes."""
    heading = f"<h2>{escape(part.title)}</h2>\n"
    if isinstance(part, Figure):
        return heading + part.svg
    head = ""
    for cell in part.header:
        head += f'<th scope="col">{escape(cell)}</th>'
    rows = "\n".join(map(_html_row, part.rows))
    notes = ""
    for note in part.notes:
        notes += f'<p class="note">{escape(note)}</p>\n'
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    # tabindex and role: a wide table can be scrolled by keyboard, and a screen reader names it
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(part.title)}">{table}</div>'
    return f"{heading}{box}\n{notes}"


def _html_row(row: Sequence[str]) -> str:
    """Cells as a row of an HTML table."""
    return f"<tr>{''.join(map(_html_cell, row))}</tr>"


def _html_cell(cell: str) -> str:
    """A cell of an HTML table: words may wrap; numbers, intervals and empty cells stay on one line."""
    kind = ' class="words"' if cell[:1].isalpha() else ""
    return f"<td{kind}>{escape(cell)}</td>"


# the suffix of `kdda report --out` → the function that writes the form
FORMS: dict[str, Callable[[Report], str]] = {".md": markdown, ".tex": latex, ".csv": comma_separated, ".html": html}
