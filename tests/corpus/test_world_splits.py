"""What is held out of the world's text is not in it; what is balanced by design is balanced."""

from collections import Counter
from itertools import pairwise

import pytest

from tokkit.corpus.world import WorldConfig, build_world, world_documents
from tokkit.corpus.world.agreement import ITEMS_PER_CELL, training_item
from tokkit.corpus.world.dice import Dice
from tokkit.corpus.world.sequences import is_held_out, list_of_things, row_of_people

NUMBERS = {"singular", "plural"}


@pytest.fixture(scope="module")
def world():
    return build_world(WorldConfig(seed=0, megabytes=4))


@pytest.fixture(scope="module")
def text(world):
    return "\n".join(document.text for document in world_documents(world))


@pytest.fixture(scope="module")
def training(world):
    grammar, dice = world.agreement, Dice(11)
    return [
        training_item(grammar, dice, dice.zipf(grammar.subjects), grammar.everyone)
        for _ in range(6000)
    ]


@pytest.mark.parametrize("split", ["new_pairs", "new_subjects", "longer"])
def test_no_held_out_agreement_is_in_the_text(world, text, split):
    items = world.agreement_items(split)
    assert items
    assert [item.prefix for item in items if item.prefix in text] == []


def test_agreement_of_training_is_in_the_text(world, text):
    """The search of the test above finds what is there."""
    items = [item for item in world.agreement_items("train") if item.n_attractors == 1]
    assert sum(item.prefix in text for item in items) > 0.05 * len(items)


def test_every_cell_of_the_design_is_as_large_as_any_other(world):
    for split, counts in {
        "train": (0, 1, 2),
        "new_pairs": (1, 2),
        "new_subjects": (1, 2),
        "longer": (3,),
    }.items():
        items = world.agreement_items(split)
        cells = Counter(
            (item.n_attractors, item.number, item.attractor_numbers[-1:]) for item in items
        )
        assert sorted({cell[0] for cell in cells}) == list(counts)
        assert set(cells.values()) == {ITEMS_PER_CELL}
        assert len(cells) == sum(4 if n else 2 for n in counts)


def test_items_are_what_they_say(world):
    plural = {word.text: word.plural for word in world.words}
    for split in ("train", "new_pairs", "new_subjects", "longer"):
        for item in world.agreement_items(split):
            assert item.prefix.startswith(f"The {item.subject}")
            assert item.prefix.endswith(item.adverb)
            assert (item.subject in plural) == (item.number == "singular")
            assert item.right != item.wrong
            assert len(item.attractors) == len(item.attractor_numbers) == item.n_attractors
            assert set(item.attractor_numbers) <= NUMBERS
            for noun, number in zip(item.attractors, item.attractor_numbers, strict=True):
                assert f" the {noun}" in item.prefix
                assert (noun in plural) == (number == "singular")
            singular = item.right in ("was", "is", "has") or item.right.endswith("s")
            assert singular == (item.number == "singular")


def test_new_subjects_are_in_the_text_but_never_with_attractors(world, text):
    new = world.agreement.new_subjects
    assert len(new) == 8
    for word in new:
        assert f" {word.text} " in text
        for form in (word.s, word.p):
            for link in ("that", "near", "behind", "beside"):
                assert f"The {form} {link} " not in text


def test_the_nearest_noun_says_nothing_of_the_verb(training):
    """Each number is a fair coin: agreement within 4 standard errors of one half."""
    with_attractors = [item for item in training if item.n_attractors]
    n = len(with_attractors)
    assert n > 3000
    same = sum(item.attractor_numbers[-1] == item.number for item in with_attractors)
    singular = sum(item.number == "singular" for item in with_attractors)
    for count in (same, singular):
        assert abs(count / n - 0.5) < 4 * 0.5 / n**0.5


def test_no_verb_between_shows_a_number(world):
    assert all(
        verb.endswith("ed") or verb in ("saw", "heard")
        for verb in world.lexicon.sentences["agreement"]["relative"]
    )


@pytest.mark.parametrize("split", ["new_entities", "new_wordings", "new_pairs", "longer"])
def test_no_held_out_question_is_in_the_text(world, text, split):
    questions = world.questions(split)
    assert len(questions) > 100
    assert [question.prompt for question in questions if question.prompt in text] == []


def test_asked_facts_and_kinds_are_in_the_text(world, text):
    asked = [q for q in world.questions("train") if q.kind in ("kind", "next") or ":" in q.kind]
    missing = [q.prompt for q in asked if f"{q.prompt} {q.answer}." not in text]
    assert missing == []


def test_answers_are_among_the_choices(world):
    for split in ("train", "new_entities", "new_wordings", "new_pairs", "longer"):
        for question in world.questions(split):
            assert question.prompt.endswith(":")
            assert question.kind == "count" or question.answer in question.choices
            assert len(set(question.choices)) == len(question.choices)


def test_first_and_second_are_right_alike(world):
    """Where one of two is asked for, its place in the question is no cue."""
    for kind in ("more", "size"):
        questions = [q for q in world.questions("train") if q.kind == kind]
        first = sum(q.choices[0] == q.answer for q in questions)
        assert 0.25 < first / len(questions) < 0.75


def test_neighbours_of_training_are_never_held_out_ones(world):
    dice, names = Dice(4), world.categories["name"]
    for held_out in (False, True):
        for length in (3, 5, 8):
            row = row_of_people(world.lexicon, dice, length, held_out=held_out)
            places = [names.index(name) for name in row.words]
            assert len(row.words) == len(set(row.words)) == length
            assert {is_held_out(*pair) for pair in pairwise(places)} == {held_out}
    things = list_of_things(world.lexicon, dice, 4)
    assert len(things.words) == 4
    assert things.text.endswith(".")


def test_longer_is_longer(world):
    for question in world.questions("longer"):
        if question.kind == "count":
            assert question.answer.count(",") >= 5
        else:
            assert len(question.choices) >= 6
