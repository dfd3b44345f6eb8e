"""How far heads look: planted heads are found, nulls give nothing, patterns are the model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from tokkit.analysis import patterns
from tokkit.analysis.positions.bands import BandSums
from tokkit.analysis.positions.heads import distance_bins, look
from tokkit.errors import ArtifactError
from tokkit.model.config import ModelConfig
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

CONFIG = ModelConfig(
    vocab_size=31, width=24, layers=2, query_heads=6, key_value_heads=2, context=20
)
KINDS = [
    {},
    {"positions": "alibi"},
    {"positions": "none", "attention_softcap": 2.0},
    {"attention_pattern": "sf", "window": 5, "rope_local_base": 77.0, "qk_norm": True},
]


def rows(n=5, length=17, seed=0):
    return torch.randint(31, (n, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("changed", KINDS)
def test_patterns_are_those_of_the_model(changed):
    model, ids = Transformer(replace(CONFIG, **changed), seed=1).eval(), rows(2)
    names = [f"blocks.{layer}.attention.pattern" for layer in range(2)]
    with torch.inference_mode(), trace(model, names) as expected:
        model.hidden(ids)
    with torch.inference_mode():
        (found,) = patterns.traced(model, ids)
        for layer, (query, key) in enumerate(found.pairs):
            attention = patterns.attention_of(model, layer)
            own = patterns.pattern(attention, query, key, found.layout, queries=6)
            torch.testing.assert_close(own, expected[names[layer]][:, :, -6:])


def test_columns_become_distances():
    weights = torch.rand(2, 4, 7).tril(3)  # the last 4 of 7 columns ask
    found = patterns.by_distance(weights)
    for row in range(4):
        for distance in range(7):
            column = 3 + row - distance
            expected = weights[:, row, column] if column >= 0 else torch.zeros(2)
            torch.testing.assert_close(found[:, row, distance], expected)


def test_unrotated_and_dealt():
    model, ids = Transformer(CONFIG, seed=1).eval(), rows(1)
    with torch.inference_mode():
        (found,) = patterns.traced(model, ids)
    attention, query = patterns.attention_of(model, 0), found.pairs[0][0]
    back = patterns.unrotated(attention, query)
    torch.testing.assert_close(patterns.turned(attention, back), query)
    torch.testing.assert_close(back.norm(dim=-1), query.norm(dim=-1))
    other = patterns.dealt(attention, query, np.random.default_rng(0))
    torch.testing.assert_close(other[:, :, 0], query[:, :, 0])
    norms = [x.norm(dim=-1).sort(dim=-1).values for x in (other, query)]
    torch.testing.assert_close(*norms)


def looks_back(k, context=24, seed=0):
    """A one-head model whose queries are the keys of k before, in a random basis."""
    basis = torch.tensor(
        ortho_group.rvs(context, random_state=np.random.default_rng(seed)), dtype=torch.float32
    )
    config = ModelConfig(
        vocab_size=31, width=context, layers=1, query_heads=1, context=context, positions="learned"
    )
    model = Transformer(config, seed=0).eval()
    with torch.no_grad():
        model.embedding.zero_()
        model.position_embedding.copy_(basis)
        attention = patterns.attention_of(model, 0)
        attention.key.weight.copy_(torch.eye(context))
        moved = torch.roll(basis, k, dims=0)  # row i is the one of i - k
        attention.query.weight.copy_(3 * moved.T @ basis)
    return model


@pytest.mark.parametrize(("k", "seed"), [(1, 0), (3, 0), (3, 9), (0, 0)])
def test_a_planted_head_is_found_at_its_distance(k, seed):
    found = look(looks_back(k, seed=seed), rows(8, 24), np.arange(8), seed=0)
    assert found.peak.tolist() == [[k]]
    tested = found.tested
    share = {
        name: float((found.at_peak[name] / found.at_peak_of[name])[tested].mean())
        for name in found.at_peak
    }
    assert share["own"] > 0.98
    assert share["random"] < 0.25
    assert share["dealt"] < 0.25  # its positions lie in queries and keys, which were dealt anew
    assert float((found.reach / found.weight).mean()) == pytest.approx(k, abs=0.2)
    assert found.sink.max() < 0.01
    assert found.entropy.max() < 0.3


def test_even_attention_is_as_even_as_dealing():
    model = Transformer(replace(CONFIG, positions="none"), seed=0).eval()
    with torch.no_grad():
        for layer in range(2):
            patterns.attention_of(model, layer).query.weight.zero_()
    found = look(model, rows(), np.arange(5), seed=0)
    np.testing.assert_allclose(found.bins, found.even_bins, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.entropy, found.even_entropy[0], rtol=1e-5)
    # Queries 8 to 16 of 17 give the first token 1/9 to 1/17.
    expected = np.mean([1 / t for t in range(9, 18)])
    np.testing.assert_allclose(found.sink, expected, rtol=1e-5)
    np.testing.assert_allclose(found.reach, found.even_reach, rtol=1e-4)


@pytest.mark.parametrize("changed", KINDS)
def test_all_weight_is_in_the_bins(changed):
    found = look(Transformer(replace(CONFIG, **changed), seed=1).eval(), rows(), np.arange(5), 0)
    np.testing.assert_allclose(found.bins.sum(-1), found.weight, rtol=1e-5)
    np.testing.assert_allclose(found.even_bins.sum(-1), found.weight, rtol=1e-5)
    np.testing.assert_allclose(found.total.sum(-1), found.weight.sum(0), rtol=1e-5)
    assert found.tested.tolist() == [False, True, False, True, False]
    assert np.isnan(found.at_peak["own"][0]).all()
    assert np.isfinite(found.at_peak["own"][1]).all()


def test_windows_are_not_seen_beyond():
    config = replace(CONFIG, attention_pattern="s", window=5)
    found = look(Transformer(config, seed=1).eval(), rows(), np.arange(5), 0)
    assert distance_bins(17)[3:] == [(3, 4), (5, 8), (9, 16)]
    assert not found.bins[..., 4:].any()
    assert not found.even_bins[..., 4:].any()
    assert found.bins[..., 3].all()


def test_rows_of_one_text_choose_or_test_together():
    found = look(Transformer(CONFIG, seed=1).eval(), rows(6), np.array([4, 4, 7, 7, 9, 9]), 0)
    assert found.tested.tolist() == [False, False, True, True, False, False]


def test_batches_do_not_matter(monkeypatch):
    model = Transformer(CONFIG, seed=1).eval()
    whole = look(model, rows(), np.arange(5), 0)
    monkeypatch.setattr(patterns, "_BATCH_TOKENS", 1)
    single = look(model, rows(), np.arange(5), 0)
    np.testing.assert_allclose(single.bins, whole.bins, rtol=1e-4, atol=1e-6)
    assert (single.peak == whole.peak).all()


@pytest.mark.parametrize("used", [0, 1])
def test_bands_of_two_pairs_by_hand(used):
    """Queries in one pair alone: all scores are made of it. Pair i is numbers i and i + 2."""
    config = ModelConfig(vocab_size=31, width=8, layers=1, query_heads=2, context=20)
    model = Transformer(config, seed=1).eval()
    unused = [1 - used, 3 - used]
    with torch.no_grad():
        for head in range(2):
            for number in unused:
                patterns.attention_of(model, 0).query.weight[4 * head + number].zero_()
    sums = BandSums(config, 5, seed=0)
    look(model, rows(), np.arange(5), 0, [sums])
    bands = sums.bands
    share = bands.covariance / bands.variance[..., None]
    np.testing.assert_allclose(share[..., used], 1, rtol=1e-5)
    np.testing.assert_allclose(share[..., 1 - used], 0, atol=1e-7)
    assert not bands.query_squares[..., 1 - used].any()
    assert (bands.key_squares > 0).all()


def test_sizes_of_pairs_are_those_of_the_vectors():
    model, ids = Transformer(CONFIG, seed=1).eval(), rows()
    sums = BandSums(CONFIG, 5, seed=0)
    look(model, ids, np.arange(5), 0, [sums])
    name = "blocks.1.attention.query"
    with torch.inference_mode(), trace(model, [name]) as found:
        model.hidden(ids)
    squares = found[name][:, :, 1:].square().mean(2)  # N H 4
    expected = squares[..., :2] + squares[..., 2:]
    np.testing.assert_allclose(sums.bands.query_squares[:, 1], expected, rtol=1e-5)
    np.testing.assert_allclose((sums.bands.covariance.sum(-1) / sums.bands.variance), 1, rtol=1e-6)


def test_damaged_weights_are_refused():
    model = Transformer(CONFIG, seed=1).eval()
    with torch.no_grad():
        patterns.attention_of(model, 1).key.weight[0, 0] = torch.nan
    with pytest.raises(ArtifactError, match="queries and keys must be finite"):
        look(model, rows(), np.arange(5), 0)
