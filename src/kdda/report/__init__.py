"""What run folders say, read from the folders alone; nothing here imports torch."""

from kdda.report.document import Document, Table, markdown, to_markdown
from kdda.report.page import report, write_report
from kdda.report.runs import Run, find_runs, read_metrics, read_run
from kdda.report.selection import listening, select_rates
from kdda.report.tables import comparison

__all__ = [
    "Document",
    "Run",
    "Table",
    "comparison",
    "find_runs",
    "listening",
    "markdown",
    "read_metrics",
    "read_run",
    "report",
    "select_rates",
    "to_markdown",
    "write_report",
]
