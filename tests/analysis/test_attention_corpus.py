"""Heads over a corpus beside even dealing, and the record of the whole analysis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from attention_planted import Letters, copier

from tokkit.analysis.attention import mask_claim, run
from tokkit.analysis.attention.corpus import even_shares, heads_table
from tokkit.analysis.attention.run import KIND, analyze_attention, default_tokens
from tokkit.analysis.intervals import resampling
from tokkit.analysis.positions.heads import look
from tokkit.analysis.section import Section
from tokkit.errors import ConfigError, InputError
from tokkit.model.config import ModelConfig
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table, read_result, write_result

CONFIG = ModelConfig(vocab_size=31, width=24, layers=2, query_heads=3, context=16)
TEXTS = [" ".join(map(str, np.random.default_rng(n).integers(1, 31, 40))) for n in range(14)]


@pytest.fixture(autouse=True)
def _fewer(monkeypatch):
    other = replace(CONFIG, vocab_size=53)
    monkeypatch.setattr(
        mask_claim, "small_models", lambda seed: {"one": Transformer(other, seed=seed).eval()}
    )
    monkeypatch.setattr(run, "agreement_section", lambda *_, **__: Section({}))


def table_of(model, ids):
    documents = np.arange(len(ids))
    looks = look(model, ids, documents, 0)
    drawn = resampling(documents, np.random.default_rng(0))
    return heads_table(looks, drawn, model.config, ids.shape[1])


def test_measures_are_those_of_the_patterns():
    model = Transformer(CONFIG, seed=1).eval()
    ids = torch.randint(31, (11, 15), generator=torch.Generator().manual_seed(0))
    name = "blocks.1.attention.pattern"
    with torch.inference_mode(), trace(model, [name]) as found:
        model.hidden(ids)
    weights = found[name][:, 2, 7:].double().numpy()  # the later 8 of 15 queries
    row = table_of(model, ids).records()[5]
    assert (row["layer"], row["head"]) == (1, 2)
    assert row["sink"] == pytest.approx(weights[..., 0].mean(), rel=1e-5)
    before = [weights[:, at, 7 + at - 1] for at in range(8)]
    assert row["previous"] == pytest.approx(np.mean(before), rel=1e-5)
    bits = -(weights * np.log2(np.where(weights > 0, weights, 1))).sum(-1).mean()
    assert row["entropy"] == pytest.approx(bits, rel=1e-5)
    assert row["entropy_low"] < row["entropy"] < row["entropy_high"]


def test_even_attention_is_as_even_dealing():
    ids = torch.randint(1, 31, (11, 15), generator=torch.Generator().manual_seed(0))
    rows = table_of(copier(), ids).records()
    planted, even = rows[0], rows[1]
    for name in ("entropy", "distance", "sink", "previous"):
        assert even[name] == pytest.approx(even[f"{name}_even"], rel=1e-4)
    assert planted["previous"] > 0.9
    assert planted["distance"] == pytest.approx(1, abs=0.1)
    assert planted["entropy"] < 1


def test_even_shares_by_hand():
    sink, previous = even_shares(CONFIG, 0, 4)  # queries 2 and 3 see 3 and 4
    assert sink == previous == pytest.approx((1 / 3 + 1 / 4) / 2)
    sliding = ModelConfig(
        vocab_size=31, width=24, layers=1, query_heads=3, attention_pattern="s", window=3
    )
    sink, previous = even_shares(sliding, 0, 4)  # query 3 sees 1 to 3
    assert sink == pytest.approx(1 / 6)
    assert previous == pytest.approx(1 / 3)


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_claim, "small_models", lambda seed: {})
        patch.setattr(run, "agreement_section", lambda *_, **__: Section({}))
        return analyze_attention(copier(), Letters(), TEXTS, sentence="3 4 5 3", name="copier")


def test_the_record_of_the_planted_model(result, tmp_path):
    assert result.kind == KIND
    values = result.values
    assert values["shown_head"] == 0  # the last 3 looks at 5 before it, or at 4, which came after 3
    assert values["weight_arithmetic_holds"]
    assert values["induction_heads"] == 1
    assert values["heads_with_half_on_the_previous_token"] == 1
    assert [claim.id for claim in result.claims] == ["causal-mask"]
    assert result.claims[0].verdict == "supported"
    write_result(result, tmp_path)
    assert read_result(tmp_path).values == dict(values)


def test_the_same_seed_gives_the_same(result):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mask_claim, "small_models", lambda seed: {})
        patch.setattr(run, "agreement_section", lambda *_, **__: Section({}))
        again = analyze_attention(copier(), Letters(), TEXTS, sentence="3 4 5 3", name="copier")
    assert again.tables == result.tables
    assert again.values == result.values


def test_start_ids_stand_before_every_text():
    model = Transformer(CONFIG, seed=1).eval()
    found = analyze_attention(model, Letters(), TEXTS, sentence="3 4 5", start_ids=(7,))
    assert [row["given"] for row in found.tables["sentence"].records()] == [True] + 3 * [False]
    assert found.settings["start_ids"] == [7]


def test_the_section_on_agreement_is_taken_up(monkeypatch):
    asked = {}

    def section(model, tokenizer, *, world, seed, **_):
        asked.update(world=world, seed=seed)
        table = Table("Agreement", (Column("a", "A"),), ((1,),))
        return Section({"agreement_sentences": 3}, {"agreement_heads": table})

    monkeypatch.setattr(run, "agreement_section", section)
    model = Transformer(CONFIG, seed=1).eval()
    found = analyze_attention(model, Letters(), TEXTS, sentence="3 4 5", seed=6)
    assert found.values["agreement_sentences"] == 3
    assert "agreement_heads" in found.tables
    assert asked == {"world": None, "seed": 6}


def test_what_is_refused_before_anything_is_read():
    def unread():
        raise AssertionError("the texts must not be read")
        yield

    model = copier()
    with pytest.raises(ConfigError, match=r"layer must lie in 0\.\.1, got 5"):
        analyze_attention(model, Letters(), unread(), sentence="3 4", layer=5)
    with pytest.raises(InputError, match="at least 2 tokens"):
        analyze_attention(model, Letters(), unread(), sentence="3")
    with pytest.raises(InputError, match="give longer texts"):
        analyze_attention(model, Letters(), ["3 4"], sentence="3 4")


def test_larger_models_read_less():
    assert default_tokens(CONFIG, 10_000) == 32_768
    assert default_tokens(CONFIG, 1 << 40) == 4096
