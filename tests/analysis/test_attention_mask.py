"""The causal mask: whole models let nothing through, and each fault that is planted is found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tokkit.analysis.attention import mask_claim as claims
from tokkit.analysis.attention.mask import Path, cache_checks, leak, read
from tokkit.model.config import ModelConfig
from tokkit.model.layout import Layout
from tokkit.model.transformer import Transformer

TEXT = torch.randint(53, (1, 9), generator=torch.Generator().manual_seed(1))
PATHS = claims.paths(9)


def small(**changed):
    sizes = {"vocab_size": 53, "width": 24, "layers": 2, "query_heads": 6, "context": 16}
    return Transformer(ModelConfig(**(sizes | changed)), seed=3).eval()


KINDS = {
    "plain": {},
    "grouped": {"key_value_heads": 2},
    "sliding": {"attention_pattern": "sf", "window": 3},
    "capped": {"attention_softcap": 3.0},
    "alibi": {"positions": "alibi"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_nothing_comes_from_the_right_and_without_the_mask_it_does(kind, path):
    model = small(**KINDS[kind])
    found, control = (leak(model, TEXT, path, 0, masked=masked) for masked in (True, False))
    length = 9 - path.cached
    assert found.pairs == length * (length - 1) // 2
    assert found.largest_logit == found.largest_gradient == 0
    assert found.sees_itself > 0
    assert control.largest_logit > 0.01
    assert control.largest_gradient > 0.01
    # To the left it is seen, but where a document or the padding ends.
    if not path.documents and not path.padding and kind != "sliding":
        assert (np.tril(found.gradients)[np.tril_indices(length)] > 0).all()


def test_a_mask_that_is_one_place_off_is_found(monkeypatch):
    """Each token sees the next one too: the smallest fault that there can be."""

    def slipped(self, *, sliding, slopes, key_columns, at):
        hidden = torch.ones(self.time, self.time, dtype=torch.bool).triu(2)
        return torch.zeros(1, 1, self.time, self.time).masked_fill(hidden, -torch.inf)

    model = small(layers=1)
    monkeypatch.setattr(Layout, "bias", slipped)
    found = leak(model, TEXT, PATHS[0], 0)
    assert found.largest_logit > 0
    assert found.largest_gradient > 0
    right = np.triu(found.gradients, 1) > 0
    assert (right == np.eye(9, k=1, dtype=bool)).all()


def test_read_is_the_model():
    model = small(key_value_heads=3)
    with torch.no_grad():
        whole = model(TEXT)
        torch.testing.assert_close(read(model, TEXT, Path("p")), whole)
        torch.testing.assert_close(read(model, TEXT, Path("p", cached=4)), whole[:, 4:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_gives_the_plain_pass_and_is_not_changed(kind):
    checks = cache_checks(small(**KINDS[kind]), TEXT, 0)
    assert len(checks) >= 2
    for check in checks:
        assert check.difference < claims.CACHE_ROUNDING
        assert check.changed == 0
        assert check.control > claims.CONTROL_FLOOR


def test_a_cache_that_later_tokens_write_is_found(monkeypatch):
    from tokkit.model.cache import LayerCache

    own = LayerCache.append

    def spoiled(self, keys, values):
        found = own(self, keys, values)
        self.keys[:, :, 0] += 0.25
        return found

    monkeypatch.setattr(LayerCache, "append", spoiled)
    assert cache_checks(small(), TEXT, 0)[0].changed == pytest.approx(0.25)


@pytest.fixture(scope="module")
def section():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims, "_TOKENS", 6)  # fewer than by default: a pass for each
        return claims.mask_section(small(key_value_heads=2), TEXT, 0)


def test_the_claim_is_supported(section):
    (claim,) = section.claims
    assert claim.id == "causal-mask"
    assert claim.verdict == "supported"
    assert all(control.holds for control in claim.controls)
    assert section.values["mask_largest_gradient"] == 0
    rows = section.tables["mask"].records()
    assert len(rows) == 5 * (1 + len(claims.small_models(0)))
    assert {row["model"] for row in rows if row["tolerance"] > 0} == {"mixture of experts"}
    assert len(section.tables["mask_map"].rows) == 36


def test_a_leak_contradicts_and_a_weak_control_leaves_it_open(section):
    model = small()
    whole, open_ = (leak(model, TEXT, PATHS[0], 0, masked=masked) for masked in (True, False))

    def verdict(found, control):
        one = claims.PathFound(claims.OWN, "p", 0.0, found, control)
        other = claims.PathFound("small", "p", 0.0, whole, open_)
        return claims.mask_claim([one, other], []).verdict

    assert verdict(whole, open_) == "supported"
    assert verdict(open_, open_) == "contradicted"
    assert verdict(whole, whole) == "inconclusive"


def test_a_text_of_two_tokens_is_enough(monkeypatch):
    monkeypatch.setattr(claims, "small_models", lambda seed: {"other": small()})
    section = claims.mask_section(small(), TEXT[:, :2], 0)
    assert section.claims[0].verdict == "supported"
