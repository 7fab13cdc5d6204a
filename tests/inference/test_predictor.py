"""One interface over students, checkpoints of transformers and PhoBERT: answers that are slices, labels by name."""

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import kdda
from kdda.errors import KddaError
from kdda.inference.engines import TorchEngine
from kdda.inference.predictor import Predictor
from kdda.inference.streams import in_streams
from kdda.tasks.classification import LabelResult
from kdda.tasks.qa import AnswerResult
from kdda.text.batching import buckets
from tests.conftest import LABELS, make_model
from tests.heads import make_judge, make_phobert_head, make_reader

CONTEXT = "cat sleeps  very dog runs not hen"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_reader(tmp_path_factory.mktemp("qa"), sharp=20), precision="fp32")


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return kdda.load(make_judge(tmp_path_factory.mktemp("nli")), precision="fp32")


def test_an_answer_is_a_slice_of_the_context_to_the_character(reader: Predictor) -> None:
    found = reader.answer("cat", CONTEXT)
    assert found.text and found.text == CONTEXT[found.start : found.end]
    assert found.candidates[0]["text"] == found.text and found.candidates[0]["probability"] == found.score
    scores = [own["probability"] for own in found.candidates]
    assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.00001
    assert found.no_answer is None


def test_as_many_candidates_come_as_are_asked_for(reader: Predictor) -> None:
    assert [len(reader.answer("cat", CONTEXT, best=count).candidates) for count in (1, 3, 10)] == [1, 3, 10]


def test_labels_are_those_of_transformers_itself(judge: Predictor) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(judge.name)
    tokenizer = AutoTokenizer.from_pretrained(judge.name)
    with torch.no_grad():
        expected = model(**tokenizer("cat sleeps", "dog runs", return_tensors="pt")).logits.softmax(-1)[0]
    found = judge.entails("cat sleeps", "dog runs")
    assert list(found.probabilities) == LABELS and found.label == LABELS[int(expected.argmax())]
    assert list(found.probabilities.values()) == pytest.approx(expected.tolist(), abs=2e-6)


def test_bfloat16_finds_the_same_with_coarser_digits(reader: Predictor, judge: Predictor) -> None:
    coarse = [kdda.load(own.name, precision="bf16") for own in (reader, judge)]
    assert coarse[0].answer("cat", CONTEXT).text == reader.answer("cat", CONTEXT).text
    fine, found = (own.entails("cat sleeps", "dog runs").probabilities for own in (judge, coarse[1]))
    assert found != fine and list(found.values()) == pytest.approx(list(fine.values()), abs=0.02)
    with pytest.raises(KddaError, match='got "bf61", expected one of: fp32'):
        kdda.load(judge.name, precision="bf61")


@pytest.mark.parametrize("device_has_it", [True, False])
def test_a_device_that_computes_in_bfloat16_is_used_so_unless_told_otherwise(
    judge: Predictor, device_has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: device_has_it)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    wanted = "bf16" if device_has_it else "fp32"
    own, other = (kdda.load(judge.name, precision=own).entails("cat sleeps", "dog runs") for own in ("auto", wanted))
    assert own == other == kdda.load(judge.name).entails("cat sleeps", "dog runs")


def test_lists_keep_their_order_and_say_what_single_texts_say(reader: Predictor, judge: Predictor) -> None:
    words = CONTEXT.split()
    contexts = [" ".join(words[:n]) for n in (7, 1, 4, 2, 6, 3, 5)] * 20
    together = reader.answer("cat", contexts)
    assert isinstance(together, list)
    for context, found in zip(contexts[:7], together, strict=False):
        alone = reader.answer("cat", context)
        assert (alone.text, alone.start) == (found.text, found.start) and alone.score == pytest.approx(found.score)
    labels = judge.entails(contexts, "dog")
    assert [own == labels[i % 7] for i, own in enumerate(labels)] == [True] * len(contexts)


def test_an_empty_list_asks_nothing(reader: Predictor, judge: Predictor) -> None:
    assert reader.answer([], []) == [] and judge.entails([], "dog") == []


def test_linear_layers_rounded_once_give_the_bits_that_autocast_gives(judge: Predictor) -> None:
    batch = judge.encoder.pad(judge.windows([("cat sleeps", "dog"), ("dog runs", "cat sleeps very")]))
    model = AutoModelForSequenceClassification.from_pretrained(judge.name)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        expected = model.eval()(**batch).logits
    assert torch.equal(TorchEngine(model, bf16=True)(batch).logits, expected)


def test_streams_give_outputs_in_the_order_of_batches_and_leave_the_threads_as_they_were() -> None:
    before = torch.get_num_threads()
    both = threading.Barrier(2, timeout=60)

    def compute(number: int) -> tuple[int, int]:
        both.wait()  # passes only where another thread computes at the same time
        return number, torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        outputs = in_streams(compute, [3, 1, 2, 0], 2)
        assert outputs == [(3, 1), (1, 1), (2, 1), (0, 1)] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_batches_are_of_like_length_and_hold_no_more_tokens_than_allowed() -> None:
    lengths = [1 + i * 7919 % 97 for i in range(300)]
    found = list(buckets(lengths, 200))
    assert sorted(i for batch in found for i in batch) == list(range(300))
    assert all(max(lengths[i] for i in batch) * len(batch) <= 200 for batch in found)
    shortest = [min(lengths[i] for i in batch) for batch in found]
    assert all(max(lengths[i] for i in b) <= low for low, b in zip(shortest, found[1:], strict=False))
    assert list(buckets([500], 200)) == [[0]]


def test_a_long_passage_is_read_to_its_end_in_windows(reader: Predictor) -> None:
    long = "dog runs " * 3000 + "cat sleeps"
    found = reader.answer("cat", long)
    assert found.text == long[found.start : found.end]
    assert any("read in parts" in remark for remark in reader.warnings)


def test_texts_are_not_kept_once_they_are_read(reader: Predictor, judge: Predictor) -> None:
    for i in range(50):
        reader.answer("cat", f"dog runs {i}")
        judge.entails(f"dog runs {i}", "cat")
    assert not reader.encoder._cache and not judge.encoder._cache


def test_no_answer_is_given_by_models_that_learned_it_or_were_told_to(tmp_path: Path) -> None:
    for folder, config in (("told", {}), ("learned", {"kdda_no_answer": True})):
        name = make_reader(tmp_path / folder, **config)
        found = kdda.load(name, no_answer=None if config else True).answer("cat", CONTEXT)
        assert found.no_answer is not None and 0 < found.no_answer < 1
        assert kdda.load(name, no_answer=False).answer("cat", CONTEXT).no_answer is None
    model = kdda.load(make_reader(tmp_path / "sure"), no_answer=True)
    model.engine.model.qa_outputs.weight.data.zero_()  # every slice and no answer score the same
    assert model.answer("cat", "dog").no_answer == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "Ha\u0300 No\u0323\u0302i",
        "עיר הבירה",
        "ベトナムの首都",
        "a\x00b",
        "👩‍👩‍👧 cat",
        "\u200b\u200b",
        "\ufeffcat",
        "x" * 5000,
    ],
)
def test_any_script_can_be_read(reader: Predictor, judge: Predictor, text: str) -> None:
    found = reader.answer(text, text)
    assert found.text == text[found.start : found.end]
    assert sum(judge.entails(text, text).probabilities.values()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("question", "context", "said"),
    [
        ("", "cat", "question is empty"),
        ("cat", " \n", "context is empty"),
        ("cat", "\ud83d dog", "an unpaired surrogate"),
        (["cat", "dog"], ["cat"], "lists of 2 and 1"),
        (["cat", " "], "cat", "question 1 is empty"),
    ],
)
def test_texts_that_cannot_be_read_are_named(reader: Predictor, question: object, context: object, said: str) -> None:
    with pytest.raises(KddaError, match=said):
        reader.answer(question, context)  # type: ignore[call-overload]


def test_a_model_says_what_it_can_do_instead(reader: Predictor, judge: Predictor) -> None:
    with pytest.raises(KddaError, match="labels texts: entails"):
        judge.answer("cat", "dog")
    with pytest.raises(KddaError, match="answers questions: answer"):
        reader.entails("cat", "dog")


def test_models_without_a_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match=r"no head of a task.*BertModel"):
        kdda.load(make_model(tmp_path / "bare"))
    with pytest.raises(KddaError, match="no folder"):
        kdda.load(tmp_path / "nowhere")
    with pytest.raises(KddaError, match="one number a row"):
        kdda.load(make_judge(tmp_path / "score", id2label={0: "score"}, label2id={"score": 0}))


def test_phobert_reads_raw_text_and_answers_in_it(tmp_path: Path) -> None:
    context = "Hà Nội  là thủ đô của Việt Nam. Sông Hồng chảy qua Hà Nội."
    found = kdda.load(make_phobert_head(tmp_path / "qa", "qa")).answer("Thủ đô là gì?", context)
    assert isinstance(found, AnswerResult) and found.text == context[found.start : found.end]
    label = kdda.load(make_phobert_head(tmp_path / "nli", "nli")).entails(context, "Sông Hồng ở Hà Nội.")
    assert isinstance(label, LabelResult) and set(label.probabilities) == set(LABELS)


def test_threads_may_share_a_predictor(judge: Predictor) -> None:
    from concurrent.futures import ThreadPoolExecutor

    pairs = list(itertools.product(CONTEXT.split(), repeat=2))
    alone = [judge.entails(*pair).label for pair in pairs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda pair: judge.entails(*pair).label, pairs)) == alone


def broken_model(folder: Path) -> str:
    """A classifier, one of whose weights is not a number."""
    name = make_model(folder, seed=3)
    model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=3)
    model.config.id2label = dict(enumerate(("entailment", "neutral", "contradiction")))
    model.config.label2id = {"entailment": 0, "neutral": 1, "contradiction": 2}
    with torch.no_grad():
        model.classifier.weight[0, 0] = torch.nan
    model.save_pretrained(folder)
    return name


def test_logits_that_are_not_finite_are_refused_by_predict_and_evaluate(tmp_path: Path, command: Any) -> None:
    name = broken_model(tmp_path / "model")
    code, out, error = command("predict", name, "--premise", "a b", "--hypothesis", "a")
    assert (code, out) == (2, "") and "logits are not finite" in error
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"premise": "a b", "hypothesis": "a", "label": "neutral"}\n', encoding="utf-8")
    written = tmp_path / "predictions.jsonl"
    code, out, error = command("evaluate", name, "--data", rows, "--out", written)
    assert (code, out) == (2, "") and "logits are not finite" in error and not written.exists()
