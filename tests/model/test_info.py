"""The claims about shapes: what their rules say of models that are made to break them."""

from __future__ import annotations

import pytest
from tiny_models import tiny_config

from tokkit.errors import ConfigError
from tokkit.model import info_claims
from tokkit.model.config import ModelConfig
from tokkit.model.info import Described, describe
from tokkit.model.setting_words import setting_rows, words_of


def some(count, published=None, **changed):
    config = tiny_config(**changed)
    return [Described(f"m{place}", "x", config, published) for place in range(count)]


def feedforward(models):
    found = {claim.id: claim for claim in describe(models, claims=True).claims}
    return found.get("ffn-holds-parameters")


GROUPED = {"query_heads": 6, "key_value_heads": 2, "head_width": 10}
WIDE = {"hidden_width": 500}
WORDY = {"hidden_width": 500, "vocab_size": 5000}  # more than half of the layers, not of all
THIN = {"hidden_width": 5}


@pytest.mark.parametrize(
    ("models", "verdict"),
    [
        (some(10, **WIDE), "supported"),
        (some(6, **WIDE) + some(4, **WORDY), "supported"),
        (some(5, **WIDE) + some(5, **WORDY), "inconclusive"),
        (some(4, **WIDE) + some(6, **WORDY), "contradicted"),
        (some(9, **WIDE) + some(1, **THIN), "inconclusive"),
        (some(9, **WIDE) + some(1, published=1, **WIDE), "inconclusive"),
    ],
)
def test_the_verdict_on_feed_forward_layers(models, verdict):
    named = [Described(f"n{at}", m.family, m.config, m.published) for at, m in enumerate(models)]
    assert feedforward(named).verdict == verdict


def test_exceptions_are_named():
    models = some(10, **WIDE)
    models.append(Described("wordy", "x", tiny_config(**WORDY)))
    claim = feedforward(models)
    assert "in 10 of 11 dense models, not in wordy" in claim.statement
    assert any(item.name == "exception, share of all: wordy" for item in claim.evidence)


def test_few_models_say_nothing_of_models_in_general():
    assert feedforward(some(9, **WIDE)) is None
    mixtures = some(10, experts=3, experts_per_token=2)
    assert feedforward(mixtures) is None


def test_grouped_queries_need_a_grouped_model():
    assert not describe(some(3), claims=True).claims
    (claim,) = describe(some(1, **GROUPED), claims=True).claims
    assert (claim.id, claim.verdict) == ("grouped-queries", "supported")
    assert [item.value for item in claim.evidence][2:4] == [3.0, 3.0]


def test_a_cache_that_takes_other_bytes_is_noticed(monkeypatch):
    monkeypatch.setattr(info_claims, "_measured_bytes", lambda heads, keys: 100)
    (claim,) = describe(some(1, **GROUPED), claims=True).claims
    assert claim.verdict == "inconclusive"
    assert not claim.controls[0].holds


def test_a_length_beyond_a_context():
    with pytest.raises(ConfigError, match=r"1\.\.13, the context of m0, got 14"):
        describe(some(1), length=14)


def test_settings_in_words():
    config = tiny_config(
        attention_pattern="sssssf", window=4, attention_softcap=50.0, embedding_scale=30**0.5,
        attention_scale=256**-0.5, rope_base=1_500_000.0, norm_epsilon=1e-6, tied=True,
    )  # fmt: skip
    words = {name: own[0] for name, _, own in setting_rows([config])}
    assert words["attention_pattern"] == "5 sliding, full"
    assert words["attention_softcap"] == "50"
    assert words["embedding_scale"] == "\u221awidth"
    assert words["attention_scale"] == "1/\u221a256"
    assert words["rope_base"] == "1500k"
    assert words["norm_epsilon"] == "1e-06"
    assert words["tied"] == "yes"
    assert "logit_softcap" not in words
    whole = {name for name, _, _ in setting_rows([config], whole=True)}
    assert whole == set(ModelConfig.__slots__)


@pytest.mark.parametrize("scale", [1e-300, 1e300, 0.3])
def test_odd_scales_have_words(scale):
    assert words_of(tiny_config(attention_scale=scale, embedding_scale=scale), "attention_scale")
