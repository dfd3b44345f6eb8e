import numpy as np
import pytest

from tokkit.analysis.embeddings.meaning_words import (
    COPY,
    SEVERAL,
    SMALL,
    TWICE,
    UNKNOWN,
    UNUSABLE,
    category_words,
    common_words,
    mean_row,
    prepared,
    rows_of_words,
    word_rows,
    word_tokens,
)
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.matrix import matrix_of
from tokkit.errors import ConfigError

ANIMALS = ("dog", "cat", "cow", "pig", "fox", "owl")
FOODS = ("bread", "rice", "soup", "cake", "corn", "bean")


class Pieces:
    """A tokenizer that knows some words whole, with their space, and spells the rest."""

    def __init__(self, words):
        self.table = [b"and", *(b" " + word.encode() for word in words), b" "]
        self.table += [bytes([letter]) for letter in range(97, 123)]

    def encode_batch(self, texts):
        return [self._encode(text) for text in texts]

    def _encode(self, text):
        ids, rest = [0], text.encode()[3:]
        if rest in self.table:
            return [*ids, self.table.index(rest)]
        return ids + [self.table.index(bytes([byte])) for byte in rest]

    def token_bytes(self, token):
        return self.table[token]


def subject_of(tokens, rows=None, tokenizer=None, **known):
    if rows is None:
        rows = np.random.default_rng(0).standard_normal((len(tokens), 7))
    usable = np.isfinite(rows).all(axis=1) & (rows != 0).any(axis=1)
    return Subject(
        name="s",
        rows=matrix_of(rows),
        usable=usable,
        tokens=list(tokens),
        tokenizer=tokenizer,
        **known,
    )


def spaced_tokens(*words):
    return [b" " + word.encode() for word in words]


def test_a_word_is_the_token_with_its_space_where_the_vocabulary_has_spaces():
    subject = subject_of([b"dog", b" dog", b"cat", b" cow"])
    assert word_tokens(subject, ["dog", "cat", "cow"]) == {"dog": (1,), "cat": (), "cow": (3,)}


def test_a_vocabulary_without_spaces_gives_bare_tokens():
    subject = subject_of([b"dog", b"cat", b"##s"])
    assert word_tokens(subject, ["dog", "cat"]) == {"dog": (0,), "cat": (1,)}


def test_special_tokens_stand_for_no_word():
    subject = subject_of([b"dog", b"cat"], special=frozenset({0}))
    assert word_tokens(subject, ["dog"]) == {"dog": ()}


def test_a_tokenizer_cuts_words_as_in_a_sentence():
    pieces = Pieces(["dog"])
    subject = subject_of(pieces.table, tokenizer=pieces)
    found = word_tokens(subject, ["dog", "ox"])
    assert found["dog"] == (1,)
    assert [pieces.table[token] for token in found["ox"]] == [b"o", b"x"]


def test_ids_beyond_the_rows_are_unknown():
    pieces = Pieces(["dog"])
    subject = subject_of(pieces.table[:1], tokenizer=pieces)
    assert word_tokens(subject, ["dog"]) == {"dog": ()}


def test_words_of_several_tokens_are_left_out_or_averaged():
    pieces = Pieces([*ANIMALS[:5], *FOODS[:5]])
    subject = subject_of(pieces.table, tokenizer=pieces)
    lists = {"animals": ANIMALS, "foods": FOODS}
    words = category_words(subject, lists)
    assert len(words) == 10
    assert words.left_out == {SEVERAL: 2}
    averaged = category_words(subject, lists, mean_of_several=True)
    assert len(averaged) == 12
    whole = subject.rows.whole()
    owl = word_rows(subject.rows, averaged.tokens)[averaged.words.index("owl")]
    ids = averaged.tokens[averaged.words.index("owl")]
    assert owl == pytest.approx(whole[list(ids)].mean(axis=0))


def test_everything_left_out_is_counted_by_reason():
    tokens = spaced_tokens(*ANIMALS, "ox", *FOODS, "plum", "red")
    rows = np.random.default_rng(1).standard_normal((len(tokens), 5))
    rows[0] = np.nan
    rows[tokens.index(b" ox")] = rows[1]
    lists = {
        "animals": [*ANIMALS, "ox", "yak", "plum"],
        "foods": [*FOODS, "plum"],
        "colours": ["red"],
    }
    words = category_words(subject_of(tokens, rows), lists)
    assert words.categories == ("animals", "foods")
    assert words.left_out == {TWICE: 1, UNUSABLE: 1, UNKNOWN: 1, COPY: 1, SMALL: 1}
    assert words.words == ANIMALS[1:] + FOODS
    assert words.labels.tolist() == [0] * 5 + [1] * 6
    assert words.fault is None


def test_one_category_says_why_there_is_nothing():
    words = category_words(subject_of(spaced_tokens(*ANIMALS)), {"animals": ANIMALS, "x": ["y"]})
    assert "needs 2 categories of 5 words" in words.fault
    assert "1 words that no row stands for" in words.fault


def test_a_category_that_is_no_list_of_words_is_refused():
    with pytest.raises(ConfigError, match="a category is a list of words"):
        category_words(subject_of([b" a"]), {"animals": "dog"})


def test_rows_of_words_are_usable_whole_words():
    tokens = [b" dog", b"dog", b" d0g", b" \xff", b" \xc3\xa9t\xc3\xa9", b"", b" cat", b" end"]
    rows = np.ones((8, 3))
    rows[6] = 0
    subject = subject_of(tokens, rows, special=frozenset({7}))
    assert rows_of_words(subject).tolist() == [0, 4]


def test_rows_are_centred_on_all_usable_rows_and_of_unit_length():
    rows = np.array([[1.0, 0.0], [3.0, 4.0], [np.nan, 9.0]])
    mean = mean_row(matrix_of(rows), np.array([True, True, False]))
    assert mean.tolist() == [2.0, 2.0]
    ready = prepared(np.array([[5.0, 6.0], [2.0, 2.0]]), mean)
    assert ready == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


def test_the_common_words_are_sound():
    lists = common_words()
    words = [word for own in lists.categories.values() for word in own]
    assert len(words) == len(set(words))
    assert all(len(own) >= 20 for own in lists.categories.values())
    for pairs in lists.analogies.values():
        assert len(pairs) >= 15
        flat = [word for pair in pairs for word in pair]
        assert len(flat) == len(set(flat))
