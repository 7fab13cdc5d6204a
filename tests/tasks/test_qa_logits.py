"""A reader learns from another's starts and ends: tokens of two tokenizers, windows, and questions without answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForQuestionAnswering

from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.data.examples import GoldAnswer, Question
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import ObjectiveSettings, Representations, TokenLogits
from kdda.models.load import load_checkpoint
from kdda.tasks.features import Features
from kdda.tasks.places import logit_places_of
from kdda.tasks.qa import NOWHERE, QA
from kdda.teachers.cache import TeacherCache
from kdda.text.encode import Encoder
from kdda.training.trainer import fine_tune
from tests.conftest import make_model, make_questions, make_tokenizer
from tests.tasks import token_logits
from tests.tasks.test_tag import byte_tokenizer
from tests.tasks.token_logits import KD, terms
from tests.text.phobert import make_phobert_tokenizer

CONTEXT = "Bà Lê Hoa sống ở Hà Nội , Việt Nam , và ở Huế từ 2015 ."


def question(answer: str) -> Question:
    return Question("q", ("Bà sống ở đâu ?", CONTEXT), CONTEXT, (GoldAnswer(answer, CONTEXT.index(answer)),))


def gold_logits(features: Features, encoder: Encoder) -> Representations:
    """What a reader gives that is sure of the gold start and end, as it is compared."""
    windows = list(features.windows)
    targets = QA.targets(features, [])
    tokens = encoder.pad(windows)["input_ids"].shape[1]
    logits = torch.zeros(len(windows), tokens, 2)
    for number, name in enumerate(("start_positions", "end_positions")):
        logits[torch.arange(len(windows)), torch.from_numpy(targets[name]).long(), number] = 30
    places = logit_places_of(QA, windows)
    chosen = TokenLogits(places.chosen(logits), places.characters, edges=QA.logit_edges)
    return Representations(torch.zeros(len(windows), 1, 1), token_logits=chosen)


@pytest.mark.parametrize("answer", ["Hà Nội", "Việt Nam , và ở Huế", "Lê Hoa"])
def test_readers_that_give_the_golds_agree_whatever_their_tokens_are(answer: str, tmp_path: Path) -> None:
    phobert = Encoder(make_phobert_tokenizer(tmp_path, ["Bà Lê_Hoa sống ở Hà_Nội , Việt_Nam"]), "vi", 512)
    letters = Encoder(byte_tokenizer(), "none", 512)
    sides = [gold_logits(QA.encode([question(answer)], encoder), encoder) for encoder in (letters, phobert)]
    ours, theirs = sides
    assert ours.token_logits.values.shape[1] > theirs.token_logits.values.shape[1]  # other tokens
    value = OBJECTIVES["kd-logits"](ours, theirs, ObjectiveSettings(temperature=1.0)).value
    assert float(value) < 1e-6
    other = gold_logits(QA.encode([question("2015")], letters), letters)
    assert float(OBJECTIVES["kd-logits"](other, theirs, ObjectiveSettings(temperature=1.0)).value) > 10


def test_stored_starts_and_ends_are_those_that_a_teacher_gives_over_all_its_windows(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(make_model(tmp_path / "teacher", rows=300))
    teacher = load_checkpoint(str(tmp_path / "teacher"), head="question-answering")
    words = Encoder(make_tokenizer(), "none", 9, 2)
    text = "mèo rất ngủ chó rất chạy gà"
    features = QA.encode([Question("1", ("cá", text), text, ()), Question("2", ("cá", "gà"), "gà", ())], words)
    spans = QA.text_spans(features)
    rows = range(len(features.windows))
    caches = []
    for folder, longest in ((None, 20), (tmp_path / "store", 20), (tmp_path / "store", 60)):
        options: dict[str, Any] = {"tokens": "all", "folder": folder, "precision": "fp32"}
        caches.append(TeacherCache.build(teacher, spans, max_length=longest, token_task=QA, **options))
    live, stored, whole = (cache.batch(rows)[0].token_logits for cache in caches)
    assert caches[1].is_stored and live.edges == ("first", "last")
    assert torch.equal(live.characters, stored.characters) and torch.allclose(live.values, stored.values, atol=1e-5)
    # a window that the teacher reads in several says nothing of no answer; whole it does
    is_nowhere = whole.characters[..., 0] == NOWHERE[0]
    assert is_nowhere.sum(dim=1).tolist() == [1] * len(rows)
    assert (live.characters[..., 0] == NOWHERE[0]).sum(dim=1).tolist() == [0] * (len(rows) - 1) + [1]
    states = TeacherCache.build(teacher, spans, max_length=60, tokens="all", folder=tmp_path / "store")
    assert states.batch(rows)[0].token_logits is None  # of the states alone, which are stored beside
    assert caches[2].stored_bytes - states.stored_bytes == 2 * 4 * int(caches[2].batch(rows)[0].mask.sum())


ROWS = 8


def reader(seed: int = 0) -> tuple[Any, Any]:
    """A tiny model without dropout that gives starts and ends, and its tokenizer."""
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 64})
    return BertForQuestionAnswering(config), make_tokenizer()


def distilled(folder: Path, student: Any, teachers: Any, **options: Any) -> DistillationTrainer:
    """A student that learned from the starts and ends of teachers alone, of questions without answers."""
    rows = []
    for row in make_questions("aa", ROWS, 1):
        rows.append({"question": row["question"], "context": row["context"]})
    defaults = {"per_device_train_batch_size": 4, "max_length": 24}
    return token_logits.distilled(folder, student, teachers, "qa", rows, **{**defaults, **options})


def test_a_reader_that_is_its_teacher_has_nothing_to_learn(tmp_path: Path) -> None:
    distilled(tmp_path / "same", reader(), Teacher(reader(), fine_tune=False), **KD)
    assert len(terms(tmp_path / "same")) >= 2 and max(terms(tmp_path / "same")) < 1e-6
    shuffled: dict[str, Any] = {"shuffle_teacher": True, "tokens": "text", "teacher_cache_gb": 0.0, **KD}
    distilled(tmp_path / "shuffled", reader(), Teacher(reader(), fine_tune=False), **shuffled)
    assert min(terms(tmp_path / "shuffled")) > 1e-6


@pytest.mark.parametrize("options", [KD, {"objective": "mse-pooled", "logit_weight": 1.0, "distill_weight": 1.0}])
def test_a_student_learns_to_answer_from_a_teacher_of_questions_without_answers(
    options: dict[str, Any], tmp_path: Path
) -> None:
    defaults = {"per_device_train_batch_size": 4, "learning_rate": 5e-3, "precision": "fp32", "seed": 1}
    args = DistillationConfig(str(tmp_path / "teacher"), num_train_epochs=60, max_length=24, stride=2, **defaults)
    rows = make_questions("aa", ROWS, 1)
    taught = fine_tune(reader(2), task="qa", train_dataset={"aa": rows}, args=args, say=lambda _: None)
    knowing = Teacher((taught.model, taught.student.tokenizer), fine_tune=False)
    student = distilled(tmp_path / "student", reader(), knowing, num_train_epochs=60, learning_rate=5e-3, **options)
    assert 80 < taught.evaluate(rows)["eval_f1"] == student.evaluate(rows)["eval_f1"]
    assert terms(tmp_path / "student")[-1] < 0.05 * terms(tmp_path / "student")[0]
