"""Two tokenizers side by side: numbers derived by hand, and counted the obvious way."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tokkit.errors import ConfigError
from tokkit.tokenizer import assemble, train
from tokkit.tokenizer.boundaries import agreement, common_words, cut_words
from tokkit.tokenizer.compare import compare, differing_words
from tokkit.tokenizer.counting import count_texts
from tokkit.tokenizer.overlap import only_in, ordinary_tokens, overlap


def made(*merges: tuple[bytes, bytes], pretokenizer: str = "gpt2", special=()):
    return assemble(merges, pretokenizer=pretokenizer, special_tokens=special)


AB, BC = made((b"a", b"b")), made((b"b", b"c"))
# Words: "abc" 1, " abc" 2, " ab" 1.
TEXT = "abc abc abc ab"


def values(result, table):
    return {row["metric"]: row["value"] for row in result.tables[table].records()}


# AB cuts ab|c, _|ab|c and _|ab; BC cuts a|bc, _|a|bc and _|a|b. Split points inside words, each
# as often as it stands: AB 1 + 2 * 2 + 1 = 6, BC 1 + 2 * 2 + 2 = 7, both 0 + 2 * 1 + 1 = 3.


@pytest.mark.parametrize("unit", ["atoms", "gpt2"])
def test_agreement_by_hand(unit):
    result = compare({"ab": AB, "bc": BC}, count_texts([TEXT], unit))
    assert values(result, "agreement") == {
        "same_words": 0.0,
        "precision": pytest.approx(3 / 7),
        "recall": pytest.approx(3 / 6),
        "f1": pytest.approx(2 * 3 / 13),
        "jaccard": pytest.approx(3 / 10),
    }
    # 14 bytes; AB has 2 + 2 * 3 + 2 = 10 tokens, BC 2 + 2 * 3 + 3 = 11.
    found = [row["value"] for row in result.tables["efficiency"].records()]
    assert found[::2] == [pytest.approx(14 / 10), pytest.approx(14 / 11)]
    assert result.tables["words"].rows == ((" ab", 1, 2, 3, 1, " |ab", " |a|b"),)


def test_words_of_one_byte_are_no_agreement():
    result = compare({"ab": AB, "bc": BC}, count_texts(["x", "y", "ab"], "gpt2"))
    assert values(result, "agreement")["same_words"] == 0.0


def test_vocabulary_by_hand():
    result = compare({"ab": AB, "bc": BC})
    assert result.values["vocabulary"] == {
        "tokens": {"ab": 257, "bc": 257},
        "shared": 256,
        "jaccard": pytest.approx(256 / 258),
        "lost": 1,
        "gained": 1,
    }
    assert result.tables["lost"].rows == (("ab", "6162", 256, 256, None),)
    assert result.tables["gained"].rows == (("bc", "6263", 256, 256, None),)
    assert result.tables["at_rank"].rows == ((256, 256, 1.0), (257, 256, 256 / 258))
    assert result.values["corpus"] == {"words": None, "reason": "no corpus was given"}
    assert "agreement" not in result.tables


def test_overlap_ignores_ids_specials_and_order():
    other = made((b"b", b"c"), (b"a", b"b"), special=("<s>", "</s>"))
    first, second = ordinary_tokens(AB), ordinary_tokens(other)
    found = overlap(first, second)
    assert (found.first, found.second, found.shared) == (257, 258, 257)
    assert [token.bytes for token in only_in(second, first)] == [b"bc"]
    assert only_in(first, second) == []


def test_gained_tokens_are_ordered_by_their_use():
    more = made((b"x", b"y"), (b"a", b"b"), (b"b", b"c"))
    result = compare({"none": made(), "more": more}, count_texts(["ab xy ab bc"], "gpt2"))
    assert [(row[0], row[4]) for row in result.tables["gained"].rows] == [
        ("ab", 2), ("xy", 1), ("bc", 1),
    ]  # fmt: skip
    assert result.tables["lost"].rows == ()


def test_identical_tokenizers_compare_as_identical():
    texts = ["one two three ".replace("e", str(n)) * 40 for n in range(200)]
    tokenizer = train(texts, vocab_size=300, pretokenizer="gpt2")
    result = compare({"one": tokenizer, "two": tokenizer}, count_texts(texts, by_blocks=True))
    assert set(values(result, "agreement").values()) == {1.0}
    assert result.values["vocabulary"]["jaccard"] == 1.0
    assert result.values["words"] == []
    assert result.tables["words"].rows == result.tables["lost"].rows == ()
    for row in result.tables["differences"].records():
        assert (row["difference"], row["low"], row["high"], row["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_different_pretokenizers_are_compared_on_atoms():
    one, two = made((b"a", b"a")), made(pretokenizer="chars")
    result = compare({"one": one, "two": two}, count_texts(["aa aa"]))
    assert result.values["corpus"]["words"] == "atoms"
    assert values(result, "agreement")["same_words"] == 0.0
    assert result.tables["words"].rows[0][:4] == ("aa", 1, 1, 2)


def test_agreement_is_that_of_whole_texts_encoded_one_by_one():
    rng = random.Random(7)
    alphabet = ["straw", "berry", " ", "12345", "\n", "Straw", "'s", ", ", "é", "的", "((", "\t"]
    texts = ["".join(rng.choices(alphabet, k=rng.randint(1, 40))) for _ in range(97)]
    one = train(texts, vocab_size=290, pretokenizer="gpt2", special_tokens=())
    two = train(texts, vocab_size=330, pretokenizer="o200k", special_tokens=())
    words = common_words(one, two, count_texts(texts))
    cuts = [cut_words(tokenizer, words) for tokenizer in (one, two)]
    found = agreement(cuts[0], cuts[1], words)
    bounds = [[_bounds(tokenizer, text) for text in texts] for tokenizer in (one, two)]
    n_words, totals = int(words.totals.sum()), words.totals
    assert found.first @ totals == sum(map(len, bounds[0])) - n_words
    assert found.second @ totals == sum(map(len, bounds[1])) - n_words
    both = sum(len(a & b) for a, b in zip(*bounds, strict=True))
    assert found.shared @ totals == both - n_words


def _bounds(tokenizer, text):
    return set(np.cumsum([len(piece.bytes) for piece in tokenizer.pieces(text)]).tolist())


def test_differing_words_by_cost_then_appearance():
    one, two = made((b"a", b"b"), (b"c", b"d")), made()
    words = count_texts(["cd ab cd ab ab ef"], "gpt2")
    order = differing_words(cut_words(one, words), cut_words(two, words), words)
    # " ab" costs 3 (it stands three times), then "cd" and " cd" once each.
    assert [words.pretoken(word) for word in order] == [b" ab", b"cd", b" cd"]


def test_text_side_by_side():
    result = compare({"ab": AB, "bc": BC}, text="abc\x1b")
    shown = result.values["text"]["tokens"]
    assert [token["text"] for token in shown["ab"]] == ["ab", "c", "\x1b"]
    assert [token["bytes"] for token in shown["bc"]] == ["61", "6263", "1b"]


def test_what_cannot_be_compared_has_a_reason():
    whole = made(pretokenizer="none")
    counted = {"ab": _ones(AB), "none": _ones(whole)}
    table = count_texts([TEXT])
    result = compare({"ab": AB, "none": whole}, table, counted=counted)
    assert result.values["corpus"]["words"] is None
    assert "pre-tokenize differently (gpt2 and none)" in result.values["corpus"]["reason"]
    assert "agreement" not in result.tables


def _ones(tokenizer):
    return np.ones((1, tokenizer.vocab_size), dtype=np.int64)


@pytest.mark.parametrize("number", [1, 3])
def test_two_tokenizers_are_compared(number):
    given = {str(place): AB for place in range(number)}
    with pytest.raises(ConfigError, match=f"takes two tokenizers, got {number}"):
        compare(given)
