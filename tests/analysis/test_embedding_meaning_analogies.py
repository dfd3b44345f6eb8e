import numpy as np
import pytest

from tokkit.analysis.embeddings.meaning_analogies import (
    ADD,
    METHODS,
    MULTIPLY,
    NEAREST,
    OTHER_PAIR,
    Answered,
    ask,
    findings,
    relation,
)
from tokkit.analysis.embeddings.meaning_words import analogies_by_kind
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError

PAIRS = tuple((f"a{number}", f"b{number}") for number in range(7))
WORDS = tuple(word for pair in PAIRS for word in pair)
KNOWN = {word: place + 3 for place, word in enumerate(WORDS)}
ROWS, COLUMNS = 101, 29
ZERO = np.zeros(COLUMNS)


def parallelograms(seed=0, step=1.0, noise=0.0):
    """Rows where b is a + one step for all pairs, among rows of noise."""
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((ROWS, COLUMNS))
    offset = draw.standard_normal(COLUMNS) * step
    for first, second in PAIRS:
        rows[KNOWN[second]] = rows[KNOWN[first]] + offset + noise * draw.standard_normal(COLUMNS)
    return rows


def asked(rows, seed=0, candidates=None, given=PAIRS):
    draw = np.random.default_rng(seed)
    questions = relation("plural", given, KNOWN, draw)
    among = np.arange(len(rows)) if candidates is None else candidates
    answers = ask([questions], KNOWN, matrix_of(rows), ZERO, [among])
    found = findings([questions], answers, draw, candidates="all", rows="trained rows")
    return {(one.method, one.excluded): one for one in found}


def test_parallelograms_are_found():
    found = asked(parallelograms(step=3.0))
    assert found[ADD, True].accuracy.estimate > 0.95
    assert found[MULTIPLY, True].accuracy.estimate > 0.95
    assert found[ADD, True].questions == 42
    assert found[ADD, True].pairs == 7
    assert found[ADD, True].over_nearest.low > 0
    assert found[NEAREST, True].over_nearest is None
    assert found[ADD, True].over_initial is None


def test_a_rotation_gives_the_same_answers():
    from scipy.stats import ortho_group

    rows = parallelograms(noise=1.0)
    turn = ortho_group.rvs(COLUMNS, random_state=3)
    assert asked(rows) == asked(rows @ turn)


def test_noise_gives_chance():
    found = asked(np.random.default_rng(5).standard_normal((ROWS, COLUMNS)))
    for method in METHODS:
        assert found[method, True].accuracy.estimate < 0.1
        assert found[method, True].given == 0
    assert found[ADD, True].over_nearest.low <= 0


def test_a_short_step_is_found_only_where_given_words_are_left_out():
    # Where the step is less than its noise, c is nearest to b - a + c, and d nearest to c.
    found = asked(parallelograms(step=0.1, noise=0.4))
    assert found[ADD, False].given == 1.0
    assert found[ADD, False].accuracy.estimate == 0
    assert found[ADD, True].accuracy.estimate == 1
    assert found[NEAREST, True].accuracy.estimate == 1
    assert found[NEAREST, False].given == 1.0


def test_scores_are_those_written_out():
    rows = parallelograms(noise=1.5)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    a, b, c = (KNOWN[word] for word in ("a0", "b0", "a3"))
    cosines = unit @ unit.T
    add = cosines[:, b] - cosines[:, a] + cosines[:, c]
    moved = (1 + cosines) / 2
    multiply = moved[:, b] * moved[:, c] / (moved[:, a] + 0.001)
    questions = relation("x", [("a0", "b0", "a3", "b3")] * 2 + _others(), KNOWN, _draw())
    answers = ask([questions], KNOWN, matrix_of(rows), ZERO, [np.arange(ROWS)])[0]
    for method, scores in ((ADD, add), (MULTIPLY, multiply)):
        assert answers[method, False].right[0] == (scores.argmax() == KNOWN["b3"])
        scores[[a, b, c]] = -np.inf
        assert answers[method, True].right[0] == (scores.argmax() == KNOWN["b3"])


def _draw():
    return np.random.default_rng(0)


def _others():
    return [("a1", "b1", "a2", "b2"), ("a4", "b4", "a5", "b5")]


def test_candidates_bound_the_answer():
    rows = parallelograms(noise=4.0)
    own = np.array(sorted(KNOWN.values()))
    assert (
        asked(rows, candidates=own)[ADD, True].accuracy.estimate
        > asked(rows)[ADD, True].accuracy.estimate
    )


def test_the_wrong_offset_is_of_neither_pair():
    questions = relation("x", PAIRS, KNOWN, _draw())
    assert ((questions.asked != questions.other[:, None]).all(axis=1)).all()
    assert set(questions.other) == set(range(7))
    found = asked(parallelograms(noise=2.0))
    assert found[OTHER_PAIR, True].accuracy.estimate < found[ADD, True].accuracy.estimate


def test_pairs_that_cannot_be_asked_are_counted():
    given = [*PAIRS, ("a0", "b9"), ("a1", "zzz"), ("a2", "b0")]
    questions = relation("x", given, {**KNOWN, "b9": 2}, _draw())
    assert len(questions.pairs) == 7
    assert questions.left_out == {
        "pairs whose answer another pair shares": 2,
        "pairs with a word that is not one row": 1,
    }


def test_a_chain_of_pairs_is_asked():
    chain = [(WORDS[place], WORDS[place + 1]) for place in range(6)]
    questions = relation("next", chain, KNOWN, _draw())
    assert len(questions.pairs) == 6
    assert not questions.left_out


def test_too_few_pairs_ask_nothing():
    questions = relation("x", PAIRS[:3], KNOWN, _draw())
    assert questions.asked.shape == (0, 2)
    assert findings([questions], [{}], _draw(), candidates="all", rows="x") == []


def test_questions_are_drawn_where_there_are_too_many():
    pairs = [(f"x{number}", f"y{number}") for number in range(30)]
    known = {word: place for place, word in enumerate(word for pair in pairs for word in pair)}
    questions = relation("x", pairs, known, _draw())
    assert len(questions.asked) == 300
    again = relation("x", pairs, known, _draw())
    assert questions.asked.tolist() == again.asked.tolist()


def test_lists_of_another_length_are_refused():
    with pytest.raises(ConfigError, match=r"but 'x' has lists of \[2, 4\]"):
        relation("x", [("a", "b"), ("a", "b", "c", "d")], KNOWN, _draw())


def test_intervals_are_wide_for_few_pairs_however_many_questions():
    # One pair is always right as d, the rest never: 6 of 42 questions, but one pair of seven.
    questions = relation("x", PAIRS, KNOWN, _draw())
    right = (questions.asked[:, 1] == 0).astype(float)
    answers = {
        (method, excluded): Answered(right=right, given=right * 0)
        for method in METHODS
        for excluded in (True, False)
    }
    found = findings([questions], [answers], _draw(), candidates="all", rows="x")[0]
    assert found.accuracy.estimate == pytest.approx(1 / 7)
    assert found.accuracy.low == 0
    assert found.accuracy.high > 0.35


def test_initial_rows_are_compared_question_by_question():
    questions = relation("x", PAIRS, KNOWN, _draw())
    among = [np.arange(ROWS)]
    noise = np.random.default_rng(5).standard_normal((ROWS, COLUMNS))
    trained, before = (
        ask([questions], KNOWN, matrix_of(rows), ZERO, among) for rows in (parallelograms(), noise)
    )
    found = findings([questions], trained, _draw(), candidates="all", rows="x", initial=before)
    assert found[0].over_initial.low > 0.5


def test_several_relations_have_a_line_over_all():
    draw = _draw()
    posed = [relation(kind, PAIRS, KNOWN, draw) for kind in "xy"]
    answers = ask(posed, KNOWN, matrix_of(parallelograms()), ZERO, [np.arange(ROWS)] * 2)
    found = findings(posed, answers, draw, candidates="all", rows="x")
    assert [one.kind for one in found[:: 2 * len(METHODS)]] == ["x", "y", ""]
    assert found[-1].questions == 84


def test_quadruples_are_grouped_by_kind():
    words = [("a", "b", "c", "d"), ("e", "f", "g", "h"), ("c", "d", "a", "b")]
    assert analogies_by_kind(words, ["x", "y", "x"]) == {
        "x": (words[0], words[2]),
        "y": (words[1],),
    }
