"""A request as tokens, and every request that is refused."""

import pytest
from analysis.planted_facts import WORDS, taught
from tokenizer.foreign_files import learned

from tokkit.analysis.editing.asked import asked_of
from tokkit.analysis.editing.present import check_request
from tokkit.analysis.editing.request import EditRequest, answer_ids, located
from tokkit.errors import InputError

REQUEST = EditRequest("Tower Anu", "the {} is in", "Paris")


def test_the_subject_is_found_among_the_tokens():
    found = located(WORDS, REQUEST)
    assert WORDS.decode(found.ids) == "the Tower Anu is in"
    assert found.subject == (1, 2)
    assert found.subject_end == 2
    assert WORDS.decode(found.target) == " Paris"


def test_what_begins_a_text_and_what_is_put_before_it_move_the_places():
    found = located(WORDS, REQUEST, (5, 7), before="The a. ")
    assert found.ids[:2] == (5, 7)
    assert WORDS.decode(found.ids[2:]) == "The a. the Tower Anu is in"
    assert found.subject == (6, 7)


def test_subwords_that_hold_a_part_of_the_subject_are_the_subjects():
    tokenizer = learned("gpt2")
    request = EditRequest("lazy strawberry", "a déjà {} jumps over the", "dog")
    found = located(tokenizer, request)
    held = b"".join(tokenizer.token_bytes(found.ids[at]) for at in found.subject)
    assert held.strip() == b"lazy strawberry"
    assert list(found.subject) == list(range(found.subject[0], found.subject_end + 1))


def test_a_subject_that_opens_the_text():
    found = located(WORDS, EditRequest("the", "{} Tower Anu is in", "Rome"))
    assert found.subject == (0,)


@pytest.mark.parametrize(
    ("subject", "prompt", "target", "said"),
    [
        ("Anu", "the Tower Anu is in", "Rome", r"must hold \{\} once"),
        ("Anu", "the {} and {} is in", "Rome", r"must hold \{\} once"),
        ("Anu", "the {} is in ", "Rome", "must not end in white space"),
        ("Anu", "the {} is in", " ", "target must not be empty"),
        ("", "the {} is in", "Rome", "subject must not be empty"),
    ],
)
def test_requests_that_are_none(subject, prompt, target, said):
    with pytest.raises(InputError, match=said):
        EditRequest(subject, prompt, target)


def test_a_text_longer_than_the_context():
    with pytest.raises(InputError, match=r"prompt and target are 6 tokens, but .* context is 4"):
        located(WORDS, REQUEST, context=4)
    assert located(WORDS, REQUEST, context=5)  # the last token of the target is never read


def test_a_target_that_shares_a_token_with_the_prompt():
    class Joining:
        def encode(self, text):
            return [len(text)]

    with pytest.raises(InputError, match="must begin with a token of its own"):
        answer_ids(Joining(), "in the city", "Rome")


def test_a_tokenizer_that_loses_text():
    class Losing:
        def encode(self, text):
            return [ord(letter) for letter in text]

        def token_bytes(self, token):
            return b"?"

    with pytest.raises(InputError, match="does not give back the text"):
        located(Losing(), REQUEST)


def test_a_target_that_is_the_present_answer():
    request = EditRequest("Tower Anu", "the {} is in", "Rome")
    with pytest.raises(InputError, match=r"must differ from the present answer.* ' Rome' already"):
        check_request(taught(), WORDS, request, located(WORDS, request))


def test_a_fact_that_the_model_does_not_know():
    place = located(WORDS, REQUEST)
    with pytest.raises(InputError, match=r"does not know this fact.* ' Rome', not 'Oslo'"):
        check_request(taught(), WORDS, REQUEST, place, answer="Oslo")
    now = check_request(taught(), WORDS, REQUEST, place, answer="Rome")
    assert now.text == " Rome"
    assert now.probability > 0.9 > 0.1 > now.target_probability
    assert now.runner_up != now.ids[0]


@pytest.mark.parametrize("text", ["", "the Tower Anu is "])
def test_prompts_that_cannot_be_asked(text):
    with pytest.raises(InputError, match="a neighbour must be a text"):
        asked_of(WORDS, REQUEST, [], [text])
    with pytest.raises(InputError, match="a paraphrase must be a text"):
        asked_of(WORDS, REQUEST, [text], [])
