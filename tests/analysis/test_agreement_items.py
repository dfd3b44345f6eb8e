"""Sentences in tokens: where the roles stand, what is left out, how items are picked."""

from __future__ import annotations

from collections import Counter

import pytest

from tokkit.analysis.attention.agreement_items import (
    ADVERB,
    ATTRACTORS,
    MOST_ATTRACTORS,
    NEAREST,
    SUBJECT,
    Sentence,
    encode_items,
    english_sentences,
    pick_items,
    world_sentences,
)
from tokkit.analysis.attention.agreement_measures import (
    CUT_ROLES,
    PATCH_ROLES,
    WEIGHT_ROLES,
    control_column,
    cut_columns,
    patch_columns,
    roles_of,
)
from tokkit.corpus.world import WorldConfig, build_world


class Pieces:
    """Words of up to four letters are a token, longer ones one every four; spaces go in front."""

    def __init__(self):
        self.seen = {}

    def encode(self, text):
        found = []
        for place, word in enumerate(text.split(" ")):
            if place == 0 and not word:
                continue
            word = word if place == 0 else f" {word}"
            found += [word[at : at + 5] for at in range(0, len(word), 5)]
        return [self.seen.setdefault(piece, len(self.seen)) for piece in found]


def sentence(prefix="The cat that saw the old dog last night", **changed):
    settings = {
        "prefix": prefix, "subjects": ("cat", "cats"), "verbs": ("was", "were"),
        "attractors": ("dog",), "adverb": "last night", "nearest": "same number", "split": "own",
    }  # fmt: skip
    return Sentence(**(settings | changed))


def encoded(*sentences, start_ids=(), context=64):
    return encode_items(Pieces(), sentences, start_ids=start_ids, context=context)


def test_roles_by_hand():
    (item,), left_out = encoded(sentence())
    assert not left_out
    # The| cat| that| saw| the| old| dog| last| nigh|t
    assert item.places == {SUBJECT: (1,), ATTRACTORS: (6,), ADVERB: (7, 8, 9)}
    assert item.last == 9
    assert item.swapped[:1] + item.swapped[2:] == item.ids[:1] + item.ids[2:]
    assert item.swapped[1] != item.ids[1]
    assert item.verbs == (item.right, item.wrong)
    named = [WEIGHT_ROLES[role] for role in roles_of(item)]
    assert named == [
        "first token", SUBJECT, "other tokens", "other tokens", "other tokens", "other tokens",
        ATTRACTORS, ADVERB, ADVERB, ADVERB,
    ]  # fmt: skip
    assert control_column(item) == (2,)
    assert dict(zip(CUT_ROLES, cut_columns(item), strict=True)) == {
        SUBJECT: (1,), ATTRACTORS: (6,), ADVERB: (7, 8, 9), "another token": (2,),
    }  # fmt: skip
    # The last column is read from: it is never patched as the adverb.
    assert dict(zip(PATCH_ROLES, patch_columns(item), strict=True)) == {
        SUBJECT: (1,), ATTRACTORS: (6,), ADVERB: (7, 8), "last token": (9,),
    }  # fmt: skip


def test_start_ids_shift_the_places():
    (item,), _ = encoded(sentence(), start_ids=(90, 91))
    assert item.ids[:2] == item.swapped[:2] == (90, 91)
    assert item.places[SUBJECT] == (3,)
    assert item.last == 11


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"subjects": ("cat", "catfishes")}, "subjects whose numbers differ in tokens"),
        ({"verbs": ("sleeps", "sleep")}, "verbs of more than one token"),
        ({"verbs": ("was", "was")}, "verbs of more than one token"),
        ({"attractors": ("cow",)}, "words that are no whole tokens"),
        ({"attractors": ("do",)}, "words that are no whole tokens"),
        ({"adverb": "night dog"}, "words that are no whole tokens"),
    ],
)
def test_what_cannot_be_used_is_counted(changed, reason):
    items, left_out = encoded(sentence(**changed), sentence())
    assert len(items) == 1
    assert left_out == {reason: 1}


def test_the_verb_must_fit_into_the_context_too():
    assert encoded(sentence(), context=11)[0]
    assert encoded(sentence(), context=10) == ([], {"sentences longer than the context": 1})


def test_sentences_without_adverb_or_attractor():
    items, left_out = encoded(
        sentence("The cat", attractors=(), adverb="", nearest="none"),
        sentence("The cat near the dog", adverb=""),
    )
    assert not left_out
    assert items[0].places == {SUBJECT: (1,), ATTRACTORS: (), ADVERB: ()}
    assert control_column(items[0]) == ()
    assert patch_columns(items[0])[0] == ()  # the subject is the last column
    assert patch_columns(items[1])[1] == ()
    assert pick_items(items, 10, 0) == []


def test_picked_items_are_even_over_attractors():
    adverbs = [s for s in english_sentences(0, 400) if s.adverb]
    items, _ = encode_items(Pieces(), adverbs, start_ids=(), context=64)
    picked = pick_items(items, 40, 0)
    counts = Counter(item.attractors for item in picked)
    assert counts == dict.fromkeys(range(MOST_ATTRACTORS + 1), 10)
    assert picked == pick_items(items, 40, 0)
    assert picked != pick_items(items, 40, 1)
    # Every second one chooses heads: a half must not be of some patterns alone.
    assert all(item.attractors in {0, 1, 2, 3} for item in picked[::2])
    assert len({item.attractors for item in picked[::2]}) == 4


def test_english_templates_are_balanced():
    found = list(english_sentences(0, 2000))
    assert found == list(english_sentences(0, 2000))
    plural = sum(s.verbs[0] in ("were", "are", "have") for s in found)
    assert 900 < plural < 1100
    for n in range(1, MOST_ATTRACTORS + 1):
        nearest = Counter(s.nearest for s in found if len(s.attractors) == n)
        assert set(nearest) == set(NEAREST[1:])
        assert min(nearest.values()) > 200
    for s in found:
        assert s.prefix.startswith(f"The {s.subjects[0]}")
        assert not s.adverb or s.verbs[0] in ("was", "were")
        assert s.prefix.endswith(s.adverb)
        assert len({s.subjects[0], *s.attractors}) == 1 + len(s.attractors)
    assert sum(not s.attractors for s in found) == 500


def test_sentences_of_the_world():
    world = build_world(WorldConfig(seed=3, megabytes=1))
    found = list(world_sentences(world))
    assert len(found) == len(world.all_agreement_items)
    for own, item in zip(found, world.all_agreement_items, strict=True):
        assert own.subjects[0] == item.subject != own.subjects[1]
        other = NEAREST[2] if item.attractor_numbers[-1:] != (item.number,) else NEAREST[1]
        assert own.nearest == (other if item.attractors else NEAREST[0])
    assert {s.split for s in found} == {"train", "new_pairs", "new_subjects", "longer"}
