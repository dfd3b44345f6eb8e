"""Questions: their wording, their truth, their balance, and the division of words by token."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.errors import ConfigError
from tokkit.probes.tasks import (
    ITEMS,
    LIST_LENGTHS,
    Question,
    QuestionPool,
    countable_words,
    item_questions,
    parse_answer,
    parse_question,
    split_words,
    word_question,
)

WORDS = tuple(
    f"{a}{b}{c}{d}" for a in "abx" for b in "abx" for c in "abx" for d in "abx"
)  # every count 0 to 3 (and 4) of a and b, at one length


def test_the_three_wordings():
    question = word_question("r", "strawberry")
    assert question.text == "How many r's are in strawberry?"
    assert question.truth == 3
    assert question.answer == "3"
    assert question.spelled().text == "How many r's are in the letters s t r a w b e r r y?"
    items = Question("items", "fig", "plum fig fig", 2)
    assert items.text == "How many figs are in the list plum fig fig?"


@given(st.sampled_from("abcxyz"), st.text("abcxyz", min_size=1, max_size=12))
def test_a_question_is_understood_from_its_own_text(letter, word):
    question = word_question(letter, word)
    assert parse_question(question.text) == question
    assert parse_question(question.spelled().text) == question.spelled()


def test_an_item_question_is_understood_from_its_own_text():
    for question in item_questions(50, np.random.default_rng(0)):
        assert parse_question(question.text) == question


@pytest.mark.parametrize(
    "text", ["", "How many?", "How many R's are in x?", "what is 2 + 2?", "How many r's are in ?"]
)
def test_other_text_is_no_question(text):
    assert parse_question(text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), (" 12. ", 12), ("", None), ("three", None), ("3 3", None)]
)
def test_answers_are_read_strictly(text, value):
    assert parse_answer(text) == value


def test_counts_are_balanced_within_letter_and_length():
    pool = QuestionPool(WORDS, min_words=3)
    assert {letter for letter, _ in pool.cells} == {"a", "b", "x"}
    drawn = pool.draw(6000, np.random.default_rng(1))
    assert all(question.truth == question.subject.count(question.asked) for question in drawn)
    for letter in "abx":
        counts = Counter(question.truth for question in drawn if question.asked == letter)
        assert set(counts) == {0, 1, 2, 3}
        # 2,000 draws over four counts: 500 expected, standard deviation 19.
        assert all(abs(n - 500) < 100 for n in counts.values())


def test_a_cell_without_enough_words_is_not_used():
    with pytest.raises(ConfigError, match="give more words"):
        QuestionPool(["bcde", "fghi"], min_words=1)
    # Of the 81 words 16 have no a, 32 have one, 24 two, 8 three and 1 four.
    assert [truth for truth, _ in QuestionPool(WORDS, min_words=9).cells["a", 4]] == [0, 1, 2]
    assert [truth for truth, _ in QuestionPool(WORDS, min_words=8).cells["a", 4]] == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="at least 17 words each"):
        QuestionPool(WORDS, min_words=17)


def test_evaluation_questions_use_each_word_once_and_stay_balanced():
    drawn = QuestionPool(WORDS, min_words=3).draw_distinct(36, np.random.default_rng(2))
    words = [question.subject for question in drawn]
    assert len(words) == len(set(words))
    for letter in "abx":
        counts = Counter(question.truth for question in drawn if question.asked == letter)
        assert len(set(counts.values())) <= 1


def test_item_lists_hold_what_they_say():
    questions = item_questions(2000, np.random.default_rng(3))
    counts = Counter()
    for question in questions:
        listed = question.subject.split()
        assert len(listed) in LIST_LENGTHS
        assert set(listed) <= set(ITEMS)
        assert listed.count(question.asked) == question.truth
        counts[question.truth] += 1
    assert all(abs(counts[truth] - 500) < 100 for truth in range(4))


def test_draws_repeat_from_their_seed_and_differ_by_it():
    pool = QuestionPool(WORDS, min_words=3)
    same = [pool.draw(9, np.random.default_rng(5)) for _ in range(2)]
    assert same[0] == same[1] != pool.draw(9, np.random.default_rng(6))


def test_words_are_split_by_their_tokens():
    words = ["aa", "ab", "bb", "cd", "dc", "x"]
    tokens = [[10, 10], [10, 11], [11, 11], [12], [12, 1], [1]]
    splits = split_words(
        words,
        tokens,
        frozenset({1}),
        held_out="cd",
        novel_share=0.0,
        fresh_share=0.0,
        generator=np.random.default_rng(0),
    )
    assert splits.novel_tokens == {12}
    assert splits.a == ("aa", "ab", "bb", "x")
    assert splits.c == ("cd", "dc")  # the lone letter beside a novel token does not count
    assert splits.r == ()


@given(st.integers(0, 10_000))
def test_splits_never_leak(seed):
    generator = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(60)]
    tokens = [generator.integers(0, 20, size=generator.integers(1, 4)).tolist() for _ in words]
    single = frozenset({0, 1})
    splits = split_words(
        words,
        tokens,
        single,
        held_out="w7",
        novel_share=0.3,
        fresh_share=0.2,
        generator=generator,
    )
    multi = {word: set(ids) - single for word, ids in zip(words, tokens, strict=True)}
    seen = set().union(*(multi[word] for word in splits.a), set())
    assert not set(splits.a) & set(splits.r)
    assert all(multi[word] and multi[word] <= seen for word in splits.r)
    assert all(multi[word] and not multi[word] & seen for word in splits.c)
    if multi["w7"]:
        assert "w7" in splits.c


def test_countable_words_are_plain_and_within_lengths():
    assert countable_words(["you've", "Cat", "abcd", "abc", "caf\u00e9s", "abcde"],
                           min_letters=4, max_letters=4) == ["abcd"]  # fmt: skip
