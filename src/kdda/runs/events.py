"""metrics.jsonl: one event a line, in the order in which they happened.

Every event has `event`, its kind, and `seconds`, the training time so far over all sittings. Kinds:

- ``task``: the task's name, its main `metric`, the `scores` of a table, and per language the sizes of the training
  data; from it a report knows how to score a row (`row_score`) and what to break scores down by (`breakdown`);
- ``train``, ``step``, ``dev``: terms of the loss by language, the optimizer's state, scores of an evaluation;
- ``final-teacher``: a teacher's scores on the development rows of its language, and its `training_seconds`;
- ``final-dev``, ``final-test``: the selected model's scores by language;
- ``final-cost``: the peak memory of the process;
- ``system``: how an open-domain system answers (`kdda.report.open_domain`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def event_line(event: Mapping[str, Any]) -> str:
    """An event as one line of metrics.jsonl.

    >>> event_line({"event": "step", "step": 1})
    '{"event": "step", "step": 1}\\n'
    """
    return json.dumps(event, ensure_ascii=False) + "\n"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The events of a metrics file, in order; a last line cut by a kill is skipped."""
    if not path.is_file():
        return []
    whole_lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in whole_lines if line.endswith("}")]
