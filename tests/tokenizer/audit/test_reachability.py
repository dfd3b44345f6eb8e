"""Which tokens can come out, against trying every text of a small alphabet."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from tiny_tokenizers import from_merges, trained

from tokkit.tokenizer import Tokenizer
from tokkit.tokenizer.audit.counts import token_table
from tokkit.tokenizer.audit.reachability import (
    MERGES,
    NOT_FOUND,
    NOT_TEXT,
    OTHER,
    PRETOKENIZER,
    REACHABLE,
    find_reach,
)
from tokkit.tokenizer.audit.utf8 import completions, is_part_of_text
from tokkit.tokenizer.encoding import Encoder

sys.path.insert(0, str(Path(__file__).parent.parent))
import slow_bpe


def random_merges(rng, size):
    """Merges of parts that exist, in an order that need not be one that training would give."""
    parts = [b"a", b"b"]
    merges = []
    for _ in range(size):
        pair = tuple(parts[k] for k in rng.integers(0, len(parts), 2))
        if pair not in merges and len(pair[0] + pair[1]) <= 5:
            merges.append(pair)
            if pair[0] + pair[1] not in parts:
                parts.append(pair[0] + pair[1])
    order = rng.permutation(len(merges)) if rng.random() < 0.5 else range(len(merges))
    return [merges[k] for k in order]


def test_a_token_that_comes_out_anywhere_is_the_encoding_of_its_own_bytes() -> None:
    """The fact that the audit rests on, over every text of two letters up to nine."""
    rng = np.random.default_rng(0)
    texts = ["".join(letters).encode() for n in range(1, 10) for letters in product("ab", repeat=n)]
    seen_apart = 0
    for _ in range(25):
        merges = random_merges(rng, 6)
        made = {left + right for left, right in merges}
        out = {token for text in texts for token in slow_bpe.encode(text, merges)}
        for token in out:
            assert slow_bpe.encode(token, merges) == [token]
        for token in made - out:
            assert slow_bpe.encode(token, merges) != [token]
            seen_apart += 1
    assert seen_apart > 0, "no case had a token that never comes out"


def reach_of(tokenizer):
    return find_reach(Encoder(tokenizer), token_table(tokenizer)).kind


def id_of(tokenizer, token):
    return tokenizer.token_id(token)


def test_a_token_whose_merges_are_undercut_never_comes_out() -> None:
    # "abc" is built as a + bc, but ab is merged first; c + d makes no difference to it.
    made = from_merges("a|b", "b|c", "a|bc", "c|d")
    kind = reach_of(made)
    assert kind[id_of(made, b"abc")] == MERGES
    assert kind[id_of(made, b"bc")] == REACHABLE
    assert made.encode("abc") == [id_of(made, b"ab"), id_of(made, b"c")]


def test_a_token_across_a_cut_never_comes_out() -> None:
    made = from_merges("b| ", "b |c", "a|'", "'|s", "'s|x", "1|2")
    kind = reach_of(made)
    for token in (b"b ", b"b c", b"a'", b"'sx"):
        assert kind[id_of(made, token)] == PRETOKENIZER, token
    for token in (b"'s", b"12"):
        assert kind[id_of(made, token)] == REACHABLE, token


def test_without_cuts_all_of_these_come_out() -> None:
    made = from_merges("b| ", "b |c", "a|'", "'|s", "'s|x", "1|2", pretokenizer="none")
    kind = reach_of(made)
    assert (kind[[id_of(made, t) for t in (b"b ", b"b c", b"a'", b"'sx")]] == REACHABLE).all()


def test_bytes_that_no_text_holds_never_come_out() -> None:
    made = from_merges((b"\xff", b"a"), (b"\xc3", b"a"))
    kind = reach_of(made)
    for token in (b"\xff", b"\xc0", b"\xf5", b"\xffa", b"\xc3a"):
        assert kind[id_of(made, token)] == NOT_TEXT, token
    for token in (b"\xc3", b"\xa9", b"\xe4", b"\xf0"):
        assert kind[id_of(made, token)] == REACHABLE, token


def test_a_broken_character_comes_out_when_some_end_of_it_is_not_merged() -> None:
    # \xc3 goes on as \xa9 in a merged e-acute, but as \xa8 it stays apart.
    made = from_merges((b"\xc3", b"\xa9"))
    kind = reach_of(made)
    assert kind[id_of(made, b"\xc3")] == REACHABLE
    every = from_merges(*((b"\xc3", bytes([last])) for last in range(0x80, 0xC0)))
    # With every end merged, no text leaves it; what is left open is not called unreachable.
    assert reach_of(every)[id_of(every, b"\xc3")] == NOT_FOUND


def test_special_tokens_are_no_ordinary_tokens() -> None:
    made = from_merges("a|b", special_tokens=("<|end|>",))
    assert reach_of(made)[0] == OTHER


def test_tokens_met_in_text_need_no_search() -> None:
    made = from_merges("a|b")
    met = np.zeros(made.vocab_size, bool)
    met[id_of(made, b"\xff")] = True
    kind = find_reach(Encoder(made), token_table(made), met).kind
    assert kind[id_of(made, b"\xff")] == REACHABLE


@pytest.mark.parametrize("pretokenizer", ["gpt2", "none", "bytes", "chars"])
def test_against_every_text_of_a_small_alphabet(pretokenizer: str) -> None:
    letters = ["a", "b", " ", "é", "1"]
    texts = ["".join(some) for n in range(1, 6) for some in product(letters, repeat=n)]
    rng = np.random.default_rng(5)
    parts = ["a", "b", " ", "1"]
    for _ in range(4):
        merges = []
        pool = [*(p.encode() for p in parts), b"\xc3", b"\xa9"]
        for _ in range(9):
            pair = tuple(pool[k] for k in rng.integers(0, len(pool), 2))
            if pair not in merges and len(pair[0] + pair[1]) <= 3:
                merges.append(pair)
                pool.append(pair[0] + pair[1])
        made = from_merges(*merges, pretokenizer=pretokenizer)
        kind = reach_of(made)
        out = {token for ids in made.encode_batch(texts) for token in ids}
        assert (kind[sorted(out)] == REACHABLE).all()
        for left, right in merges:
            token = id_of(made, left + right)
            if token not in out and is_part_of_text(left + right):
                # Five characters of this alphabet suffice for tokens of three bytes, save for
                # broken characters, which other letters may complete.
                whole = (left + right).decode(errors="ignore").encode() == left + right
                assert not whole or kind[token] != REACHABLE, left + right


MIXED = [
    "The quick brown fox, it's 12345 of them: x_1 == y[2]; // ok\n\tif (a) {\n    return;\n}\n",
    "naïve café, Straße, İstanbul — “quoted” … 100 €\r\n\r\n",
    "日本語のテキストと漢字。한국어 텍스트입니다! 中文文本，很好。",
    "مرحبا بالعالم שלום עולם नमस्ते दुनिया สวัสดี",
    "👩\u200d👩\u200d👧 🏳️\u200d🌈 e\u0301 don't I'LL we’ve",
]


@pytest.mark.parametrize("rule", ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek-v3"])
def test_no_token_that_came_out_is_called_unreachable(rule: str) -> None:
    tokenizer = trained(MIXED * 3, 600, rule)
    met = np.unique(np.concatenate(tokenizer.encode_batch(MIXED)))
    kind = reach_of(tokenizer)
    assert (kind[met] == REACHABLE).all(), [tokenizer.token_bytes(t) for t in met[kind[met] != 0]]


@pytest.mark.parametrize("rule", ["gpt2", "cl100k", "o200k", "qwen2", "deepseek-v3", "chars"])
def test_random_texts_find_no_token_that_is_called_unreachable(rule: str) -> None:
    """Merges learned without cuts, used under a rule that cuts many of their tokens."""
    uncut = trained([text * 2 for text in MIXED] * 2, 700, "none")
    merges = [
        (uncut.token_bytes(left), uncut.token_bytes(right))
        for left, right, _ in uncut.merge_table.tolist()
    ]
    tokenizer = from_merges(*merges, pretokenizer=rule)
    kind = reach_of(tokenizer)
    assert (kind == PRETOKENIZER).sum() > 50
    whole = [token.decode(errors="ignore") for token in token_table(tokenizer).pieces]
    parts = [*whole, *"aA1 \n\t.'_sLl中あé…—İß\u0301\u200d\u00a0\ufe0f‘👩🏳²/"]
    rng = np.random.default_rng(7)
    texts = [
        "".join(parts[k] for k in rng.integers(0, len(parts), rng.integers(1, 8)))
        for _ in range(4000)
    ]
    came_out = np.unique(np.concatenate(tokenizer.encode_batch(texts))).astype(int)
    wrong = came_out[kind[came_out] != REACHABLE]
    assert not len(wrong), [tokenizer.token_bytes(token) for token in wrong.tolist()]


def test_where_merges_are_ignored_a_whole_pretoken_needs_none() -> None:
    record = json.loads(from_merges("x|y").to_json())
    size = len(record["model"]["vocab"])
    record["model"]["vocab"] |= {"abc": size, "bĠc": size + 1}
    for ignores, expected in ((True, REACHABLE), (False, MERGES)):
        record["model"]["ignore_merges"] = ignores
        made = Tokenizer.from_json(json.dumps(record))
        kind = reach_of(made)
        assert kind[size] == expected
        assert (size in made.encode("abc")) == ignores
        # Across a cut it is no whole pretoken in any text.
        assert kind[size + 1] == (PRETOKENIZER if ignores else MERGES)


def test_completions_make_whole_characters() -> None:
    for token in (b"\xa9", b"\xc3", b"\x80\x80", b"\xa9a\xe4\xb8", b"\xf0\x9f", b"\x9f\x98", b"ab"):
        found = list(completions(token))
        assert found
        for before, after in found:
            (before + token + after).decode()
    assert list(completions(b"ab")) == [(b"", b"")]


def test_what_stands_in_no_text() -> None:
    for token in (
        b"\x80\x80\x80\x80",
        b"\xe0\x80",
        b"\xed\xa0\x80",
        b"\xc3\xc3",
        b"\xf8",
        b"a\x80",
    ):
        assert not is_part_of_text(token), token
    for token in (b"\x80\x80\x80", b"\xe0\xa0", b"\xf4\x8f", b"\xbfa"):
        assert is_part_of_text(token), token
