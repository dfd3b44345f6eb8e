"""Atoms and safe cuts: whatever stands around them, each side is split as it is in the whole."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitting_texts import (
    REPRESENTATIVES,
    SENTENCES,
    any_text,
    cut,
    joined,
    random_texts,
)

from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.splitting import (
    ATOM_FAMILY,
    atom_ends,
    last_atom_cut,
    last_cut,
    pretoken_ends,
)

each_of_the_family = pytest.mark.parametrize("name", sorted(ATOM_FAMILY))
RULES = [name for name in PRETOKENIZERS if name != "none"] + ["atoms"]
each_rule = pytest.mark.parametrize("rule", RULES)


def atoms(text):
    return cut(text, atom_ends(*joined([text])).tolist())


def ends_by(rule, data, starts):
    return atom_ends(data, starts) if rule == "atoms" else pretoken_ends(data, starts, rule)


def cut_by(rule, data):
    return last_atom_cut(data) if rule == "atoms" else last_cut(data, rule)


BY_HAND = [
    ("don't stop", ["don't", " stop"]),  # o200k keeps the contraction
    ("l'art ('x')", ["l", "'art", " ('", "x", "')"]),
    ("f(x, y1)", ["f", "(x", ",", " y", "1", ")"]),
    ("a:\n    b", ["a", ":\n   ", " b"]),  # gpt2 joins the blanks to the break, cl100k the colon
    ("a\nb\n\nc", ["a", "\n", "b", "\n\nc"]),  # gpt2 looks past the last break of two
    ("x = 12  34", ["x", " =", " 12", "  34"]),
    ("你好,世界。", ["你好", ",世界", "。"]),
    ("!\n//a", ["!\n//", "a"]),
    ("!\n/.a", ["!\n/.a"]),  # o200k joins slashes to the break, and .a is a word then
    ("・.a", ["・.a"]),  # deepseek-v3 cuts after the kana mark, so .a is a word there
]


@pytest.mark.parametrize(("text", "expected"), BY_HAND)
def test_by_hand(text, expected):
    assert atoms(text) == expected


def assert_atoms_give_the_pretokens(name, texts):
    data, starts = joined(texts)
    ends = atom_ends(data, starts)
    assert set(starts.tolist()) <= {0, *ends.tolist()}
    by_atoms = pretoken_ends(data, np.array([0, *ends], dtype=np.int64), name)
    if not np.array_equal(by_atoms, pretoken_ends(data, starts, name)):
        for text in texts if len(texts) > 1 else ():  # find the text that differs
            assert_atoms_give_the_pretokens(name, [text])
        raise AssertionError(f"{texts[0]!a} in atoms: {atoms(texts[0])!a}")


@each_of_the_family
def test_every_short_text_of_representatives(name):
    for length in range(5):
        texts = list(map("".join, itertools.product(REPRESENTATIVES, repeat=length)))
        assert_atoms_give_the_pretokens(name, texts)


@each_of_the_family
def test_random_texts(name):
    assert_atoms_give_the_pretokens(name, [*random_texts(7, 6000), *SENTENCES.values()])


@settings(max_examples=150)
@given(texts=st.lists(any_text, max_size=6))
def test_drawn_texts(texts):
    for name in ATOM_FAMILY:
        assert_atoms_give_the_pretokens(name, texts)


def assert_cuts_change_nothing(rule, texts):
    """Cut each text where `last_cut` says, having seen its beginning only."""
    data, starts = joined(texts)
    places = []
    for text, start in zip(texts, starts.tolist(), strict=False):
        encoded = np.frombuffer(text.encode(), dtype=np.uint8)
        places += [start + cut_by(rule, encoded[:seen]) for seen in range(len(encoded) + 1)]
    for offset in range(3):  # cuts of one text come one after the other: use them apart
        some = np.unique([*starts, *places[offset::3]]).astype(np.int64)
        assert np.array_equal(ends_by(rule, data, some), ends_by(rule, data, starts))


@each_rule
def test_cuts_in_random_texts(rule):
    assert_cuts_change_nothing(rule, random_texts(11, 250))


@settings(max_examples=200)
@given(text=any_text, more=any_text, times=st.sampled_from([1, 200]))
def test_cuts_in_drawn_texts(text, more, times):
    """In a long text the search looks at the last bytes, and knows nothing of those before."""
    seen = text * times
    whole, starts = joined([seen + more])
    for rule in RULES:
        place = cut_by(rule, whole[: len(seen.encode())])
        sides = np.unique([0, place, len(whole)]).astype(np.int64)
        assert np.array_equal(ends_by(rule, whole, sides), ends_by(rule, whole, starts))


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("rule", [*sorted(ATOM_FAMILY), "atoms"])
def test_ordinary_text_of_any_script_can_be_cut(rule, language):
    data, _ = joined([SENTENCES[language]])
    assert cut_by(rule, data) > len(data) // 3


def test_no_cut_where_none_is_known():
    data, _ = joined(["a b c"])
    assert last_cut(data, "none") == 0
    assert last_cut(data, Pretokenizer("mine", r"\w+")) == 0
    assert last_cut(data, "gpt2") == 3
    assert last_cut(joined(["a" * 5000])[0], "gpt2") == 0
    assert last_cut(joined(["a " + "b" * 5000])[0], "gpt2") == 1
    assert last_cut(joined([""])[0], "gpt2") == 0


def test_a_last_character_that_is_not_whole_is_left():
    data = np.frombuffer("a 你".encode(), dtype=np.uint8)
    for cut_short in (1, 2):
        assert last_cut(data[:-cut_short], "chars") == 2
        assert last_cut(data[:-cut_short], "gpt2") == 1
        assert last_cut(data[:-cut_short], "whitespace") == 1
    assert last_cut(data, "chars") == 5
    assert last_cut(data[:-1], "bytes") == 4
