"""Ids against a slow BPE, a derivation by hand, and two other readers of tokenizer.json."""

import os
import re
import subprocess
import sys

import pytest
import slow_bpe
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer import (
    PRETOKENIZERS,
    Pretokenizer,
    Tokenizer,
    assemble,
    merges_of,
    train,
)
from tokkit.tokenizer.alphabet import byte_characters

TEXTS = [
    "The quick brown fox jumps over the lazy dog. How many r's are in strawberry?",
    "straw straws strawberry berries berry raw rawer warrior\r\n\r\n  it's what they've said ",
    "déjà vu 東京 東京都 😀😀 naïve\tcafé 1234 12 5e-3 __init__ (x)[y]{z} <|end|>",
] * 3
ADDED = ("How many", "'s are in ")
STRAWBERRY = Pretokenizer("strawberry", r" [a-z](?![a-z])|[a-z]+|[^a-z]")
any_text = st.text(max_size=60) | st.lists(
    st.sampled_from(["straw", "berry", " ", "\r\n", "é", "東京", "<|end|>", *ADDED, "\x00", "😀"])
).map("".join)


def trained(pretokenizer, **options):
    return train(TEXTS, vocab_size=330, pretokenizer=pretokenizer, added_tokens=ADDED, **options)


TRAINED = {name: trained(name) for name in [*PRETOKENIZERS]} | {"strawberry": trained(STRAWBERRY)}
each_tokenizer = pytest.mark.parametrize("tokenizer", TRAINED.values(), ids=TRAINED)


def test_by_hand():
    """aaabdaaabac (Gage 1994): 'aa' 4 times, then 'aaa' or 'ab' by age, then what stays twice.

    Pairs at first: aa 4, ab 2, da 1, bd 1, ba 1, ac 1. After aa: [aa a b d aa a b a c], so
    (aa,a) 2, (a,b) 2; ages a < b < aa, so (a,b) comes first: [aa ab d aa ab a c]; then (aa,ab) 2.
    """
    tokenizer = train(["aaabdaaabac"], vocab_size=300, pretokenizer="none", special_tokens=())
    assert merges_of(tokenizer) == [(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]
    assert tokenizer.vocab_size == 256 + 3
    # Bytes are their own ids here; aaab is the third merge, 258.
    assert tokenizer.encode("aaabdaaabac") == [258, ord("d"), 258, ord("a"), ord("c")]


def test_ids_are_special_then_added_then_bytes_then_merges():
    tokenizer = assemble(
        [(b"r", b"r"), (b"e", b"rr")],
        pretokenizer="none",
        special_tokens=["<|a|>", "<|b|>"],
        added_tokens=["x y"],
    )
    assert [tokenizer.token_bytes(token) for token in range(3)] == [b"<|a|>", b"<|b|>", b"x y"]
    assert [tokenizer.token_bytes(3 + byte) for byte in range(256)] == [
        bytes([byte]) for byte in range(256)
    ]
    assert [tokenizer.token_bytes(token) for token in (259, 260)] == [b"rr", b"err"]
    assert tokenizer.vocab_size == 261
    assert tokenizer.encode("berryx y") == [3 + ord("b"), 260, 3 + ord("y"), 2]


def test_a_second_merge_with_the_same_result_keeps_the_first_id():
    tokenizer = assemble(
        [(b"a", b"a"), (b"aa", b"a"), (b"a", b"aa"), (b"b", b"aaa")],
        pretokenizer="none",
        special_tokens=(),
    )
    assert tokenizer.vocab_size == 256 + 3
    assert tokenizer.token_id(b"aaa") == 257
    assert tokenizer.token_id(b"baaa") == 258


@pytest.mark.parametrize("name", ["gpt2", "none"])
def test_merges_equal_those_of_the_slow_trainer(name):
    order = sorted(range(256), key=lambda byte: byte_characters()[byte])
    texts = [text.replace("<|end|>", "") for text in TEXTS]
    pieces = [piece for text in texts for piece in cut(name, text)]
    tokenizer = train(texts, vocab_size=257 + 60, pretokenizer=name)
    assert merges_of(tokenizer) == slow_bpe.learn(pieces, 60, order)


def cut(name, text):
    """Pieces of text: as the standard `regex` package cuts them, or the library itself."""
    regex = pytest.importorskip("regex")
    pattern = {"gpt2": PRETOKENIZERS["gpt2"].pattern, "strawberry": STRAWBERRY.pattern}.get(name)
    if pattern:
        return [piece.encode() for piece in regex.findall(pattern, text)]
    if name == "none":
        return [text.encode()]
    if name == "chars":
        return [character.encode() for character in text]
    if name == "bytes":
        return [bytes([byte]) for byte in text.encode()]
    # The kernels are compared with this in test_splitting.py.
    *splits, _ = PRETOKENIZERS[name].components()
    pieces = tokenizers.pre_tokenizers.Sequence(splits).pre_tokenize_str(text)
    return [piece.encode() for piece, _ in pieces]


def expected_ids(name, tokenizer, text):
    """Added tokens first, leftmost and longest; what lies between by the slow BPE."""
    ids = []
    for part in re.split("(" + "|".join(map(re.escape, ADDED)) + ")", text):
        if part in ADDED:
            ids.append(1 + ADDED.index(part))
            continue
        for piece in cut(name, part):
            ids += map(tokenizer.token_id, slow_bpe.encode(piece, merges_of(tokenizer)))
    return ids


@settings(max_examples=60, deadline=None)
@given(text=any_text)
@pytest.mark.parametrize("name", TRAINED)
def test_ids_equal_those_of_the_slow_bpe(name, text):
    tokenizer = TRAINED[name]
    assert tokenizer.encode(text) == expected_ids(name, tokenizer, text)


@settings(max_examples=150, deadline=None)
@given(text=any_text)
@each_tokenizer
def test_round_trip_of_any_text(tokenizer, text):
    for allow_special in (False, True):
        ids = tokenizer.encode(text, allow_special=allow_special)
        assert tokenizer.decode_bytes(ids) == text.encode()
        assert tokenizer.decode(ids) == text
    assert b"".join(piece.bytes for piece in tokenizer.pieces(text)) == text.encode()


@settings(max_examples=100, deadline=None)
@given(text=any_text)
@each_tokenizer
def test_plain_encoding_has_no_special_ids(tokenizer, text):
    assert tokenizer.special_ids.isdisjoint(tokenizer.encode(text))
    with_special = tokenizer.encode(text, allow_special=True)
    assert sum(token in tokenizer.special_ids for token in with_special) == text.count("<|end|>")


@pytest.mark.parametrize("name", TRAINED)
def test_other_readers_of_the_file_give_the_same_ids(name, tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = TRAINED[name]
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    raw = tokenizers.Tokenizer.from_file(str(path))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=str(path))
    for text in [*TEXTS, "", " ", "a\r\n\r\n  b", "How many r's are in é\u0301 <|end|>😀"]:
        wanted = tokenizer.encode(text, allow_special=True)
        assert raw.encode(text).ids == wanted
        assert fast.encode(text, add_special_tokens=False) == wanted
        assert raw.decode(wanted, skip_special_tokens=False) == text


def test_the_gpt2_pattern_cuts_as_the_library_does():
    ours = tokenizers.pre_tokenizers.Sequence(PRETOKENIZERS["gpt2"].components())
    theirs = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)

    @given(any_text)
    def same(text):
        assert ours.pre_tokenize_str(text) == theirs.pre_tokenize_str(text)

    same()


def test_presets_keep_merges_inside_their_cuts():
    def texts(name):
        return {TRAINED[name].token_bytes(token) for token in range(259, TRAINED[name].vocab_size)}

    assert texts("bytes") == set()
    characters = [token.decode(errors="ignore") for token in texts("chars")]
    assert max(map(len, characters)) == 1
    assert any(b" " in token[1:] for token in texts("none"))
    assert not any(b" " in token[1:].strip() for token in texts("gpt2"))


def test_a_lookahead_keeps_a_single_letter_with_its_space():
    merges = [(b" ", b"r"), (b"r", b"a"), (b"ra", b"w"), (b" ", b"ra")]
    tokenizer = assemble(merges, pretokenizer=STRAWBERRY, added_tokens=ADDED)
    pieces = [piece.text for piece in tokenizer.pieces("How many r's are in raw?")]
    assert pieces == ["How many", " r", "'s are in ", "raw", "?"]
    assert [piece.text for piece in tokenizer.pieces(" raw r")] == [" ", "raw", " r"]


def test_added_tokens_match_leftmost_and_longest_with_their_spaces():
    tokenizer = assemble([], pretokenizer="none", added_tokens=["ab", "ab c ", "bb"])
    assert [piece.bytes for piece in tokenizer.pieces("ab c abb")] == [b"ab c ", b"ab", b"b"]
    assert [piece.kind for piece in tokenizer.pieces("ab!")] == ["added", "token"]
    # Inside text that spells a special token, an added token is still an added token.
    inside = assemble([], pretokenizer="none", added_tokens=["end|"])
    assert inside.encode("<|end|>").count(1) == 1
    assert inside.encode("<|end|>", allow_special=True) == [0]


def test_training_text_that_spells_a_special_token_teaches_no_merge_of_it():
    tokenizer = train(["x<|end|>y"] * 50, vocab_size=300, pretokenizer="none")
    assert tokenizer.vocab_size == 257
    assert 0 not in tokenizer.encode("<|end|>")


def test_training_is_deterministic_whatever_the_threads_and_the_chunking_of_runs():
    code = (
        "from tokkit.tokenizer import train; from pydoc_data.topics import topics\n"
        "texts = [topics[name] for name in sorted(topics)[:20]]\n"
        "print(train(texts, vocab_size=1500, pretokenizer='gpt2').digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2", "5")
    }
    assert len(digests) == 1
    assert trained("gpt2").to_json() == TRAINED["gpt2"].to_json()


def test_assembling_the_merges_again_gives_the_same_file():
    for name, tokenizer in TRAINED.items():
        rule = STRAWBERRY if name == "strawberry" else name
        again = assemble(merges_of(tokenizer), pretokenizer=rule, added_tokens=ADDED)
        assert again.to_json() == tokenizer.to_json()


def test_min_frequency_ends_training():
    often = train(["ab ab ab cd cd"], vocab_size=300, pretokenizer="gpt2", min_frequency=3)
    assert merges_of(often) == [(b"a", b"b")]
    once = train(["ab"], vocab_size=300, pretokenizer="gpt2", min_frequency=1)
    assert merges_of(once) == [(b"a", b"b")]


def test_progress_is_told_on_the_calling_thread():
    import threading

    seen = []
    train(
        TEXTS,
        vocab_size=300,
        pretokenizer="gpt2",
        progress=lambda progress: seen.append((threading.current_thread(), progress)),
    )
    assert {thread for thread, _ in seen} == {threading.main_thread()}
    assert seen[-1][1].texts == len(TEXTS)
    assert not seen[-1][1].reading


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vocab_size": 258}, r"at least 259 tokens \(256 bytes, 1 special, 2 added\), got 258"),
        ({"pretokenizer": "gtp2"}, r"unknown pre-tokenizer 'gtp2': did you mean 'gpt2'\?"),
        ({"pretokenizer": Pretokenizer("bad", "(")}, r"must be an Oniguruma regular expression"),
        ({"min_frequency": 0}, r"min_frequency must be at least 1, got 0"),
        ({"documents": "text"}, r"documents must be several texts, got one str"),
        ({"added_tokens": ("a b", "a b")}, r"must differ, got 'a b' twice"),
        ({"special_tokens": ("",)}, r"must hold text, got an empty one"),
        ({"added_tokens": ("?",)}, r"'\?' cannot be an added or special token"),
        ({"added_tokens": ("Ġ",)}, r"'Ġ' cannot be an added or special token"),
    ],
)
def test_wrong_settings(options, said):
    settled = {"documents": TEXTS, "vocab_size": 300, "pretokenizer": "gpt2", "added_tokens": ADDED}
    settled |= options
    with pytest.raises(ConfigError, match=said):
        train(settled.pop("documents"), **settled)


@pytest.mark.parametrize(
    ("merges", "said"),
    [
        ([(b"ab", b"c")], r"as merge 0, where b'ab' is unknown; put the merge that makes it first"),
        ([(b"a", b"b"), (b"a", b"b")], r"each merge stands once, got .* again as merge 1"),
        ([(b"<", b"e"), (b"<e", b">")], r"may not spell an added or special token, got .*b'<e>'"),
    ],
)
def test_wrong_merges(merges, said):
    with pytest.raises(ConfigError, match=said):
        assemble(merges, pretokenizer="none", special_tokens=["<e>"])


def test_text_without_bytes_is_told():
    with pytest.raises(InputError, match=r"character 1 is half of a surrogate pair \(U\+D800\)"):
        TRAINED["gpt2"].encode("a\ud800")
    with pytest.raises(InputError, match="half of a surrogate pair"):
        train(["a\ud800"], vocab_size=300, pretokenizer="gpt2")


def test_an_error_of_the_reader_comes_through():
    def documents():
        yield "text"
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        train(documents(), vocab_size=300, pretokenizer="gpt2")


def test_encode_batch_equals_encode():
    tokenizer = TRAINED["gpt2"]
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]
    assert tokenizer.encode_batch([]) == []
    assert tokenizer.encode("") == []


def test_special_mode_is_not_shared_between_threads():
    from concurrent.futures import ThreadPoolExecutor

    tokenizer: Tokenizer = TRAINED["gpt2"]

    def count(allow):
        return [tokenizer.encode("a<|end|>", allow_special=allow).count(0) for _ in range(300)]

    with ThreadPoolExecutor(4) as pool:
        for allow, counts in zip([0, 1] * 4, pool.map(count, [False, True] * 4), strict=True):
            assert set(counts) == {allow}


def test_training_cuts_the_longest_added_token_as_encoding_does():
    text = "ab c " * 50
    tokenizer = train([text], vocab_size=300, pretokenizer="none", added_tokens=["ab", "ab c "])
    assert merges_of(tokenizer) == []
    assert tokenizer.encode(text) == [2] * 50
