"""A tagger learns from another's tags: words of two tokenizers, windows, orders of labels, and texts without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification

from kdda import DistillationConfig, DistillationTrainer, Teacher
from kdda.data.tag_schemes import output_names
from kdda.errors import KddaError
from kdda.losses.registry import OBJECTIVES
from kdda.losses.representations import Objective, ObjectiveSettings, Representations, TokenLogits
from kdda.models.load import load_checkpoint
from kdda.tasks.features import Features
from kdda.tasks.places import logit_places_of
from kdda.tasks.tag import TAG
from kdda.teachers.cache import TeacherCache
from kdda.text.encode import Encoder
from kdda.training.trainer import fine_tune
from tests.conftest import make_model, make_sentences, make_tokenizer
from tests.tasks import token_logits
from tests.tasks.test_tag import GOLDS, LABELS, NEWS, byte_tokenizer, tagged
from tests.tasks.token_logits import KD, terms
from tests.text.phobert import make_phobert_tokenizer

TAGS = output_names(["ACT", "ANIMAL"])


def gold_logits(features: Features, encoder: Encoder) -> Representations:
    """What a model gives that is sure of the gold tag of each word, as it is compared."""
    windows = list(features.windows)
    tokens = encoder.pad(windows)["input_ids"].shape[1]
    golds = TAG.batch_targets(TAG.targets(features, LABELS), range(len(windows)), tokens)["labels"]
    logits = 30 * torch.nn.functional.one_hot(golds.clamp(min=0), len(LABELS)).float()
    places = logit_places_of(TAG, windows)
    chosen = TokenLogits(places.chosen(logits), places.characters, TAG.labels_inside(LABELS))
    return Representations(torch.zeros(len(windows), 1, 1), token_logits=chosen)


def test_models_that_give_the_golds_agree_whatever_their_tokens_are(tmp_path: Path) -> None:
    sentences = ["Bà Lê_Hoa sống ở Hà_Nội , Việt_Nam , và ở Huế từ 2015 .", "ông Nam ( 40 tuổi )"]
    phobert = Encoder(make_phobert_tokenizer(tmp_path, sentences), "vi", 512)
    letters = Encoder(byte_tokenizer(), "none", 512)
    sides = []
    for encoder in (letters, phobert):
        sides.append(gold_logits(TAG.encode([tagged(NEWS, GOLDS)], encoder), encoder))
    student, teacher = sides
    assert (student.token_logits.characters[0, :, 1] > 0).sum() > (teacher.token_logits.characters[0, :, 1] > 0).sum()
    settings = ObjectiveSettings(temperature=1.0)
    assert float(OBJECTIVES["kd-logits"](student, teacher, settings).value) < 1e-6
    as_it_is = replace(teacher, token_logits=replace(teacher.token_logits, inside=()))
    assert float(OBJECTIVES["kd-logits"](student, as_it_is, settings).value) > 0.1  # B-LOC of "Hà Nội" at "Nội"


def test_stored_logits_of_tokens_are_those_that_a_teacher_gives_over_all_its_windows(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(make_model(tmp_path / "teacher", rows=300))
    teacher = load_checkpoint(str(tmp_path / "teacher"), head="token-classification", labels=TAGS)
    words = Encoder(make_tokenizer(), "none", 8, 2)
    features = TAG.encode([tagged("mèo rất ngủ chó rất chạy gà", []), tagged("cá", [], "2")], words)
    caches = []
    for folder, longest in ((None, 12), (tmp_path / "store", 12), (tmp_path / "store", 40)):
        spans = TAG.text_spans(features)
        options: dict[str, Any] = {"labels": TAGS, "tokens": "text", "folder": folder, "precision": "fp32"}
        caches.append(TeacherCache.build(teacher, spans, max_length=longest, token_task=TAG, **options))
    rows = range(len(features.windows))
    live, stored, whole = (cache.batch(rows)[0].token_logits for cache in caches)
    assert len(features.windows) == 3 and caches[1].is_stored and live.inside == (0, 2, 2, 4, 4)
    assert torch.equal(live.characters, stored.characters) and torch.allclose(live.values, stored.values, atol=1e-5)
    ours = logit_places_of(TAG, list(features.windows))
    # the same words, though letters are the teacher's tokens, and it reads a window of the student in several
    assert torch.equal(ours.characters, live.characters) and torch.equal(ours.characters, whole.characters)
    assert not torch.allclose(live.values, whole.values, atol=1e-3)
    tokens = len(TAGS) * 4 + 2 * 16
    assert caches[1].stored_bytes == tokens * int(caches[1].batch(rows)[0].mask.sum())


def tagger(labels: list[str], seed: int = 0) -> tuple[Any, Any]:
    """A tiny model without dropout whose outputs are these tags, and its tokenizer."""
    torch.manual_seed(seed)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    config.update({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 64})
    config.id2label = dict(enumerate(labels))
    config.label2id = {label: number for number, label in enumerate(labels)}
    return BertForTokenClassification(config), make_tokenizer()


def reordered(teacher: tuple[Any, Any], labels: list[str]) -> tuple[Any, Any]:
    """A copy of a tagger with its outputs in another order."""
    model, tokenizer = teacher
    copy, _ = tagger(labels)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    order = [model.config.label2id[label] for label in labels]
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][order]
    copy.load_state_dict(weights)
    return copy, tokenizer


def distilled(folder: Path, student: Any, teachers: Any, **options: Any) -> DistillationTrainer:
    """A student that learned from the tags of teachers alone, of rows without labels that take several windows."""
    rows = []
    for row in make_sentences("aa", 32, 1):
        rows.append({"text": row.get("text") or " ".join(row["tokens"])})
    defaults = {"per_device_train_batch_size": 8, "max_length": 8}
    return token_logits.distilled(folder, student, teachers, "tag", rows, ["ACT", "ANIMAL"], **{**defaults, **options})


def test_a_student_that_is_its_teacher_has_nothing_to_learn_whatever_the_order_of_labels_is(tmp_path: Path) -> None:
    same = reordered(tagger(TAGS), [TAGS[number] for number in (3, 0, 4, 2, 1)])
    distilled(tmp_path / "same", tagger(TAGS), Teacher(same, fine_tune=False), **KD)
    assert len(terms(tmp_path / "same")) >= 4 and max(terms(tmp_path / "same")) < 1e-6
    distilled(tmp_path / "shuffled", tagger(TAGS), Teacher(same, fine_tune=False), shuffle_teacher=True, **KD)
    assert min(terms(tmp_path / "shuffled")) > 1e-5
    two = [Teacher(same, fine_tune=False), Teacher(tagger(TAGS, 1), fine_tune=False, weight=0.5)]
    distilled(tmp_path / "two", tagger(TAGS), two, layers=[0.5, 1.0], points="words", teacher_cache_gb=0.0, **KD)
    assert min(terms(tmp_path / "two")) > 1e-5


@pytest.mark.parametrize("options", [KD, {"objective": "mse-pooled", "logit_weight": 1.0, "distill_weight": 1.0}])
def test_a_student_learns_from_a_teachers_tags_of_texts_without_labels(options: dict[str, Any], tmp_path: Path) -> None:
    defaults = {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", "seed": 1}
    windows = {"max_length": 8, "stride": 2}
    args = DistillationConfig(str(tmp_path / "teacher"), num_train_epochs=6, **windows, **defaults)
    taught = fine_tune(
        tagger(TAGS, 2), task="tag", train_dataset={"aa": make_sentences("aa", 60, 0)}, args=args, say=lambda _: None
    )
    knowing = Teacher((taught.model, taught.student.tokenizer), fine_tune=False)
    test = make_sentences("aa", 20, 3)
    assert taught.evaluate(test)["eval_f1"] > 95
    student = distilled(tmp_path / "student", tagger(TAGS), knowing, num_train_epochs=8, learning_rate=1e-2, **options)
    assert student.evaluate(test)["eval_f1"] > 95
    assert terms(tmp_path / "student")[-1] < 0.3 * terms(tmp_path / "student")[0]


def test_logits_of_tokens_are_refused_where_they_cannot_be_compared(tmp_path: Path) -> None:
    unknowing = Teacher(tagger(TAGS, 1), fine_tune=False)
    with pytest.raises(KddaError, match="example_weighting needs a teacher's logits of labels, of which a text has"):
        distilled(tmp_path, tagger(TAGS), unknowing, example_weighting="teacher_correct")
    whole_texts = Objective("texts", lambda student, teacher, settings: student.states.sum((1, 2)), needs_logits=True)
    with pytest.raises(KddaError, match="objective: texts needs a teacher's logits of labels, of which a text has"):
        distilled(tmp_path, tagger(TAGS), unknowing, objective=whole_texts)
    others = Teacher(tagger(output_names(["ACT", "PLANT"])), fine_tune=False)
    with pytest.raises(KddaError, match="its labels are O, B-ACT, I-ACT, B-PLANT, I-PLANT; the task's are O, B-ACT"):
        distilled(tmp_path, tagger(TAGS), others, **KD)
