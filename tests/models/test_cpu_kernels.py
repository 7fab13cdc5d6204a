"""fast_cpu_kernels: models compute the same numbers by other libraries; torch and transformers stay as they were."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from kdda.models import cpu_kernels
from kdda.models.cpu_kernels import fast_cpu_kernels

CPU = torch.device("cpu")


def settings() -> tuple[object, ...]:
    """What the block changes."""
    backends = torch.backends
    precision = getattr(getattr(backends.mkldnn, "matmul", None), "fp32_precision", None)
    return precision, ALL_ATTENTION_FUNCTIONS["sdpa"]


@pytest.fixture
def faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has the faster kernels, whatever this one is."""
    if not hasattr(getattr(torch.backends.mkldnn, "matmul", None), "fp32_precision"):
        pytest.skip("this version of torch cannot choose between MKL and oneDNN")
    if torch.cpu._is_amx_tile_supported():
        pytest.skip("oneDNN rounds float32 products to bfloat16 here, so that kdda leaves them to MKL")
    monkeypatch.setattr(cpu_kernels, "is_faster", lambda: True)


@pytest.fixture(scope="module")
def bert() -> BertModel:
    """A tiny encoder without dropout."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "hidden_size": 32, "intermediate_size": 64}
    shape = {"num_hidden_layers": 2, "num_attention_heads": 2, "attn_implementation": "sdpa"}
    return BertModel(BertConfig(**sizes, **shape, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).train()


def states_and_gradients(bert: BertModel, in_bf16: bool = False) -> list[Tensor]:
    """The real tokens' states of two rows, of which one is padded, and the gradients of all weights by them."""
    ids = torch.arange(2, 16).view(2, 7)
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    bert.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
        states = bert(input_ids=ids, attention_mask=mask).last_hidden_state[mask.bool()]
    states.float().sin().sum().backward()
    gradients = [weight.grad.clone() for weight in bert.parameters() if weight.grad is not None]
    return [states.detach(), *gradients]


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The norm of all differences, over that of the others."""
    gap = sum(float((a - b).double().square().sum()) for a, b in zip(one, other, strict=True))
    return float((gap / sum(float(b.double().square().sum()) for b in other)) ** 0.5)


def test_products_in_the_block_are_those_of_float32() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(300, 300), torch.randn(300, 300)
    exact = x.double() @ y.double()
    with fast_cpu_kernels(CPU):
        error = (x @ y - exact).norm() / exact.norm()
    assert error < 1e-6  # of products of bfloat16 numbers it would be 2e-3


@pytest.mark.usefixtures("faster")
def test_attention_in_the_block_has_the_values_and_gradients_of_that_outside(bert: BertModel) -> None:
    outside = states_and_gradients(bert)
    with fast_cpu_kernels(CPU):
        assert difference(states_and_gradients(bert), outside) < 1e-5


@pytest.mark.usefixtures("faster")
def test_attention_in_the_block_is_as_near_to_float32_in_mixed_precision(bert: BertModel) -> None:
    exact = states_and_gradients(bert)
    outside = difference(states_and_gradients(bert, in_bf16=True), exact)
    with fast_cpu_kernels(CPU):
        inside = difference(states_and_gradients(bert, in_bf16=True), exact)
    assert 0 < inside < 1.1 * outside


@pytest.mark.usefixtures("faster")
def test_a_learned_bias_of_scores_keeps_its_gradient() -> None:
    torch.manual_seed(0)
    query, bias = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 5, requires_grad=True)
    layer = torch.nn.Module()
    gradients = []
    for block in (nullcontext(), fast_cpu_kernels(CPU)):
        with block:
            attention = ALL_ATTENTION_FUNCTIONS["sdpa"]
            states, _ = attention(layer, query, query, query, bias, is_causal=False)
        gradients.append(torch.autograd.grad(states.square().sum(), bias)[0])
    assert torch.allclose(*gradients, atol=1e-6) and gradients[0].abs().max() > 0


@pytest.mark.usefixtures("faster")
def test_the_block_leaves_torch_and_transformers_as_they_were() -> None:
    before = settings()
    with pytest.raises(ValueError, match="stop"), fast_cpu_kernels(CPU):
        with fast_cpu_kernels(CPU):
            assert settings() != before
        assert settings() != before
        raise ValueError("stop")
    assert settings() == before


def test_nothing_is_changed_for_other_devices_and_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings()
    with fast_cpu_kernels(torch.device("cuda", 0)):
        assert settings() == before
    monkeypatch.setattr(cpu_kernels, "is_faster", lambda: False)
    with fast_cpu_kernels(CPU):
        assert settings() == before
