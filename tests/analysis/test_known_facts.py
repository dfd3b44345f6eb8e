"""Our facts are well formed, the world's are of wordings it states, and knowing is a fixed rule."""

import copy

import pytest
from analysis.planted_facts import CITIES, FACTS, WORDINGS, WORDS, taught

from tokkit.analysis.editing.known_facts import (
    FILE,
    MIN_PARAPHRASES,
    NEIGHBOURS,
    KnownFact,
    Neighbour,
    Paraphrase,
    knows,
    parse_known_facts,
    read_known_facts,
    shown_to_know,
    world_facts,
)
from tokkit.corpus.world import WorldConfig, build_world
from tokkit.corpus.world.stock import package_data
from tokkit.errors import ConfigError, InputError


@pytest.fixture(scope="module")
def ours():
    return read_known_facts(0)


@pytest.fixture(scope="module")
def world():
    return build_world(WorldConfig(seed=1))


def planted(subject="Tower Anu", answer=None, **given):
    """A fact of the taught model, asked in its three wordings; repeated, to have five."""
    answer = answer or FACTS[subject]
    target = next(city for city in CITIES if city != answer)
    more = tuple(Paraphrase(text) for text in (*WORDINGS[1:], *WORDINGS[1:], WORDINGS[1]))
    fields = {
        "relation": "city", "subject": subject, "answer": answer, "target": target,
        "prompt": WORDINGS[0], "paraphrases": more, "neighbours": (), "free": "the {}",
        "objects": tuple(sorted(CITIES)),
    }  # fmt: skip
    return KnownFact(**(fields | given))


def test_there_are_enough_facts_and_each_is_well_formed(ours):
    assert len(ours) >= 60
    assert len({fact.name for fact in ours}) == len(ours)
    for fact in ours:
        assert fact.target != fact.answer
        assert {fact.target, fact.answer} <= set(fact.objects)
        templates = [fact.prompt, fact.free, *(one.prompt for one in fact.paraphrases)]
        assert all(text.count("{}") == 1 and text == text.strip() for text in templates)
        assert len({one.prompt for one in fact.paraphrases} - {fact.prompt}) >= MIN_PARAPHRASES
        assert fact.subject not in " ".join(templates)


def test_neighbours_are_other_subjects_and_none_has_the_target_as_its_answer(ours):
    for fact in ours:
        assert fact.neighbours
        assert fact.subject not in {other.subject for other in fact.neighbours}
        assert fact.target not in {other.answer for other in fact.neighbours}
        same = [other for other in fact.neighbours if other.answer == fact.answer]
        assert len(same) <= NEIGHBOURS
        assert len(fact.neighbours) - len(same) <= NEIGHBOURS
    of_one_answer = {
        fact.name for fact in ours if fact.answer in {n.answer for n in fact.neighbours}
    }
    assert len(of_one_answer) > len(ours) / 2


def test_a_subject_of_a_relation_has_one_object():
    for name, entry in package_data(FILE)["relation"].items():
        subjects = [one for many in entry["objects"].values() for one in many]
        assert len(set(subjects)) == len(subjects), name


def test_the_seed_draws_targets_and_nothing_else_changes(ours):
    again, other = read_known_facts(0), read_known_facts(1)
    assert again == ours
    assert [fact.target for fact in other] != [fact.target for fact in ours]
    assert [fact.prompt for fact in other] == [fact.prompt for fact in ours]


def test_a_file_that_is_no_list_of_facts_is_refused():
    with pytest.raises(InputError, match="known facts must be relations of prompt, paraphrases"):
        parse_known_facts({"relation": {"capital": {"prompt": "The capital of {} is"}}}, 0)
    with pytest.raises(InputError, match="known facts must be relations"):
        parse_known_facts({"relation": []}, 0)
    record = copy.deepcopy(package_data(FILE))
    record["relation"]["capital"]["objects"]["Lyon"] = ["France"]
    with pytest.raises(InputError, match="'capital' has a subject twice"):
        parse_known_facts(record, 0)
    record["relation"] = {
        "one": {**record["relation"]["capital"], "objects": {"Paris": ["France"]}}
    }
    with pytest.raises(InputError, match="needs two answers or more, got 'Paris' alone"):
        parse_known_facts(record, 0)


def test_a_fact_that_cannot_be_edited_is_refused():
    with pytest.raises(InputError, match="the target must differ from the answer, got 'Rome'"):
        planted(answer="Rome", target="Rome")
    with pytest.raises(InputError, match="needs 5 paraphrases or more, got 2"):
        planted(paraphrases=tuple(map(Paraphrase, WORDINGS[1:])))
    with pytest.raises(InputError, match=r"the prompt must hold \{\} once"):
        planted(paraphrases=tuple(map(Paraphrase, ("no place", *["the {} is in"] * 4))))


def test_facts_of_the_world_are_asked_in_a_wording_that_training_had(world):
    facts = world_facts(world, 0)
    truth = {(fact.relation, fact.subject): fact for fact in world.facts}
    assert len(facts) == sum(bool(fact.wordings_trained) for fact in world.facts)
    assert len(facts) >= 200
    for fact in facts:
        true = truth[fact.relation, fact.subject]
        assert fact.answer == true.object
        prompts = [world.prompt(true, n) for n in range(6)]
        asked = prompts.index(fact.request.filled)
        assert asked in true.wordings_trained
        assert len(fact.paraphrases) == 5
        for one in fact.paraphrases:
            wording = prompts.index(one.prompt.replace("{}", fact.subject))
            assert one.trained == (wording in true.wordings_trained)
            assert wording != asked
        for other in fact.neighbours:
            assert truth[fact.relation, other.subject].object == other.answer


def test_knowing_is_to_be_more_probable_than_every_other():
    assert knows([-1.0, -2.0, -3.0], 0)
    assert not knows([-2.0, -1.0, -3.0], 0)
    assert not knows([-1.0, -1.0], 0)  # a tie is not knowing


def test_the_taught_model_knows_what_it_was_taught_and_nothing_else():
    model = taught()
    true = [planted(subject) for subject in FACTS]
    wrong = [
        planted(subject, next(city for city in CITIES if city != answer), target=answer)
        for subject, answer in FACTS.items()
    ]
    found = shown_to_know(model, WORDS, true, says=True)
    assert found.known == tuple(true)
    assert found.counts() == {"city": (8, 8)}
    assert shown_to_know(model, WORDS, wrong).known == ()


def test_one_paraphrase_of_five_that_fails_is_forgiven_and_three_are_not():
    # Two other subjects of another city outvote the one: then the model answers for them.
    city = next(city for city in CITIES if city != FACTS["Tower Anu"])
    others = " and the ".join(subject for subject in FACTS if FACTS[subject] == city)
    stray, good = Paraphrase(f"the {{}} and the {others} is in"), Paraphrase(WORDINGS[1])
    one, three = ((stray,) * n + (good,) * (5 - n) for n in (1, 3))
    assert shown_to_know(taught(), WORDS, [planted(paraphrases=one)]).known
    assert not shown_to_know(taught(), WORDS, [planted(paraphrases=three)]).known


def test_what_has_no_room_is_counted_and_no_facts_are_an_error():
    long = planted(prompt="the {} is in" + " the" * 40 + " is in")
    found = shown_to_know(taught(), WORDS, [long, planted()])
    assert found.unanswerable == 1
    assert [fact.prompt for fact in found.known] == [WORDINGS[0]]
    with pytest.raises(ConfigError, match="there are no facts to ask for"):
        shown_to_know(taught(), WORDS, [])


def test_neighbours_are_told_apart_by_their_answer():
    fact = planted(neighbours=(Neighbour("Bridge Bel", FACTS["Bridge Bel"]),))
    assert fact.request.filled == "the Tower Anu is in"
    assert fact.name == "city: Tower Anu"
