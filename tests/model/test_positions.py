"""Rotary frequencies and their scalings, by hand and against transformers' own."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import tiny_config
from torch import tensor
from torch.testing import assert_close

from tokkit.errors import ConfigError
from tokkit.model.positions import RotaryTables, rotary_frequencies, rotate


def test_plain_and_linear_by_hand():
    plain, magnitude = rotary_frequencies(tiny_config(head_width=4, rope_base=100.0))
    assert plain.tolist() == pytest.approx([1.0, 0.1])
    assert magnitude == 1.0
    scaled, _ = rotary_frequencies(
        tiny_config(head_width=4, rope_base=100.0, rope_scaling="linear", rope_factor=4.0)
    )
    assert scaled.tolist() == pytest.approx([0.25, 0.025])


def test_only_low_frequencies_are_scaled_by_hand():
    # Turns in an original context of 2 pi x 10 tokens: 10, 1 and 0.1 for frequencies 1, .1, .01.
    # Above 4: kept. Below 0.5: an eighth. Between: (1 - .5) / 3.5 = 1/7 kept, 6/7 of an eighth.
    config = tiny_config(
        head_width=6,
        rope_base=1000.0,
        rope_scaling="llama3",
        rope_factor=8.0,
        rope_original_context=63,
        rope_low_frequency=0.5,
    )
    found = rotary_frequencies(config)[0].tolist()
    turns = 63 * 0.1 / (2 * math.pi)
    kept = (turns - 0.5) / 3.5
    assert found == pytest.approx([1.0, kept * 0.1 + (1 - kept) * 0.0125, 0.00125])


def test_a_sliding_layer_with_its_own_base_is_not_scaled():
    config = tiny_config(
        head_width=4,
        rope_base=10_000.0,
        rope_local_base=100.0,
        rope_scaling="linear",
        rope_factor=8.0,
        attention_pattern="sf",
        window=3,
    )
    assert rotary_frequencies(config, sliding=True)[0].tolist() == pytest.approx([1.0, 0.1])
    assert rotary_frequencies(config)[0].tolist() == pytest.approx([0.125, 0.00125])


@pytest.mark.parametrize("factor", [1.0, 2.0, 8.0, 40.0])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("base", [1e4, 5e5])
def test_yarn_as_transformers(factor, whole, base):
    rope = pytest.importorskip("transformers.modeling_rope_utils")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.LlamaConfig(
        hidden_size=128,
        num_attention_heads=2,
        max_position_embeddings=4096,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": base,
            "factor": factor,
            "original_max_position_embeddings": 1031,
            "truncate": whole,
            "beta_fast": 31.0,
            "beta_slow": 1.5,
        },
    )
    expected, magnitude = rope.ROPE_INIT_FUNCTIONS["yarn"](theirs, torch.device("cpu"))
    config = tiny_config(
        head_width=64,
        context=4096,
        rope_base=base,
        rope_scaling="yarn",
        rope_factor=factor,
        rope_original_context=1031,
        rope_whole_pairs=whole,
        rope_fast_turns=31.0,
        rope_slow_turns=1.5,
    )
    found, ours = rotary_frequencies(config)
    assert_close(found.float(), expected, rtol=1e-6, atol=0)
    assert ours == pytest.approx(magnitude)


def test_what_is_beyond_the_rotated_share_stays():
    x = tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    turned = rotate(x, torch.zeros(1), torch.ones(1))
    assert turned.tolist() == [-2.0, 1.0, 3.0, 4.0, 5.0]


def test_tables_grow_and_hold_plain_tensors():
    tables = RotaryTables(tiny_config(context=1000, head_width=4), sliding=False)
    with torch.inference_mode():
        short, _ = tables.upto(3, torch.device("cpu"))
    long, _ = tables.upto(900, torch.device("cpu"))
    assert len(long) == 1000
    assert torch.equal(long[: len(short)], short)
    assert not short.is_inference()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rope_share": 1.5}, "rope_share must be at most 1"),
        ({"rope_share": 0.05}, "must be even and not 0"),
        ({"rope_scaling": "yarns"}, "did you mean 'yarn'"),
        ({"rope_scaling": "linear", "rope_factor": 0.5}, "rope_factor must be at least 1"),
        ({"rope_scaling": "yarn", "rope_base": 1.0}, "a rope_base of 1.001 or more"),
        ({"rope_scaling": "yarn", "rope_fast_turns": 1.0}, "got 1.0, 1.0 and"),
        ({"rope_scaling": "yarn", "rope_slow_turns": 1e-300}, "yarn needs 1e-6"),
        ({"rope_low_frequency": 4.0}, "must be below rope_high_frequency"),
        ({"window": 4}, "window must be above 0 exactly when"),
        ({"attention_pattern": "s"}, "got 0 and 's'"),
        ({"attention_pattern": "ffx"}, "letters of f and s"),
    ],
)
def test_positions_that_cannot_be(changed, words):
    with pytest.raises(ConfigError, match=words):
        tiny_config(**changed)
