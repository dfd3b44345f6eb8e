"""Looking changes nothing, shows what is there, and leaves nothing behind."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import BATCH, HIDDEN, TIME, some_ids, tiny_model
from torch import nn

from tokkit.errors import ConfigError
from tokkit.model.config import POSITIONS
from tokkit.model.feedforward import activate
from tokkit.model.trace import activation_names, trace

LAYER = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.pattern",
    "attention.heads",
    "attention",
    "feedforward.gate",
    "feedforward.up",
    "feedforward.hidden",
    "feedforward",
    "residual",
)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_names_stand_in_the_order_of_the_data():
    expected = ["embedding", *(f"blocks.{i}.{part}" for i in range(2) for part in LAYER), "final"]
    model = tiny_model()
    assert list(activation_names(model)) == expected
    with trace(model) as activations:
        model(some_ids())
    assert list(activations) == expected, "each is recorded, and in this order"


def test_shapes_are_as_documented():
    model = tiny_model(width=60, query_heads=6, key_value_heads=2)
    with trace(model) as activations:
        model(some_ids())
    shapes = {name: tuple(value.shape) for name, value in activations.items()}
    assert shapes["embedding"] == shapes["final"] == (BATCH, TIME, 60)
    assert [shapes[f"blocks.1.{part}"] for part in LAYER] == [
        (BATCH, 6, TIME, 10),
        (BATCH, 2, TIME, 10),
        (BATCH, 2, TIME, 10),
        (BATCH, 6, TIME, TIME),
        (BATCH, 6, TIME, 10),
        (BATCH, TIME, 60),
        (BATCH, TIME, HIDDEN),
        (BATCH, TIME, HIDDEN),
        (BATCH, TIME, HIDDEN),
        (BATCH, TIME, 60),
        (BATCH, TIME, 60),
    ]


@torch.no_grad()
@pytest.mark.parametrize("kind", ["swiglu", "geglu", "gelu", "relu"])
def test_gate_and_up_make_the_hidden(kind):
    model = tiny_model(feedforward=kind)
    with trace(model) as seen:
        model(some_ids())
    up, hidden = (seen[f"blocks.1.feedforward.{part}"] for part in ("up", "hidden"))
    gate = seen.get("blocks.1.feedforward.gate")
    assert (gate is not None) == kind.endswith("glu")
    expected = activate(up, kind) if gate is None else activate(gate, kind) * up
    assert torch.equal(hidden, expected)


@pytest.mark.parametrize("positions", POSITIONS)
@torch.no_grad()
def test_the_explicit_path_is_the_fused_one_and_patterns_are_causal(positions):
    model, ids = tiny_model(positions=positions, query_heads=5, key_value_heads=1), some_ids()
    fused = model(ids)
    with trace(model) as activations:
        explicit = model(ids)
    assert (explicit - fused).abs().max() <= 1e-5 * fused.std()
    for layer in range(2):
        pattern = activations[f"blocks.{layer}.attention.pattern"]
        assert torch.allclose(pattern.sum(-1), torch.ones(BATCH, 5, TIME), atol=1e-6)
        assert bool((pattern.triu(1) == 0).all())
        assert bool((pattern.tril() == pattern).all())
        assert pattern.min() >= 0
    with trace(model, [n for n in activation_names(model) if not n.endswith("pattern")]):
        assert torch.equal(model(ids), fused), "without a pattern watched, to the last bit"
    assert torch.equal(model(ids), fused)


@torch.no_grad()
def test_activations_add_up_to_the_model():
    model, ids = tiny_model(), some_ids()
    with trace(model) as seen:
        logits = model(ids)
    stream = seen["embedding"]
    for layer in range(2):
        stream = stream + seen[f"blocks.{layer}.attention"] + seen[f"blocks.{layer}.feedforward"]
        assert torch.allclose(stream, seen[f"blocks.{layer}.residual"], atol=1e-5)
    heads = seen["blocks.1.attention.heads"].transpose(1, 2).reshape(BATCH, TIME, 30)
    written = heads @ model.blocks[1].attention.output.weight.T
    assert torch.allclose(written, seen["blocks.1.attention"], atol=1e-5)
    mixed = seen["blocks.1.attention.pattern"] @ seen["blocks.1.attention.value"]
    assert torch.allclose(mixed, seen["blocks.1.attention.heads"], atol=1e-5)
    assert torch.allclose(seen["final"] @ model.unembedding.T, logits, atol=1e-5)


def test_no_weight_and_no_gradient_changes():
    model, ids = tiny_model(), some_ids()
    weights = copy.deepcopy(model.state_dict())
    model(ids).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    watched = [name for name in activation_names(model) if not name.endswith("pattern")]
    with trace(model, watched) as activations:
        model(ids).sum().backward()
    assert not any(value.requires_grad for value in activations.values())
    assert all(torch.equal(weights[n], value) for n, value in model.state_dict().items())
    assert all(torch.equal(gradients[n], p.grad) for n, p in model.named_parameters())


def test_hooks_go_even_after_an_exception():
    model = tiny_model()
    with trace(model) as activations:
        assert hooks_of(model) == len(activation_names(model))
        model(some_ids())
    assert hooks_of(model) == 0
    kept = activations["final"].clone()
    model(some_ids(seed=2))
    assert torch.equal(activations["final"], kept)
    with pytest.raises(RuntimeError, match="on purpose"), trace(model):
        raise RuntimeError("on purpose")
    assert hooks_of(model) == 0


def test_one_trace_inside_another():
    model, ids = tiny_model(), some_ids()
    with trace(model, ["final"]) as outer, trace(model, ["final", "embedding"]) as inner:
        model(ids)
    assert torch.equal(outer["final"], inner["final"])
    assert list(outer) == ["final"]


def test_an_unknown_name_is_told_with_the_nearest():
    model = tiny_model()
    with (
        pytest.raises(ConfigError, match=r"unknown activation 'blocks\.0\.attention\.patern': did"),
        trace(model, ["embedding", "blocks.0.attention.patern"]),
    ):
        pass
    assert hooks_of(model) == 0
    with (
        pytest.raises(ConfigError, match="no named activations: give a tokkit Transformer"),
        trace(nn.Linear(2, 3)),
    ):
        pass
