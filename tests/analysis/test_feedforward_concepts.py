"""Units that answer to categories: planted ones are found, nulls find nothing, clamping by hand."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from feedforward_planted import (
    CATEGORIES,
    HIDDEN,
    PLANTED,
    TOKENIZER,
    planted_model,
    small_model,
    texts,
)
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from tokkit.analysis.feedforward import clamping, concepts, rank_sums
from tokkit.analysis.feedforward.clamping import Clamped, Setting, clamp, settings_for
from tokkit.analysis.feedforward.concepts import HalfActivations, find
from tokkit.analysis.feedforward.reading import read
from tokkit.analysis.feedforward.run import analyze_feedforward
from tokkit.analysis.feedforward.words import (
    at_words,
    concept_words,
    contexts_from,
    share_of_category,
)
from tokkit.analysis.intervals import resampling
from tokkit.analysis.windows import cut_windows
from tokkit.errors import ConfigError, InputError
from tokkit.model.intervention import intervene
from tokkit.model.trace import trace
from tokkit.results import write_result

NAMES = tuple(CATEGORIES)


def silent(*_: object) -> None:
    pass


def fresh(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


WINDOWS = cut_windows(TOKENIZER, texts(), length=24, rows=30, generator=fresh())
LISTED = concept_words(TOKENIZER, CATEGORIES, TOKENIZER.vocab_size, fresh())


def contexts(count: int = 48):
    return contexts_from(TOKENIZER, WINDOWS, count, 63, fresh(2))


def test_areas_and_surprise_are_those_of_others():
    generator = fresh()
    labels = generator.permutation(np.repeat([0, 1, 2], [5, 7, 11]))
    values = generator.normal(size=(23, 13)).astype(np.float32)
    values[:, 3] = np.round(values[:, 3])  # ties
    sums = rank_sums.centred_sums(rank_sums.ranks(values), rank_sums.one_hot(labels, 3))
    areas = rank_sums.areas(sums, labels, 3)
    for category in range(3):
        own = labels == category
        scale = rank_sums.Surprise(int(own.sum()), int((~own).sum()))
        for unit in range(13):
            assert areas[unit, category] == pytest.approx(roc_auc_score(own, values[:, unit]))
            if unit != 3:
                column = values[:, unit].astype(float)
                p = mannwhitneyu(column[own], column[~own], method="exact").pvalue
                found = scale.of(sums[unit : unit + 1, category])[0]
                assert found == pytest.approx(-np.log10(p), abs=1e-9)


def test_words_are_tokens_halved_within_categories():
    lists = {**CATEGORIES, "other": ("worda", *CATEGORIES["ant"][:1]), "few": ("wordaa", "wordab")}
    found = concept_words(TOKENIZER, lists, TOKENIZER.vocab_size, fresh())
    assert found.categories == NAMES
    sizes = [(len(found.of(c, 0)), len(found.of(c, 1))) for c in range(4)]
    assert sizes == [(7, 6), (7, 7), (7, 7), (7, 7)]  # one ant is in two categories
    assert found.left_out == {
        "words that stand in two categories": 2,
        "words that are not one token": 1,
        "words of categories with fewer than 8 words left": 2,
    }


def test_share_of_category_by_hand():
    ant, bun = LISTED.of(0, 0), LISTED.of(1, 1)
    tokens = np.array([[ant[0], ant[1], bun[0], 0], [0, 0, 0, bun[1]]])
    assert share_of_category(tokens, LISTED).tolist() == [[0.5, 0.25, 0, 0], [0, 0.25, 0, 0]]


def test_every_word_is_read_in_every_context():
    model, three = small_model(), contexts(3)
    name = "blocks.1.feedforward.hidden"
    found = at_words(model, three, LISTED.tokens, [name])[name]
    expected = torch.zeros_like(found)
    for context in three.ids:
        for place, token in enumerate(LISTED.tokens):
            with trace(model, [name]) as seen, torch.no_grad():
                model(torch.from_numpy(np.append(context, token))[None])
            expected[place] += seen[name][0, -1] / 3
    assert torch.allclose(found, expected, atol=1e-5)


def halves(model):
    return concepts.both_halves(model, LISTED, contexts(), silent, "words")


def test_planted_units_are_found_with_their_category():
    found = find(*halves(planted_model()), 4, 2, fresh())
    for name, (layer, unit) in PLANTED.items():
        at = (layer * HIDDEN + unit, NAMES.index(name))
        assert found.passes[at]
        assert found.measured[at] == 1.0
        assert found.p[at] < 0.01
    assert (found.by_chance.sum((1, 2)) == 0).mean() >= 0.9


@pytest.mark.parametrize("seed", range(3))
def test_initial_weights_and_noise_find_nothing(seed):
    assert not find(*halves(small_model(seed)), 4, 2, fresh()).passes.any()
    noise = [
        HalfActivations(
            fresh(9 + seed + half).normal(size=(28, 400)).astype(np.float32),
            LISTED.labels[LISTED.halves == half],
        )
        for half in (0, 1)
    ]
    found = find(*noise, 4, 4, fresh())
    assert not found.passes.any()
    assert found.by_chance.sum() == 0


def test_both_halves_must_say_so():
    labels = np.repeat([0, 1], 10)
    good = np.where(labels[:, None] == 0, 1.0, 0.0) + 0.01 * fresh().normal(size=(20, 1))
    noise = fresh(1).normal(size=(20, 1))
    first = HalfActivations(np.hstack((good, good, noise)).astype(np.float32), labels)
    second = HalfActivations(np.hstack((good, -good, good)).astype(np.float32), labels)
    assert find(first, second, 2, 1, fresh()).passes.tolist() == [
        [True, True],
        [False, False],  # turned about
        [False, False],  # not chosen
    ]


def test_clamping_is_what_surgery_of_the_hidden_does():
    model, three = planted_model(), contexts(3)
    unit = HIDDEN * PLANTED["cap"][0] + PLANTED["cap"][1]
    settings = (
        Setting(2, "high", 0, (unit, 3), (1.5, -0.5)),
        Setting(2, "four times high", 0, (unit,), (1.5,)),
        Setting(2, "zero", 0, (unit,), (1.5,)),
    )
    layers = read(model, WINDOWS, silent).layers
    found = clamp(model, three, LISTED, settings, layers, fresh(), silent)
    name, (_, own) = "blocks.{}.feedforward.hidden", PLANTED["cap"]

    def put(values):
        def change(hidden):
            hidden = hidden.clone()
            for at, value in values.items():
                hidden[:, -1, at] = value
            return hidden

        return change

    cases = [
        {name.format(1): put({own: 1.5}), name.format(0): put({3: -0.5})},
        {name.format(1): put({own: 6.0})},
        {name.format(1): put({own: 0.0})},
    ]
    for place, context in enumerate(three.ids):
        ids = torch.from_numpy(context)[None]
        with torch.no_grad():
            before = masses(model(ids))
            for at, case in enumerate(cases):
                with intervene(model, case):
                    change = masses(model(ids)) - before
                others = (change.sum() - change) / 3
                assert found.effects[place, at] == pytest.approx(
                    (change - others).numpy(), abs=2e-5
                )


def masses(logits):
    logs = logits[0, -1].log_softmax(-1)
    return torch.stack([logs[torch.from_numpy(LISTED.of(c, 1))].logsumexp(-1) for c in range(4)])


def test_controls_are_of_the_layer_and_write_as_much():
    model = planted_model()
    layers = read(model, WINDOWS, silent).layers
    first, second = halves(model)
    found = find(first, second, 4, 2, fresh())
    made = settings_for(model, layers, found, first, fresh())
    down = torch.cat([b.feedforward.down.weight for b in model.blocks], dim=1).norm(dim=0)
    down = down.detach().numpy()
    own = next(s for s in made if s.category == 2 and s.control == 0)
    others = [s for s in made if s.category == 2 and s.control > 0 and s.dose == own.dose]
    assert len(others) == clamping.CONTROLS
    for setting in others:
        for unit, value, other, set_ in zip(
            own.units, own.values, setting.units, setting.values, strict=True
        ):
            assert unit // HIDDEN == other // HIDDEN
            assert not found.passes[other].any()
            assert set_ * down[other] == pytest.approx(value * down[unit], rel=1e-5)


def test_beyond_controls_by_hand():
    settings = tuple(Setting(0, "high", number, (0,), (1.0,)) for number in range(3))
    # Own effect -2; controls 0.5 and -0.5 on average: 2 - 0.5.
    effects = np.zeros((12, 3, 2))
    effects[:, :, 0] = [-2.0, 0.5, -0.5]
    found = Clamped(settings, effects, resampling(np.arange(12), fresh())).beyond_controls(
        [0], "high"
    )
    assert (found.estimate, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))


@pytest.fixture(scope="module")
def planted():
    return analyze_feedforward(
        planted_model(), TOKENIZER, texts(), lists=CATEGORIES, name="planted", seed=1
    )


def test_the_claim_of_a_planted_model_is_supported(planted, tmp_path):
    (claim,) = planted.result.claims
    assert claim.id == "ffn-concepts"
    assert all(control.holds for control in claim.controls)
    assert claim.verdict == "supported"
    rows = {(r["category"], r["dose"]): r for r in planted.result.tables["clamped"].records()}
    for name in PLANTED:
        assert rows[name, "high"]["effect_low"] > 0
        assert rows[name, "high"]["beyond_low"] > 0
    json.loads(write_result(planted.result, tmp_path).read_text())
    assert planted.units["places"].shape == (2, HIDDEN, 8)
    assert planted.units["passes"].shape == (2, HIDDEN, 4)


def test_planted_units_are_shown_with_their_words(planted):
    rows = planted.result.tables["units"].records()
    for name, (layer, unit) in PLANTED.items():
        (row,) = [r for r in rows if (r["layer"], r["unit"]) == (layer, unit)]
        assert row["why"] == "answers to a category"
        assert row["category"] == name
        assert all(word.startswith(name) for word in row["excited_by"].split(" | "))
        assert all(word.startswith(name) for word in row["promotes"].split(" | "))
    for row in planted.result.tables["categories"].records()[:3]:
        assert row["in_text"] > row["in_text_all"]
    ordinary = [row for row in rows if row["why"] == "drawn by chance"]
    assert ordinary
    exciting = planted.result.tables["exciting"].records()
    assert len(exciting) == 8 * len(rows)


def test_initial_weights_support_nothing():
    result = analyze_feedforward(
        small_model(), TOKENIZER, texts(), lists=CATEGORIES, seed=1, layer=1, unit=4
    ).result
    assert result.claims[0].verdict == "contradicted"
    assert "clamped" not in result.tables
    rows = result.tables["units"].records()
    assert {row["layer"] for row in rows} == {1}
    assert (rows[0]["unit"], rows[0]["why"]) == (4, "asked for")


def test_the_seed_decides(planted):
    again = analyze_feedforward(
        planted_model(), TOKENIZER, texts(), lists=CATEGORIES, name="planted", seed=1
    )
    assert again.result.tables == planted.result.tables


def test_words_that_are_no_tokens_leave_the_rest():
    result = analyze_feedforward(
        small_model(), TOKENIZER, texts(), lists={"none": ("xx", "yy")}
    ).result
    assert not result.claims
    assert result.values["left_out"]["words that are not one token"] == 2
    assert "agreement" in result.tables


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"layer": 2}, r"layers of this model are 0\.\.1, got layer 2"),
        ({"layer": -1}, r"got layer -1"),
        ({"layer": 0, "unit": 23}, r"units of a layer are 0\.\.22, got unit 23"),
        ({"unit": 3}, "got unit 3 alone: give the layer too"),
    ],
)
def test_an_unknown_unit_is_refused(asked, words):
    with pytest.raises(ConfigError, match=words):
        analyze_feedforward(small_model(), TOKENIZER, texts(), **asked)


def test_texts_too_short_are_refused_and_long_ones_cut():
    with pytest.raises(InputError, match="give longer texts"):
        analyze_feedforward(small_model(), TOKENIZER, ["", "and"])
    result = analyze_feedforward(
        small_model(), TOKENIZER, [" ".join(texts(80))], lists=CATEGORIES, tokens=2000
    ).result
    assert result.values["window_tokens"] <= 64
    assert result.values["tokens_read"] > 1000


def test_a_sliding_layernorm_model_goes_the_same_way():
    model = small_model(
        attention_pattern="sf",
        window=4,
        norm="layernorm",
        norm_place="sandwich",
        feedforward="gelu",
    )
    result = analyze_feedforward(model, TOKENIZER, texts(), lists=CATEGORIES).result
    assert "gates" not in result.tables
    assert dataclasses.asdict(result)["tables"]["concepts"]
