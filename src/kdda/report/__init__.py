"""What run folders say, read from the folders alone; nothing here imports torch."""

from kdda.report.runs import Run, find_runs, read_metrics, read_run
from kdda.report.tables import comparison, to_markdown

__all__ = ["Run", "comparison", "find_runs", "read_metrics", "read_run", "to_markdown"]
