"""Rank files: the merges behind ranks, and the ids of the real tiktoken."""

import json

import pytest
import tiktoken
from foreign_files import SPECIAL, TEXTS, learned, rank_file
from hypothesis import given, settings
from hypothesis import strategies as st

from tokkit.errors import ArtifactError, ConfigError
from tokkit.tokenizer import PRETOKENIZERS
from tokkit.tokenizer.formats import export_tokenizer, load_tokenizer
from tokkit.tokenizer.formats.ranks import merges_of_ranks, parse_ranks, write_ranks
from tokkit.tokenizer.formats.tiktoken import TIKTOKEN_PATTERNS, tokenizer_of_ranks

NONE = PRETOKENIZERS["none"]


def ranks_of(*tokens):
    return parse_ranks(rank_file(tokens))


def theirs(ranks, pattern, special=()):
    return tiktoken.Encoding(
        "test", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens=dict(special)
    )


def test_merges_by_hand():
    """abc: of its neighbours ab (256) and bc (257), ab goes first and leaves ab, c."""
    assert merges_of_ranks(ranks_of(b"ab", b"bc", b"abc")) == (
        [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c")],
        [],
    )
    # Nothing of lower rank joins x y z, and nothing else does: only as a whole pretoken.
    assert merges_of_ranks(ranks_of(b"xyz")) == ([], [b"xyz"])
    # A part may have a higher rank than the whole: ab (257) is joined before abc (256) can be.
    assert merges_of_ranks(ranks_of(b"abc", b"ab")) == ([(b"ab", b"c"), (b"a", b"b")], [])


@settings(max_examples=300, deadline=None)
@given(
    tokens=st.lists(st.text("ab", min_size=2, max_size=6), max_size=14, unique=True),
    texts=st.lists(st.text("abc", max_size=30), min_size=1, max_size=8),
)
def test_any_ranks_give_the_ids_of_tiktoken(tokens, texts):
    """Any ranks at all, also those that no training gives."""
    ranks = ranks_of(*(token.encode() for token in tokens))
    ours = tokenizer_of_ranks(ranks, pretokenizer=NONE, special_tokens={"<|end|>": len(ranks) + 5})
    encoding = theirs(ranks, r"[\s\S]+", {"<|end|>": len(ranks) + 5})
    for text in texts:
        assert ours.encode(text) == encoding.encode_ordinary(text)
        marked = f"{text}<|end|>{text}"
        assert ours.encode(marked, allow_special=True) == encoding.encode(
            marked, allowed_special="all"
        )


@pytest.mark.parametrize("name", TIKTOKEN_PATTERNS)
def test_an_export_gives_equal_ids_in_tiktoken_and_comes_back(name, tmp_path):
    tokenizer = learned(name)
    paths = export_tokenizer(tokenizer, "tiktoken", tmp_path / "ours.tiktoken")
    assert paths == (tmp_path / "ours.tiktoken", tmp_path / "ours.tiktoken.json")
    from tiktoken.load import load_tiktoken_bpe

    arguments = json.loads(paths[1].read_text(encoding="utf-8"))
    encoding = tiktoken.Encoding(**arguments, mergeable_ranks=load_tiktoken_bpe(str(paths[0])))
    back = load_tokenizer(paths[0])
    for text in TEXTS:
        plain, special = tokenizer.encode(text), tokenizer.encode(text, allow_special=True)
        assert encoding.encode_ordinary(text) == plain == back.encode(text)
        assert encoding.encode(text, allowed_special="all") == special
        assert back.encode(text, allow_special=True) == special
    assert back.merge_table.tolist() == tokenizer.merge_table.tolist()
    assert back.added == tokenizer.added
    assert back.pretokenizer.patterns == tokenizer.pretokenizer.patterns
    export_tokenizer(back, "tiktoken", tmp_path / "again.tiktoken")
    assert (tmp_path / "again.tiktoken").read_bytes() == paths[0].read_bytes()


def test_ranks_that_ignore_merges_come_back_too(tmp_path):
    ranks = ranks_of(b"xyz", b"xy", b"qrstu")
    tokenizer = tokenizer_of_ranks(ranks, pretokenizer=NONE, special_tokens={})
    assert tokenizer.ignores_merges
    assert tokenizer.encode("qrstu") == [258]
    assert tokenizer.encode("qrstuv") == [*b"qrstuv"]
    export_tokenizer(tokenizer, "tiktoken", tmp_path / "r.tiktoken")
    assert parse_ranks((tmp_path / "r.tiktoken").read_bytes()) == ranks


def test_a_published_name_gives_pattern_and_special_tokens(tmp_path):
    path = tmp_path / "r50k_base.tiktoken"
    path.write_bytes(rank_file([f"t{number}".encode() for number in range(50_000)]))
    tokenizer = load_tokenizer(path)
    assert tokenizer.pretokenizer is PRETOKENIZERS["gpt2"]
    assert tokenizer.vocab_size == 50_257
    assert tokenizer.token_bytes(50_256) == b"<|endoftext|>"
    # What is given goes before what is known; a smaller file keeps the test short.
    path.write_bytes(rank_file([b"ab"]))
    given = load_tokenizer(path, pretokenizer="none", special_tokens={"<x>": 300})
    assert given.pretokenizer is NONE
    assert given.special_ids == {300}


def test_cl100k_has_holes(tmp_path):
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_bytes(rank_file([b"%d" % number for number in range(10, 100_010)]))
    tokenizer = load_tokenizer(path)
    assert tokenizer.pretokenizer is PRETOKENIZERS["cl100k"]
    assert tokenizer.vocab_size == 100_277
    assert tokenizer.unused_ids == {100_256, *range(100_261, 100_276)}
    assert tokenizer.encode("<|endofprompt|>", allow_special=True) == [100_276]
    assert write_ranks(parse_ranks(path.read_bytes())) == path.read_bytes()


def test_a_pattern_that_is_not_known_is_asked_for(tmp_path):
    path = tmp_path / "mine.tiktoken"
    path.write_bytes(rank_file([b"ab"]))
    with pytest.raises(ConfigError, match=r"does not say how text is cut.*name the pre-tokenizer"):
        load_tokenizer(path)
    assert load_tokenizer(path, pretokenizer="gpt2").encode("abc") == [256, ord("c")]


FAULTS = {
    "text": (b"!!!! 256\n", "line 257: expected a token in base64, a space and its rank"),
    "bad base64": (b"abc 256\n", "line 257: the token is not base64"),
    "no rank": (b"YWI=\n", "line 257: expected a token"),
    "negative": (b"YWI= -1\n", "line 257: expected a token"),
    "token twice": (b"YWI= 256\nYWI= 257\n", "line 258: token b'ab' stands twice"),
    "rank twice": (b"YWI= 255\n", "rank 255 stands twice"),
    "huge rank": (b"YWI= 4000000000\n", "must be below 1,284, got 4000000000"),
    "absurd rank": (b"YWI= 99999999999999999999\n", "line 257: expected a token"),
    "control": (b"\x1b[31m 256\n", "got b'\\x1b[31m 256'"),
    "long": (b"YWJj" * 400 + b" 256\n", "may have 512 bytes at most, this one has 1,200"),
}


@pytest.mark.parametrize(("line", "said"), FAULTS.values(), ids=FAULTS)
def test_a_wrong_rank_file_is_told_in_one_line(line, said, tmp_path):
    path = tmp_path / "gpt2.tiktoken"
    path.write_bytes(rank_file([]) + line)
    with pytest.raises(ArtifactError) as caught:
        load_tokenizer(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_cut_rank_file_lacks_bytes(tmp_path):
    path = tmp_path / "gpt2.tiktoken"
    path.write_bytes(b"".join(rank_file([]).splitlines(keepends=True)[:255]))
    with pytest.raises(ArtifactError, match="each single byte must have a rank, and 0xff has none"):
        load_tokenizer(path)


def test_refused_with_the_first_counter_example(tmp_path):
    def refuse(tokenizer, said):
        with pytest.raises(ConfigError, match=said):
            export_tokenizer(tokenizer, "tiktoken", tmp_path / "out.tiktoken")
        assert list(tmp_path.iterdir()) == []

    from tokkit.tokenizer import Pretokenizer, assemble

    refuse(learned("bytes"), "pre-tokenizer 'bytes' is not known to be the same")
    refuse(
        learned("deepseek-v3"), "by one pattern over characters, and pre-tokenizer 'deepseek-v3'"
    )
    refuse(assemble([], pretokenizer=Pretokenizer("mine", "a+")), "pre-tokenizer 'custom'")
    refuse(learned("gpt2", added_tokens=["How many"]), "'How many' is added but not special")
    refuse(
        assemble([], pretokenizer="gpt2", special_tokens=["<a>", "<a>b"]), "b'<a>' and b'<a>b' both"
    )
    # Two ways to one token; by ranks, aa + a alone.
    refuse(
        assemble([(b"a", b"a"), (b"aa", b"a"), (b"a", b"aa")], pretokenizer="none"),
        r"so merge 2 would be none, and this tokenizer has b'a' with b'aa'",
    )
    # bc goes first by its rank, and leaves a + bc; here it is ab + c.
    refuse(
        assemble([(b"b", b"c"), (b"a", b"b"), (b"ab", b"c")], pretokenizer="none"),
        r"merge 2 would be b'a' with b'bc', and this tokenizer has b'ab' with b'c'",
    )


def test_special_tokens_must_be_free(tmp_path):
    path = tmp_path / "gpt2.tiktoken"
    path.write_bytes(rank_file([b"ab"]))
    for special, said in (
        ({"<x>": 256}, "claims id 256, which an ordinary token has"),
        ({"ab": 300}, "'ab' is spelled like the ordinary token 256"),
        ({"": 300}, "special token 300 is empty"),
        ({"<x>": 10**12}, "must have ids below"),
        ({"<x>": -1}, "must not be negative"),
    ):
        with pytest.raises(ArtifactError, match=said):
            load_tokenizer(path, special_tokens=special)
    assert SPECIAL
