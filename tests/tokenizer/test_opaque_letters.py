import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokkit.corpus import word_counts
from tokkit.errors import InputError
from tokkit.tokenizer import OpaqueIds, assemble, letter_counts, swapped_letters, train

MERGES = [(b"r", b"r"), (b"e", b"rr"), (b"S", b"t"), (b"\xc3", b"\xa9"), (b"t", b"s")]
# ids: 0 special, 1 added, 2..257 bytes, 258 rr, 259 err, 260 St, 261 é, 262 ts
SMALL = assemble(MERGES, pretokenizer="none", added_tokens=["How many"])
WORDS = train(list(word_counts())[:3000], vocab_size=800, pretokenizer="none")


def test_sub_ids_follow_token_order():
    opaque = OpaqueIds(SMALL)
    assert SMALL.vocab_size == 263
    assert opaque.size == 263 + 2 + 3 + 2 + 2 + 2
    # rr takes 263-264, err 265-267, St 268-269, é 270-271, ts 272-273.
    assert opaque.expand([259, 0, 1, 2 + ord("b"), 262]) == [265, 266, 267, 0, 1, 100, 272, 273]
    assert opaque.encode("How many errb") == [1, 2 + 32, 265, 266, 267, 100]
    assert opaque.encode_batch(["err", ""]) == [[265, 266, 267], []]


@given(st.lists(st.integers(0, WORDS.vocab_size - 1)))
def test_collapse_undoes_expand(ids):
    opaque = OpaqueIds(WORDS)
    expanded = opaque.expand(ids)
    assert opaque.collapse(expanded) == ids
    ordinary = [token for token in ids if token not in WORDS.special_ids]
    assert len(opaque.expand(ordinary)) == len(WORDS.decode_bytes(ordinary))
    assert opaque.decode(expanded) == WORDS.decode(ids)


def test_every_sub_id_belongs_to_one_token():
    opaque = OpaqueIds(WORDS)
    sub_ids = [token for token in opaque.expand(range(WORDS.vocab_size)) if token >= 800]
    assert sub_ids == list(range(WORDS.vocab_size, opaque.size))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([265, 266], r"sub-id 265 at position 0 is no part of a whole token: 265 to 267 must"),
        ([100, 266], r"sub-id 266 at position 1"),
        ([264, 263], r"sub-id 264 at position 0"),
        ([259], r"id 259 at position 0 is written as sub-ids here"),
        ([274], r"unknown id 274: ids run from 0 to 273 with the sub-ids"),
        ([-1], r"unknown id -1"),
    ],
)
def test_sub_ids_that_form_no_token(ids, said):
    with pytest.raises(InputError, match=said):
        OpaqueIds(SMALL).collapse(ids)


def test_loose_sub_ids_where_not_strict():
    opaque = OpaqueIds(SMALL)
    loose = [265, 100, 263, 264, 266]
    assert opaque.collapse(loose, strict=False) == [100, 258]
    assert opaque.decode(loose, strict=False) == "\ufffdbrr\ufffd"
    with pytest.raises(InputError, match="no part of a whole token"):
        opaque.decode(loose)
    with pytest.raises(InputError, match="unknown id 999"):
        opaque.collapse([999], strict=False)
    with pytest.raises(InputError, match="unknown token id 263"):
        opaque.expand([263])


def test_letters_by_hand():
    counts = letter_counts(SMALL)
    assert counts.shape == (263, 26)
    assert counts.dtype == np.uint8

    def row(**letters):
        found = np.zeros(26, dtype=np.uint8)
        for letter, count in letters.items():
            found[ord(letter) - ord("a")] = count
        return found.tolist()

    assert counts[259].tolist() == row(e=1, r=2)
    assert counts[260].tolist() == counts[262].tolist() == row(s=1, t=1)
    assert counts[2 + ord("Q")].tolist() == counts[2 + ord("q")].tolist() == row(q=1)
    # Special, added, and bytes that are no letters.
    assert not counts[[0, 1, 2 + ord(" "), 261, 2 + 0xC1]].any()


def test_a_token_of_too_many_letters():
    merges = [(b"a" * 2**n, b"a" * 2**n) for n in range(8)]
    tokenizer = assemble(merges, pretokenizer="none")
    with pytest.raises(InputError, match=r"at most 255 of one letter .* has 256"):
        letter_counts(tokenizer)


@pytest.mark.parametrize("seed", range(5))
def test_swapped_rows_are_wrong_yet_as_long_and_as_many(seed):
    true = letter_counts(WORDS)
    swapped = swapped_letters(WORDS, np.random.default_rng(seed))
    lengths = true.sum(axis=1)
    for length in np.unique(lengths[lengths > 0]):
        members = lengths == length
        rows, swaps = true[members], swapped[members]
        multisets = {tuple(row) for row in rows.tolist()}
        if len(multisets) == 1:
            assert not swaps.any()
            continue
        assert (rows != swaps).any(axis=1).all()
        assert sorted(rows.tolist()) == sorted(swaps.tolist())
    assert not swapped[lengths == 0].any()


def test_swapping_repeats_for_the_same_seed_and_not_for_another():
    first, again, other = (swapped_letters(WORDS, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_majority_and_a_single_multiset():
    """Length 2: St, ts and ts' anagram hold for most, rr differs; length 3: err alone."""
    merges = [*MERGES, (b"s", b"t"), (b"T", b"S")]
    tokenizer = assemble(merges, pretokenizer="none")
    swapped = swapped_letters(tokenizer, np.random.default_rng(0))
    double_r = tokenizer.token_id("rr")
    truth = letter_counts(tokenizer)
    for token in ("St", "ts", "st", "TS"):
        assert (swapped[tokenizer.token_id(token)] == truth[double_r]).all()
    assert (swapped[double_r] == truth[tokenizer.token_id("st")]).all()
    assert not swapped[tokenizer.token_id("err")].any()


def test_letters_are_counted_in_tokens_as_in_text():
    counts = letter_counts(WORDS)
    for word in ("strawberry", "bookkeeper", "mississippi"):
        total = counts[WORDS.encode(word)].sum(axis=0)
        assert total.tolist() == [word.count(chr(97 + letter)) for letter in range(26)]


@pytest.mark.parametrize("seed", range(20))
def test_where_one_multiset_is_exactly_half_the_rows_are_still_exchanged(seed):
    """Tokens st, ts, ab, ba: the only permutations give the rows of the one pair to the other."""
    merges = [(b"s", b"t"), (b"t", b"s"), (b"a", b"b"), (b"b", b"a")]
    tokenizer = assemble(merges, pretokenizer="none")
    truth = letter_counts(tokenizer)
    swapped = swapped_letters(tokenizer, np.random.default_rng(seed))
    for token, other in {"st": "ab", "ts": "ab", "ab": "st", "ba": "st"}.items():
        assert (swapped[tokenizer.token_id(token)] == truth[tokenizer.token_id(other)]).all()
