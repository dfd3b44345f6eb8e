"""Pretokens of each preset: by hand, and equal to what `tokenizers` makes of its components."""

import pydoc_data.topics
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from splitting_texts import (
    NASTY,
    SENTENCES,
    any_text,
    cut,
    joined,
    library_ends,
    random_texts,
    sample,
)

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer.presets import GPT2_PATTERN, PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.splitting import is_compiled, preset_name, pretoken_ends

each_preset = pytest.mark.parametrize("name", PRETOKENIZERS)


def split(text, pretokenizer):
    data, starts = joined([text])
    return cut(text, pretoken_ends(data, starts, pretokenizer).tolist())


def assert_as_the_library(name, texts):
    data, starts = joined(texts)
    ends = pretoken_ends(data, starts, name)
    assert ends.dtype == np.int32
    if not np.array_equal(ends, library_ends(name, texts)):
        for text in texts:  # find the text that differs
            expected = cut(text, library_ends(name, [text]).tolist())
            assert split(text, name) == expected, ascii(text)
        raise AssertionError("texts differ together but not alone")


BY_HAND = [
    ("gpt2", "don't 's x", ["don", "'t", " '", "s", " x"]),
    ("gpt2", "a1  b\n\nc \n", ["a", "1", " ", " b", "\n", "\n", "c", " \n"]),
    ("cl100k", "DON'T(x)\n\n  y", ["DON", "'T", "(x", ")\n\n", " ", " y"]),
    ("cl100k", "12345 \t\n z", ["123", "45", " \t\n", " z"]),
    ("cl100k", "'ſo", ["'ſ", "o"]),  # U+017F is an s, whatever its case
    ("llama3", "1234", ["123", "4"]),
    ("qwen2", "1234", ["1", "2", "3", "4"]),
    ("o200k", "HTTPServer isn't", ["HTTPServer", " isn't"]),
    ("o200k", "camelCase ABC你D", ["camel", "Case", " ABC你", "D"]),
    ("o200k", "\u0301AB !\n/x", ["\u0301", "AB", " !\n/", "x"]),
    ("deepseek-v3", "x.yé 你1234・ア", ["x", ".y", "é", " ", "你", "123", "4", "・", "ア"]),
    ("deepseek-v3", "  你 \x00\x00a", [" " * 2, "你", " ", "\x00", "\x00a"]),
    ("whitespace", "a  b!\u3000c\n", ["a", " ", " b!", "\u3000", "c", "\n"]),
    ("chars", "aé你", ["a", "é", "你"]),
    ("none", "a b", ["a b"]),
]


@pytest.mark.parametrize(("name", "text", "pretokens"), BY_HAND)
def test_by_hand(name, text, pretokens):
    assert split(text, name) == pretokens


def test_bytes_cuts_inside_characters():
    data, starts = joined(["é", "", "a"])
    assert pretoken_ends(data, starts, "bytes").tolist() == [1, 2, 3]


@settings(max_examples=200)
@given(texts=st.lists(any_text, max_size=6))
def test_as_the_library_on_drawn_texts(texts):
    for name in PRETOKENIZERS:
        assert_as_the_library(name, texts)


@each_preset
def test_as_the_library_on_random_texts(name):
    assert_as_the_library(name, random_texts(seed=20261, number=6000))


@each_preset
def test_as_the_library_on_every_short_text(name):
    assert_as_the_library(name, [a + b + c for a in NASTY for b in NASTY for c in NASTY[::3]])


@each_preset
def test_as_the_library_on_sentences_and_source(name):
    topics = list(pydoc_data.topics.topics.values())[::5]
    source = [Path(__file__).read_text("utf-8"), Path(random.__file__).read_text("utf-8")]
    assert_as_the_library(name, [*SENTENCES.values(), *topics, *source])
    # Broken anywhere, as a document may begin and end anywhere.
    texts = [text[i : i + 9] for text in SENTENCES.values() for i in range(len(text))]
    assert_as_the_library(name, texts)


CONTEXTS = (
    "a{0} {0}a{0}\n{0}1{0}\t{0}{0}A{0}'s '{0}l a'{0} a'l{0} a'{0}e a'r{0} "
    "!{0}.{0} \n{0}  {0}你{0}・{0}"
)


@each_preset
def test_as_the_library_on_characters_in_contexts(name):
    """Every class is tested over all of Unicode elsewhere, so a share of the large ones will do."""
    assert_as_the_library(name, [CONTEXTS.format(character) for character in sample()])


@each_preset
@pytest.mark.parametrize(
    "unit", ["a", "A", "1", " ", "\n", "!", "é", "你", "\x00", "\u0301", " \n"]
)
def test_long_runs_take_time_in_proportion(name, unit):
    text = unit * 100_000
    data, starts = joined([text + "x"])
    ends = pretoken_ends(data, starts, name)
    assert ends[-1] == len(data)
    assert (np.diff(ends) > 0).all()


@given(data=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_broken_utf8_gives_some_answer(data, cuts):
    places = sorted({0, len(data), *(place for place in cuts if place < len(data))})
    for name in PRETOKENIZERS:
        ends = pretoken_ends(np.frombuffer(data, np.uint8), np.array(places, np.int64), name)
        assert ends.tolist() == sorted(set(ends.tolist()))
        assert ends[-1:].tolist() == ([len(data)] if data else [])


PATTERNS = [
    Pretokenizer("words", r"\w+"),
    Pretokenizer("two", (r"\p{N}", r"[a-c]+")),
    Pretokenizer("bytewise", r"[a-z]+", of_bytes=True),
    Pretokenizer("empty", r"x*"),
]


@pytest.mark.parametrize("rule", PATTERNS, ids=lambda rule: rule.name)
def test_other_patterns_go_through_the_library(rule):
    assert not is_compiled(rule)
    texts = ["ab1c é12", "", "xx你a", *SENTENCES.values()]
    data, starts = joined(texts)
    ends = pretoken_ends(data, starts, rule).tolist()
    assert set(starts[1:].tolist()) <= {0, *ends}
    assert ends == sorted(set(ends))
    pieces = {
        "words": ["ab1c", " ", "é12", "xx你a"],
        "two": ["ab", "1", "c", " é", "1", "2", "xx你", "a"],
        "bytewise": ["ab", "1", "c", " é12", "xx", "你", "a"],
        "empty": None,
    }[rule.name]
    if pieces:
        assert cut("".join(texts), ends)[: len(pieces)] == pieces


def test_a_rule_is_known_by_what_it_does():
    assert preset_name(Pretokenizer("from a file", GPT2_PATTERN)) == "gpt2"
    assert preset_name(Pretokenizer("gpt2", r"\w+")) is None
    assert preset_name("llama3") == "llama3"
    assert all(map(is_compiled, PRETOKENIZERS))


def test_errors():
    data, starts = joined(["ab", "c"])
    with pytest.raises(InputError, match=r"starts must rise from 0 to the 3 bytes of data"):
        pretoken_ends(data, starts[:-1], "gpt2")
    with pytest.raises(InputError, match="give the start of each piece"):
        pretoken_ends(data, np.array([0, 2, 1, 3]), "gpt2")
    with pytest.raises(ConfigError, match=r"of pre-tokenizer 'bad' must be an Oniguruma"):
        pretoken_ends(data, starts, Pretokenizer("bad", ("a", "(")))
    with pytest.raises(ConfigError, match="unknown pre-tokenizer 'gpt3'"):
        pretoken_ends(data, starts, "gpt3")


def test_a_pattern_that_tries_too_much_is_an_error():
    data, starts = joined(["a" * 40])
    with pytest.raises(InputError, match=r"'slow' cannot split a text of 40 characters \(.*retry"):
        pretoken_ends(data, starts, Pretokenizer("slow", r"(?:a|aa)+b"))
