"""What run folders say, read from the folders alone; nothing here imports torch."""

from kdda.report.document import Document, Table, markdown, to_markdown
from kdda.report.page import report, write_report
from kdda.report.runs import Run, find_runs, read_metrics, read_run
from kdda.report.selection import listening, select_rates
from kdda.report.systems import SystemRun, find_systems, systems_tables
from kdda.report.tables import comparison

__all__ = [
    "Document",
    "Run",
    "SystemRun",
    "Table",
    "comparison",
    "find_runs",
    "find_systems",
    "listening",
    "markdown",
    "read_metrics",
    "read_run",
    "report",
    "select_rates",
    "systems_tables",
    "to_markdown",
    "write_report",
]
