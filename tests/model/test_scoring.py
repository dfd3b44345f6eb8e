"""Scores of given continuations: against the step-by-step product, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_models import VOCAB, tiny_model

from tokkit.errors import InputError
from tokkit.model import generation, scoring
from tokkit.model.generation import generate
from tokkit.model.scoring import Score, score

PAIRS = [
    ([3, 1, 4], [1, 5, 9, 2]),
    ([5], [6]),
    ([3, 1, 4], [2, 7]),
    ([5, 3, 5, 8, 9], [7, 9, 3]),
    ([3, 1, 4], []),
    ([1, 4], [1, 5, 9, 2]),
    ([3, 1, 4], [1, 5, 9, 2]),
]


@torch.no_grad()
def step_by_step(model, prompt, continuation):
    ids, found = list(prompt), []
    for token in continuation:
        found.append(float(model(torch.tensor([ids]))[0, -1].double().log_softmax(-1)[token]))
        ids.append(token)
    return found


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"query_heads": 6, "width": 60, "key_value_heads": 2},
        {"attention_pattern": "sf", "window": 3},
        {"positions": "alibi"},
        {"positions": "learned"},
        {"experts": 3, "experts_per_token": 2},
    ],
    ids=["plain", "grouped", "sliding", "alibi", "learned", "mixture"],
)
@pytest.mark.parametrize("cached", [True, False])
def test_scores_are_those_of_the_steps(changed, cached):
    model = tiny_model(**changed)
    found = score(model, PAIRS, cached=cached)
    for (prompt, continuation), one in zip(PAIRS, found, strict=True):
        wanted = step_by_step(model, prompt, continuation)
        assert list(one.log_probabilities) == pytest.approx(wanted, abs=1e-5)
        assert one.total == pytest.approx(sum(wanted), abs=3e-5)
    assert found[0] == found[-1]
    assert found[4] == Score(())
    assert found[4].total == 0


def test_what_was_generated_scores_as_it_was_generated():
    model = tiny_model()
    (steps,) = generate(model, [[3, 1, 4]], max_new_tokens=7)
    (found,) = score(model, [([3, 1, 4], [step.id for step in steps])])
    wanted = [math.log(step.probability) for step in steps]
    assert list(found.log_probabilities) == pytest.approx(wanted, abs=1e-5)


def test_by_hand():
    """Logits of 0 everywhere: each token has 1/V."""
    model = tiny_model()
    with torch.no_grad():
        model.unembedding.zero_()
    (found,) = score(model, [([3], [1, 2, 3])])
    assert found.log_probabilities == pytest.approx([-math.log(VOCAB)] * 3)
    assert found.total == pytest.approx(-3 * math.log(VOCAB))


def test_a_shared_prompt_is_read_once_and_small_bounds_change_nothing(monkeypatch):
    model, read = tiny_model(), []
    whole = score(model, PAIRS)
    hidden = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda ids, *a, **k: (read.append(ids), hidden(ids, *a, **k))[1]
    )
    score(model, PAIRS)
    assert [tuple(ids.shape) for ids in read] == [(4, 5), (6, 3)], "4 prompts, 6 continuations"
    monkeypatch.setattr(generation, "BATCH_BYTES", 1)
    monkeypatch.setattr(scoring, "BATCH_BYTES", 1)
    read.clear()
    for one, other in zip(score(model, PAIRS), whole, strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)
    assert all(len(ids) == 1 for ids in read)


def test_a_long_prompt_and_a_long_continuation_of_another():
    model = tiny_model()
    pairs = [([1] * 12, [2]), ([1], list(range(1, 14))), ([3] * 6, [4] * 7)]
    for one, other in zip(score(model, pairs), score(model, pairs, cached=False), strict=True):
        assert one.log_probabilities == pytest.approx(other.log_probabilities, abs=1e-5)


def test_what_is_refused():
    model = tiny_model()
    assert score(model, []) == []
    assert len(score(model, [([1] * 9, [2] * 5)])[0].log_probabilities) == 5
    with pytest.raises(InputError) as caught:
        score(model, [([1] * 9, [2] * 6)])
    assert str(caught.value) == (
        "a prompt and its continuation are 15 tokens together, but the model's context is 13: "
        "shorten the text"
    )
    with pytest.raises(InputError, match="a prompt must have at least one token, got an empty"):
        score(model, [([], [1])])
    with pytest.raises(InputError, match=r"ids must lie in 0\.\.22, got 23"):
        score(model, [([1], [23])])
