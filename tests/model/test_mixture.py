"""A mixture of experts: routing and its loss by hand, and against experts asked one by one."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import some_ids, tiny_config, tiny_model
from torch import tensor
from torch.nn import functional
from torch.testing import assert_close

from tokkit.errors import ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.feedforward import FeedForward, Mixture
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer, initialise


def two_numbers(**changed) -> Mixture:
    """Experts of one hidden unit over a stream of two numbers, the router reading them as they are.

    Expert e makes silu(large) of the gate, about 10, times its up (e + 1), written to both numbers.
    """
    config = ModelConfig(
        vocab_size=2, width=2, layers=1, query_heads=1, hidden_width=1, experts=2, **changed
    )
    mixture = Mixture(config)
    with torch.no_grad():
        mixture.router.weight.copy_(torch.eye(2))
        mixture.gate.weight.fill_(100.0)
        mixture.up.weight.copy_(tensor([[[1.0, 1.0]], [[2.0, 2.0]]]))
        mixture.down.weight.fill_(1.0)
    return mixture


def test_one_expert_a_token_by_hand():
    mixture = two_numbers(experts_per_token=1)
    # (1, 0) goes to expert 0: silu(100) = 100, times 1; (0, 1) to expert 1: 100 times 2.
    made = mixture(tensor([[[1.0, 0.0], [0.0, 1.0]]]))
    assert made.tolist() == [[[100.0, 100.0], [200.0, 200.0]]]


def test_shares_that_are_not_made_to_add_up():
    mixture = two_numbers(experts_per_token=1, routing_normalised=False)
    made = mixture(tensor([[[math.log(3.0), 0.0]]]))  # shares 3/4 and 1/4
    gate = 100 * math.log(3.0)
    assert_close(made, torch.full((1, 1, 2), 0.75 * gate * math.log(3.0)))


def test_balance_by_hand():
    mixture = two_numbers(experts_per_token=1, balance_weight=0.1).train()
    third = math.log(3.0)
    mixture(tensor([[[third, 0.0], [third, 0.0], [third, 0.0], [0.0, third]]]))
    # Choices a token: 3/4 and 1/4; mean shares (3 x 3/4 + 1/4) / 4 = 5/8 and 3/8;
    # 2 x (15/32 + 3/32) = 9/8. Even routing gives 1, the least.
    assert mixture.balance is not None
    assert mixture.balance.item() == pytest.approx(9 / 8)
    mixture.eval().balance = None
    mixture(torch.ones(1, 1, 2))
    assert mixture.balance is None


@pytest.mark.parametrize("shared", [0, 7])
@pytest.mark.parametrize("kind", ["swiglu", "geglu"])
@torch.no_grad()
def test_sorted_by_expert_as_one_by_one(shared, kind):
    config = tiny_config(
        feedforward=kind,
        experts=5,
        experts_per_token=3,
        expert_width=11,
        shared_expert_width=shared,
    )
    mixture = Mixture(config)
    for parameter in mixture.parameters():
        parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    x = torch.randn(2, 7, 30, generator=torch.Generator().manual_seed(0))
    made = mixture(x)
    for place in ((0, 0), (1, 6), (0, 3)):
        token = x[place]
        shares = functional.softmax(mixture.router.weight @ token, -1)
        best = shares.argsort(descending=True)[:3]
        expected = torch.zeros(30)
        for expert in best:
            dense = FeedForward(config, 11)
            for part in ("gate", "up", "down"):
                getattr(dense, part).weight.copy_(getattr(mixture, part).weight[expert])
            expected += shares[expert] / shares[best].sum() * dense(token)
        if mixture.shared is not None and mixture.shared_gate is not None:
            expected += torch.sigmoid(mixture.shared_gate(token)) * mixture.shared(token)
        assert_close(made[place], expected, rtol=1e-4, atol=1e-3)


def test_every_expert_that_is_chosen_learns_and_the_router_too():
    model = Transformer(
        tiny_config(experts=3, experts_per_token=1, balance_weight=0.1, expert_pattern="de"),
        seed=0,
    )
    assert "blocks.0.feedforward.router.weight" not in model.state_dict()
    with trace(model, ["blocks.1.feedforward.router"]) as seen:
        loss = model(some_ids()).square().mean() + model.balance_loss()
    loss.backward()
    chosen = set(seen["blocks.1.feedforward.router"].argmax(-1).tolist())
    router = model.get_parameter("blocks.1.feedforward.router.weight")
    assert router.grad is not None
    assert router.grad.abs().sum() > 0
    for part in ("gate", "up", "down"):
        gradient = model.get_parameter(f"blocks.1.feedforward.{part}.weight").grad
        assert gradient is not None
        assert {e for e in range(3) if gradient[e].abs().sum() > 0} == chosen


def test_the_loss_of_even_routing_is_the_number_of_choices():
    model = tiny_model(experts=4, experts_per_token=2, balance_weight=1.0).train()
    with torch.no_grad():
        for block in model.blocks:
            block.feedforward.router.weight.zero_()
    model(some_ids())
    # Shares of 1/4 each: 4 x (2 choices a token) x 1/4, whichever experts are chosen.
    assert model.balance_loss().item() == pytest.approx(2.0)


def test_a_dense_model_has_no_balance_loss():
    assert tiny_model().balance_loss().item() == 0.0


def test_experts_start_alike_whatever_stands_beside_them():
    config = tiny_config(experts=2, experts_per_token=1)
    first, second = Transformer(config, seed=3), Transformer(config, seed=None)
    initialise(second, 3)
    for name, parameter in first.state_dict().items():
        assert torch.equal(parameter, second.state_dict()[name])
    gate = first.get_parameter("blocks.0.feedforward.gate.weight")
    assert gate.std().item() == pytest.approx(30**-0.5, rel=0.2)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"experts": 3}, "experts_per_token must lie in 1..experts"),
        ({"experts": 3, "experts_per_token": 4}, "got 4 of 3"),
        ({"experts_per_token": 1}, "got 1 of 0"),
        ({"experts": 3, "experts_per_token": 1, "feedforward": "gelu"}, "experts are gated"),
        ({"shared_expert_width": 5}, "needs experts"),
        ({"expert_pattern": "x"}, "letters of d and e, got 'x'"),
    ],
)
def test_mixtures_that_cannot_be(changed, words):
    with pytest.raises(ConfigError, match=words):
        tiny_config(**changed)
