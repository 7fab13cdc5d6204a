"""One piece of work in a process of its own, with its order on standard input."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from kdda.errors import Interrupted, KddaError
from kdda.experiment.context import RunContext, say
from kdda.experiment.specs import RunSpec, StudentRun, TeacherRun
from kdda.recipe.schema import Recipe, TeacherSpec
from kdda.runs.folder import FAILURE
from kdda.runtime import distributed
from kdda.runtime.memory import free_bytes
from kdda.runtime.plugins import import_plugins

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

LITTLE = 16 * 2**20  # bytes free, at which a failed write is put down to a full disk


def run_one(context: RunContext, work: RunSpec) -> str | None:
    """Do a piece of work; why it failed, in a line, if it did. What it left is continued the next time."""
    try:
        context.do(work)
    except (Interrupted, KeyboardInterrupt):
        raise
    except Exception as error:  # whatever it is, other work goes on
        if distributed.size() > 1:  # unless ranks would wait for the one that failed: their launcher ends them all
            raise
        why = _reason(error, context.out)
        context.say(f"  {work}: FAILED: {why}")
        if isinstance(work, StudentRun):
            with suppress(OSError):
                folder = work.folder(context.out, context.task.name)
                (folder / FAILURE).write_text(f"{why}\n\n{traceback.format_exc()}", encoding="utf-8")
        return why
    return None


def _reason(error: Exception, out: Path) -> str:
    if isinstance(error, KddaError):
        return str(error)
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    told = re.search(r"os error (\d+)", said)  # how safetensors names what the system said
    code = error.errno if isinstance(error, OSError) else int(told[1]) if told else None
    if code in FULL or free_bytes(out) < LITTLE:
        return f"the disk of {out} took no more ({said}); make room, and the same command goes on"
    return said


def to_json(context: RunContext, work: RunSpec) -> dict[str, Any]:
    """A piece of work and all that it needs, as JSON."""
    own = {"language": work.language, "spec": work.spec.model_dump()} if isinstance(work, TeacherRun) else vars(work)
    recipe = context.recipe.model_dump(by_alias=True)
    out, folder = str(context.out.absolute()), str(Path.cwd())
    return {"recipe": recipe, "out": out, "folder": folder, "work": own}


def from_json(order: dict[str, Any]) -> tuple[RunContext, RunSpec]:
    """The same piece of work in another process, with its rows read there."""
    recipe, own = Recipe.model_validate(order["recipe"]), order["work"]
    import_plugins(recipe.plugins, Path(order["folder"]))
    console = Console(stderr=True)
    context = RunContext.open(recipe, Path(order["out"]), lambda text: say(console, text))
    if "spec" in own:
        return context, TeacherRun(own["language"], TeacherSpec.model_validate(own["spec"]))
    return context, StudentRun(**own)


def main() -> None:
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        why = run_one(*from_json(order))
    except (Interrupted, KeyboardInterrupt) as stopped:
        why = str(stopped) or "stopped"
    print(json.dumps({"failed": why}))


def _leave_with_parent() -> None:
    """Standard input ends when the parent does, however it was killed; an orphan would hold the locks."""
    sys.stdin.read()
    os._exit(1)
