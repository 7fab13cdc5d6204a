"""Every kind of model that a recipe names is opened from the files that its repository has, and teaches and learns."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kdda.models.load import load_checkpoint
from kdda.training.config import DistillationConfig
from kdda.training.trainer import DistillationTrainer
from tests.conftest import LABELS, Bench, make_rows
from tests.models.hub import HUB, OTHERS, mdeberta, mdeberta_with_json, phobert_with_json
from tests.text.phobert import make_phobert

TEXT = "Thủ đô của Việt Nam là Hà Nội, không phải Huế."


# Encoder and tokenizer of BGE-m3 have the files of XLM-R and multilingual-e5, too.
TRAINED = ("modernbert", "mmbert", "eurobert", "gte", "bge-m3", "mdeberta", "phobert-json")


@pytest.mark.parametrize("kind", [*HUB, *OTHERS])
def test_its_tokens_are_slices_of_the_raw_text_with_their_tones(kind: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str({**HUB, **OTHERS}[kind](tmp_path / kind)))
    assert checkpoint.model.dtype == torch.float32
    (window,) = checkpoint.encoder(60).windows(["Huế ?", TEXT])
    part = window.parts[-1]
    spans = [(int(a), int(b)) for a, b in zip(part.starts, part.ends, strict=True)]
    assert spans == sorted(spans) and all(a <= b for a, b in spans)  # bytes of a letter share its span
    assert {i for a, b in spans for i in range(a, b)} >= {i for i, letter in enumerate(TEXT) if letter != " "}
    known = {checkpoint.tokenizer.convert_ids_to_tokens(int(i)) for i in part.ids}
    bytes_are_letters = kind in ("roberta", "modernbert", "eurobert")
    assert bytes_are_letters or not {"thu", "viet", "ha", "noi"} & {piece.lower().strip("▁Ġ#@") for piece in known}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HUB)
def test_it_teaches_and_learns_inference(kind: str, bench: Bench, command: Any) -> None:
    made = str(HUB[kind](bench.folder / kind))
    bench.values["teachers"]["aa"] = made
    bench.values["training"] |= {"epochs": 1, "max_length": 48}
    bench.values["arms"] = {"alone": {"train": "target", "student": made}, "taught": {"distill": True}}
    code, text, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    assert "| alone" in text and "| taught" in text
    saved = load_file(bench.folder / "runs/nli/alone/seed-1/model/model.safetensors")
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in saved.values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", HUB)
def test_it_teaches_and_learns_reading(kind: str, bench: Bench, command: Any) -> None:
    bench.read()
    made = str(HUB[kind](bench.folder / kind))
    bench.values["teachers"]["aa"] = made
    bench.values["training"] |= {"epochs": 1, "max_length": 48, "stride": 8}
    bench.values["arms"] = {"alone": {"train": "target", "student": made}, "taught": {"distill": True}}
    code, text, error = command("run", bench.write(), "--out", bench.folder / "runs")
    assert code == 0, error
    assert "| alone" in text and "| taught" in text


@pytest.mark.parametrize("kind", TRAINED)
def test_it_is_student_and_teacher_of_inference_for_a_step(kind: str, tmp_path: Path) -> None:
    made = str(OTHERS[kind](tmp_path / kind))
    rows = {"aa": make_rows("aa", 4, 0)}
    args = DistillationConfig(str(tmp_path / "out"), max_steps=1, precision="fp32", max_length=48)
    trainer = DistillationTrainer(made, {"aa": made}, train_dataset=rows, labels=LABELS, args=args, say=lambda _: None)
    trainer.train()
    for name, weight in trainer.student.model.named_parameters():
        assert weight.dtype == torch.float32 and weight.isfinite().all(), name


@pytest.mark.parametrize("kind", TRAINED)
def test_it_gives_states_and_gradients_of_reading(kind: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(OTHERS[kind](tmp_path / kind)), head="question-answering")
    encoder = checkpoint.encoder(60)
    batch = encoder.pad(encoder.encode(["Huế ?"], [TEXT]))
    output = checkpoint.model(**batch, output_hidden_states=True)
    assert output.hidden_states[-1].shape == (*batch["input_ids"].shape, checkpoint.width)
    (output.start_logits.square().mean() + output.end_logits.square().mean()).backward()
    gradient = checkpoint.model.get_input_embeddings().weight.grad
    assert gradient.isfinite().all() and gradient.any()


def test_a_tokenizer_json_beside_the_files_of_an_older_tokenizer_changes_no_id(tmp_path: Path) -> None:
    pairs = [(make_phobert, phobert_with_json), (mdeberta, mdeberta_with_json)]
    for number, (alone, with_json) in enumerate(pairs):
        first = load_checkpoint(str(alone(tmp_path / f"{number}-alone"))).encoder(60).encode([TEXT])
        second = load_checkpoint(str(with_json(tmp_path / f"{number}-json"))).encoder(60).encode([TEXT])
        assert [list(row.ids) for row in first] == [list(row.ids) for row in second]
