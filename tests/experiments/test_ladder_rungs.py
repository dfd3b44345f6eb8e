"""The rungs: one step each, and as many parameters as 2017's."""

import pytest

from tokkit.errors import ConfigError
from tokkit.experiments.ladder import profile
from tokkit.experiments.ladder_rungs import (
    BASE,
    DENSE,
    EXPERTS,
    MIXTURE,
    STEP_NAMES,
    active_parameters,
    base_config,
    rungs,
    total_parameters,
    with_steps,
)
from tokkit.model.transformer import Transformer

FULL = profile("full").base()
RUNGS = {rung.name: rung for rung in rungs(FULL)}
# What each step sets; whatever else differs from the rung below must be a width.
SETS = {
    "pre-norm": {"norm_place"},
    "rmsnorm": {"norm"},
    "rotary": {"positions"},
    "swiglu": {"feedforward", "linear_bias"},
    "grouped": {"key_value_heads"},
    "mixture": {"experts", "experts_per_token", "balance_weight"},
}
WIDTHS = {"hidden_width", "expert_width"}


def test_the_base_by_hand():
    """V D = 512 x 64, T D = 128 x 64; a layer: attention 4 D D + 4 D, feed-forward 2 D M + M + D
    with M = 4 D, two norms of 2 D each; no final norm, tied."""
    layer = 4 * 64 * 64 + 4 * 64 + 2 * 64 * 256 + 256 + 64 + 4 * 64
    assert total_parameters(FULL) == 512 * 64 + 128 * 64 + 4 * layer == 240_896
    assert (FULL.norm, FULL.norm_place, FULL.positions) == ("layernorm", "post", "learned")
    assert (FULL.feedforward, FULL.linear_bias, FULL.experts) == ("gelu", True, 0)
    assert FULL.key_value_heads == FULL.query_heads == 4


def test_the_swiglu_step_is_two_thirds_as_wide_but_for_the_biases():
    assert RUNGS["only-swiglu"].config.hidden_width == 172  # 2/3 x 256 = 170.7, and the biases


def test_what_grouped_queries_save_goes_to_the_feed_forward_layer():
    """Two of four key-value heads less: 2 x 2 x 16 x (64 + 1) a layer, at 2 x 64 + 1 a unit."""
    saved, unit = 2 * 2 * 16 * (64 + 1), 2 * 64 + 1
    assert RUNGS["only-grouped"].config.hidden_width == 256 + round(saved / unit) == 288


@pytest.mark.parametrize("name", RUNGS)
def test_counts_are_those_of_the_model_itself(name):
    config = RUNGS[name].config
    model = Transformer(config, seed=None)
    assert total_parameters(config) == model.parameter_count()["total"]
    experts = sum(p.numel() for n, p in model.named_parameters() if p.ndim == 3)
    idle = experts * (EXPERTS - config.experts_per_token) // EXPERTS if config.experts else 0
    assert active_parameters(config) == total_parameters(config) - idle


@pytest.mark.parametrize("base", [FULL, profile("quick").base()])
def test_active_parameters_are_equal_within_half_a_percent(base):
    for rung in rungs(base):
        assert active_parameters(rung.config) == pytest.approx(active_parameters(base), rel=0.005)
    mixture = next(rung.config for rung in rungs(base) if rung.name == MIXTURE)
    assert total_parameters(mixture) > 2 * active_parameters(mixture)


def test_the_chain_changes_one_thing_a_rung():
    chain = [rung for rung in RUNGS.values() if rung.chain]
    assert [rung.step for rung in chain] == list(STEP_NAMES)
    assert chain[-2].name == DENSE
    assert chain[-1].name == MIXTURE
    for rung in RUNGS.values():
        if rung.step:
            below = RUNGS[rung.minus].config.to_dict()
            here = rung.config.to_dict()
            differ = {name for name in here if here[name] != below[name]}
            assert differ - WIDTHS == SETS[rung.step]


def test_each_step_is_alone_once_and_the_first_is_shared():
    alone = [rung for rung in RUNGS.values() if rung.alone]
    assert [rung.step for rung in alone] == list(STEP_NAMES)
    assert alone[0].name == "to-pre-norm"
    assert alone[0].chain
    assert [rung.minus for rung in alone] == [BASE] * 5 + ["only-swiglu"]
    assert len(RUNGS) == 12
    assert RUNGS[BASE].taken == ()


def test_the_order_in_which_steps_are_named_does_not_matter():
    assert with_steps(FULL, ("swiglu", "rmsnorm")) == with_steps(FULL, ("rmsnorm", "swiglu"))


def test_an_odd_number_of_heads_cannot_be_grouped():
    with pytest.raises(ConfigError, match=r"heads must be even, .* got 3"):
        base_config(vocab_size=300, width=24, layers=1, heads=3, length=16)
