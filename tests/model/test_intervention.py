"""A change reaches what comes after it, nothing before it, one row alone, and is gone after."""

from __future__ import annotations

import pytest
import torch
from tiny_models import some_ids, tiny_model

from tokkit.errors import ConfigError
from tokkit.model.intervention import Patch, intervene, patched
from tokkit.model.trace import activation_names, trace


def test_the_same_value_put_back_changes_nothing():
    model, ids = tiny_model(), some_ids()
    plain = model(ids)
    for name in activation_names(model):
        with intervene(model, {name: lambda values: values.clone()}):
            assert torch.allclose(model(ids), plain, atol=1e-5), name
    assert torch.equal(model(ids), plain), "nothing is left behind"


def test_an_ablated_layer_is_weight_surgery():
    model, ids = tiny_model(), some_ids()
    with intervene(model, {"blocks.1.feedforward": torch.zeros_like}):
        ablated = model(ids)
    with torch.no_grad():
        model.blocks[1].feedforward.down.weight.zero_()
    assert torch.allclose(ablated, model(ids), atol=1e-6)


def test_a_row_is_patched_alone_and_only_to_its_right():
    model, ids = tiny_model(), some_ids(batch=3)
    plain = model(ids)
    patch = Patch(row=1, name="blocks.0.residual", index=(4,), value=torch.zeros(30))
    with patched(model, [patch]):
        changed = model(ids)
    same = (changed == plain).all(-1)
    assert same[[0, 2]].all(), "other rows"
    assert same[1, :4].all(), "earlier positions"
    assert not same[1, 4:].any(), "the place itself, and all after it"


def test_restoring_every_place_of_a_layer_restores_the_answer():
    model, ids = tiny_model(), some_ids()
    other = some_ids(seed=9)
    with trace(model, ["blocks.0.residual"]) as clean:
        wanted = model(ids)
    patches = [Patch(row, "blocks.0.residual", (slice(None),), clean["blocks.0.residual"][row])
               for row in range(len(ids))]  # fmt: skip
    with patched(model, patches):
        assert torch.allclose(model(other), wanted, atol=1e-6)


def test_a_trace_inside_sees_what_flows_on():
    model = tiny_model()
    name = "blocks.0.attention.heads"
    with intervene(model, {name: torch.zeros_like}), trace(model, [name]) as seen:
        model(some_ids())
    assert not seen[name].any()


def test_gradients_flow_through_a_change():
    model, added = tiny_model(), torch.zeros(30, requires_grad=True)
    with intervene(model, {"blocks.0.feedforward": lambda values: values + added}):
        model(some_ids())[0, -1, 3].backward()
    assert added.grad is not None
    assert added.grad.abs().max() > 0


def test_faults_are_told():
    model = tiny_model()
    with (
        pytest.raises(ConfigError, match=r"unknown activation 'blocks\.9\.residual'"),
        intervene(model, {"blocks.9.residual": torch.zeros_like}),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="must keep its shape"),
        intervene(model, {"embedding": lambda values: values[:, :1]}),
    ):
        model(some_ids())
