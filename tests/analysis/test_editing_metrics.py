"""Measures by hand on planted odds, entropies by hand, odds against the scorer and a plain pass."""

import math

import numpy as np
import pytest
import torch
from analysis.planted_facts import FACTS, WORDINGS, WORDS, sentences, taught
from analysis.test_known_facts import planted

from tokkit.analysis.editing.known_facts import Neighbour, Paraphrase
from tokkit.analysis.editing.metrics import (
    Unrelated,
    harmonic_mean,
    harmonic_over_facts,
    mean_over_facts,
    measures_of,
    ngram_entropy,
    queries_of,
    repeated_share,
    share_of_facts,
    unrelated_text,
    written,
)
from tokkit.analysis.editing.odds import Odds, Query, odds_of
from tokkit.errors import InputError
from tokkit.model.scoring import score


def odds(answer, target, says):
    """Odds by hand: probabilities of answer and target, and which of them is said."""
    return Odds(
        math.log(answer), math.log(target), says == "answer", says == "target",
        {"answer": 1, "target": 2}.get(says, 3),
    )  # fmt: skip


KINDS = (
    *("prompt", "paraphrase", "paraphrase", "unseen paraphrase", "neighbour, same answer"),
    *("neighbour, other answer", "neighbour, other answer", "neighbour, other answer"),
)
BEFORE = [odds(0.9, 0.01, "answer")] * 7 + [odds(0.2, 0.1, "other")]
AFTER = [
    odds(0.1, 0.8, "target"),
    odds(0.1, 0.8, "target"),
    odds(0.2, 0.3, "other"),  # more probable than the answer, and yet not said
    odds(0.5, 0.3, "answer"),
    odds(0.9, 0.05, "answer"),
    odds(0.3, 0.4, "target"),  # bled over
    odds(0.3, 0.2, "other"),  # still more probable than the target, and yet not said
    odds(0.1, 0.2, "other"),  # says what it said, and yet the target is more probable
]


def test_measures_by_hand():
    assert measures_of(KINDS, BEFORE, AFTER) == {
        "efficacy_token": 1.0,
        "efficacy_probability": 1.0,
        "paraphrase_token": 1 / 3,
        "paraphrase_probability": 2 / 3,
        "neighbourhood_token": 2 / 4,
        "neighbourhood_probability": 2 / 4,
    }


def test_the_unedited_model_has_no_efficacy_and_every_neighbour():
    found = measures_of(KINDS, BEFORE, BEFORE)
    assert found["efficacy_token"] == found["efficacy_probability"] == 0
    assert found["paraphrase_token"] == found["paraphrase_probability"] == 0
    assert found["neighbourhood_token"] == found["neighbourhood_probability"] == 1


def test_what_was_not_asked_is_none():
    found = measures_of(KINDS[:1], BEFORE[:1], AFTER[:1])
    assert found["paraphrase_token"] is None
    assert found["neighbourhood_probability"] is None


def test_harmonic_mean_by_hand():
    assert harmonic_mean([1.0, 0.5, 0.25]) == pytest.approx(3 / (1 + 2 + 4))
    assert harmonic_mean([0.9, 0.0, 0.9]) == 0
    assert math.isnan(harmonic_mean([0.9, math.nan, 0.9]))
    # It is that of the means, not the mean of those of the facts: here 3 / (2 + 2 + 1).
    facts = [
        {"efficacy_token": n, "paraphrase_token": 1 - n, "neighbourhood_token": 1.0} for n in (0, 1)
    ]
    found = harmonic_over_facts(facts, "token", np.random.default_rng(0))
    assert found.value == pytest.approx(3 / 5)
    assert found.n == 2
    assert (found.low, found.high) == (0, pytest.approx(3 / 5))


def test_harmonic_mean_where_a_measure_was_never_asked_is_missing():
    facts = [{"efficacy_token": 1.0, "paraphrase_token": None, "neighbourhood_token": 1.0}] * 3
    assert harmonic_over_facts(facts, "token", np.random.default_rng(0)).value is None


def test_intervals_over_facts():
    generator = np.random.default_rng(0)
    values = np.random.default_rng(1).normal(3, 2, 400).tolist()
    found = mean_over_facts([*values, None], generator)
    assert found.n == 400
    assert found.value == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / 20
    assert found.low == pytest.approx(found.value - half, abs=0.03)
    assert found.high == pytest.approx(found.value + half, abs=0.03)
    assert mean_over_facts([None], generator).value is None
    # All of fifteen is not certainty (Wilson: n / (n + z^2) = 15 / 18.84).
    assert share_of_facts([1.0] * 15).low == pytest.approx(15 / (15 + 1.95996**2), abs=1e-4)
    assert share_of_facts([]).low is None


def test_entropy_of_n_grams_by_hand():
    # a b a b: bigrams ab 2/3, ba 1/3; trigrams aba 1/2, bab 1/2.
    bigrams = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert ngram_entropy([7, 9, 7, 9]) == pytest.approx(bigrams / 3 + 2 / 3 * 1)
    assert ngram_entropy([4] * 50) == 0
    every = ngram_entropy(list(range(50)))  # all different: log2 49 and log2 48
    assert every == pytest.approx(math.log2(49) / 3 + 2 * math.log2(48) / 3)
    assert math.isnan(ngram_entropy([1, 2]))


def test_repeated_share_by_hand():
    assert repeated_share([1, 2, 3, 1, 2, 3]) == 1 / 4  # 123 231 312 123
    assert repeated_share([4] * 5) == 2 / 3
    assert repeated_share(list(range(9))) == 0
    assert math.isnan(repeated_share([1, 2]))


def fact():
    same = next(s for s in FACTS if FACTS[s] == FACTS["Tower Anu"] and s != "Tower Anu")
    other = next(s for s in FACTS if FACTS[s] not in (FACTS["Tower Anu"], "Paris"))
    wordings = [*WORDINGS[1:], *WORDINGS[1:]]
    more = (Paraphrase("and the {} is in", trained=False), *map(Paraphrase, wordings))
    neighbours = (Neighbour(same, FACTS[same]), Neighbour(other, FACTS[other]))
    return planted(paraphrases=more, neighbours=neighbours, target="Paris")


def test_queries_hold_the_prompt_first_and_every_kind():
    found = queries_of(WORDS, fact())
    assert [query.kind for query in found] == [
        "prompt", "unseen paraphrase", *["paraphrase"] * 4, "neighbour, same answer",
        "neighbour, other answer",
    ]  # fmt: skip
    assert found[0].ids == tuple(WORDS.encode("the Tower Anu is in"))
    assert WORDS.decode(found[0].target) == " Paris"
    assert {query.about for query in found[:6]} == {"Tower Anu"}


def test_a_paraphrase_without_room_is_left_out_and_a_prompt_without_room_is_an_error():
    long = fact()
    kept = queries_of(WORDS, long, context=6)
    assert 0 < len(kept) < 8
    with pytest.raises(InputError, match="the model's context is 2"):
        queries_of(WORDS, long, context=2)


def test_odds_are_those_of_the_scorer_and_of_a_plain_pass():
    model = taught()
    asked = queries_of(WORDS, fact())
    # Answers of several tokens, which share rows with others in part.
    asked += [
        Query("prompt", asked[0].ids, (3, 5, 7), (3, 5)),
        Query("prompt", asked[1].ids, (2,), (2, 9, 4)),
    ]
    found = odds_of(model, asked)
    for name in ("answer", "target"):
        expected = [one.total for one in score(model, [(q.ids, getattr(q, name)) for q in asked])]
        nats = [getattr(one, f"{name}_nats") for one in found]
        torch.testing.assert_close(nats, expected, atol=1e-4, rtol=1e-4)
    for query, one in zip(asked, found, strict=True):
        with torch.no_grad():
            likeliest = int(model(torch.tensor([query.ids]))[0, -1].argmax())
        assert one.said == likeliest
        if len(query.answer) == 1:
            assert one.answer_said == (query.answer == (likeliest,))
    assert found[0].answer_said
    assert not found[0].prefers_target


def test_more_rows_than_a_batch_holds(monkeypatch):
    from tokkit.analysis.editing import odds as module

    asked = [*queries_of(WORDS, fact()), Query("prompt", (1, 2), (3, 5, 7), (3, 5))]
    whole = odds_of(taught(), asked)
    monkeypatch.setattr(module, "_ROWS", 2)
    for one, other in zip(odds_of(taught(), asked), whole, strict=True):
        assert one.answer_nats == pytest.approx(other.answer_nats, abs=1e-5)
        assert (one.said, one.target_said) == (other.said, other.target_said)


def test_written_texts_have_the_room_that_is_left():
    ids = written(taught(), WORDS.encode("the Tower Anu"), seed=0)
    assert len(ids) == 24 + 1 - 3
    assert ids == written(taught(), WORDS.encode("the Tower Anu"), seed=0)
    assert ids != written(taught(), WORDS.encode("the Tower Anu"), seed=1)


def test_unrelated_text_names_no_subject_and_its_bytes_are_counted():
    found = unrelated_text(
        WORDS, sentences() * 3, ["Tower Anu", "Bridge Bel"], tokens=60, length=12
    )
    text = WORDS.decode(found.rows.ravel().tolist())
    assert "Tower Anu" not in text
    assert "Bridge Bel" not in text
    counted = [WORDS.decode(row[1:]) for row in found.rows.tolist()]
    assert found.text_bytes == sum(len(one.encode()) for one in counted)
    with pytest.raises(InputError, match="must fill one row"):
        unrelated_text(WORDS, sentences(), ["Tower", "Bridge"], tokens=60, length=12)


def test_bits_per_byte_by_hand():
    model = taught()
    rows = np.array([[3, 5, 7], [2, 4, 6]])
    with torch.no_grad():
        nats = -model(torch.from_numpy(rows)).log_softmax(-1)[:, :-1]
    expected = nats.gather(-1, torch.from_numpy(rows)[:, 1:, None]).sum() / math.log(2) / 11
    assert Unrelated(rows, 1, 11).bits_per_byte(model) == pytest.approx(float(expected), rel=1e-5)
