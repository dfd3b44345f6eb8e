"""Induction: a planted copier is found and lost without its heads; nulls find nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attention_planted import CONTEXT, VOCAB, Letters, copier

from tokkit.analysis.attention import ablation, induction
from tokkit.analysis.attention.copying import Text, induction_section
from tokkit.analysis.intervals import resampling
from tokkit.analysis.positions.losses import nats_of
from tokkit.model.config import ModelConfig
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer


def draw(start=()):
    return induction.draw_repeats(Letters(), CONTEXT, np.random.default_rng(0), start)


def silent(*_):
    pass


def text_of(model, rows=12, seed=0):
    ids = torch.from_numpy(np.random.default_rng(seed).integers(1, VOCAB, (rows, CONTEXT)))
    documents = np.arange(rows)
    return Text(ids, 1, nats_of(model, ids.numpy(), given=1), documents,
                resampling(documents, np.random.default_rng(1)))  # fmt: skip


def test_rows_repeat_and_their_controls_do_not():
    repeats = draw((5,))
    assert repeats.copied == 7
    assert repeats.repeated.shape == (induction.ROWS, 15)
    for row, other in zip(repeats.repeated.tolist(), repeats.single.tolist(), strict=True):
        assert row[0] == other[0] == 5
        assert row[1:8] == row[8:] == other[8:]
        assert len(set(other[1:])) == 14
        assert 0 not in other
    assert repeats.choosing.sum() == induction.ROWS / 2


def test_no_room_for_repeats():
    assert induction.draw_repeats(Letters(), 7, np.random.default_rng(0)) is None


def test_scores_are_the_weights_at_their_places():
    model = Transformer(
        ModelConfig(vocab_size=VOCAB, width=24, layers=2, query_heads=3, context=CONTEXT), seed=1
    ).eval()
    repeats = draw((4,))
    found = induction.scores(model, repeats.repeated, 1, repeats.copied)
    name = "blocks.1.attention.pattern"
    with torch.inference_mode(), trace(model, [name]) as seen:
        model.hidden(repeats.repeated)
    weights, copied = seen[name].numpy(), repeats.copied
    after = [weights[:, :, 1 + copied + r, 1 + r + 1] for r in range(copied - 1)]
    last = [weights[:, :, 1 + copied + r, copied + r] for r in range(copied)]
    np.testing.assert_allclose(found.after[:, 1], np.mean(after, axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.previous[:, 1], np.mean(last, axis=0), rtol=1e-5)


def test_chance_is_even_dealing():
    model, repeats = copier(), draw()
    found = induction.scores(model, repeats.repeated, 0, repeats.copied)
    even = induction.chance(repeats.copied, 0)
    np.testing.assert_allclose(found.after[:, 0, 1], even, rtol=1e-5)


def test_the_planted_heads_are_found():
    model, repeats = copier(), draw()
    own, single = (
        induction.scores(model, rows, 0, repeats.copied, losses=True)
        for rows in (repeats.repeated, repeats.single)
    )
    assert own.after[:, 1, 0].min() > 0.9
    assert single.after[:, 1, 0].mean() < 0.2
    assert own.previous[:, 0, 0].min() > 0.9
    generator = np.random.default_rng(0)
    assert induction.induction_heads(own.after, single.after, generator) == [(1, 0)]
    first, second = induction.copy_losses(own.nats, 0, repeats.copied)
    assert first.mean() > np.log(VOCAB) - 0.5
    assert second.mean() < 0.2


@pytest.mark.parametrize("seed", range(5))
def test_fresh_models_have_none(seed):
    config = ModelConfig(vocab_size=VOCAB, width=32, layers=4, query_heads=8, context=CONTEXT)
    model, repeats = Transformer(config, seed=seed).eval(), draw()
    own, single = (
        induction.scores(model, rows, 0, repeats.copied).after
        for rows in (repeats.repeated, repeats.single)
    )
    assert induction.induction_heads(own, single, np.random.default_rng(seed)) == []


def test_a_head_that_looks_at_the_distance_alone_is_none():
    """It gives the same where nothing repeats."""
    own = np.full((16, 1, 2), 0.9) + np.random.default_rng(0).normal(0, 0.01, (16, 1, 2))
    assert induction.induction_heads(own, own[::-1], np.random.default_rng(0)) == []


def test_copy_losses_by_hand():
    nats = np.arange(7.0)[None]  # of places 1 to 7; copies are 0 to 3 and 4 to 7
    first, second = induction.copy_losses(nats, 0, 4)
    assert (first[0], second[0]) == (1.0, 5.0)  # places 1 to 3, and 5 to 7
    nats = np.arange(8.0)[None]  # of places 1 to 8, one token stands before
    first, second = induction.copy_losses(nats, 1, 4)
    assert (first[0], second[0]) == (2.0, 6.0)  # places 2 to 4, and 6 to 8


def test_without_no_heads_nothing_changes_and_a_head_gives_its_mean():
    model, rows = copier(), draw().repeated
    means = ablation.mean_outputs(model, rows, [0, 1])
    before = nats_of(model, rows.numpy(), given=1)
    for layer in range(2):
        stream = ablation.entering(model, rows, layer)
        found = ablation.losses_without(model, rows, stream, layer, [], means, given=0)
        np.testing.assert_allclose(found, before, rtol=1e-5, atol=1e-6)
    name = "blocks.1.attention.heads"
    with torch.inference_mode(), trace(model, [name]) as found:
        model.hidden(rows)
        whole = found[name]
        torch.testing.assert_close(means[1], whole.mean((0, 2)), rtol=1e-4, atol=1e-5)
        with ablation.without(model, [(1, 0)], means), trace(model, [name]) as changed:
            model.hidden(rows)
    torch.testing.assert_close(changed[name][:, 1], whole[:, 1])
    torch.testing.assert_close(changed[name][:, 0], means[1][0].expand_as(whole[:, 0]))


def test_other_heads_are_of_the_same_layers_while_there_are_any():
    config = ModelConfig(vocab_size=9, width=24, layers=3, query_heads=6)
    generator = np.random.default_rng(0)
    found = [(1, 0), (1, 4), (2, 3)]
    for _ in range(20):
        others = ablation.other_heads(config, found, generator)
        assert sorted(layer for layer, _ in others) == [1, 1, 2]
        assert not set(others) & set(found)
        assert len(set(others)) == 3
    most = [(1, head) for head in range(5)]
    others = ablation.other_heads(config, most, generator)
    assert (1, 5) in others
    assert len(set(others)) == 5


def test_in_context_score_by_hand():
    nats = np.tile(np.arange(16.0), (3, 1))  # early: 1 and 2; late: 14 and 15
    np.testing.assert_allclose(ablation.in_context_scores(nats), 14.5 - 1.5)


def test_the_section_takes_the_planted_heads_away():
    model = copier()
    section = induction_section(model, Letters(), text_of(model), seed=0, told=silent)
    assert section.values["induction_heads"] == 1
    assert section.values["induction_heads_of_a_fresh_model"] == 0
    assert section.values["copying_nats_high"] < -1
    rows = {(row["measure"], row["sets"]): row for row in section.tables["ablation"].records()}
    lost, other = (rows["loss on the second copy", sets] for sets in (1, 8))
    assert lost["low"] > 1
    assert abs(other["change"]) < 0.1
    assert lost["p"] < 0.01
    found = [row for row in section.tables["induction"].records() if row["found"]]
    assert [(row["layer"], row["head"]) for row in found] == [(1, 0)]


def test_the_section_of_a_fresh_model_takes_nothing_away():
    model = Transformer(copier().config, seed=5).eval()
    section = induction_section(model, Letters(), text_of(model), seed=0, told=silent)
    assert section.values["induction_heads"] == 0
    assert "ablation" not in section.tables


def test_the_section_without_room_still_has_the_in_context_score():
    config = ModelConfig(vocab_size=VOCAB, width=8, layers=1, query_heads=2, context=7)
    model = Transformer(config, seed=0).eval()
    ids = np.random.default_rng(0).integers(1, VOCAB, (10, 7))
    text = Text(torch.from_numpy(ids), 1, nats_of(model, ids, given=1), np.arange(10),
                resampling(np.arange(10), np.random.default_rng(1)))  # fmt: skip
    section = induction_section(model, Letters(), text, seed=0, told=silent)
    assert section.values["induction_heads"] is None
    assert section.left_out
    assert np.isfinite(section.values["in_context"])


def test_a_part_of_the_text_is_evenly_apart():
    text = text_of(copier(), rows=40)
    part = text.part(10 * CONTEXT, np.random.default_rng(0))
    assert len(part.rows) == len(part.nats) == 10
    assert part.documents[[0, -1]].tolist() == [0, 39]
    assert text.part(10_000, np.random.default_rng(0)) is text
