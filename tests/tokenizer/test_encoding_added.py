"""Added tokens in text, and places where text may be cut, against the `tokenizers` library."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_encoding import encoded, joined

from tokkit.tokenizer import PRETOKENIZERS, Tokenizer, assemble
from tokkit.tokenizer.added import AddedTokens
from tokkit.tokenizer.encoding import Encoder

MERGES = [
    *((b"a", b"b"), (b" ", b"a"), (b"ab", b"c"), (b"b", b"c"), (b" a", b"b"), (b"a", b"a")),
    *((b"1", b"2"), (b"\n", b"\n"), (b" ", b" "), (b"\xc3", b"\xa9"), (b"ab", b"ab")),
]
SPECIAL = ("<|end|>", "<|e", "é|")
ADDED = ("ba", "ba c ", "cb", "cba", "nd|", " x", "東")
text_with_added = st.lists(
    st.sampled_from(
        [*SPECIAL, *ADDED, *"abc 1<|é\n", "<|", "end", "|>", "abab", "12", "  ", "\r\n", "x y"]
    ),
    max_size=30,
).map("".join)


def built(pretokenizer, normalized=()):
    tokenizer = assemble(
        MERGES, pretokenizer=pretokenizer, special_tokens=SPECIAL, added_tokens=ADDED
    )
    record = json.loads(tokenizer.to_json())
    for token in record["added_tokens"]:
        token["normalized"] = token["content"] in normalized
    return Tokenizer.from_json(json.dumps(record))


TOKENIZERS = {name: built(name) for name in PRETOKENIZERS}
TOKENIZERS["two passes"] = built("gpt2", normalized=("ba c ", "<|end|>", "cb"))


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(text_with_added, max_size=3))
@pytest.mark.parametrize("allow_special", [False, True])
@pytest.mark.parametrize("name", TOKENIZERS)
def test_ids_equal_those_of_the_library(name, allow_special, texts):
    tokenizer = TOKENIZERS[name]
    encoder = Encoder(tokenizer, allow_special=allow_special)
    assert encoder.engine == "compiled"
    assert encoded(encoder, texts) == tokenizer.encode_batch(texts, allow_special=allow_special)


def test_leftmost_and_longest_by_hand():
    encoder = Encoder(assemble([], pretokenizer="none", added_tokens=["ab", "ab c ", "bb"]))
    byte = {character: 4 + ord(character) for character in "abc!<"}
    assert encoded(encoder, ["ab c abb", "ab c!", "abbb"]) == [
        [2, 1, byte["b"]],
        [1, 4 + ord(" "), byte["c"], byte["!"]],
        [1, 3],
    ]


def test_an_added_token_that_passes_between_pieces_is_none():
    encoder = Encoder(assemble([], pretokenizer="none", special_tokens=(), added_tokens=["ab"]))
    assert encoded(encoder, ["a", "b", "ab"]) == [[1 + ord("a")], [1 + ord("b")], [0]]


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_tokens_that_look_around_them_go_through_the_library(flag):
    record = json.loads(TOKENIZERS["gpt2"].to_json())
    record["added_tokens"][0][flag] = True
    tokenizer = Tokenizer.from_json(json.dumps(record))
    text = "a  <|end|>  b x<|end|>y"
    assert Encoder(tokenizer).engine == "compiled"
    for allow in (False, True):
        encoder = Encoder(tokenizer, allow_special=allow)
        assert encoder.engine == ("library" if allow else "compiled")
        assert encoded(encoder, [text]) == [tokenizer.encode(text, allow_special=allow)]


def test_a_byte_whose_token_is_special_goes_through_the_library():
    record = json.loads(assemble(MERGES, pretokenizer="gpt2", special_tokens=()).to_json())
    entry = {"id": record["model"]["vocab"]["?"], "content": "?", "special": True}
    flags = dict.fromkeys(["lstrip", "rstrip", "single_word", "normalized"], False)
    record["added_tokens"].append(entry | flags)
    tokenizer = Tokenizer.from_json(json.dumps(record))
    encoder = Encoder(tokenizer)
    assert encoder.engine == "library"
    assert encoded(encoder, ["a?b"]) == tokenizer.encode_batch(["a?b"])


def cut_up(encoder, text, size):
    """Pieces of a text as a reader makes them: cut where the encoder allows, bit by bit."""
    data, _ = joined([text])
    pieces, begin, end = [], 0, 0
    while end < len(data):
        end = min(end + size, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        place = encoder.cut(data[begin:end].copy()) if end < len(data) else end - begin
        assert 0 <= place <= end - begin
        if place:
            pieces.append(data[begin : begin + place].tobytes())
            begin += place
    return pieces


@settings(max_examples=100, deadline=None)
@given(text=text_with_added, size=st.integers(1, 40))
@pytest.mark.parametrize("name", TOKENIZERS)
def test_where_text_is_cut_cannot_be_seen(name, text, size):
    tokenizer = TOKENIZERS[name]
    encoder = Encoder(tokenizer, allow_special=True)
    pieces = cut_up(encoder, text, size)
    assert b"".join(pieces).decode() == text
    ids = [token for piece in encoded(encoder, pieces) for token in piece]
    assert ids == tokenizer.encode(text, allow_special=True)


def test_text_is_cut_often_enough():
    """Every preset finds places in text with words, 'none' where no token joins two bytes."""
    text = "ab abc, x y z\n\nab 12 12 abc é x.\n" * 40
    for name in PRETOKENIZERS:
        encoder = Encoder(assemble(MERGES, pretokenizer=name))
        pieces = cut_up(encoder, text, 100)
        assert max(map(len, pieces)) < 300, name


def test_no_cut_inside_a_pretoken_that_may_be_taken_whole():
    record = json.loads(assemble(MERGES, pretokenizer="none").to_json())
    record["model"]["ignore_merges"] = True
    encoder = Encoder(Tokenizer.from_json(json.dumps(record)))
    assert encoder.cut(joined(["x y z ab"])[0]) == 0


def test_many_added_tokens_share_a_trie():
    contents = [f"<|reserved_{number}|>" for number in range(1000)]
    tokenizer = assemble([], pretokenizer="gpt2", special_tokens=contents)
    encoder = Encoder(tokenizer, allow_special=True)
    text = "a<|reserved_7|><|reserved_77|>b<|reserved_777|x<|reserved_999|>"
    assert encoded(encoder, [text]) == [tokenizer.encode(text, allow_special=True)]
    assert [token for token in encoded(encoder, [text])[0] if token < 1000] == [7, 77, 999]


def test_the_last_text_that_no_token_can_reach_into():
    def record(content):
        flags = dict.fromkeys(["lstrip", "rstrip", "single_word", "normalized", "special"], False)
        return {"content": content, "id": 1} | flags

    added = AddedTokens([record("abc"), record("cd")], with_special=False)
    assert added.longest == 3
    # The last six bytes less one could begin, or lie before, a token that is not all there.
    for text, last in ((b"x" * 20, (0, 15)), (b"xabcd" + b"x" * 15, (4, 15)), (b"xabc", (0, 0))):
        data = np.frombuffer(bytearray(text), dtype=np.uint8)
        assert added.last_text(data) == last
    assert AddedTokens([], with_special=False).last_text(data) == (0, 4)
