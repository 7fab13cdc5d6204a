"""Systems of a recipe, scored on its test rows: with the passage given, and among all passages of the language."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from kdda.baselines.vireader import reader_of
from kdda.data.examples import Example, Question
from kdda.errors import KddaError
from kdda.inference.predictor import load
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.metrics.significance import standard_error
from kdda.recipe.schema import Recipe, System
from kdda.report.open_domain import CLOSED, OPEN, SystemRun, find_systems, systems_tables
from kdda.report.render import to_markdown
from kdda.retrieval.index import Index, IndexSettings, Writer
from kdda.retrieval.open_domain import ReadPassage, answers, read_passages
from kdda.retrieval.passages import Document
from kdda.retrieval.pipeline import make_retriever
from kdda.runs.folder import ENVIRONMENT, METRICS, MODEL_FOLDER, PREDICTIONS, RECIPE, SYSTEMS, Run, is_complete
from kdda.runtime.files import write_atomically
from kdda.runtime.progress import Say
from kdda.text.segment import SEGMENTERS

RECALLS = (1, 5, 10)


Read = Sequence[Sequence[ReadPassage]]

Choice = tuple[int, float]  # passages that are read, and μ


@dataclass(frozen=True)
class Questions:
    """Questions whose passages are documents of the corpus."""

    examples: Sequence[Question]
    documents: Mapping[str, str]  # a passage → its document's id

    def rank(self, at: int, read: Sequence[ReadPassage]) -> int | None:
        """At which place the passage stands that holds an answer of question `at`, from 1; None where it is not."""
        own = self.examples[at]
        document = self.documents[own.texts[1]]
        for rank, passage in enumerate(read, 1):
            found = passage.hit.passage
            if found.document == document and any(found.start <= gold.start < found.end for gold in own.answers):
                return rank
        return None


class Comparison:
    """All systems of a recipe at all seeds that its arms have run.

    Args:
        runs: of the arms, at their chosen learning rates.
        splits: the target language's development and test rows, as the runs saw them.
        corpus: examples whose contexts make up the passages to search.
    """

    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        runs: Sequence[Run],
        splits: Mapping[str, Sequence[Example]],
        corpus: Iterable[Example],
        say: Say = print,
    ):
        self.recipe, self.out, self.runs, self.say = recipe, out, runs, say
        self.documents = {text: f"p{i:05}" for i, text in enumerate(dict.fromkeys(own.texts[1] for own in corpus))}
        self.splits = {name: Questions(_questions(rows), self.documents) for name, rows in splits.items()}
        self.index = lru_cache(1)(self._index)  # made when the first system needs it

    def run(self) -> None:
        """Score every system whose folder is not finished yet, or whose reader was made anew since.

        Raises:
            KddaError: a folder that holds another recipe's system.
        """
        read = lru_cache(2)(self._read)  # systems of one reader and one retriever read the same passages
        for run in sorted(self.runs, key=lambda own: (own.seed, own.arm)):
            for name, system in self.recipe.systems.items():
                folder = self.out / SYSTEMS / name / f"seed-{run.seed}"
                if system.arm == run.arm and not self._is_done(folder, name, run):
                    self._score(folder, name, run, read(run.folder, system.retriever, max(system.passages)))

    def tables(self) -> str:
        """The systems' table, from their folders alone."""
        seeds = {run.seed for run in self.runs}
        found: list[SystemRun] = [own for own in find_systems(self.out / SYSTEMS) if own.seed in seeds]
        return "\n".join(f"{own.title}\n\n{to_markdown(own)}" for own in systems_tables(found, [*self.recipe.systems]))

    def _index(self) -> Index:
        """All passages of the language, indexed once for these contexts and settings."""
        target, retrievers = self.recipe.target, {own.retriever for own in self.recipe.systems.values()}
        dense = self.recipe.student.model if retrievers - {"bm25"} else ""
        settings = IndexSettings(segmenter=target if target in SEGMENTERS else "none", dense=dense)
        key = sha256(json.dumps([settings.model_dump(), *self.documents], ensure_ascii=False).encode()).hexdigest()
        folder = self.out / SYSTEMS / f"index-{target}-{key[:12]}"
        if not (folder / "index.json").is_file():
            built = Writer(folder, settings).build(Document(name, text) for text, name in self.documents.items())
            self.say(f"  systems: {built} → {folder}")
        return Index.open(folder)

    def _read(self, run: Path, retriever: str, passages: int) -> dict[str, Read]:
        """What a run's reader finds in the passages of all development and test questions."""
        own = make_retriever(retriever, self.index())
        reader = reader_of(load(run / MODEL_FOLDER, precision=self.recipe.training.precision))
        found: dict[str, Read] = {}
        for name in ("dev", "test"):
            asked = [example.texts[0] for example in self.splits[name].examples]
            self.say(f"  {run}: {name}, {len(asked)} questions × {passages} passages by {retriever}")
            found[name] = read_passages(own, reader, asked, passages, max(RECALLS))
        return found

    def _said(self, name: str, run: Run) -> str:
        cell = self.recipe.cell(run.arm, run.seed, run.learning_rate)
        return cell.model_copy(update={"systems": {name: self.recipe.systems[name]}}).to_yaml()

    def _is_done(self, folder: Path, name: str, run: Run) -> bool:
        if not is_complete(folder):
            return False
        here, there = (yaml.safe_load(own) for own in (self._said(name, run), (folder / RECIPE).read_text("utf-8")))
        changed = [
            key for key in here if here[key] != there.get(key) and key not in ("name", "note", "teacher_cache_gb")
        ]
        if changed:
            raise KddaError(f"{folder} holds a system of another recipe ({', '.join(changed)}); choose another --out")
        (done,) = [own for own in find_systems(folder) if own.folder == folder]
        return bool(done.chosen.get("reader") == _fingerprint(run))

    def _score(self, folder: Path, name: str, run: Run, read: Mapping[str, Read]) -> None:
        started = time.perf_counter()
        system, target = self.recipe.systems[name], self.recipe.target
        grid = {choice: self._f1(choice, read["dev"]) for choice in choices(system)}
        passages, mu = max(grid, key=lambda own: (grid[own], -own[0], own[1]))
        rows = {CLOSED: _closed_rows(run, target), OPEN: self._rows("test", (passages, mu), read["test"])}
        chosen = {
            "arm": run.arm,
            "retriever": system.retriever,
            "passages": passages,
            "mu": mu,
            "corpus": len(self.index()),
            "reader": _fingerprint(run),
            "grid": [[n, share, round(found, 3)] for (n, share), found in grid.items()],
        }
        events = [{"event": "system", **chosen}]
        dev = self._rows("dev", (passages, mu), read["dev"])
        events.append({"event": "final-dev", "language": target, "setting": OPEN, **scores_of(dev)})
        events += [
            {"event": "final-test", "language": target, "setting": setting, **scores_of(own)}
            for setting, own in rows.items()
        ]
        events.append({"event": "final-cost", "seconds": round(time.perf_counter() - started, 3)})
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / RECIPE, self._said(name, run))
        write_atomically(folder / ENVIRONMENT, (run.folder / ENVIRONMENT).read_text(encoding="utf-8"))
        write_atomically(folder / METRICS, _lines(events))
        write_atomically(folder / PREDICTIONS, _lines({"setting": s, **row} for s, own in rows.items() for row in own))
        self.say(f"  {name}, seed {run.seed}: open f1 {events[-2]['f1']:.1f}, {passages} passages, μ = {mu:g}")

    def _f1(self, choice: Choice, read: Read) -> float:
        return fmean(row["f1"] for row in self._rows("dev", choice, read))

    def _rows(self, split: str, choice: Choice, read: Read) -> list[dict[str, Any]]:
        """What a system answers, held against the golds."""
        questions = self.splits[split]
        return [
            self._row(own, questions.rank(at, found), answers(found[: choice[0]], choice[1]))
            for at, (own, found) in enumerate(zip(questions.examples, read, strict=True))
        ]

    def _row(self, own: Question, rank: int | None, found: Sequence[Any]) -> dict[str, Any]:
        golds, language = [gold.text for gold in own.answers], self.recipe.target
        text = found[0].answer if found else ""
        where = dict(zip(("document", "start", "end"), found[0].place, strict=True)) if found else {}
        return {
            "language": language,
            "id": own.id,
            "group": own.group,
            "golds": golds,
            "predicted": text,
            **where,
            "probability": round(found[0].score, 6) if found else 0.0,
            "exact_match": best_over_golds(exact_match, text, golds, language),
            "f1": best_over_golds(answer_f1, text, golds, language),
            "gold_rank": rank,
        }


def choices(system: System) -> list[Choice]:
    """What is tried on the development rows."""
    return [(passages, mu) for passages in system.passages for mu in system.mu]


def scores_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores in per cent; recall where rows say at which place their passage was found.

    A question without an answer has no passage to be found, and is not counted there.
    """
    found: dict[str, Any] = {"rows": len(rows)}
    found |= {name: 100 * fmean(row[name] for row in rows) for name in ("exact_match", "f1")}
    found["standard_error"] = standard_error([100 * row["f1"] for row in rows])
    ranks = [row["gold_rank"] for row in rows if "gold_rank" in row and row["golds"]]
    if ranks:
        found |= {f"recall@{k}": 100 * fmean(rank is not None and rank <= k for rank in ranks) for k in RECALLS}
    return found


def _questions(rows: Sequence[Example]) -> list[Question]:
    return [own for own in rows if isinstance(own, Question)]


def _closed_rows(run: Run, language: str) -> list[dict[str, Any]]:
    """A run's own test rows: with one passage that is given, retrieval has no say."""
    rows = (json.loads(line) for line in (run.folder / PREDICTIONS).read_text(encoding="utf-8").split("\n") if line)
    return [row for row in rows if row["language"] == language]


def _fingerprint(run: Run) -> str:
    return sha256((run.folder / PREDICTIONS).read_bytes()).hexdigest()[:16]


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
