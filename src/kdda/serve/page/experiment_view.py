"""The Experiment tab's contents as HTML: an experiment's state and runs, its plan, the link to a student's zip."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from kdda.errors import KddaError
from kdda.report.render import Report, Table, html_parts, read_markdown
from kdda.runs.folder import METRICS, PREDICTIONS, Run, read_run
from kdda.runs.listing import BROKEN, FAILED, FINISHED, RUNNING, STOPPED, RunEntry
from kdda.serve import experiments
from kdda.serve.experiments import State
from kdda.serve.page.markup import TEMPLATE, message, plain
from kdda.serve.page.words import Words

STUDENT_ROUTE = "/student.zip"  # where a student is downloaded, with its name as the parameter `name`

REDRAW_SECONDS = 30.0  # of a training, after which its curves are drawn again

SHOWN_FINGERPRINT = 4  # characters of a teacher's fingerprint, which tells teachers of one language apart

NOTES = ("WARNING", "MISSING", "THIẾU")  # how lines of a plan begin that a reader must not overlook, in either language


def state_html(state: State, words: Words) -> str:
    """What an experiment does, its runs with their progress, and the last lines of its log.

    The first line alone is announced by screen readers when it changes: the rest changes all the time.
    """
    finished = 0
    rows = []
    for entry in state.entries:
        if entry.state == FINISHED and not entry.is_teacher:
            finished += 1
        rows.append(_run_row(entry, words))
    html = message(_state_line(state, words))
    if rows:
        counted = words.runs_finished_of if state.planned else words.runs_finished
        html += f"<p>{plain(counted.format(done=finished, planned=state.planned))}</p>"
        header = [words.run, words.state, words.progress, words.score]
        html += f'<div class="runs">{_tables([Table(words.run_list, header, rows)])}</div>'
    if state.tail:
        log = f'<pre class="log" tabindex="0">{plain(state.tail)}</pre>'
        is_open = " open" if state.kind == experiments.FAILED else ""
        html += f"<details{is_open}><summary>{plain(words.output)}</summary>{log}</details>"
    return html


def _state_line(state: State, words: Words) -> str:
    """What an experiment does, in a sentence."""
    sentences = {
        experiments.NEW: words.new,
        experiments.RUNNING: words.running,
        experiments.STOPPING: words.stopping,
        experiments.ELSEWHERE: words.elsewhere,
        experiments.FINISHED: words.finished,
        experiments.STOPPED: words.stopped,
        experiments.FAILED: words.failed,
    }
    facts = {"started": "", "ended": "", "code": ""}
    if state.record is not None:
        facts = {"started": state.record.started, "ended": state.record.ended, "code": str(state.record.exit_code)}
    return sentences[state.kind].format(**facts)


def _run_row(entry: RunEntry, words: Words) -> list[str]:
    """A run's name, state, progress and score, as a row of the table."""
    states = {
        FINISHED: words.run_finished,
        RUNNING: words.run_running,
        STOPPED: words.run_stopped,
        FAILED: words.run_failed,
        BROKEN: words.run_broken,
    }
    name = f"{entry.folder.parent.name}/{entry.folder.name}"
    if entry.is_teacher:
        language, _, fingerprint = entry.folder.name.rpartition("-")
        name = words.teacher_run.format(name=f"{language} ({fingerprint[:SHOWN_FINGERPRINT]})")
    return [name, states[entry.state], _progress(entry, words), entry.score]


def _progress(entry: RunEntry, words: Words) -> str:
    """How far a run is: its share and the time left of one that runs, else what the listing says of it."""
    if entry.state == FINISHED:
        return "100%"
    if entry.state not in (RUNNING, STOPPED) or entry.is_teacher:
        return entry.detail
    try:
        run = read_run(entry.folder)
    except KddaError:
        return entry.detail
    share = progress_of(run)
    if not share:
        return entry.detail
    text = f"{share:.0%}"
    if entry.state == RUNNING:
        seconds = run.seconds * (1 - share) / share
        text = words.remaining.format(share=text, minutes=f"{max(1, round(seconds / 60)):,}")
    return text


def progress_of(run: Run) -> float:
    """The part of a run's training that is done, from 0 to 1: its last epoch of those that its recipe asks for."""
    epochs = (run.arm_settings.get("training") or {}).get("epochs") or run.recipe.get("training", {}).get("epochs")
    for event in reversed(run.events):
        epoch = event.get("epoch")
        if isinstance(epoch, int | float) and isinstance(epochs, int) and epochs > 0:
            return min(1.0, epoch / epochs)
    return 0.0


def plan_html(markdown: str) -> str:
    """A plan as `kdda plan` prints it: its lines, with warnings marked, and its tables."""
    plan = read_markdown(markdown)
    html = f'<h2 role="status">{plain(plan.title)}</h2>'
    for line in plan.lines:
        kind = ' class="warning"' if line.startswith(NOTES) else ""
        html += f"<p{kind}>{plain(line)}</p>"
    return f'<div class="plan">{html}{_tables(plan.tables)}</div>'


def download_html(student: str, words: Words) -> str:
    """The link by which a student is downloaded."""
    address = f"{STUDENT_ROUTE[1:]}?name={quote(student, safe='')}"
    return f'<p><a class="download" href="{plain(address)}" download>{plain(words.download)}</a></p>'


def _tables(tables: list[Table]) -> str:
    """Tables as HTML, in the report's style."""
    return f'<div class="report">{html_parts(Report("", [], tables)).translate(TEMPLATE)}</div>'


def signature(folder: Path) -> str:
    """What changes with the results of an output folder: with a finished run, and every half minute of training."""
    finished = len(list(folder.rglob(PREDICTIONS)))
    newest = 0.0
    for path in folder.rglob(METRICS):
        with suppress(OSError):  # it has gone
            newest = max(newest, path.stat().st_mtime)
    return f"{finished} {newest // REDRAW_SECONDS:.0f}"
