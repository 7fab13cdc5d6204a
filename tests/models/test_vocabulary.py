"""Training on the rows in use equals training on all of them."""

from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from kdda.models.load import load_checkpoint
from kdda.models.vocabulary import TrimmedVocabulary, decay_of_unused
from tests.conftest import LABELS, make_model

STEPS, DECAY = 50, 0.1


def trained(model: torch.nn.Module, rates: list[float], decay: float) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0, weight_decay=decay)
    ids = torch.tensor([[2, 5, 6, 3, 0], [2, 7, 3, 8, 3]])
    for step, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = rate
        torch.manual_seed(step)  # the same dropout on both sides
        model(input_ids=ids, attention_mask=(ids > 0).long(), labels=torch.tensor([step % 3, 1])).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("decay", [0.0, DECAY])
def test_trimmed_training_equals_full_training_to_rounding(tmp_path: Path, decay: float) -> None:
    name = make_model(tmp_path / "model")
    rates = [1e-3 * (1 - step / STEPS) for step in range(STEPS)]
    states = []
    for trim in (False, True):
        torch.manual_seed(0)
        model = load_checkpoint(name, head="classification", labels=LABELS).model.train()
        vocabulary = TrimmedVocabulary(model, [5, 6, 7, 8, 2, 3]) if trim else None
        trained(model, rates, decay)
        if vocabulary:
            vocabulary.graft(decay_of_unused(rates, decay))
        states.append(model.state_dict())
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        assert torch.allclose(value, states[1][key], atol=1e-6), key


def test_an_id_that_is_not_in_use_is_an_error_and_never_another_row(tmp_path: Path) -> None:
    model = load_checkpoint(make_model(tmp_path / "model"), head="classification", labels=LABELS).model
    TrimmedVocabulary(model, [2, 3, 5])
    with pytest.raises(IndexError):
        model(input_ids=torch.tensor([[2, 9, 3]]))


def test_tied_output_embeddings_are_refused() -> None:
    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    with pytest.raises(ValueError, match="output embeddings"):
        TrimmedVocabulary(BertForMaskedLM(config), [1, 2])


def test_rows_whose_memory_was_let_go_come_back_as_they_were(tmp_path: Path) -> None:
    model = load_checkpoint(make_model(tmp_path / "model", rows=4000), head="classification", labels=LABELS).model
    before = model.get_input_embeddings().weight.detach().clone()  # many pages of memory
    TrimmedVocabulary(model, [2, 3, 3000]).graft()
    assert torch.equal(model.get_input_embeddings().weight, before)
