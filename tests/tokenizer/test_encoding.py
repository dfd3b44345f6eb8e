"""Compiled encoding against the `tokenizers` library and the slow BPE."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest
import slow_bpe
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer import PRETOKENIZERS, Pretokenizer, Tokenizer, assemble, merges_of, train
from tokkit.tokenizer.cache import PretokenCache, token_table
from tokkit.tokenizer.encoding import Encoder

TEXTS = [
    "The quick brown fox jumps over the lazy dog. How many r's are in strawberry?\n" * 3,
    "def f(x):\n    return {'a': [x, 12345]}  # it's  what THEY'LL do\r\n\r\n\tif  x>=10:pass\n"
    * 3,
    "déjà vu 東京 東京都 😀😀👩‍👩‍👧 naïve\tcafé 1234 ١٢٣ Ⅻ 12 5e-3 __init__ (x)[y]{z} مرحبا <|end|>"
    * 3,
    "日本語のテキスト、ひらがなとカタカナ。\u3000中文文本\u2028한국어 é e\u0301 \x00\x01 ﬃ" * 3,
]
any_text = st.text(max_size=80) | st.lists(
    st.sampled_from(
        [
            *("straw", "berry", " ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "don't", "é", "東京"),
            *("ひら", "カナ", "<|end|>", "\x00", "😀", "1", "1234567", "Ⅻ", "\u2028", "\u3000"),
            *("ABC", "aB", "HelloWorld", "...", "(x)", "\u0301", "{}", "/", "\u0130", "ſ"),
        ]
    ),
    max_size=25,
).map("".join)


@pytest.fixture(scope="module")
def trained():
    """One tokenizer for each preset, and its encoder."""
    found = {}
    for name in PRETOKENIZERS:
        tokenizer = train(TEXTS, vocab_size=450, pretokenizer=name)
        found[name] = tokenizer, Encoder(tokenizer)
    return found


def joined(texts):
    """Texts as one array of bytes, and where each begins."""
    parts = [text.encode() if isinstance(text, str) else text for text in texts]
    starts = np.zeros(len(parts) + 1, dtype=np.int64)
    starts[1:] = np.cumsum([len(part) for part in parts])
    return np.frombuffer(bytearray().join(parts), dtype=np.uint8), starts


def lists(ids, offsets):
    """The ids of each piece, as lists."""
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def encoded(encoder, texts):
    return lists(*encoder.encode_pieces(*joined(texts)))


@pytest.mark.parametrize("name", PRETOKENIZERS)
def test_ids_equal_those_of_the_library(trained, name):
    tokenizer, encoder = trained[name]
    assert encoder.engine == "compiled"

    @settings(max_examples=80, deadline=None)
    @given(st.lists(any_text, max_size=4))
    def same(texts):
        assert encoded(encoder, texts) == tokenizer.encode_batch(texts)

    same()
    assert encoded(encoder, TEXTS) == tokenizer.encode_batch(TEXTS)
    assert encoded(encoder, []) == []
    assert encoded(encoder, ["", "a", "", ""]) == tokenizer.encode_batch(["", "a", "", ""])


def random_merges(rng, alphabet, wanted):
    """Merges over few bytes, many of which give bytes that already have a token."""
    tokens = [bytes([byte]) for byte in alphabet]
    merges = []
    for _ in range(4 * wanted):
        pair = rng.choice(tokens), rng.choice(tokens)
        if len(merges) < wanted and pair not in merges:
            merges.append(pair)
            if pair[0] + pair[1] not in tokens:
                tokens.append(pair[0] + pair[1])
    return merges


@pytest.mark.parametrize("seed", range(40))
def test_random_merges_equal_the_library_and_the_slow_bpe(seed):
    rng = random.Random(seed)
    alphabet = b"abc"[: rng.randint(1, 3)]
    tokenizer = assemble(
        random_merges(rng, alphabet, rng.randint(0, 40)), pretokenizer="none", special_tokens=()
    )
    # Around 128, where the plain loop ends, and around the ends of blocks.
    sizes = [0, 1, 2, 3, 7, 19, 127, 128, 129, 255, 256, 257, 385, 1021]
    texts = [bytes(rng.choices(alphabet, k=size)) for size in sizes]
    ids = lists(*Encoder(tokenizer).encode_units(*joined(texts)))
    assert ids == tokenizer.encode_batch([text.decode() for text in texts])
    merges = merges_of(tokenizer)
    for text, found in zip(texts[:9], ids, strict=False):
        assert [tokenizer.token_bytes(token) for token in found] == slow_bpe.encode(text, merges)


def test_by_hand():
    """aaaa with aa before a,aa: [aa aa], and nothing joins two aa."""
    merges = [(b"a", b"a"), (b"a", b"aa"), (b"b", b"aa")]
    encoder = Encoder(assemble(merges, pretokenizer="none", special_tokens=()))
    # aaaaa: aa at 0, then at 2: [aa aa a]. baaa: aa at 1: [b aa a], then b,aa: [baa a].
    # No rule gives aaa in baaa: at (b, aa, a) only b,aa has one.
    assert encoded(encoder, ["aaaaa", "baaa", "aaa"]) == [[256, 256, 97], [258, 97], [256, 97]]


@pytest.mark.parametrize("run", ["a", "ab", "  x"])
def test_a_megabyte_without_a_cut(run):
    merges = [(b"a" * 2**i, b"a" * 2**i) for i in range(10)]
    merges += [(b"a", b"b"), (b"ab", b"ab"), (b" ", b" "), (b"ab" * 2, b"ab"), (b"a", b"aa")]
    tokenizer = assemble(merges, pretokenizer="none")
    text = run * (10**6 // len(run))
    assert encoded(Encoder(tokenizer), [text]) == [tokenizer.encode(text)]


def test_a_pair_that_stands_twice_has_its_last_rank():
    record = json.loads(
        assemble([(b"a", b"b"), (b"b", b"c")], pretokenizer="none", special_tokens=()).to_json()
    )
    record["model"]["merges"].append(record["model"]["merges"][0])
    tokenizer = Tokenizer.from_json(json.dumps(record))
    assert encoded(Encoder(tokenizer), ["abc", "ab"]) == tokenizer.encode_batch(["abc", "ab"])


def ignoring_merges():
    tokenizer = assemble(
        [(b"a", b"b"), (b"c", b"d"), (b"ab", b"cd"), (b"x", b"x")], pretokenizer="gpt2"
    )
    record = json.loads(tokenizer.to_json())
    record["model"]["ignore_merges"] = True
    # abcd stays in the vocabulary, but no merge gives it any more; so does a very long token.
    record["model"]["merges"].pop(2)
    record["model"]["vocab"]["y" * 300] = 261
    return Tokenizer.from_json(json.dumps(record))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["ab", "cd", " ", "abcd", "y" * 300, "xx", "é"])).map("".join))
def test_whole_pretokens_are_taken_where_merges_are_ignored(text):
    tokenizer = ignoring_merges()
    assert tokenizer.ignores_merges
    assert encoded(Encoder(tokenizer), [text]) == [tokenizer.encode(text)]


def test_ignoring_merges_by_hand():
    # Ids: <|end|>, 256 bytes, then ab 257, cd 258, abcd 259, xx 260, and y 300 times 261.
    encoder = Encoder(ignoring_merges())
    assert encoded(encoder, ["abcd", "abcdabcd"]) == [[259], [257, 258, 257, 258]]
    assert encoded(encoder, ["y" * 300, "y" * 301]) == [[261], [1 + ord("y")] * 301]


def test_the_cache_forgets_and_still_gives_the_same_ids(trained):
    tokenizer, _ = trained["gpt2"]
    encoder = Encoder(tokenizer)
    encoder._caches.append(PretokenCache(max_slots=64))
    rng = random.Random(2)
    words = ["".join(rng.choices("abcdefgé東 ", k=rng.randint(1, 150))) for _ in range(3000)]
    assert encoded(encoder, words) == tokenizer.encode_batch(words)
    (cache,) = encoder._caches
    assert len(cache.arrays[0]) <= 64
    assert 2 * np.count_nonzero(cache.arrays[0][:, 3]) <= 64


def test_a_growing_cache_keeps_what_it_has(trained):
    tokenizer, _ = trained["whitespace"]
    encoder = Encoder(tokenizer)
    words = [f" word{number}" + "x" * (number % 40) for number in range(30_000)]
    text = "".join(words)
    assert encoded(encoder, [text, text]) == [tokenizer.encode(text)] * 2
    (cache,) = encoder._caches
    # The words differ by their number, and each is one pretoken.
    assert cache.arrays[3][0] == np.count_nonzero(cache.arrays[0][:, 3]) == len(words)


def test_bytes_of_zero_are_no_end():
    tokenizer = assemble([(b"\0", b"\0")], pretokenizer="whitespace", special_tokens=())
    texts = ["a", "a\0", "a\0\0", "\0", "\0\0", "\0" * 8, "\0" * 9, "\0" * 16, "\0" * 17]
    assert encoded(Encoder(tokenizer), texts * 2) == tokenizer.encode_batch(texts * 2)


def test_units_need_not_be_text():
    tokenizer = assemble([(b"\xff", b"\xfe")], pretokenizer="gpt2", special_tokens=())
    ids, offsets = Encoder(tokenizer).encode_units(*joined([b"\xff\xfe\xff", b"", b"\x80"]))
    assert lists(ids, offsets) == [[256, 255], [], [128]]
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)


def test_other_tokenizers_go_through_the_library():
    custom = Pretokenizer("words", r"[a-z]+|[^a-z]")
    tokenizer = assemble([(b"a", b"b"), (b" ", b"a")], pretokenizer=custom)
    encoder = Encoder(tokenizer)
    assert encoder.engine == "library"
    texts = ["ab ab", "", "é<|end|>ab"]
    assert encoded(encoder, texts) == tokenizer.encode_batch(texts)
    special = Encoder(tokenizer, allow_special=True)
    assert encoded(special, texts) == tokenizer.encode_batch(texts, allow_special=True)
    assert encoder.cut(joined(["ab ab ab"])[0]) == 0


@pytest.mark.parametrize(
    ("starts", "said"),
    [([0, 1], "got 0 to 1"), ([1, 3], "got 1 to 3"), ([0, 2, 1, 3], "must rise"), ([], "got none")],
)
def test_places_that_do_not_fit(trained, starts, said):
    data, _ = joined(["abc"])
    for method in (trained["gpt2"][1].encode_pieces, trained["gpt2"][1].encode_units):
        with pytest.raises(ConfigError, match=said):
            method(data, np.array(starts, dtype=np.int64))


@settings(max_examples=60, deadline=None)
@given(text=any_text)
@pytest.mark.parametrize("name", ["gpt2", "none", "deepseek-v3"])
def test_decoding_gives_the_bytes_back(trained, name, text):
    tokenizer, encoder = trained[name]
    ids, _ = encoder.encode_pieces(*joined([text]))
    assert encoder.decode(ids).tobytes() == text.encode()
    assert encoder.decode(ids.astype(np.uint16)).tobytes() == tokenizer.decode_bytes(ids.tolist())


def test_decoding_faults(trained):
    encoder = trained["gpt2"][1]
    with pytest.raises(InputError, match="unknown token id 450: ids of this tokenizer run from 0"):
        encoder.decode(np.array([65, 450]))
    with pytest.raises(InputError, match="unknown token id -1"):
        encoder.decode(np.array([-1]))
    with pytest.raises(InputError, match="unknown token id 5000000000"):
        encoder.decode(np.array([5_000_000_000]))


def test_a_table_of_tokens_of_all_lengths():
    tokens = {b"x" * size: size for size in range(1, 40)} | {b"": 99}
    slots, data = token_table(tokens)
    assert np.count_nonzero(slots[:, 3]) == 39
    assert len(data) == sum(range(1, 40))
