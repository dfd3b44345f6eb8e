"""Agreement on a model whose one head that decides was set by hand, and on models at random."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tokkit.analysis.agreement import runs
from tokkit.analysis.agreement.claim import Differences, claim_of
from tokkit.analysis.agreement.items import (
    ADVERB,
    ATTRACTORS,
    SUBJECT,
    Sentence,
    encode_items,
    english_sentences,
    pick_items,
)
from tokkit.analysis.agreement.measures import (
    CUT_ROLES,
    PATCH_ROLES,
    WEIGHT_ROLES,
    causes,
    control_column,
    look,
    role_weights,
)
from tokkit.analysis.agreement.run import (
    agreement_section,
    chosen_head,
    item_count,
    state_layers,
)
from tokkit.analysis.agreement.runs import Cut
from tokkit.analysis.agreement.tables import heads_table
from tokkit.model.config import ModelConfig
from tokkit.model.intervention import Patch, intervene, patched
from tokkit.model.transformer import Transformer

WORDS = [
    *("The", "cat", "cats", "that", "saw", "the", "dog", "dogs", "yesterday", "was", "were"),
    *("often", "king", "kings"),
]


class Words:
    """A tokenizer of whole words."""

    def __init__(self, words=WORDS):
        self.ids = {word: place for place, word in enumerate(words)}

    def encode(self, text):
        return [self.ids[word] for word in text.split()]


SENTENCES = [
    Sentence(f"The {subject} that saw the {noun} {adverb}", (subject, other), verbs, (noun,),
             adverb, "made")
    for (subject, other, verbs), noun, adverb in itertools.product(
        [("cat", "cats", ("was", "were")), ("cats", "cat", ("were", "was")),
         ("king", "kings", ("was", "were")), ("kings", "king", ("were", "was"))],
        ("dog", "dogs"), ("yesterday", "often"),
    )
]  # fmt: skip
ITEMS, LEFT_OUT = encode_items(Words(), SENTENCES, start_ids=(), context=20)

NUMBER, SUBJECT_MARK, ASKING, ANSWER = range(4)


def planted_model(*, layers: int = 2, heads: int = 2, deaf: bool = False) -> Transformer:
    """The last layer's head 0 looks from the adverb at the subject and copies its number.

    Head 1 looks alike and copies nothing. Everything else is zero.
    """
    config = ModelConfig(
        vocab_size=len(WORDS), width=8, layers=layers, query_heads=heads, head_width=4,
        hidden_width=3, context=20, positions="none", tied=False,
    )  # fmt: skip
    model = Transformer(config, seed=0).eval()
    ids = Words().ids
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm." not in name:
                parameter.zero_()
        model.embedding[:, 7] = 1.0  # so that no row is zero
        for word, number in (("cat", 1), ("king", 1), ("cats", -1), ("kings", -1)):
            model.embedding[ids[word], NUMBER] = number
            model.embedding[ids[word], SUBJECT_MARK] = 1
        for word in ("yesterday", "often"):
            model.embedding[ids[word], ASKING] = 1
        model.unembedding[ids["was"], ANSWER] = 1
        model.unembedding[ids["were"], ANSWER] = -1
        attention = model.blocks[layers - 1].attention
        for head in range(heads):
            attention.query.weight[4 * head, ASKING] = 8
            attention.key.weight[4 * head, SUBJECT_MARK] = 8
        attention.value.weight[0, NUMBER] = 1
        if not deaf:
            attention.output.weight[ANSWER, 0] = 1
    return model


def random_model(seed: int = 3, **changes) -> Transformer:
    settings = {"vocab_size": len(WORDS), "width": 12, "layers": 3, "query_heads": 4,
                "key_value_heads": 2, "head_width": 6, "context": 20}  # fmt: skip
    model = Transformer(ModelConfig(**(settings | changes)), seed=seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.7)
    return model


def test_items_know_where_everything_stands():
    assert len(ITEMS) == len(SENTENCES)
    item = ITEMS[0]
    assert item.places == {SUBJECT: (1,), ATTRACTORS: (5,), ADVERB: (6,)}
    assert [place for place in range(7) if item.ids[place] != item.swapped[place]] == [1]
    assert (WORDS[item.right], WORDS[item.wrong]) == ("was", "were")
    assert control_column(item) == (2,)


def test_what_cannot_be_used_is_left_out_and_counted():
    class Pieces(Words):
        def encode(self, text):
            return [i for w in text.split() for i in (self.ids[w],) * (2 if w == "cats" else 1)]

    items, left_out = encode_items(Pieces(), SENTENCES[:4], start_ids=(), context=20)
    assert not items
    assert left_out == {"subjects whose numbers differ in tokens": 4}
    items, left_out = encode_items(Words(), SENTENCES[:4], start_ids=(), context=7)
    assert left_out == {"sentences longer than the context": 4}
    two = [Sentence("The cat often", ("cat", "cats"), ("was here", "were"), (), "often", "made")]
    words = Words([*WORDS, "here"])
    assert encode_items(words, two, start_ids=(), context=20)[1] == {
        "verbs of more than one token": 1
    }


def test_english_sentences_hold_all_numbers_of_nouns_alike():
    found = list(english_sentences(0, 400))
    counts = [sum(len(s.attractors) == n for s in found) for n in range(4)]
    assert counts == [100] * 4
    assert found == list(english_sentences(0, 400)), "the same seed gives the same"
    for sentence in found:
        assert f" {sentence.subjects[0]}" in sentence.prefix
        assert sentence.prefix.endswith(sentence.adverb or sentence.prefix)


def test_items_are_picked_evenly_and_by_seed():
    picked = pick_items(ITEMS, 6, seed=1)
    assert len(picked) == 6
    assert picked == pick_items(ITEMS, 6, seed=1)
    assert len(pick_items(ITEMS, 1000, seed=1)) == len(ITEMS)


def test_the_planted_head_looks_and_decides():
    item = ITEMS[0]
    found = causes(planted_model(), item, (0, 1))
    subject, last = PATCH_ROLES.index("subject"), PATCH_ROLES.index("last token")
    assert found.clean > 0.5
    assert found.apart == pytest.approx(2 * found.clean, rel=1e-4)
    for direction in ("restoring", "breaking"):
        share = found.states[direction] / found.apart
        assert share[0, subject] == pytest.approx(1, abs=1e-4), "before the head has read it"
        assert share[0, last] == pytest.approx(0, abs=1e-4)
        assert share[1, subject] == pytest.approx(0, abs=1e-4), "after it has"
        assert share[1, last] == pytest.approx(1, abs=1e-4)
        heads = found.heads[direction] / found.apart
        assert heads == pytest.approx(np.array([[0, 0], [1, 0]]), abs=1e-4)
        parts = found.outputs[direction]
        assert parts["attention"] / found.apart == pytest.approx([0, 1], abs=1e-4)
        assert parts["feedforward"] == pytest.approx([0, 0], abs=1e-6)
    # Without its edge the head sees tokens without a number: the verb is a coin's throw.
    assert found.cut_heads == pytest.approx(np.array([[0, 0], [found.clean, 0]]), abs=1e-4)
    cut = dict(zip(CUT_ROLES, found.cut_all, strict=True))
    assert cut["subject"] == pytest.approx(found.clean, abs=1e-4)
    assert cut["adverb"] == pytest.approx(0, abs=1e-3)
    assert found.cut_everywhere[0] == pytest.approx(found.clean, abs=1e-4)


def test_looking_and_mattering_are_told_apart():
    model = planted_model()
    looked = [look(model, item) for item in ITEMS]
    caused = [causes(model, item, (0, 1)) for item in ITEMS]
    assert chosen_head(looked)[0] == 1
    assert role_weights(looked[0])[1, :, WEIGHT_ROLES.index("subject")] == pytest.approx(1, abs=0.1)
    rows = heads_table(looked, caused, np.random.default_rng(0)).records()
    kinds = {(row["layer"], row["head"]): row["kind"] for row in rows}
    assert kinds == {
        (0, 0): "neither", (0, 1): "neither",
        (1, 0): "looks and matters", (1, 1): "looks, does not matter",
    }  # fmt: skip
    deaf = [causes(planted_model(deaf=True), item, (0, 1)) for item in ITEMS]
    assert all(one.cut_heads == pytest.approx(0, abs=1e-6) for one in deaf)


@pytest.mark.parametrize(
    "changes", [{}, {"positions": "alibi"}, {"attention_pattern": "sf", "window": 4}]
)
def test_working_out_the_last_token_alone_is_the_whole_pass(changes):
    model, item = random_model(**changes), ITEMS[0]
    with torch.inference_mode():
        whole = runs.whole_pass(model, item.ids)
        kept = runs.patched_at_last(model, item.ids, 2, [])
        assert torch.allclose(kept, whole.expand(2, -1), atol=1e-5)
        value = torch.randn(model.config.head_width)
        name = "blocks.1.attention.heads"
        alone = runs.patched_at_last(model, item.ids, 2, [Patch(1, name, (2, 0), value)])
        with patched(model, [Patch(1, name, (2, item.last), value)]):
            both = runs.whole_pass(model, item.ids, 2)
    assert torch.allclose(alone, both, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_a_head_patched_to_zero_is_weight_surgery():
    model, item = random_model(), ITEMS[3]
    zero = torch.zeros(model.config.head_width)
    patches = [Patch(0, "blocks.2.attention.heads", (1, 0), zero)]
    with torch.inference_mode():
        found = runs.patched_at_last(model, item.ids, 1, patches)
        model.blocks[2].attention.output.weight[:, 6:12] = 0
        assert torch.allclose(found, runs.whole_pass(model, item.ids), atol=1e-5)


@pytest.mark.parametrize("changes", [{}, {"attention_pattern": "s", "window": 4}])
def test_a_cut_edge_is_a_weight_of_zero_and_the_rest_scaled_up(changes):
    model, item = random_model(**changes), ITEMS[0]
    name, column = "blocks.1.attention.pattern", 5

    def without(pattern):
        pattern = pattern.clone()
        pattern[0, 3, item.last, column] = 0
        pattern[0, 3, item.last] /= pattern[0, 3, item.last].sum()
        return pattern

    with torch.inference_mode():
        found = runs.cut_at_last(model, item.ids, 2, [Cut(1, 1, (column,), head=3)])
        with intervene(model, {name: without}):
            by_hand = runs.whole_pass(model, item.ids)
        whole = runs.whole_pass(model, item.ids)
    assert torch.allclose(found[0], whole[0], atol=1e-5)
    assert torch.allclose(found[1], by_hand[0], atol=1e-5)
    assert not torch.allclose(found[0], found[1], atol=1e-4)


def test_edges_beyond_a_window_are_none_to_cut():
    model, item = random_model(attention_pattern="s", window=3), ITEMS[0]
    with torch.inference_mode():
        found = runs.cut_at_last(model, item.ids, 1, [Cut(0, 0, item.places[SUBJECT])])
        assert torch.allclose(found, runs.whole_pass(model, item.ids), atol=1e-5)


def test_the_section_of_a_model_that_agrees_and_of_one_that_does_not():
    words = [*dict.fromkeys(w for s in english_sentences(0) for w in s.prefix.split())]
    verbs = [v for v in ("was", "were", "is", "are", "has", "have") if v not in words]
    tokenizer = Words([*words, *verbs])
    model = random_model(vocab_size=len(tokenizer.ids))
    section = agreement_section(model, tokenizer, world=None, seed=0, sentences=24)
    assert section is not None
    (claim,) = section.claims
    assert claim.verdict == "inconclusive", "a model at random does not agree"
    assert not claim.controls[0].holds
    assert set(section.tables) == {
        f"agreement_{name}" for name in
        ("accuracy", "weights", "chosen", "patching", "knockout", "heads", "sentences")
    }  # fmt: skip
    assert section.values["agreement_sentences"] == 24
    assert item_count(model) == 160


def planted_tests(weight: float, cut: float, state: float, control: float = 1.0) -> Differences:
    noise = np.random.default_rng(0).normal(0, 0.01, 40)
    return Differences(
        weight + noise, weight + noise, cut + noise, state + noise, control + noise, np.ones(40)
    )


NOTHING = planted_tests(0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("tests", "untrained", "verdict"),
    [
        (planted_tests(0.4, 2.0, 0.5), NOTHING, "supported"),
        (planted_tests(0.4, 0.0, 0.5), NOTHING, "inconclusive"),
        (planted_tests(-0.4, 2.0, 0.5), NOTHING, "contradicted"),
        (planted_tests(0.4, -2.0, 0.5), NOTHING, "contradicted"),
        (planted_tests(0.4, 2.0, 0.5, control=-1.0), NOTHING, "inconclusive"),
        (planted_tests(0.4, 2.0, 0.5), planted_tests(0.4, 2.0, 0.5), "inconclusive"),
    ],
)
def test_verdicts_follow_the_rule(tests, untrained, verdict):
    claim = claim_of(tests, untrained, seed=0)
    assert claim is not None
    assert claim.verdict == verdict


def test_too_few_sentences_give_no_claim():
    few = Differences(*(np.ones(4) for _ in range(6)))
    assert claim_of(few, few, 0) is None


def test_layers_are_spread_over_a_deep_model():
    assert state_layers(4) == (0, 1, 2, 3)
    assert state_layers(30) == tuple(range(0, 30, 3))
