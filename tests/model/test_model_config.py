"""What a config refuses, in which words, and that it survives a trip to JSON and back."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import tiny_config

from tokkit.errors import ConfigError
from tokkit.model.config import FEEDFORWARDS, NORM_PLACES, NORMS, POSITIONS, ModelConfig


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"positions": "ropes"}, "unknown positions 'ropes': did you mean 'rope'? (choose from "),
        ({"norm": "rmsnrom"}, "unknown norm 'rmsnrom': did you mean 'rmsnorm'?"),
        ({"norm_place": "prenorm"}, "unknown norm_place 'prenorm': did you mean 'pre'?"),
        ({"feedforward": "swish"}, "unknown feedforward 'swish': did you mean 'swiglu'?"),
        ({"vocab_size": 0}, "vocab_size must lie in 1..1048576, got 0"),
        ({"layers": -1}, "layers must lie in 1..1048576, got -1"),
        ({"context": 2**20 + 1}, "context must lie in 1..1048576, got 1048577"),
        ({"hidden_width": -2}, "hidden_width must lie in 0..1048576, got -2"),
        ({"vocab_size": 10**5000}, "vocab_size must lie in 1..1048576, got 0x"),
        ({"norm_epsilon": 0.0}, "norm_epsilon must be above 0 and finite, got 0.0"),
        ({"norm_epsilon": math.nan}, "norm_epsilon must be above 0 and finite, got nan"),
        ({"rope_base": math.inf}, "rope_base must be above 0 and finite, got inf"),
        ({"rope_base": 10**400}, "rope_base must be above 0 and finite, got 0x"),
        (
            {"width": 31},
            "width must be a multiple of query_heads where head_width is not given, got 31 and 3: "
            "try width 30",
        ),
        (
            {"width": 2},
            "width must be a multiple of query_heads where head_width is not given, got 2 and 3: "
            "try width 3",
        ),
        (
            {"query_heads": 6, "width": 60, "key_value_heads": 4},
            "query_heads must be a multiple of key_value_heads, got 6 and 4: try key_value_heads 2",
        ),
        (
            {"key_value_heads": 5},
            "query_heads must be a multiple of key_value_heads, got 3 and 5: try key_value_heads 1",
        ),
        (
            {"width": 33},
            "rope rotates pairs, so rope_share x head_width must be even and not 0, got 1.0 x 11",
        ),
        (
            {"width": 33, "positions": "sinusoidal"},
            "sinusoidal positions come in pairs, so width must be even, got 33",
        ),
        ({"layers": 2.0}, "layers must be of type int, got 2.0"),
        ({"layers": True}, "layers must be of type int, got True"),
        ({"tied": 1}, "tied must be of type bool, got 1"),
        ({"rope_base": "10000"}, "rope_base must be of type float, got '10000'"),
        ({"norm": None}, "norm must be of type str, got None"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_what_is_refused(changed, message):
    with pytest.raises(ConfigError) as caught:
        tiny_config(**changed)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_odd_heads_and_widths_pass_where_nothing_is_paired():
    assert tiny_config(width=33, positions="alibi").head_width == 11


def test_zeros_become_the_usual():
    assert tiny_config(hidden_width=0).hidden_width == 80  # 8/3 x 30
    assert tiny_config(hidden_width=0, feedforward="gelu").hidden_width == 120
    assert tiny_config(width=32, query_heads=2, hidden_width=0).hidden_width == 85  # 85.3
    assert tiny_config().key_value_heads == 3


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config().layers = 3


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    groups, times, half_head = (draw(st.integers(1, 5)) for _ in range(3))
    return ModelConfig(
        vocab_size=draw(st.integers(1, 2**20)),
        width=groups * times * half_head * 2,
        layers=draw(st.integers(1, 97)),
        query_heads=groups * times,
        key_value_heads=draw(st.sampled_from([0, groups])),
        hidden_width=draw(st.integers(0, 997)),
        context=draw(st.integers(1, 2**20)),
        norm=draw(st.sampled_from(NORMS)),
        norm_place=draw(st.sampled_from(NORM_PLACES)),
        norm_epsilon=draw(st.floats(1e-12, 1.0)),
        positions=draw(st.sampled_from(POSITIONS)),
        rope_base=draw(st.floats(1.0, 1e9)),
        feedforward=draw(st.sampled_from(FEEDFORWARDS)),
        linear_bias=draw(st.booleans()),
        tied=draw(st.booleans()),
        token_features=draw(st.integers(0, 31)),
    )


@given(configs())
def test_round_trip_through_json(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_unknown_and_missing_names():
    with pytest.raises(ConfigError, match="unknown model setting 'layer': did you mean 'layers'"):
        ModelConfig.from_dict(tiny_config().to_dict() | {"layer": 2})
    with pytest.raises(ConfigError, match="the model settings lack width, query_heads: add them"):
        ModelConfig.from_dict({"vocab_size": 3, "layers": 2})
