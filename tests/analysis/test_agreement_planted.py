"""Agreement: what was planted is found, what does nothing is told apart, nothing gives nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from agreement_planted import SENTENCES, WORDS, Words, planted

from tokkit.analysis.attention import agreement
from tokkit.analysis.attention.agreement import agreement_section, clean_differences, plan_of
from tokkit.analysis.attention.agreement_items import (
    ADVERB,
    ATTRACTORS,
    SUBJECT,
    encode_items,
    pick_items,
)
from tokkit.analysis.attention.agreement_measures import (
    CONTROL,
    CUT_ROLES,
    LAST,
    PATCH_ROLES,
    causes,
    control_column,
    look,
    patch_columns,
)
from tokkit.errors import ArtifactError
from tokkit.model.transformer import Transformer

ITEMS, _ = encode_items(WORDS, SENTENCES, start_ids=(), context=32)
PICKED = pick_items(ITEMS, 24, 0)


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(agreement, "_MOST", 36)


def records(section, name):
    return section.tables[name].records()


@pytest.mark.parametrize("item", [PICKED[0], next(i for i in PICKED if i.attractors == 3)])
def test_patches_of_a_planted_head_are_exact(item):
    model = planted()
    found = causes(model, item, plan_of(model.config, heads_everywhere=True))
    assert found.apart == pytest.approx(2 * found.knocked.clean)
    assert found.knocked.clean > 1
    role = {name: place for place, name in enumerate(PATCH_ROLES)}
    head, states = np.zeros((2, 3)), np.zeros((2, len(PATCH_ROLES)))
    head[1, 0] = states[0, role[SUBJECT]] = states[1, role[LAST]] = found.apart
    for place, columns in enumerate(patch_columns(item)):
        if not columns:
            states[:, place] = np.nan
    for direction in ("restoring", "breaking"):
        patched = found.patched[direction]
        np.testing.assert_allclose(patched.states, states, atol=1e-5)
        np.testing.assert_allclose(patched.heads, head, atol=1e-5)
        np.testing.assert_allclose(patched.heads_everywhere, head, atol=1e-5)
        np.testing.assert_allclose(patched.outputs, [[0, found.apart], [0, 0]], atol=1e-5)


def test_cuts_of_a_planted_head_are_exact():
    """Without the subject the head deals its weight evenly, to attractors with a number too."""
    model = planted()
    item = next(i for i in PICKED if i.attractors == 0)
    found = causes(model, item, plan_of(model.config, heads_everywhere=False))
    role = {name: place for place, name in enumerate(CUT_ROLES)}
    drops = np.zeros((2, len(CUT_ROLES)))
    drops[1, role[SUBJECT]] = found.knocked.clean  # no other noun: nothing is left
    drops[:, role[ATTRACTORS]] = np.nan
    np.testing.assert_allclose(found.cut_layers, drops, atol=1e-4)
    np.testing.assert_allclose(found.cut_heads, [[0, 0, 0], [drops[1, 0], 0, 0]], atol=1e-4)
    np.testing.assert_allclose(found.knocked.at_last[-1, 0], 0, atol=1e-5)
    np.testing.assert_allclose(found.knocked.everywhere[-1, 0], 0, atol=1e-5)
    assert np.isnan(found.patched["restoring"].heads_everywhere).all()


def test_a_number_that_is_carried_is_seen_on_its_way():
    model, item = planted("carried"), PICKED[0]
    found = causes(model, item, plan_of(model.config, heads_everywhere=True))
    role = {name: place for place, name in enumerate(CUT_ROLES)}
    clean = found.knocked.clean
    at_last, everywhere = clean - found.knocked.at_last[-1], clean - found.knocked.everywhere[-1]
    # What head 0.0 leaves at the last token itself only changes its norm a little.
    assert at_last[role[SUBJECT]] == pytest.approx(0, abs=0.05 * clean)
    assert everywhere[role[SUBJECT]] > 0.5 * clean
    assert control_column(item) == (2,)
    assert at_last[role[CONTROL]] > 0.5 * clean
    restored = found.patched["restoring"]
    assert restored.heads[0, 0] == pytest.approx(0, abs=0.05 * clean)
    assert restored.heads_everywhere[0, 0] == pytest.approx(found.apart, abs=1e-4)
    assert restored.heads[1, 0] == pytest.approx(found.apart, abs=0.05 * clean)


def test_section_of_the_planted_model(few):
    section = agreement_section(planted(), WORDS, world=None, seed=0, name="planted")
    heads = {(row["layer"], row["head"]): row for row in records(section, "agreement_heads")}
    assert heads[1, 0]["kind"] == "looks and matters"
    assert heads[1, 1]["kind"] == "looks, does not matter"
    assert {row["kind"] for at, row in heads.items() if at not in ((1, 0), (1, 1))} == {"neither"}
    assert heads[1, 0]["subject"] == pytest.approx(1, abs=1e-4)
    assert heads[1, 0]["restores"] == pytest.approx(1, abs=1e-4)
    assert heads[1, 1]["restores"] == pytest.approx(0, abs=1e-4)
    (claim,) = section.claims
    assert claim.id == "attention-matches"
    assert claim.verdict == "supported"
    assert all(control.holds for control in claim.controls)
    assert section.values["agreement_accuracy"] == 1
    assert section.values["agreement_directions_differ_at_most"] < 1e-4
    assert all(name.startswith("agreement_") for name in (*section.tables, *section.values))
    states = {(r["direction"], r["layer"], r["role"]): r["share"]
              for r in records(section, "agreement_states")}  # fmt: skip
    assert states["restoring", 0, SUBJECT] == pytest.approx(1, abs=1e-4)
    assert states["breaking", 0, ADVERB] == pytest.approx(0, abs=1e-4)


def test_a_carried_number_is_not_a_match(few):
    section = agreement_section(planted("carried"), WORDS, world=None, seed=0)
    heads = {
        (row["layer"], row["head"]): row["kind"] for row in records(section, "agreement_heads")
    }
    assert heads[1, 0] == "matters, does not look"
    (claim,) = section.claims
    assert claim.verdict == "inconclusive"
    assert [control.name for control in claim.controls if not control.holds]


def test_untrained_weights_give_nothing(few):
    model = Transformer(planted().config, seed=3).eval()
    section = agreement_section(model, WORDS, world=None, seed=0)
    assert section.claims[0].verdict != "supported"
    assert not section.claims[0].controls[0].holds  # it does not agree
    assert {row["kind"] for row in records(section, "agreement_heads")} <= {
        "neither", "matters, does not look",
    }  # fmt: skip


def test_same_seed_same_numbers(few):
    first, again = (agreement_section(planted(), WORDS, world=None, seed=1) for _ in range(2))
    assert first == again


def test_weights_are_the_planted_ones():
    item = PICKED[0]
    found = look(planted(), item)
    np.testing.assert_allclose(found.at_last[1, 0, 1], 1, atol=1e-5)
    even = np.full(len(item.ids), 1 / len(item.ids))
    np.testing.assert_allclose(found.at_last[0, 0], even, atol=1e-6)
    assert found.at_verb.shape[-1] == len(item.ids) + 1


def test_too_few_sentences_give_no_claim():
    split = Words(split={"was", "were"})
    section = agreement_section(planted(), split, world=None, seed=0)
    assert not section.claims
    assert not section.tables
    assert section.left_out["agreement: verbs of more than one token"] > 0
    assert section.values["agreement_items_patched"] == 0  # adverbs stand with "was" alone


def test_sentences_beyond_the_context_are_left_out(few):
    section = agreement_section(planted(context=9), WORDS, world=None, seed=0)
    count = section.left_out["agreement: sentences longer than the context"]
    assert 0 < count < len(SENTENCES)
    assert section.values["agreement_items"] == len(SENTENCES) - count
    assert section.claims


def test_a_short_context_leaves_nothing():
    section = agreement_section(planted(context=2), WORDS, world=None, seed=0)
    assert section.values["agreement_items"] == 0
    assert not section.claims


def test_damaged_weights_are_refused():
    model = planted()
    with torch.no_grad():
        model.embedding[WORDS.ids["The"], 0] = torch.nan
    with pytest.raises(ArtifactError, match="logits must be finite"):
        agreement_section(model, WORDS, world=None, seed=0)


def test_differences_in_batches(monkeypatch):
    model = planted()
    whole = clean_differences(model, ITEMS)
    monkeypatch.setattr(agreement, "_BATCH_TOKENS", 1)
    np.testing.assert_allclose(clean_differences(model, ITEMS[:20]), whole[:20], rtol=1e-5)
    assert (whole > 0).all()
    turned = [replace(item, right=item.wrong, wrong=item.right) for item in ITEMS[:20]]
    np.testing.assert_allclose(clean_differences(model, turned), -whole[:20], rtol=1e-5)
