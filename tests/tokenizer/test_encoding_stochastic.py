"""BPE-dropout and StochasTok: exact bytes, the seed alone decides, and the shares are right."""

import math
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoding import any_text, encoded, joined, lists, random_merges

from tokkit.errors import ConfigError
from tokkit.tokenizer import LETTERS, Pretokenizer, assemble, train
from tokkit.tokenizer import stochastic as module
from tokkit.tokenizer.encoding import Encoder
from tokkit.tokenizer.stochastic import (
    StochasTok,
    encode_with_dropout,
    expand,
    splits_of,
)

WORDS = "strawberry straw raw berry how many are in straws warrior banana bandana " * 30
DEVIATIONS = 4
"""Shares must lie within so many standard deviations of a binomial one: 1 in 16,000 would not."""


@pytest.fixture(scope="module")
def encoder():
    return Encoder(train([WORDS], vocab_size=340, pretokenizer="gpt2", added_tokens=["how many"]))


def dropped(encoder, texts, dropout, seed=3, **places):
    found = encode_with_dropout(encoder, *joined(texts), dropout=dropout, seed=seed, **places)
    return lists(found.ids, found.id_offsets), found


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(any_text, max_size=3), dropout=st.floats(0, 1), seed=st.integers(0, 2**31 - 1)
)
def test_dropout_keeps_the_bytes(encoder, texts, dropout, seed):
    ids, _ = dropped(encoder, texts, dropout, seed)
    assert [encoder.tokenizer.decode_bytes(piece) for piece in ids] == [
        text.encode() for text in texts
    ]


def test_dropout_of_none_and_of_all(encoder):
    plain = encoded(encoder, [WORDS])
    assert dropped(encoder, [WORDS], 0)[0] == plain
    # So small a probability that no draw is below it.
    assert dropped(encoder, [WORDS], 1e-300)[0] == plain
    ids, found = dropped(encoder, [WORDS], 1)
    byte_ids = encoder.tokenizer.byte_ids
    assert (
        ids[0]
        == [
            token
            for text in WORDS.split("how many")
            for token in [
                *byte_ids[list(text.encode())].tolist(),
                encoder.tokenizer.token_id("how many"),
            ]
        ][:-1]
    )
    assert found.considered == found.left_out > 0


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_the_share_left_out_is_the_probability(encoder, dropout):
    _, found = dropped(encoder, [WORDS * 20], dropout)
    spread = DEVIATIONS * math.sqrt(dropout * (1 - dropout) / found.considered)
    assert found.considered > 10_000
    assert abs(found.left_out / found.considered - dropout) < spread


def test_the_distribution_by_hand():
    """abc with ab before bc, each left out half of the time.

    One step: ab stays (1/2): [ab c], then nothing. Else bc stays (1/4): [a bc]. Else (1/4) [a b c].
    """
    encoder = Encoder(
        assemble([(b"a", b"b"), (b"b", b"c")], pretokenizer="none", special_tokens=())
    )
    draws = 20_000
    ids, _ = dropped(encoder, ["abc"] * draws, 0.5)
    seen = Counter(map(tuple, ids))
    for outcome, share in (((256, 99), 1 / 2), ((97, 257), 1 / 4), ((97, 98, 99), 1 / 4)):
        spread = DEVIATIONS * math.sqrt(share * (1 - share) / draws)
        assert abs(seen.pop(outcome) / draws - share) < spread
    assert not seen


def slow_dropout(data, merges, dropout, rng):
    """The algorithm as it is printed: a coin for every possible merge at every step."""
    rank = {pair: number for number, pair in enumerate(merges)}
    parts = [bytes([byte]) for byte in data]
    while True:
        kept = [
            (rank[pair], place)
            for place, pair in enumerate(pairwise(parts))
            if pair in rank and rng.random() >= dropout
        ]
        if not kept:
            return tuple(parts)
        _, place = min(kept)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]


def test_the_distribution_is_that_of_the_printed_algorithm():
    merges = [(b"a", b"a"), (b"a", b"b"), (b"aa", b"b"), (b"b", b"a"), (b"ab", b"aab")]
    tokenizer = assemble(merges, pretokenizer="none", special_tokens=())
    draws, text = 20_000, b"abaaba"
    ids, _ = dropped(Encoder(tokenizer), [text] * draws, 0.3)
    fast = Counter(tuple(map(tokenizer.token_bytes, piece)) for piece in ids)
    rng = random.Random(5)
    slow = Counter(slow_dropout(text, merges, 0.3, rng) for _ in range(draws))
    assert len(fast) > 10
    for outcome in fast | slow:
        share = (fast[outcome] + slow[outcome]) / (2 * draws)
        spread = DEVIATIONS * math.sqrt(2 * share * (1 - share) / draws)
        assert abs(fast[outcome] - slow[outcome]) / draws <= spread + 1 / draws


@pytest.mark.parametrize("seed", range(10))
def test_short_and_long_pretokens_are_encoded_alike(seed):
    """The plain loop and the blocks draw the same words, so they must agree to the last id."""
    from tokkit.tokenizer.merging_kernels import lay_out
    from tokkit.tokenizer.stochastic_kernels import (
        merge_long_with_dropout,
        merge_short_with_dropout,
    )

    rng = random.Random(seed)
    tokenizer = assemble(random_merges(rng, b"ab", 20), pretokenizer="none", special_tokens=())
    byte_ids, pairs, table, results, _, _ = Encoder(tokenizer).model
    for n in (1, 2, 17, 127, 128):
        data = np.array(rng.choices(b"ab", k=n), np.uint8)
        symbols, ranks = np.empty(n, np.int32), np.empty(128, np.int32)
        lay_out(data, 0, n, byte_ids, pairs, symbols, 0, ranks)
        found = []
        for kernel, scratch in (
            (merge_short_with_dropout, [ranks]),
            (merge_long_with_dropout, []),
        ):
            out, tally = symbols.copy(), np.zeros(2, np.int64)
            count = kernel(table, results, out, 0, n, *scratch, 0.4, np.uint64(seed), tally)
            found.append((out[:count].tolist(), tally.tolist()))
        assert found[0] == found[1]


def test_only_the_seed_and_the_place_decide(encoder):
    whole, _ = dropped(encoder, [WORDS], 0.4)
    assert dropped(encoder, [WORDS], 0.4)[0] == whole
    assert dropped(encoder, [WORDS], 0.4, seed=4)[0] != whole
    first, second = dropped(encoder, [WORDS, WORDS], 0.4)[0]
    assert first == whole[0] != second
    # The second half of a document, told where it begins.
    cut = WORDS.index(" raw", 700)
    halves, _ = dropped(
        encoder,
        [WORDS[:cut], WORDS[cut:]],
        0.4,
        documents=np.zeros(2, np.int64),
        positions=np.array([0, cut]),
    )
    assert halves[0] + halves[1] == whole[0]


def test_words_inside_a_text_are_encoded_in_many_ways(encoder):
    ids, _ = dropped(encoder, [" strawberry" * 200], 0.3)
    text = encoder.tokenizer.decode_bytes(ids[0])
    assert text == b" strawberry" * 200
    assert len(ids[0]) > 2 * len(encoded(encoder, [" strawberry" * 200])[0])


def test_dropout_of_a_long_pretoken():
    tokenizer = assemble(
        [(b"a" * 2**i, b"a" * 2**i) for i in range(8)], pretokenizer="none", special_tokens=()
    )
    ids, found = dropped(Encoder(tokenizer), ["a" * 50_000], 0.5)
    assert tokenizer.decode_bytes(ids[0]) == b"a" * 50_000
    spread = DEVIATIONS * math.sqrt(0.25 / found.considered)
    assert abs(found.left_out / found.considered - 0.5) < spread


def test_dropout_for_a_pattern_of_ones_own():
    custom = Pretokenizer("words", r"[a-z]+|[^a-z]")
    encoder = Encoder(assemble([(b"a", b"b")], pretokenizer=custom, special_tokens=()))
    ids, found = dropped(encoder, ["ab ab"] * 200, 0.5)
    assert {tuple(piece) for piece in ids} == {
        (*one, 32, *two) for one in [(256,), (97, 98)] for two in [(256,), (97, 98)]
    }
    assert found.considered == 400


def test_splits_by_hand():
    """abc is ab+c or a+bc; ab and bc have one split; bytes, special and added tokens none."""
    merges = [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]
    tokenizer = assemble(merges, pretokenizer="none", special_tokens=["<s>"], added_tokens=["a c"])
    splits = splits_of(tokenizer)
    pairs = {
        tokenizer.token_bytes(token): [
            (tokenizer.token_bytes(left), tokenizer.token_bytes(right))
            for left, right in zip(
                splits.left[splits.starts[token] : splits.starts[token + 1]].tolist(),
                splits.right[splits.starts[token] : splits.starts[token + 1]].tolist(),
                strict=True,
            )
        ]
        for token in range(tokenizer.vocab_size)
        if splits.starts[token] < splits.starts[token + 1]
    }
    assert pairs == {
        b"ab": [(b"a", b"b")],
        b"bc": [(b"b", b"c")],
        b"abc": [(b"a", b"bc"), (b"ab", b"c")],
    }


@settings(max_examples=100, deadline=None)
@given(text=any_text, proportion=st.floats(0, 3), seed=st.integers(0, 2**31 - 1))
def test_stochastok_keeps_the_bytes(encoder, text, proportion, seed):
    (ids,) = encoded(encoder, [text])
    expanded = expand(encoder.tokenizer, np.array(ids, np.int32), proportion, seed)
    assert encoder.tokenizer.decode_bytes(expanded.tolist()) == text.encode()
    assert len(ids) <= len(expanded) <= len(ids) + int(proportion * len(ids))


def test_every_split_is_a_valid_pair(encoder):
    """Token by token: what one token became must come from splits of it, and of its parts."""
    tokenizer = encoder.tokenizer
    (ids,) = encoded(encoder, [WORDS])
    expanded = expand(tokenizer, np.array(ids, np.int32), 0.3, 1).tolist()
    kinds = {tokenizer.kind(token) for token in expanded}
    assert kinds == {"token", "added"}
    place = 0
    for token in ids:
        data, parts = tokenizer.token_bytes(token), []
        while sum(map(len, parts)) < len(data):
            parts.append(tokenizer.token_bytes(expanded[place]))
            place += 1
        assert b"".join(parts) == data
        assert is_made_of_splits(tokenizer, parts)
        if tokenizer.kind(token) == "added":
            assert parts == [data]
    assert place == len(expanded)


def is_made_of_splits(tokenizer, parts):
    """Whether halving the joined parts again and again can lead to them, all being tokens."""
    if len(parts) == 1:
        return True
    return any(
        tokenizer.token_id(b"".join(parts[:cut])) is not None
        and tokenizer.token_id(b"".join(parts[cut:])) is not None
        and is_made_of_splits(tokenizer, parts[:cut])
        and is_made_of_splits(tokenizer, parts[cut:])
        for cut in range(1, len(parts))
    )


def test_stochastok_draws_positions_and_splits_evenly():
    """abc, three times, and one step: each of the three, and each of both splits, is as likely."""
    merges = [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]
    tokenizer = assemble(merges, pretokenizer="none", special_tokens=())
    draws = 12_000
    document = np.array([258, 258, 258], np.int32)
    expander = StochasTok(tokenizer, 0.34, 11)
    ids, starts = expander.add(
        np.tile(document, draws), np.arange(draws, dtype=np.int64) * 3, final=True
    )
    assert (expander.attempted, expander.made) == (draws, draws)
    seen = Counter(map(tuple, np.split(ids, starts[1:])))
    outcomes = [
        (*[258] * place, *pair, *[258] * (2 - place))
        for place in range(3)
        for pair in ((97, 257), (256, 99))
    ]
    assert set(seen) == set(outcomes)
    spread = DEVIATIONS * math.sqrt(1 / 6 * 5 / 6 / draws)
    assert all(abs(seen[outcome] / draws - 1 / 6) < spread for outcome in outcomes)


def test_later_steps_see_what_earlier_ones_made():
    """abc in two steps: the first splits it, the second draws one of two tokens.

    After a+bc or ab+c, half of the second steps hit a byte, which stays; the others split.
    """
    merges = [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")]
    tokenizer = assemble(merges, pretokenizer="none", special_tokens=())
    draws = 12_000
    expander = StochasTok(tokenizer, 2.0, 7)
    ids, starts = expander.add(np.full(draws, 258, np.int32), np.arange(draws), final=True)
    seen = Counter(map(tuple, np.split(ids, starts[1:])))
    assert set(seen) == {(97, 257), (256, 99), (97, 98, 99)}
    assert abs(seen[97, 98, 99] / draws - 1 / 2) < DEVIATIONS * math.sqrt(1 / 4 / draws)


def test_how_documents_are_given_in_parts_cannot_be_seen(encoder, monkeypatch):
    monkeypatch.setattr(module, "_WINDOW_TOKENS", 13)
    rng = random.Random(9)
    documents = [encoded(encoder, [WORDS[: rng.choice([0, 3, 70, 500])]])[0] for _ in range(30)]
    ids = np.array([token for document in documents for token in document], np.int32)
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    whole, bounds = StochasTok(encoder.tokenizer, 0.7, 2).add(ids, starts, final=True)
    assert len(bounds) == len(documents)
    for size in (1, 7, 50, 10_000):
        expander = StochasTok(encoder.tokenizer, 0.7, 2)
        parts, places, length, given_starts = [], [], 0, 0
        for begin in range(0, len(ids) + size, size):
            inside = starts[(starts >= begin) & (starts < begin + size)] - begin
            part, begins = expander.add(ids[begin : begin + size], inside)
            given_starts += len(inside)
            parts.append(part)
            places.extend((begins + length).tolist())
            length += len(part)
        part, begins = expander.add(ids[:0], starts[:0], final=True)
        assert len(begins) == 0
        assert given_starts == len(starts)
        assert np.concatenate([*parts, part]).tolist() == whole.tolist()
        assert places == bounds.tolist()
    for document, expanded in zip(documents, np.split(whole, bounds[1:]), strict=True):
        assert encoder.tokenizer.decode_bytes(expanded.tolist()) == (
            encoder.tokenizer.decode_bytes(document)
        )


def test_wrong_settings(encoder):
    data, starts = joined([LETTERS])
    for dropout in (-0.1, 1.5, math.nan):
        with pytest.raises(ConfigError, match="dropout is a probability from 0 to 1, got"):
            encode_with_dropout(encoder, data, starts, dropout=dropout, seed=0)
    for proportion in (-1, 101, math.nan):
        with pytest.raises(ConfigError, match="stochastok is a proportion of the tokens from 0"):
            StochasTok(encoder.tokenizer, proportion, 0)
    with pytest.raises(ConfigError, match="stochastok needs a byte-level BPE"):
        StochasTok(object(), 0.1, 0)
    with pytest.raises(ConfigError, match="dropout needs a byte-level BPE whose pretokens"):
        encode_with_dropout(Encoder(object()), data, starts, dropout=0.1, seed=0)
