"""Evaluation of a recipe's open-domain systems: passages read and weight μ chosen on dev rows, recall@1, 5, 10."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
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
from kdda.runtime.numbers import count_of
from kdda.runtime.progress import Say
from kdda.runtime.wording import worded
from kdda.text.segmenters import SEGMENTERS

RECALL_DEPTHS = (1, 5, 10)  # every k for which recall@k is measured

WITHOUT_EFFECT_ON_SYSTEMS = ("name", "note", "teacher_cache_gb")  # fields of a recipe that change no result of a system

PassagesByQuestion = Sequence[Sequence[ReadPassage]]  # of each question the passages that were read, best first


class AnswerParameters(NamedTuple):
    """What is chosen on the development rows: the number of passages that are read, and the reader's weight μ.

    An answer's score is μ·reader + (1 − μ)·retrieval (`retrieval.open_domain.best_answers`).
    """

    passages: int
    mu: float


@dataclass(frozen=True)
class Questions:
    """Questions of a split whose contexts are documents of the corpus.

    Attributes:
        documents: context → the id of its document.
    """

    examples: Sequence[Question]
    documents: Mapping[str, str]

    @property
    def question_texts(self) -> list[str]:
        """The questions without their contexts."""
        texts = []
        for example in self.examples:
            question, _context = example.texts
            texts.append(question)
        return texts

    def gold_rank(self, number: int, passages: Sequence[ReadPassage]) -> int | None:
        """The rank, from 1, of the first passage that contains a gold answer; `None` where no passage does.

        Args:
            number: of the question, among the examples.
            passages: retrieved for the question, best first.
        """
        example = self.examples[number]
        _question, context = example.texts
        document = self.documents[context]
        for rank, read in enumerate(passages, 1):
            passage = read.hit.passage
            if passage.document == document and _contains_gold_answer(passage, example):
                return rank
        return None


def _contains_gold_answer(passage: Passage, question: Question) -> bool:
    """Whether a gold answer of a question begins in a passage of the question's document."""
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
        splits: the target language's development and test rows ("dev", "test"), as the runs saw them.
        corpus: examples of question answering, whose contexts are the documents to search.

    Attributes:
        documents: context → the id of its document.
        splits: "dev" and "test" → their questions.
        open_index: gives the index of all documents; it is made at the first call.
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
        self.target = recipe.targets[0]  # a recipe with systems has one
        self.out = out
        self.runs = runs
        self.say = say
        self.documents = _document_ids(corpus)
        self.splits: dict[str, Questions] = {}
        for name, rows in splits.items():
            self.splits[name] = Questions(_questions(rows), self.documents)
        self.open_index = lru_cache(1)(self._open_index)

    def run(self) -> None:
        """Score every system whose folder is not complete, or whose reader was trained again since.

        Raises:
            KddaError: a folder that holds another recipe's system.
        """
        # Systems of one reader and one retriever read the same passages: the last two results are kept.
        read_all = lru_cache(2)(self._read_all)
        for run in sorted(self.runs, key=lambda run: (run.seed, run.arm)):
            for name, system in self.recipe.systems.items():
                folder = self.out / SYSTEMS / name / f"seed-{run.seed}"
                if system.arm == run.arm and not self._is_up_to_date(folder, name, run):
                    options = json.dumps(system.retriever_options, sort_keys=True)
                    passages = read_all(run.folder, system.retriever, options, max(system.passages))
                    self._score(folder, name, run, passages)

    def tables(self) -> str:
        """The tables of systems in Markdown, from their folders alone, at the seeds of the runs.

        They show the recipe's systems in its order; folders of systems that it no longer has are left out.
        """
        seeds = {run.seed for run in self.runs}
        system_runs = []
        for system_run in find_systems(self.out / SYSTEMS):
            if system_run.seed in seeds:
                system_runs.append(system_run)
        parts = []
        for table in systems_tables(system_runs, [*self.recipe.systems]):
            parts.append(f"{worded(table.title)}\n\n{to_markdown(table)}")
        return "\n".join(parts)

    def _open_index(self) -> Index:
        """Open the index of all documents; make it first, unless its folder is there.

        The folder's name has a digest of the documents and of all settings that change an index.
        """
        target = self.target
        segmenter = target if target in SEGMENTERS else "none"  # a language's segmenter is named like the language
        settings = IndexSettings(segmenter=segmenter, dense=self._dense_model())
        content = json.dumps([VERSION, settings.model_dump(), *self.documents], ensure_ascii=False)
        key = sha256(content.encode()).hexdigest()
        folder = self.out / SYSTEMS / f"index-{target}-{key[:12]}"
        if not (folder / MANIFEST).is_file():
            documents = (Document(document_id, context) for context, document_id in self.documents.items())
            summary = IndexWriter(folder, settings).build(documents)
            self.say(f"  systems: {summary} → {folder}")
        return Index.open(folder)

    def _dense_model(self) -> str:
        """The model whose vectors the index holds: the recipe's student if a retriever needs vectors, else empty."""
        for system in self.recipe.systems.values():
            if RETRIEVERS[system.retriever].needs_vectors:
                student = self.recipe.student
                if student.from_teacher:
                    return self.recipe.teachers_by_language()[student.from_teacher][0].model
                return student.model
        return ""

    def _read_all(
        self, run_folder: Path, retriever_name: str, options: str, count: int
    ) -> dict[str, PassagesByQuestion]:
        """Retrieve and read passages for all development and test questions.

        Args:
            run_folder: of the run whose model is the reader.
            options: of the retriever, as JSON, so that calls with equal options are equal.
            count: passages that are read for a question; `max(RECALL_DEPTHS)` are retrieved, if these are more.

        Returns:
            "dev" and "test" → the passages of each question.
        """
        retriever = open_retriever(retriever_name, self.open_index(), json.loads(options))
        reader = reader_of(load(run_folder / MODEL_FOLDER, precision=self.recipe.training.precision))
        read: dict[str, PassagesByQuestion] = {}
        for split in ("dev", "test"):
            questions = self.splits[split].question_texts
            what = f"{count_of(len(questions), 'question')} × {count_of(count, 'passage')}"
            self.say(f"  {run_folder}: {split}, {what} by {retriever_name}")
            read[split] = read_passages(retriever, reader, questions, count, max(RECALL_DEPTHS))
        return read

    def _recipe_of_system(self, name: str, run: Run) -> str:
        """What a system's folder stores as its recipe.yaml: the run's recipe and this system alone."""
        recipe = self.recipe.of_run(run.arm, run.seed, run.learning_rate)
        return recipe.model_copy(update={"systems": {name: self.recipe.systems[name]}}).to_yaml()

    def _is_up_to_date(self, folder: Path, name: str, run: Run) -> bool:
        """Whether a system's folder is complete, and was made with the model that the run's folder now holds.

        The folder stores a digest of the test predictions of the run whose model was the reader; a run that was
        trained again since has other predictions.

        Raises:
            KddaError: the folder holds a system of another recipe.
        """
        if not is_complete(folder):
            return False
        self._check_same_recipe(folder, name, run)
        return read_system(folder).reader_digest == _predictions_digest(run)

    def _check_same_recipe(self, folder: Path, name: str, run: Run) -> None:
        """Refuse a folder whose recipe.yaml differs in a field that changes results."""
        expected = yaml.safe_load(self._recipe_of_system(name, run))
        stored = yaml.safe_load((folder / RECIPE).read_text("utf-8"))
        with suppress(ValidationError):  # fields that are newer than the folder have their defaults
            stored = yaml.safe_load(Recipe.model_validate(stored).to_yaml())
        changed = []
        for key, value in expected.items():
            if value != stored.get(key) and key not in WITHOUT_EFFECT_ON_SYSTEMS:
                changed.append(key)
        if changed:
            raise KddaError(f"{folder} holds a system of another recipe ({', '.join(changed)}); choose another --out")

    def _score(self, folder: Path, name: str, run: Run, read: Mapping[str, PassagesByQuestion]) -> None:
        """Choose a system's parameters on the development rows, score it on the test rows, and write its folder.

        Args:
            folder: of the system at the run's seed.
            read: "dev" and "test" → the passages of each question, read by the run's model.
        """
        started = time.perf_counter()
        system = self.recipe.systems[name]
        f1_by_parameters = self._development_f1(system, read["dev"])

        def rank(tried: AnswerParameters) -> tuple[float, int, float]:
            return f1_by_parameters[tried], -tried.passages, tried.mu  # of equal F1, fewest passages; then largest μ

        chosen = max(f1_by_parameters, key=rank)
        event = self._system_event(system, run, chosen, f1_by_parameters)
        rows = {  # with the passage given there is nothing to retrieve: closed rows are the run's
            CLOSED: read_predictions(run.folder, self.target),
            OPEN: self._scored_rows("test", chosen, read["test"]),
        }
        events = [event, self._scores_event("final-dev", OPEN, self._scored_rows("dev", chosen, read["dev"]))]
        for setting, setting_rows in rows.items():
            events.append(self._scores_event("final-test", setting, setting_rows))
        open_f1 = events[-1]["f1"]
        events.append({"event": "final-cost", "seconds": round(time.perf_counter() - started, 3)})
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / RECIPE, self._recipe_of_system(name, run))
        write_atomically(folder / ENVIRONMENT, (run.folder / ENVIRONMENT).read_text(encoding="utf-8"))
        write_atomically(folder / METRICS, _json_lines(events))
        write_atomically(folder / PREDICTIONS, _json_lines(_with_settings(rows)))  # last: it marks completeness
        passages = count_of(chosen.passages, "passage")
        self.say(f"  {name}, seed {run.seed}: open f1 {open_f1:.1f}, {passages}, μ = {chosen.mu:g}")

    def _development_f1(self, system: System, read: PassagesByQuestion) -> dict[AnswerParameters, float]:
        """The mean F1 (0 to 1) on the development rows with each number of passages and each μ that the recipe names.

        Args:
            read: the passages of each development question.
        """
        means = {}
        for passages in system.passages:
            for mu in system.mu:
                tried = AnswerParameters(passages, mu)
                means[tried] = _mean(self._scored_rows("dev", tried, read), "f1")
        return means

    def _scores_event(self, event: str, setting: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """An event of metrics.jsonl with the scores of some rows.

        Args:
            event: "final-dev" or "final-test".
            setting: `CLOSED` or `OPEN`.
        """
        return {"event": event, "language": self.target, "setting": setting, **scores_of(rows)}

    def _system_event(
        self, system: System, run: Run, chosen: AnswerParameters, f1_by_parameters: Mapping[AnswerParameters, float]
    ) -> dict[str, Any]:
        """The event of metrics.jsonl with how a system answers, and what was tried on the development rows."""
        tried = []
        for parameters, f1 in f1_by_parameters.items():
            tried.append([parameters.passages, parameters.mu, round(f1, 3)])
        return {
            "event": "system",
            "arm": run.arm,
            "retriever": system.retriever,
            "passages": chosen.passages,
            "mu": chosen.mu,
            "corpus": len(self.open_index()),
            "reader": _predictions_digest(run),
            "grid": tried,
        }

    def _scored_rows(self, split: str, parameters: AnswerParameters, read: PassagesByQuestion) -> list[dict[str, Any]]:
        """A system's predictions on a split, each with its scores, as predictions.jsonl holds them.

        Args:
            read: the passages of each question of the split; the first ones are used, as many as `parameters` says.
        """
        questions = self.splits[split]
        rows = []
        for number, (question, passages) in enumerate(zip(questions.examples, read, strict=True)):
            answers = best_answers(passages[: parameters.passages], parameters.mu)
            rows.append(self._scored_row(question, questions.gold_rank(number, passages), answers))
        return rows

    def _scored_row(self, question: Question, rank: int | None, answers: Sequence[CorpusAnswer]) -> dict[str, Any]:
        """A prediction with its scores (0 to 1): the best answer, or none.

        Args:
            rank: of the first passage with a gold answer, from 1.
            answers: best first; empty where no passage gave one.
        """
        language = self.target
        golds = [gold.text for gold in question.answers]
        text = ""
        score = 0.0
        place: dict[str, Any] = {}
        if answers:
            text = answers[0].answer
            score = answers[0].score
            document, start, end = answers[0].place
            place = {"document": document, "start": start, "end": end}
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


def _document_ids(corpus: Iterable[Example]) -> dict[str, str]:
    """Every different context of some questions → the id of its document: p00000, p00001, … in their order."""
    ids: dict[str, str] = {}
    for example in corpus:
        _question, context = example.texts
        if context not in ids:
            ids[context] = f"p{len(ids):05}"
    return ids


def scores_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean scores of rows in per cent, and their number; recall@k where rows have the rank of their gold passage.

    A question without an answer has no passage to be retrieved, and does not count for recall.

    Args:
        rows: one or more, of predictions.jsonl.
    """
    scores: dict[str, Any] = {"rows": len(rows)}
    for name in ("exact_match", "f1"):
        scores[name] = 100 * _mean(rows, name)
    f1s = []
    gold_ranks = []
    for row in rows:
        f1s.append(100 * row["f1"])
        if "gold_rank" in row and row["golds"]:
            gold_ranks.append(row["gold_rank"])
    scores["standard_error"] = standard_error(f1s)
    if gold_ranks:
        for k in RECALL_DEPTHS:
            scores[f"recall@{k}"] = _recall(gold_ranks, k)
    return scores


def _mean(rows: Sequence[Mapping[str, Any]], score: str) -> float:
    """The mean of one field over rows."""
    return fmean(row[score] for row in rows)


def _recall(ranks: Sequence[int | None], k: int) -> float:
    """The share of ranks up to k, in per cent; None is the rank of a passage that was not retrieved."""
    return 100 * fmean(rank is not None and rank <= k for rank in ranks)


def _questions(rows: Sequence[Example]) -> list[Question]:
    """The rows that are questions with gold answers; examples of another type, as a plugin may make, are left out."""
    questions = []
    for row in rows:
        if isinstance(row, Question):
            questions.append(row)
    return questions


def _predictions_digest(run: Run) -> str:
    """What tells a run from one that was trained again: 16 hexadecimal digits of its test predictions' SHA-256."""
    return sha256((run.folder / PREDICTIONS).read_bytes()).hexdigest()[:16]


def _with_settings(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """All rows, each with the name of its setting.

    Args:
        rows: setting → its rows.
    """
    lines = []
    for setting, setting_rows in rows.items():
        for row in setting_rows:
            lines.append({"setting": setting, **row})
    return lines


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows or events as the text of a JSONL file."""
    return "".join(map(event_line, rows))
