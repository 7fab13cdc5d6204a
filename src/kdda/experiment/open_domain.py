"""Systems of a recipe, scored on its test rows: with the passage given, and among all passages of the language."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import product, starmap
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from kdda.baselines.vireader import reader_of
from kdda.data.examples import Example, Question
from kdda.errors import KddaError
from kdda.inference.predictor import load
from kdda.metrics.answers import answer_f1, best_over_golds, exact_match
from kdda.metrics.significance import standard_error
from kdda.recipe.schema import Recipe, System
from kdda.report.open_domain import CLOSED, OPEN, find_systems, read_system, systems_tables
from kdda.report.render import to_markdown
from kdda.retrieval.index import MANIFEST, VERSION, Index, IndexSettings
from kdda.retrieval.open_domain import CorpusAnswer, ReadPassage, best_answers, read_passages
from kdda.retrieval.passages import Document, Passage
from kdda.retrieval.registry import RETRIEVERS, check_retriever, open_retriever
from kdda.retrieval.writer import IndexWriter
from kdda.runs.events import event_line
from kdda.runs.folder import ENVIRONMENT, METRICS, MODEL_FOLDER, PREDICTIONS, RECIPE, SYSTEMS, Run, is_complete
from kdda.runs.predictions import read_predictions
from kdda.runtime.files import write_atomically
from kdda.runtime.progress import Say
from kdda.text.segment import SEGMENTERS

RECALLS = (1, 5, 10)

NO_RESULT = ("name", "note", "teacher_cache_gb")  # fields of a recipe that change no result

PassagesByQuestion = Sequence[Sequence[ReadPassage]]


class Choice(NamedTuple):
    """How a system answers: how many passages it reads, and the reader's weight μ."""

    passages: int
    mu: float


@dataclass(frozen=True)
class Questions:
    """Questions whose passages are documents of the corpus.

    Attributes:
        documents: passage → the id of its document.
    """

    examples: Sequence[Question]
    documents: Mapping[str, str]

    @property
    def texts(self) -> list[str]:
        """The questions alone."""
        texts = []
        for question in self.examples:
            texts.append(question.texts[0])
        return texts

    def rank(self, number: int, passages: Sequence[ReadPassage]) -> int | None:
        """The rank, from 1, of the first passage that contains a gold answer of a question; `None` without one."""
        question = self.examples[number]
        document = self.documents[question.texts[1]]
        for rank, read in enumerate(passages, 1):
            passage = read.hit.passage
            if passage.document == document and _contains_gold(passage, question):
                return rank
        return None


def _contains_gold(passage: Passage, question: Question) -> bool:
    return any(passage.start <= gold.start < passage.end for gold in question.answers)


def check_systems(recipe: Recipe) -> None:
    """Refuse systems whose retriever is not registered, or does not take their options.

    Raises:
        KddaError: with the field of the recipe.
    """
    for name, system in recipe.systems.items():
        check_retriever(system.retriever, system.retriever_options, f"systems.{name}.retriever")


class SystemsEvaluation:
    """All systems of a recipe at all seeds that its arms have run.

    Args:
        out: the folder of runs; systems go to `out`/systems.
        runs: of the arms, at their chosen learning rates.
        splits: the target language's development and test rows, as the runs saw them.
        corpus: examples whose contexts are the passages to search.
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
        self.recipe = recipe
        self.out = out
        self.runs = runs
        self.say = say
        self.documents = _documents(corpus)
        self.splits: dict[str, Questions] = {}
        for name, rows in splits.items():
            self.splits[name] = Questions(_questions(rows), self.documents)
        self.index = lru_cache(1)(self._open_index)  # made when the first system needs it

    def run(self) -> None:
        """Score every system whose folder is not complete, or whose reader was trained again since.

        Raises:
            KddaError: a folder that holds another recipe's system.
        """
        read = lru_cache(2)(self._read)  # systems of one reader and one retriever read the same passages
        for run in sorted(self.runs, key=lambda run: (run.seed, run.arm)):
            for name, system in self.recipe.systems.items():
                folder = self.out / SYSTEMS / name / f"seed-{run.seed}"
                if system.arm == run.arm and not self._is_done(folder, name, run):
                    options = json.dumps(system.retriever_options, sort_keys=True)
                    passages = read(run.folder, system.retriever, options, max(system.passages))
                    self._score(folder, name, run, passages)

    def tables(self) -> str:
        """The table of systems, from their folders alone."""
        seeds = set(map(attrgetter("seed"), self.runs))
        system_runs = []
        for system_run in find_systems(self.out / SYSTEMS):
            if system_run.seed in seeds:
                system_runs.append(system_run)
        parts = []
        for table in systems_tables(system_runs, [*self.recipe.systems]):
            parts.append(f"{table.title}\n\n{to_markdown(table)}")
        return "\n".join(parts)

    def _open_index(self) -> Index:
        """All passages of the language, indexed once for these contexts and settings."""
        target = self.recipe.target
        segmenter = target if target in SEGMENTERS else "none"
        settings = IndexSettings(segmenter=segmenter, dense=self._dense_model())
        content = json.dumps([VERSION, settings.model_dump(), *self.documents], ensure_ascii=False)
        key = sha256(content.encode()).hexdigest()
        folder = self.out / SYSTEMS / f"index-{target}-{key[:12]}"
        if not (folder / MANIFEST).is_file():
            documents = (Document(name, text) for text, name in self.documents.items())
            summary = IndexWriter(folder, settings).build(documents)
            self.say(f"  systems: {summary} → {folder}")
        return Index.open(folder)

    def _dense_model(self) -> str:
        """The model whose vectors the index holds: the recipe's student, if a retriever needs vectors."""
        for system in self.recipe.systems.values():
            if RETRIEVERS[system.retriever].needs_vectors:
                return self.recipe.student.model
        return ""

    def _read(self, run: Path, name: str, options: str, passages: int) -> dict[str, PassagesByQuestion]:
        """The passages of all development and test questions, read by the model of a run.

        Args:
            name, options: of the retriever; options as JSON.
            passages: how many are read for a question.
        """
        retriever = open_retriever(name, self.index(), json.loads(options))
        reader = reader_of(load(run / MODEL_FOLDER, precision=self.recipe.training.precision))
        read: dict[str, PassagesByQuestion] = {}
        for split in ("dev", "test"):
            questions = self.splits[split].texts
            self.say(f"  {run}: {split}, {len(questions)} questions × {passages} passages by {name}")
            read[split] = read_passages(retriever, reader, questions, passages, max(RECALLS))
        return read

    def _resolved(self, name: str, run: Run) -> str:
        """What a system's folder stores as its recipe.yaml."""
        recipe = self.recipe.of_run(run.arm, run.seed, run.learning_rate)
        return recipe.model_copy(update={"systems": {name: self.recipe.systems[name]}}).to_yaml()

    def _is_done(self, folder: Path, name: str, run: Run) -> bool:
        if not is_complete(folder):
            return False
        expected = yaml.safe_load(self._resolved(name, run))
        stored = yaml.safe_load((folder / RECIPE).read_text("utf-8"))
        with suppress(ValidationError):  # fields that are newer than the folder have their defaults
            stored = yaml.safe_load(Recipe.model_validate(stored).to_yaml())
        changed = []
        for key, value in expected.items():
            if value != stored.get(key) and key not in NO_RESULT:
                changed.append(key)
        if changed:
            raise KddaError(f"{folder} holds a system of another recipe ({', '.join(changed)}); choose another --out")
        return bool(read_system(folder).chosen.get("reader") == _predictions_digest(run))

    def _score(self, folder: Path, name: str, run: Run, read: Mapping[str, PassagesByQuestion]) -> None:
        """Choose on the development rows how a system answers, score it on the test rows, and write its folder."""
        started = time.perf_counter()
        system = self.recipe.systems[name]
        grid = self._grid(system, read["dev"])
        choice = max(grid, key=lambda choice: (grid[choice], -choice.passages, choice.mu))
        event = self._system_event(system, run, choice, grid)
        rows = {  # with the passage given there is nothing to retrieve: closed rows are the run's
            CLOSED: read_predictions(run.folder, self.recipe.target),
            OPEN: self._rows("test", choice, read["test"]),
        }
        events = [event, self._scores_event("final-dev", OPEN, self._rows("dev", choice, read["dev"]))]
        for setting, setting_rows in rows.items():
            events.append(self._scores_event("final-test", setting, setting_rows))
        events.append({"event": "final-cost", "seconds": round(time.perf_counter() - started, 3)})
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / RECIPE, self._resolved(name, run))
        write_atomically(folder / ENVIRONMENT, (run.folder / ENVIRONMENT).read_text(encoding="utf-8"))
        write_atomically(folder / METRICS, _lines(events))
        write_atomically(folder / PREDICTIONS, _lines(_with_settings(rows)))
        f1 = events[-2]["f1"]
        self.say(f"  {name}, seed {run.seed}: open f1 {f1:.1f}, {choice.passages} passages, μ = {choice.mu:g}")

    def _grid(self, system: System, read: PassagesByQuestion) -> dict[Choice, float]:
        """The F1 of every choice on the development rows."""
        grid = {}
        for choice in choices(system):
            grid[choice] = _mean(self._rows("dev", choice, read), "f1")
        return grid

    def _scores_event(self, event: str, setting: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"event": event, "language": self.recipe.target, "setting": setting, **scores_of(rows)}

    def _system_event(self, system: System, run: Run, choice: Choice, grid: Mapping[Choice, float]) -> dict[str, Any]:
        """How a system answers, and what was tried on the development rows."""
        tried = []
        for (passages, mu), f1 in grid.items():
            tried.append([passages, mu, round(f1, 3)])
        return {
            "event": "system",
            "arm": run.arm,
            "retriever": system.retriever,
            "passages": choice.passages,
            "mu": choice.mu,
            "corpus": len(self.index()),
            "reader": _predictions_digest(run),
            "grid": tried,
        }

    def _rows(self, split: str, choice: Choice, read: PassagesByQuestion) -> list[dict[str, Any]]:
        """The predictions of a system on a split, scored."""
        questions = self.splits[split]
        rows = []
        for number, (question, passages) in enumerate(zip(questions.examples, read, strict=True)):
            answers = best_answers(passages[: choice.passages], choice.mu)
            rows.append(self._row(question, questions.rank(number, passages), answers))
        return rows

    def _row(self, question: Question, rank: int | None, answers: Sequence[CorpusAnswer]) -> dict[str, Any]:
        language = self.recipe.target
        golds = [gold.text for gold in question.answers]
        text = ""
        score = 0.0
        place: dict[str, Any] = {}
        if answers:
            text = answers[0].answer
            score = answers[0].score
            place = dict(zip(("document", "start", "end"), answers[0].place, strict=True))
        return {
            "language": language,
            "id": question.id,
            "group": question.group,
            "golds": golds,
            "predicted": text,
            **place,
            "probability": round(score, 6),
            "exact_match": best_over_golds(exact_match, text, golds, language),
            "f1": best_over_golds(answer_f1, text, golds, language),
            "gold_rank": rank,
        }


def _documents(corpus: Iterable[Example]) -> dict[str, str]:
    """Every context of some examples, once, with the id of its document."""
    documents: dict[str, str] = {}
    for example in corpus:
        context = example.texts[1]
        if context not in documents:
            documents[context] = f"p{len(documents):05}"
    return documents


def choices(system: System) -> list[Choice]:
    """What is tried on the development rows."""
    return list(starmap(Choice, product(system.passages, system.mu)))


def scores_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Scores in per cent; recall where rows have the rank of their gold passage.

    A question without an answer has no passage to be retrieved, and does not count for recall.
    """
    scores: dict[str, Any] = {"rows": len(rows)}
    for name in ("exact_match", "f1"):
        scores[name] = 100 * _mean(rows, name)
    f1s, ranks = [], []
    for row in rows:
        f1s.append(100 * row["f1"])
        if "gold_rank" in row and row["golds"]:
            ranks.append(row["gold_rank"])
    scores["standard_error"] = standard_error(f1s)
    if ranks:
        for k in RECALLS:
            scores[f"recall@{k}"] = _recall(ranks, k)
    return scores


def _mean(rows: Sequence[Mapping[str, Any]], score: str) -> float:
    return fmean(row[score] for row in rows)


def _recall(ranks: Sequence[int | None], k: int) -> float:
    """The share of ranks up to k, in per cent."""
    return 100 * fmean(rank is not None and rank <= k for rank in ranks)


def _questions(rows: Sequence[Example]) -> list[Question]:
    questions = []
    for row in rows:
        if isinstance(row, Question):
            questions.append(row)
    return questions


def _predictions_digest(run: Run) -> str:
    """What tells a run from one that was made again: its test predictions."""
    return sha256((run.folder / PREDICTIONS).read_bytes()).hexdigest()[:16]


def _with_settings(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of each setting with its name."""
    lines = []
    for setting, setting_rows in rows.items():
        for row in setting_rows:
            lines.append({"setting": setting, **row})
    return lines


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(map(event_line, rows))
