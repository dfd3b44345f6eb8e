"""Text that comes a token at a time is the text of all tokens, and shows nothing too early."""

from __future__ import annotations

import contextlib

import pytest
from foreign_files import TEXTS, byte_fallback, learned, sentencepiece_model, unigram, wordpiece
from hypothesis import given
from hypothesis import strategies as st

from tokkit.errors import InputError
from tokkit.tokenizer.formats.sentencepiece import load_sentencepiece
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.opaque import OpaqueIds
from tokkit.tokenizer.streaming import StopFinder, TextStream


def foreign(backend):
    return LibraryTokenizer.from_json(backend.to_str())


BYTES = learned("gpt2")
TOKENIZERS = {
    "bytes": BYTES,
    "bytes by the library": LibraryTokenizer.from_json(BYTES.to_json()),
    "byte fallback": foreign(byte_fallback()),
    "unigram": foreign(unigram()),
    "wordpiece": foreign(wordpiece()),
}
with contextlib.suppress(ImportError):  # the package is an extra
    TOKENIZERS["sentencepiece"] = load_sentencepiece(
        sentencepiece_model(model_type="bpe", byte_fallback=True, vocab_size=300)
    )


def streamed(codec, ids, stop=()):
    stream = TextStream(codec, stop=stop)
    return [*(stream.feed(token) for token in ids), stream.finish()], stream


@pytest.mark.parametrize("name", TOKENIZERS)
@given(data=st.data())
def test_pieces_joined_are_the_text_of_all_ids(name, data):
    codec = TOKENIZERS[name]
    usual = [token for token in range(codec.vocab_size) if codec.kind(token) != "unused"]
    ids = data.draw(st.lists(st.sampled_from(usual), max_size=30))
    pieces, _ = streamed(codec, ids)
    assert "".join(pieces) == codec.decode(ids)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_come_back_and_soon(name):
    codec = TOKENIZERS[name]
    for text in TEXTS:
        ids = codec.encode(text)
        pieces, _ = streamed(codec, ids)
        assert "".join(pieces) == codec.decode(ids)
        if name.startswith("bytes"):
            assert "\ufffd" not in "".join(pieces)


def test_no_broken_character_is_shown():
    ids = [BYTES.token_id(bytes([byte])) for byte in "é東😀!".encode()]
    pieces, _ = streamed(BYTES, ids)
    assert pieces == ["", "é", "", "", "東", "", "", "", "😀", "!", ""]
    cut, _ = streamed(BYTES, ids[:7])
    assert cut == ["", "é", "", "", "東", "", "", "\ufffd"], "never finished: told at the end"
    broken, _ = streamed(BYTES, [ids[2], ids[-1]])
    assert broken == ["", "\ufffd!", ""]


def test_a_run_of_byte_tokens_is_decided_at_its_end():
    codec = TOKENIZERS["byte fallback"]
    newline, euro = codec.token_id("\n"), [codec.token_id(bytes([b])) for b in "€".encode()]
    raw = codec.token_id("raw")
    assert streamed(codec, [raw, newline, raw])[0] == ["raw", "", "\nraw", ""]
    assert streamed(codec, [raw, *euro, raw])[0] == ["raw", "", "", "", "€raw", ""]
    assert streamed(codec, [newline, euro[0], raw])[0] == ["", "", "\ufffd\ufffdraw", ""]


def test_a_space_alone_is_no_beginning_of_a_text():
    codec = TOKENIZERS.get("sentencepiece")
    if codec is None:
        pytest.skip("the package sentencepiece is not installed")
    ids = [codec.token_id(text) for text in (" straw", " ", " ", " berry")]
    assert codec.decode(ids) == "straw   berry"
    assert "".join(streamed(codec, ids)[0]) == "straw   berry"


def test_ids_that_no_token_has():
    assert streamed(BYTES, [BYTES.token_id("a"), 10**6])[0] == ["a", "\ufffd", ""]
    codec = TOKENIZERS["unigram"]
    berry = codec.token_id("berry")
    assert streamed(codec, [berry, 10**6, berry])[0] == ["berry", "\ufffd", "berry", ""]


def test_opaque_ids_come_when_their_token_is_whole():
    codec = OpaqueIds(BYTES)
    ids = codec.encode("raw a raw")
    pieces, _ = streamed(codec, ids)
    assert "".join(pieces) == "raw a raw"
    assert pieces.count("") > 2
    cut = [ids[0], *codec.encode("a")]
    assert "".join(streamed(codec, cut)[0]) == codec.decode(cut, strict=False)


@pytest.mark.parametrize(
    ("pieces", "stop", "wanted", "stopped"),
    [
        (["the E", "N", "D x"], ["END"], ["the ", "", "", ""], "END"),
        (["the E", "N", "E"], ["END"], ["the ", "", "ENE"[:2], "E"], None),
        (["aab"], ["ab"], ["a", ""], "ab"),
        (["a", "a", "b"], ["aab"], ["", "", "", ""], "aab"),
        (["a", "a", "a", "b"], ["aab"], ["", "", "a", "", ""], "aab"),
        (["abcd"], ["abcd", "bc"], ["a", ""], "bc"),
        (["a", "b", "c", "d"], ["abcd", "bc"], ["", "", "a", "", ""], "bc"),
        (["xabc"], ["abc", "bc"], ["x", ""], "abc"),
        (["none"], [], ["none", ""], None),
        (["no"], ["stop"], ["no", ""], None),
    ],
)
def test_stop_strings_by_hand(pieces, stop, wanted, stopped):
    finder = StopFinder(stop)
    assert [*map(finder.feed, pieces), finder.finish()] == wanted
    assert finder.stopped == stopped


@given(
    st.text("ab", max_size=20),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.data(),
)
def test_stop_strings_do_not_depend_on_the_pieces(text, stop, data):
    ends = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]
    wanted = text[: min(ends)[1]] if ends else text
    finder, out, place = StopFinder(stop), "", 0
    while place < len(text):
        size = data.draw(st.integers(1, len(text) - place))
        out += finder.feed(text[place : place + size])
        place += size
        assert wanted.startswith(out)
    assert out + finder.finish() == wanted
    assert (finder.stopped is None) == (not ends)


def test_a_stop_string_across_tokens_ends_the_text():
    ids = BYTES.encode("How many r's are in strawberry? berries")
    pieces, stream = streamed(BYTES, ids, stop=["y? b", "zzz"])
    assert "".join(pieces) == "How many r's are in strawberr"
    assert stream.stopped == "y? b"
    with pytest.raises(InputError, match="a stop string must have at least one character"):
        TextStream(BYTES, stop=[""])
