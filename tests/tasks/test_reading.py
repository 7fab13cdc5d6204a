"""QuestionAnswering: windows, targets, and answers that are slices of the raw text, to the character."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kdda.data.examples import GoldAnswer, Question
from kdda.models.load import load_checkpoint
from kdda.tasks.features import Features
from kdda.tasks.qa import QA, AnswerSpan, QuestionAnswering, oracle, token_span
from kdda.text.encode import QUESTION_COUNTS, Encoder
from tests.conftest import make_tokenizer

TEXT = "cat runs very dog sleeps not hen fish runs"


def question(answer: str = "dog sleeps", context: str = TEXT, text: str = "hen") -> Question:
    golds = (GoldAnswer(answer, context.index(answer)),) if answer else ()
    return Question("q", (text, context), context, golds)


def encoded(*examples: Question, max_length: int = 64, overlap: int = 1) -> Features:
    return QA.encode(examples, Encoder(make_tokenizer(), max_length=max_length, overlap=overlap))


def logits_for(features: Features, spans: list[tuple[int, int, float]]) -> Any:
    """Outputs that point at one span of tokens in each window, so sure."""
    width = max(map(len, features.windows))
    starts, ends = torch.zeros(len(spans), width), torch.zeros(len(spans), width)
    for row, (start, end, score) in enumerate(spans):
        starts[row, start], ends[row, end] = score, score
    return SimpleNamespace(start_logits=starts, end_logits=ends)


def answers(features: Features, spans: list[tuple[int, int, float]], task: QuestionAnswering = QA) -> list[str]:
    found = task.candidates(logits_for(features, spans), features.windows)
    return [p.predicted for p in task.decode(features, found, [], "vi")]


def test_targets_point_at_the_answers_tokens_and_read_back_to_the_character() -> None:
    features = encoded(question("dog sleeps"), question("runs very"))
    targets = QA.targets(features, [])
    spans = [(a, b, 5.0) for a, b in zip(targets["start_positions"], targets["end_positions"], strict=True)]
    assert answers(features, spans) == ["dog sleeps", "runs very"]


def test_a_window_without_the_whole_answer_points_at_the_first_token() -> None:
    features = encoded(question("dog sleeps"), max_length=8, overlap=1)
    targets = QA.targets(features, [])
    held = [token_span(window, GoldAnswer("dog sleeps", TEXT.index("dog"))) for window in features.windows]
    assert len(held) > 1 and None in held
    assert targets["start_positions"].tolist() == [span[0] if span else 0 for span in held]


def test_answers_that_no_window_holds_are_counted() -> None:
    encoder = Encoder(make_tokenizer(), max_length=8, overlap=0)
    QA.encode([question("runs very dog sleeps not"), question("cat")], encoder)
    assert (
        encoder.counts["answers that no part of their context holds whole (max_length)"] == 1
        and encoder.counts[QUESTION_COUNTS[1].format(tokens=encoder.max_length)] == 2
    )


def test_the_surest_window_gives_the_answer() -> None:
    features = encoded(question(), max_length=8, overlap=0)
    first = features.windows[0].context_start
    spans = [(first, first, float(k)) for k in range(1, len(features.windows) + 1)]
    part, (begin, _) = features.windows[-1].parts[-1], features.windows[-1].ranges[-1]
    assert answers(features, spans) == [TEXT[part.starts[begin] : part.ends[begin]]]


def test_an_answer_never_ends_before_it_begins_nor_leaves_the_context() -> None:
    features = encoded(question())
    first = features.windows[0].context_start
    (found,) = QA.candidates(logits_for(features, [(first + 4, first + 1, 9.0)]), features.windows)
    assert all(0 <= own.start < own.end <= len(TEXT) for own in found[:-1])
    (outside,) = QA.candidates(logits_for(features, [(1, len(features.windows[0]) - 1, 9.0)]), features.windows)
    assert all(TEXT[own.start : own.end].strip() for own in outside[:-1])


def test_the_length_limit_fits_the_data() -> None:
    long = "runs very dog sleeps not hen"
    task = QA.fitted([question("cat"), question(long)])
    assert task.longest == len(long) * 3 // 2 + 1 and not task.no_answer
    features = encoded(question())
    first = features.windows[0].context_start
    assert len(answers(features, [(first, first + 8, 9.0)], replace(QA, longest=5))[0]) <= 5


def test_no_answer_is_given_only_where_training_had_it() -> None:
    assert QA.fitted([question(), question("")]).no_answer
    features = encoded(question(""))
    assert answers(features, [(0, 0, 9.0)], replace(QA, no_answer=True)) == [""]
    assert answers(features, [(0, 0, 9.0)]) != [""]


def test_what_a_task_decides_is_remembered_by_a_models_config() -> None:
    task = QA.fitted([question("cat"), question("")])
    assert QA.with_settings(task.settings()) == task
    assert QA.with_settings({}) == QA


def test_scores_are_the_best_over_the_golds_and_have_an_oracle_beside() -> None:
    example = replace(question(), answers=(GoldAnswer("cat", 0), GoldAnswer("dog sleeps", TEXT.index("dog"))))
    features = encoded(example)
    first = features.windows[0].context_start
    found = QA.decode(
        features, QA.candidates(logits_for(features, [(first + 3, first + 3, 5.0)]), features.windows), [], "vi"
    )
    scores = QA.score(found, [])
    assert scores["exact_match"] == 0 and scores["f1"] == pytest.approx(100 * 2 / 3)
    assert scores["oracle_exact_match"] == scores["oracle_f1"] == 100


def test_the_oracle_is_below_a_gold_that_cuts_a_token() -> None:
    example = question("at run", "cat runs")
    features = encoded(example)
    assert oracle(example, features.windows) == "cat runs"
    found = QA.decode(features, QA.candidates(logits_for(features, [(4, 5, 5.0)]), features.windows), [], "vi")
    assert QA.score(found, [])["oracle_exact_match"] == 0


def test_candidates_are_the_best_of_all_pairs() -> None:
    features = encoded(question())
    width = len(features.windows[0])
    rng = np.random.default_rng(0)
    starts, ends = (torch.tensor(rng.normal(size=(1, width)).astype(np.float32)) for _ in range(2))
    (found,) = QA.candidates(SimpleNamespace(start_logits=starts, end_logits=ends), features.windows)
    window = features.windows[0]
    at, part = window.context_start, window.parts[-1]
    every = [
        AnswerSpan(int(part.starts[i]), int(part.ends[j]), float(starts[0, at + i] + ends[0, at + j]))
        for i in range(window.context_length)
        for j in range(i, window.context_length)
    ]
    best = sorted(every, key=lambda own: -own.score)[: len(found) - 1]
    assert [own[:2] for own in found[:-1]] == [own[:2] for own in best]


def test_ten_thousand_syllables_are_read_to_the_end() -> None:
    encoder = load_checkpoint("mini/multilingual", layers=1).encoder(256, overlap=64)
    context = "Con đường dài qua làng. " * 2000 + "Kho báu ở gốc đa."
    features = QA.encode([question("gốc đa", context, "Kho báu ở đâu?")], encoder)
    assert len(features.windows) > 50 and max(map(len, features.windows)) == 256
    assert encoder.counts["answers that no part of their context holds whole (max_length)"] == 0
    assert features.windows[-1].context_span[1] == len(context)
    covered = [window.context_span for window in features.windows]
    assert all(a[1] > b[0] for a, b in pairwise(covered))


@pytest.mark.parametrize(
    ("context", "answer"),
    [
        ("עיר הבירה של ויאטנם היא האנוי.", "האנוי"),
        ("ベトナムの首都はハノイです。", "ハノイ"),
        ("عاصمة فيتنام هي هانوي.", "هانوي"),
    ],
)
def test_right_to_left_and_cjk_answers_lie_within_the_oracles_reach(context: str, answer: str) -> None:
    encoder = load_checkpoint("mini/multilingual", layers=1).encoder(64)
    example = question(answer, context, "Hanoi?")
    features = QA.encode([example], encoder)
    assert answer in oracle(example, features.windows)
