"""The filters by hand, in their order, and against transformers' logits processors."""

from __future__ import annotations

import math

import pytest
import torch

from tokkit.errors import ConfigError
from tokkit.model.sampling import Chooser, SamplingConfig, draw, filtered, penalised

# Probabilities of five tokens, in no order: 0.1, 0.4, 0.05, 0.25, 0.2.
SHARES = [0.1, 0.4, 0.05, 0.25, 0.2]
LOGITS = torch.tensor([SHARES]).log() + 3.0  # a constant on all logits changes nothing


def kept(**settings) -> list[int]:
    left = filtered(LOGITS, SamplingConfig(**{"temperature": 1.0, **settings}))[0]
    return [place for place, value in enumerate(left.tolist()) if value > -math.inf]


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"top_k": 1}, [1]),
        ({"top_k": 3}, [1, 3, 4]),
        ({"top_k": 99}, [0, 1, 2, 3, 4]),
        ({"top_p": 0.3}, [1]),  # 0.4 alone holds 0.3
        ({"top_p": 0.5}, [1, 3]),  # 0.4 + 0.25
        ({"top_p": 0.84}, [1, 3, 4]),  # 0.4 + 0.25 + 0.2 = 0.85
        ({"top_p": 0.86}, [0, 1, 3, 4]),
        ({"min_p": 0.6}, [1, 3]),  # 0.6 x 0.4 = 0.24
        ({"min_p": 0.1}, [0, 1, 2, 3, 4]),  # 0.04
        ({"min_p": 1.0}, [1]),
        # of the two that top-k leaves, 0.4 has 0.4 / 0.65 = 0.62
        ({"top_k": 2, "top_p": 0.6}, [1]),
        ({"top_k": 2, "top_p": 0.63}, [1, 3]),
        # squared shares, at temperature 0.5, are 0.01 0.16 0.0025 0.0625 0.04 of 0.275
        ({"temperature": 0.5, "top_p": 0.58}, [1]),
        ({"temperature": 0.5, "top_p": 0.6}, [1, 3]),
        ({"temperature": 0.5, "min_p": 0.4}, [1]),
    ],
)
def test_filters_by_hand(settings, wanted):
    assert kept(**settings) == wanted


def test_equal_tokens_stay_together():
    logits = torch.tensor([[0.0, 2.0, 0.0, 2.0, -1.0]])
    for settings in ({"top_k": 1}, {"top_p": 0.1}, {"top_p": 0.45}):
        left = filtered(logits, SamplingConfig(temperature=1.0, **settings))[0]
        assert left.isfinite().tolist() == [False, True, False, True, False]


def test_the_penalty_by_hand():
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0, 0.0]])
    seen = torch.tensor([[True, True, False, False, True]])
    assert penalised(logits, seen, 4.0).tolist() == [[0.5, -8.0, 1.0, -1.0, 0.0]]
    # Greedy: the likeliest by far, 0, is in the prompt, so that 2 comes; then that is in the text.
    chooser = Chooser(
        SamplingConfig(repetition_penalty=4.0), [[0, 1]], [0], vocab_size=5, max_new_tokens=3
    )
    assert [int(chooser(logits, step)) for step in range(3)] == [2, 0, 0]


def test_draws_by_hand():
    """Sums of 0.1, 0.4, 0.05, 0.25, 0.2 are 0.1, 0.5, 0.55, 0.8, 1."""
    places = [0.0, 0.09, 0.11, 0.49, 0.51, 0.56, 0.79, 0.81, 1 - 2**-53]
    uniforms = torch.tensor(places, dtype=torch.float64)
    found = draw(LOGITS.double().expand(9, -1), uniforms)
    assert found.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4]
    left = filtered(LOGITS, SamplingConfig(temperature=1.0, top_k=2)).expand(2, -1)
    ends = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(left, ends).tolist() == [1, 3], "what was left out has no share, at no end"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 7},
        {"temperature": 1.0, "top_p": 0.8},
        {"temperature": 0.9, "min_p": 0.07},
        {"temperature": 1.5, "repetition_penalty": 1.7},
        {
            "temperature": 0.8,
            "top_k": 40,
            "top_p": 0.9,
            "min_p": 0.02,
            "repetition_penalty": 1.2,
        },
        {"temperature": 2.0, "top_p": 0.999},
    ],
)
def test_equal_to_transformers(settings, seed):
    processors = pytest.importorskip("transformers.generation.logits_process")
    config = SamplingConfig(**settings)
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(4, 601, generator=generator, dtype=torch.float64)
    prompt = torch.randint(601, (4, 30), generator=generator)
    chain = [
        processors.RepetitionPenaltyLogitsProcessor(config.repetition_penalty),
        processors.TemperatureLogitsWarper(config.temperature),
    ]
    if config.top_k:
        chain.append(processors.TopKLogitsWarper(config.top_k))
    if config.top_p < 1:
        chain.append(processors.TopPLogitsWarper(config.top_p))
    if config.min_p:
        chain.append(processors.MinPLogitsWarper(config.min_p))
    theirs = logits.clone()
    for step in chain:
        theirs = step(prompt, theirs)
    seen = torch.zeros(4, 601, dtype=torch.bool).scatter_(1, prompt, True)
    ours = filtered(penalised(logits, seen, config.repetition_penalty), config)
    assert torch.equal(ours.isfinite(), theirs.isfinite())
    torch.testing.assert_close(ours.softmax(-1), theirs.softmax(-1), rtol=1e-12, atol=0)


def test_top_p_of_a_flat_distribution_looks_further_than_the_first_ones():
    logits = torch.zeros(1, 1000) + torch.arange(1000) * 1e-4
    left = filtered(logits, SamplingConfig(temperature=1.0, top_p=0.9))[0]
    share = logits[0].double().softmax(-1)[left.isfinite()].sum()
    assert 0.9 <= share < 0.9 + 2e-3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -0.5}, "temperature must be 0 (greedy) or above, got -0.5"),
        ({"temperature": float("nan")}, "temperature must be 0 (greedy) or above, got nan"),
        ({"temperature": float("inf")}, "temperature must be 0 (greedy) or above, got inf"),
        ({"temperature": True}, "temperature must be 0 (greedy) or above, got True"),
        ({"top_k": -1}, "top_k must be a whole number, 0 (all tokens) or above, got -1"),
        ({"top_k": 1.5}, "top_k must be a whole number, 0 (all tokens) or above, got 1.5"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1 (all tokens), got 0"),
        ({"top_p": 1.01}, "top_p must be above 0 and at most 1 (all tokens), got 1.01"),
        ({"min_p": -0.1}, "min_p must be 0 (all tokens) or above, and at most 1, got -0.1"),
        (
            {"repetition_penalty": 0.0},
            "repetition_penalty must be above 0, where 1 changes nothing, got 0.0",
        ),
    ],
)
def test_settings_are_checked_when_made(settings, said):
    with pytest.raises(ConfigError) as caught:
        SamplingConfig(**settings)
    assert str(caught.value) == said


def test_a_seed_gives_the_same_numbers_however_many_are_asked_for():
    config = SamplingConfig(temperature=1.0)
    logits = torch.zeros(2, 601)

    def chosen(seeds, steps):
        chooser = Chooser(config, [[0]] * 2, seeds, vocab_size=601, max_new_tokens=steps)
        return [chooser(logits, step).tolist() for step in range(min(steps, 20))]

    few, many = chosen([3, 4], 20), chosen([3, 4], 333)
    assert few == many
    assert [b for _, b in few] == [a for a, _ in chosen([4, 5], 20)]
    assert len({a for a, _ in few}) > 10
