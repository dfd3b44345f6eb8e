"""How numbers, indentation, operators and letters are cut, on tokenizers made to cut them so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_tables import tiny_table
from tiny_tokenizers import from_merges, trained

from tokkit.corpus import english_documents
from tokkit.tokenizer.audit.characters import LETTER, NUMBER, SPACE, are_valid, count_kind
from tokkit.tokenizer.audit.counts import count_usage, join
from tokkit.tokenizer.audit.distributions import frequencies_table, lengths_table
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.spelling import spelling_metrics, word_tables
from tokkit.tokenizer.audit.structure import (
    grouping,
    numbers_of,
    numbers_table,
    operators_table,
    spaces_table,
    structure_metrics,
)

DIGITS = "0123456789"


def usage_of(tokenizer, blocks=(["ab 12"],)):
    return count_usage("t", tokenizer, tiny_table(list(blocks)))


def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([4], "whole"),
        ([1, 1, 1], "digits_each"),
        ([2, 2], "even"),
        ([3, 3, 2], "left"),
        ([3, 1], "left"),
        ([2, 3, 3], "right"),
        ([1, 3], "right"),
        ([1, 2, 1], "irregular"),
        ([2, 3, 1], "irregular"),
        ([3, 3, 1, 1], "irregular"),
    ],
)
def test_groupings(lengths: list[int], expected: str) -> None:
    assert grouping(lengths) == expected


def test_numbers_are_all_or_drawn() -> None:
    assert numbers_of(1, rng()) == list(DIGITS)
    assert (len(numbers_of(3, rng())), numbers_of(3, rng())[0]) == (900, "100")
    drawn = numbers_of(9, rng())
    assert drawn == numbers_of(9, rng())
    assert {len(number) for number in drawn} == {9}


def test_pairs_of_digits_make_even_and_left_groups() -> None:
    pairs = [f"{a}|{b}" for a in DIGITS for b in DIGITS]
    rows = numbers_table([usage_of(from_merges(*pairs))], rng()).records()
    by = {row["digits"]: row for row in rows}
    assert by[1]["whole"] == by[2]["whole"] == 1.0
    assert by[2]["tokens"] == 1.0
    # Lowest rank first: in 010, 01 and 10 compete; all even lengths need not split evenly.
    assert by[3]["left"] + by[3]["right"] == 1.0
    assert sum(by[7][kind] for kind in ("even", "left", "right", "irregular")) == pytest.approx(1)
    plain = numbers_table([usage_of(from_merges("a|b"))], rng()).records()
    assert all(row["digits_each"] == 1.0 and row["shapes"] == 1 for row in plain[1:])
    assert plain[4]["commonest"] == "1+1+1+1+1"


def test_indentation() -> None:
    rows = spaces_table([usage_of(from_merges(" | ", "  |  ", " |r"))]).records()
    by = {(row["kind"], row["width"]): row for row in rows}
    # gpt2 leaves the last space to the word: line feed and n - 1 spaces, cut by twos and fours.
    assert by["spaces", 1]["cut"] == "x|\n| r|e|t|u|r|n"
    assert by["spaces", 5]["cut"] == "x|\n|    | r|e|t|u|r|n"
    assert (by["spaces", 5]["tokens"], by["spaces", 5]["joined"]) == (2, True)
    assert by["tabs", 2]["tokens"] == 3
    assert by["tabs", 2]["joined"] is False


def test_operators() -> None:
    rows = operators_table([usage_of(from_merges("=|=", " |==", "a|+", "-|>"))]).records()
    by = {row["operator"]: row for row in rows}
    assert (by["=="]["tokens_tight"], by["=="]["tokens_spaced"]) == (1, 1)
    assert by["=="]["cut_spaced"] == "a| ==| |b"
    assert (by["!=="]["tokens_tight"], by["!=="]["joined"]) == (2, False)
    assert by["->"]["tokens_tight"] == 1


def test_an_operator_may_be_joined_to_a_letter() -> None:
    tokenizer = from_merges("a|+", pretokenizer="chars")
    loose = from_merges("a|+", pretokenizer="none")
    for made, joined in ((tokenizer, False), (loose, True)):
        usage = count_usage("t", made, tiny_table([["a"]], pretokenizer=made.pretokenizer))
        row = {r["operator"]: r for r in operators_table([usage]).records()}["+"]
        assert row["joined"] is joined


def replicates(table):
    return Replicates(table.blocks.group, table.group_names, resamples=3, generator=rng())


def test_digits_and_space_in_the_text() -> None:
    table = tiny_table([["x 123 4"], ["7  y\n"]])
    usage = count_usage("t", from_merges("1|2"), table)
    found = {(m.name, m.average): m.rows for m in structure_metrics(usage, replicates(table))}
    # Tokens with a digit: 12, 3, 4 | 7.
    assert found["digits_per_token", "micro"][0] == pytest.approx(5 / 4)
    # x, space, 12, 3, space, 4 | 7, space, space, y, line feed.
    assert found["white_space_tokens", "micro"][0] == pytest.approx(5 / 11)
    assert found["white_space_tokens", "macro over blocks"][0] == pytest.approx((2 / 6 + 3 / 5) / 2)


def test_hidden_letters_by_hand() -> None:
    table = tiny_table([["the cat 1 é"], ["tha"]])
    usage = count_usage("t", from_merges("t|h", "th|e"), table)
    found = {(m.name, m.average): m for m in spelling_metrics(usage, replicates(table))}
    # the | c a t | é in two bytes | th a: letters 3+2 hidden of 3+3+1+3.
    assert found["hidden_letters", "micro"].rows[0] == pytest.approx(5 / 10)
    # Tokens with a letter: the, c, a, t, th, a (é is broken): 9 letters in 6.
    assert found["letters_per_token", "micro"].rows[0] == pytest.approx(9 / 6)
    # Ids with a letter: 52, th, the.
    assert found["letters_per_token", "by type"].fixed == pytest.approx((52 + 2 + 3) / 54)
    # Pretokens with a letter: the, cat, é, tha; one is a token.
    assert found["single_token_words", "micro"].rows[0] == pytest.approx(1 / 4)


def test_the_most_hidden_words() -> None:
    words = {"the": 50, "then": 8, "thin": 9, "": 3, "it's": 2}
    usage = usage_of(from_merges("t|h", "th|e", " |the"))
    tables = word_tables([usage], words)
    top = [
        (r["word"], r["tokens"]) for r in tables["hidden_words"].records() if r["form"] == "alone"
    ]
    # Letters a token: the 3, then 2, thin 4/3, it's 3/4.
    assert top == [("the", 1), ("then", 2), ("thin", 3), ("it's", 4)]
    after = [r for r in tables["hidden_words"].records() if r["form"] == "after a space"]
    assert (after[0]["word"], after[0]["letters"], after[0]["tokens"]) == ("the", 3, 1)
    alone = tables["words"].records()[0]
    assert (alone["words"], alone["single"]) == (4, 0.25)
    assert alone["single_weighted"] == pytest.approx(50 / 69)
    assert alone["letters_per_token"] == pytest.approx((3 + 4 + 4 + 3) / (1 + 2 + 3 + 4))
    weighted = (3 * 50 + 4 * 8 + 4 * 9 + 3 * 2) / (50 + 16 + 27 + 8)
    assert alone["letters_per_token_weighted"] == pytest.approx(weighted)


def test_words_are_cut_as_the_tokenizer_cuts_them() -> None:
    documents = [document.text for document in english_documents()][:40]
    tokenizer = trained(documents, 600)
    words = {"strawberry": 3, "don't": 2, "naïve": 1, "documentation": 5}
    rows = word_tables([usage_of(tokenizer)], words)["hidden_words"].records()
    for row in rows:
        text = (" " if row["form"] == "after a space" else "") + row["word"]
        assert row["tokens"] == len(tokenizer.encode(text))


def test_lengths_and_frequencies() -> None:
    usage = usage_of(from_merges("a|b", "ab|c", special_tokens=("<|end|>",)), [["abc ab ab"]])
    lengths = {row["length"]: row for row in lengths_table([usage]).records()}
    assert {k: (v["declared"], v["used"], v["count"]) for k, v in lengths.items()} == {
        1: (256, 1, 2),
        2: (1, 1, 2),
        3: (1, 1, 1),
    }
    points = frequencies_table([usage]).records()
    assert [(p["rank"], p["count"]) for p in points] == [(1, 2), (2, 2), (3, 1)]
    assert points[-1]["cumulative"] == 1.0


@given(st.lists(st.text(max_size=6), max_size=6))
def test_kinds_of_characters_agree_with_python(texts: list[str]) -> None:
    data, offsets = join([text.encode() for text in texts])
    letters = count_kind(data, offsets, LETTER)
    for count, text in zip(letters.tolist(), texts, strict=True):
        # Later Unicode has more letters than this Python; none that Python has is missing.
        assert count >= sum(character.isalpha() for character in text)
        assert count <= sum(not c.isspace() and not c.isdigit() for c in text)


def test_kinds_by_hand_with_broken_bytes() -> None:
    data, offsets = join(["aé1 日\n²".encode(), b"\xc3", b"", b"\xa9a\xff b"])
    assert count_kind(data, offsets, LETTER).tolist() == [3, 0, 0, 2]
    assert count_kind(data, offsets, NUMBER).tolist() == [2, 0, 0, 0]
    assert count_kind(data, offsets, SPACE).tolist() == [2, 0, 0, 1]
    assert are_valid(data, offsets).tolist() == [True, False, True, False]


@given(st.binary(max_size=8))
def test_validity_is_that_of_python(piece: bytes) -> None:
    data, offsets = join([piece])
    try:
        piece.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert are_valid(data, offsets).tolist() == [expected]
