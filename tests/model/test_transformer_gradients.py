"""Finite differences against the gradients of the transformer's own maths, in float64."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from tiny_models import shaken
from torch.autograd import gradcheck
from torch.func import functional_call

from tokkit.model.attention import Attention
from tokkit.model.config import FEEDFORWARDS, NORMS, POSITIONS, ModelConfig
from tokkit.model.feedforward import FeedForward
from tokkit.model.layers import Norm
from tokkit.model.positions import rotate
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer


def config_of(**changed) -> ModelConfig:
    settings = {"vocab_size": 3, "width": 4, "layers": 1, "query_heads": 2, "hidden_width": 5}
    return ModelConfig(**(settings | {"context": 7} | changed))


def numbers(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)


def agrees(module: torch.nn.Module, *inputs: torch.Tensor, fused: bool = True) -> bool:
    """Whether gradients by inputs and by every parameter are those of finite differences."""
    names = [name for name, _ in module.named_parameters()]
    parameters = [p.detach().requires_grad_() for _, p in module.named_parameters()]

    def outcome(*values: torch.Tensor) -> torch.Tensor:
        by_name = dict(zip(names, values[len(inputs) :], strict=True))
        return functional_call(module, by_name, values[: len(inputs)])

    with nullcontext() if fused else trace(module):
        return gradcheck(outcome, (*inputs, *parameters))


def filled(module: torch.nn.Module) -> torch.nn.Module:
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(numbers(*parameter.shape))
    return module


def test_rotate():
    angles = numbers(3, 2).detach()
    assert gradcheck(lambda x: rotate(x, angles.cos(), angles.sin()), numbers(2, 1, 3, 4))


@pytest.mark.parametrize("kind", NORMS)
def test_norm(kind):
    assert agrees(filled(Norm(config_of(norm=kind, norm_epsilon=0.1))), numbers(2, 3, 4))


@pytest.mark.parametrize("kind", FEEDFORWARDS)
def test_feedforward(kind):
    layer = filled(FeedForward(config_of(feedforward=kind, linear_bias=True)))
    assert agrees(layer, numbers(1, 3, 4))


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "explicit"])
@pytest.mark.parametrize("positions", ["alibi", "rope", "none"])
def test_attention(positions, fused):
    attention = filled(Attention(config_of(positions=positions, key_value_heads=1)))
    assert agrees(attention, numbers(1, 5, 4), fused=fused)


@pytest.mark.parametrize("norm_place", ["pre", "post"])
@pytest.mark.parametrize("positions", POSITIONS)
def test_the_whole_transformer(positions, norm_place):
    config = config_of(
        positions=positions,
        norm_place=norm_place,
        norm="layernorm" if norm_place == "post" else "rmsnorm",
        key_value_heads=1,
        tied=positions == "learned",
        token_features=2,
    )
    model = shaken(Transformer(config, token_features=torch.tensor([[1, 2], [0, 1], [3, 0]])))
    model.double()
    ids = torch.tensor([[0, 2, 1, 1, 2]])
    names = [name for name, _ in model.named_parameters()]

    def logits(*parameters: torch.Tensor) -> torch.Tensor:
        return functional_call(model, dict(zip(names, parameters, strict=True)), (ids,))

    assert gradcheck(logits, [p.detach().requires_grad_() for p in model.parameters()])
