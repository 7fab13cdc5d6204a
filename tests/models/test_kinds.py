"""Every type of encoder, with tiny random weights: opened, cut, given a head, trained, saved, opened again."""

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BartConfig, BartForQuestionAnswering, BertModel

import kdda
from kdda.embeddings.encoder import MeanPoolingModel
from kdda.errors import KddaError
from kdda.models.depth import check_layers
from kdda.models.families import encoder_class
from kdda.models.heads import standardize_head
from kdda.models.load import Checkpoint, load_checkpoint
from kdda.models.vocabulary import TrimmedVocabulary
from tests.conftest import LABELS, make_tokenizer
from tests.models.kinds import KINDS, config_of, make_kind

HEADS = {"classification": "nli", "question-answering": "qa", "token-classification": "tag"}

TAGS = ["O", "B-PET", "I-PET"]

# Of the head that labels tokens, those that transformers has none for, a decoder, and some of other layouts.
OF_TOKENS = ("bert", "distilbert", "modernbert", "mt5", "qwen3", "t5", "umt5", "xlm")

KINDS_AND_HEADS = [(kind, head) for kind in sorted(set(KINDS) - {"bart"}) for head in list(HEADS)[:2]]
KINDS_AND_HEADS += [(kind, "token-classification") for kind in OF_TOKENS]

LONG = "cat sleeps dog runs not " * 30  # more than any of these models reads


def made(folder: Path, kind: str, head: str) -> tuple[Checkpoint, dict[str, torch.Tensor]]:
    """A checkpoint with a new head, and a batch whose first window is as long as the model can read."""
    labels = {"classification": LABELS, "token-classification": TAGS}.get(head)
    checkpoint = load_checkpoint(make_kind(folder, kind), head=head, labels=labels)
    encoder = checkpoint.encoder(10_000)
    return checkpoint, encoder.pad(encoder.encode([LONG, "dog", "hen"], [LONG, "cat runs", "not"]))


def loss_of(model: Any, head: str, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    ones = torch.ones(len(batch["input_ids"]), dtype=torch.long)
    golds = {"labels": ones} if head == "classification" else {"start_positions": ones, "end_positions": ones}
    if head == "token-classification":
        golds = {"labels": torch.where(batch["attention_mask"].bool(), 1, -100)}
    outputs = model(**batch, **golds, output_hidden_states=True)
    assert len(outputs.hidden_states) == 3  # the embeddings' and both layers', which teachers and students compare
    loss: torch.Tensor = outputs.loss
    return loss


@pytest.mark.parametrize(("kind", "head"), KINDS_AND_HEADS)
def test_it_trains_and_what_was_saved_opens_the_same(kind: str, head: str, tmp_path: Path) -> None:
    checkpoint, batch = made(tmp_path / "model", kind, head)
    model = checkpoint.model
    assert checkpoint.new_head and batch["input_ids"].shape[1] in (61, 62, 63, 64)
    vocabulary = TrimmedVocabulary(model, set(batch["input_ids"].flatten().tolist()))
    loss_of(model.train(), head, batch).backward()
    vocabulary.graft()
    model.eval().config.kdda_task = HEADS[head]
    model.save_pretrained(tmp_path / "saved")
    checkpoint.tokenizer.save_pretrained(tmp_path / "saved")
    again = kdda.load(tmp_path / "saved", precision="fp32")
    with torch.no_grad():
        logits, opened = model(**batch), again.engine.model(**batch)
    for name in again.task.outputs:
        assert torch.equal(getattr(logits, name), getattr(opened, name))
    plain = encoder_class(config_of(kind)).from_pretrained(tmp_path / "saved")
    for name, weight in model.base_model.state_dict().items():
        if "pooler" not in name:  # which some classes have and others lack
            assert torch.equal(plain.state_dict()[name], weight), name


def record(seen: list[torch.Tensor], in_a_layer: bool, module: Any, inputs: Any, output: torch.Tensor) -> None:
    """A hook that leaves the outputs of the linear layers after the encoder's last layer."""
    if in_a_layer:
        seen.clear()
    else:
        seen.append(output)


@pytest.mark.parametrize(("kind", "head"), KINDS_AND_HEADS)
def test_a_standardized_head_gives_outputs_of_mean_0_and_one_spread(kind: str, head: str, tmp_path: Path) -> None:
    checkpoint, batch = made(tmp_path / "model", kind, head)
    seen: list[torch.Tensor] = []
    every_token = head != "classification"
    standardize_head(checkpoint.model, [batch], every_token)
    for name, module in checkpoint.model.named_modules():
        if isinstance(module, torch.nn.Linear):
            in_a_layer = re.search(r"\.[01](\.|$)", name) is not None
            module.register_forward_hook(partial(record, seen, in_a_layer))
    with torch.no_grad():
        checkpoint.model(**batch)
    outputs = seen[0]
    if outputs.dim() == 3 and (every_token or kind not in ("qwen3", "llama")):
        outputs = outputs[batch["attention_mask"].bool()]
    elif outputs.dim() == 3:
        outputs = outputs[torch.arange(3), batch["attention_mask"].sum(1) - 1]
    assert outputs.mean(0).abs().max() < 1e-3
    spread = outputs.std(0)
    assert torch.allclose(spread, torch.full_like(spread, 0.5), atol=1e-2)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"albert", "bart"}))
def test_a_shallower_model_is_the_whole_one_less_some_layers(kind: str, tmp_path: Path) -> None:
    changes = {"layer_types": ["full_attention", "sliding_attention", "full_attention"]} if kind == "modernbert" else {}
    depth = {"num_hidden_layers": 3}
    if "n_layers" in KINDS[kind]:
        depth["n_layers"] = 3
    if kind == "longformer":
        changes = {"attention_window": [4, 8, 16]}
    whole = load_checkpoint(make_kind(tmp_path / "whole", kind, **depth, **changes))
    shallow = load_checkpoint(str(tmp_path / "whole"), layers=[0, 2])
    assert shallow.model.config.num_hidden_layers == 2
    if changes:
        (name,) = changes
        assert getattr(shallow.model.config, name) == [changes[name][0], changes[name][2]]
    shallow.model.save_pretrained(tmp_path / "shallow")
    shallow.tokenizer.save_pretrained(tmp_path / "shallow")
    again = load_checkpoint(str(tmp_path / "shallow"))
    encoder = whole.encoder(40)
    batch = encoder.pad(encoder.encode([LONG, "dog"]))
    with torch.no_grad():
        whole_states = whole.model(**batch, output_hidden_states=True).hidden_states
        states = shallow.model(**batch, output_hidden_states=True).hidden_states
        assert torch.equal(again.model(**batch).last_hidden_state, shallow.model(**batch).last_hidden_state)
    assert len(states) == 3
    real = batch["attention_mask"].bool()
    assert torch.equal(states[1][real], whole_states[1][real])  # layer 0 is layer 0; what follows is layer 2


def test_layers_are_evenly_spaced_or_the_first_or_those_that_are_named(tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "bert", num_hidden_layers=5)
    whole = load_checkpoint(name).model.state_dict()
    for layers, kept in ((3, [0, 2, 4]), ("first 2", [0, 1]), ([1, 4], [1, 4])):
        model = load_checkpoint(name, layers=layers).model
        assert len(model.encoder.layer) == len(kept)
        for new, old in enumerate(kept):
            key = "encoder.layer.{}.output.dense.weight"
            assert torch.equal(model.state_dict()[key.format(new)], whole[key.format(old)])


def test_a_list_that_is_as_long_as_the_model_is_deep_is_not_cut_unless_it_is_a_layers_setting(tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "deberta-v2")
    assert load_checkpoint(name, layers=[1]).model.config.pos_att_type == ["p2c", "c2p"]


@pytest.mark.parametrize(
    ("kind", "layers", "message"),
    [
        ("bert", [0, 2], "there is no layer 2: the model has layers 0 to 1"),
        ("bert", "first 3", '"first 1" to "first 2"'),
        ("bert", 3, "expected 1 to 2"),
        ("bert", [1, 0], "rising order"),
        ("albert", 1, "no list of its 2 layers"),
        ("modernbert", [1], "keep layer 0 among them"),
        ("t5", [1], "keep layer 0 among them"),
    ],
)
def test_layers_that_cannot_be_are_refused_from_the_config_alone(kind: str, layers: Any, message: str) -> None:
    with pytest.raises(KddaError, match=message):
        check_layers(config_of(kind), layers)


def test_a_decoder_embeds_a_text_by_its_last_token(tmp_path: Path) -> None:
    model = MeanPoolingModel.load(make_kind(tmp_path / "model", "qwen3"))
    alone, beside = model.encode(["cat runs"])[0], model.encode(["cat runs", "dog sleeps not very dog"])[0]
    assert abs(alone - beside).max() < 1e-5
    checkpoint = load_checkpoint(str(tmp_path / "model"))
    encoder = checkpoint.encoder(64)
    last = checkpoint.model(**encoder.pad(encoder.encode(["cat runs"]))).last_hidden_state[0, -1]
    assert torch.allclose(torch.nn.functional.normalize(last, dim=0), torch.tensor(alone), atol=1e-5)


def test_a_padding_id_comes_from_the_tokenizer_and_special_ids_beyond_the_table_are_not_used(tmp_path: Path) -> None:
    beyond = {"pad_token_id": 39, "bos_token_id": 30, "eos_token_id": 30, "cls_token_id": 30, "sep_token_id": 30}
    name = make_kind(tmp_path / "model", "modernbert", **beyond)
    path = tmp_path / "model" / "config.json"
    defaults = {"pad_token_id": 50283, "cls_token_id": 50281, "sep_token_id": 50282, "bos_token_id": 50281}
    path.write_text(json.dumps({**json.loads(path.read_text()), **defaults}))
    model = load_checkpoint(name, head="classification", labels=LABELS).model
    assert (model.config.pad_token_id, model.config.cls_token_id) == (0, 2)
    TrimmedVocabulary(model, [5, 6])
    decoder = load_checkpoint(make_kind(tmp_path / "qwen", "qwen3", pad_token_id=None)).model
    assert decoder.config.pad_token_id == 0


def test_a_tokenizer_without_a_padding_token_is_refused_in_a_line(tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "qwen3", pad_token_id=None)
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(name)
    with pytest.raises(KddaError, match="its tokenizer has no padding token"):
        load_checkpoint(name)
    with pytest.raises(KddaError, match="its tokenizer has no padding token"):
        Checkpoint.from_objects(AutoModel.from_pretrained(name), AutoTokenizer.from_pretrained(name))


def test_a_matrix_of_another_size_than_the_config_says_is_never_drawn_at_random(tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "bert")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 50}))
    with pytest.raises(KddaError, match="in another size, such as embeddings"):
        load_checkpoint(name)


def test_a_tokenizer_that_gives_token_types_to_a_model_without_them_is_told_not_to(tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "roberta", type_vocab_size=1)
    encoder = load_checkpoint(name).encoder(60)
    assert set(encoder.pad(encoder.encode(["cat"], ["dog"]))) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize("head", ["none", *HEADS])
def test_an_encoder_decoder_without_a_class_of_its_encoder_is_refused(head: str, tmp_path: Path) -> None:
    name = make_kind(tmp_path / "model", "bart")
    with pytest.raises(KddaError, match="transformers has no class for its encoder alone"):
        load_checkpoint(name, head=head)


def test_an_encoder_decoder_that_was_fine_tuned_whole_predicts(tmp_path: Path) -> None:
    config = config_of("bart")
    assert isinstance(config, BartConfig)
    BartForQuestionAnswering(config).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    answer: Any = kdda.load(tmp_path).answer("cat", "cat sleeps dog runs")
    assert answer.text == "cat sleeps dog runs"[answer.start : answer.end]


def test_embeddings_that_do_more_than_look_rows_up_are_trained_whole(tmp_path: Path) -> None:
    model = load_checkpoint(make_kind(tmp_path / "model", "ibert"), head="classification", labels=LABELS).model
    vocabulary = TrimmedVocabulary(model, [2, 3, 5])
    assert not vocabulary.is_trimmed and vocabulary.rows_in_use == vocabulary.rows == 40 and not vocabulary.bytes_saved


def test_objects_of_a_users_own_class_keep_what_their_modules_show(tmp_path: Path) -> None:
    model = BertModel(config_of("bert", max_position_embeddings=30))
    assert Checkpoint.from_objects(model, make_tokenizer()).encoder(64).max_length == 30
