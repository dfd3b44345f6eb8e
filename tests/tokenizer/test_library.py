"""Tokenizers of other kinds, through their library: ids, bytes, kinds, and what they change."""

import json
import subprocess
import sys

import pytest
import tokenizers
from foreign_files import TEXTS, byte_fallback, unigram, wordpiece
from tokenizers import models, pre_tokenizers, processors

from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.tokenizer.formats import load_tokenizer
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.other_models import MAX_WORDPIECE_BYTES, train_unigram, train_wordpiece
from tokkit.tokenizer.presets import PRETOKENIZERS

BACKENDS = {"unigram": unigram, "wordpiece": wordpiece, "byte fallback": byte_fallback}


def load(backend, change=None):
    record = json.loads(backend.to_str())
    if change:
        change(record)
    return LibraryTokenizer.from_json(json.dumps(record))


@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_ids_are_those_of_the_library(make, tmp_path):
    backend, ours = make(), load(make())
    assert ours.vocab_size == backend.get_vocab_size()
    for text in [*TEXTS, "raw straw<s>berry [CLS] a!"]:
        wanted = backend.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allow_special=True) == wanted
        assert ours.decode(wanted) == backend.decode(wanted, skip_special_tokens=False)
        assert [piece.id for piece in ours.pieces(text, allow_special=True)] == wanted
    assert ours.encode_batch(TEXTS) == [ours.encode(text) for text in TEXTS]
    ours.save(tmp_path / "tokenizer.json")
    assert (
        LibraryTokenizer.from_json((tmp_path / "tokenizer.json").read_text()).digest == ours.digest
    )


def test_unigram():
    ours = load(unigram())
    assert ours.unk_id == 0
    assert ours.notes == (
        "normalises the text to NFKC",
        "lower-cases the text",
        "puts a space before the text",
        "makes characters or words without a token unknown",
    )
    assert ours.pretokenizer is None
    assert [piece.bytes for piece in ours.pieces("Berry a")] == [b" ", b"berry", b" ", b"a"]
    assert ours.encode("\u6771") == [2, 0]
    assert (ours.kind(1), ours.kind(3)) == ("special", "token")
    # Text that spells a special token is text.
    assert ours.special_ids == {0, 1}
    assert 1 in ours.encode("<s>", allow_special=True)
    assert 1 not in ours.encode("<s>")


def test_wordpiece():
    ours = load(wordpiece())
    assert ours.unk_id == 0
    assert [piece.bytes for piece in ours.pieces("  STRAWberry!")] == [b"straw", b"berry", b"!"]
    assert ours.decode(ours.encode("  STRAWberry!")) == "strawberry!"
    assert ours.encode("xyz a") == [0, 4]
    assert "lower-cases the text" in ours.notes
    assert "takes accents away" in ours.notes
    assert "does not keep white space" in ours.notes
    assert 1 in ours.encode("[CLS]", allow_special=True)
    assert 1 not in ours.encode("[CLS]")
    assert ours.token_id("berry") == 3


def test_byte_fallback():
    ours = load(byte_fallback())
    assert ours.token_bytes(2 + 0xE6) == b"\xe6"
    assert ours.token_bytes(263) == b" raw"
    assert [piece.bytes for piece in ours.pieces("raw\u00e9")] == [b" raw", b"\xc3", b"\xa9"]
    assert ours.decode_bytes(ours.encode("raw \u6771\n")) == "raw \u6771\n".encode()
    assert ours.notes == (
        "puts '\u2581' before the text",
        "replaces ' ' by '\u2581'",
        "spells characters without a token as bytes",
    )


def test_what_stands_before_a_text_stays_in_the_file(tmp_path):
    backend = byte_fallback()
    backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(tmp_path / "tokenizer.json"))
    wanted = json.loads(backend.to_str())["post_processor"]
    for ours in (load(backend), load_tokenizer(tmp_path)):
        assert json.loads(ours.content())["post_processor"] == wanted
        assert ours.encode("raw") == [263]  # it is not asked for


def test_added_tokens_keep_their_ids_where_special_ones_are_hidden():
    backend = wordpiece()
    backend.add_special_tokens(["<x>"])
    backend.add_tokens(["straw a"])
    ours = load(backend)
    assert (ours.token_id("<x>"), ours.token_id("straw a")) == (6, 7)
    assert (ours.kind(6), ours.kind(7)) == ("special", "added")
    assert ours.encode("straw a<x>") == [7, 0, 0, 0]
    assert ours.encode("straw a<x>", allow_special=True) == [7, 6]


def test_a_bpe_that_lacks_bytes_says_what_it_drops():
    backend = tokenizers.Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    ours = load(backend)
    assert ours.notes == ("drops characters without a token",)
    assert ours.pretokenizer is PRETOKENIZERS["gpt2"]
    assert ours.encode("abc") == [2]


def test_marks_of_word_ends_and_random_merges():
    backend = tokenizers.Tokenizer(
        models.BPE(
            {"a": 0, "b</w>": 1, "ab</w>": 2},
            [("a", "b</w>")],
            end_of_word_suffix="</w>",
            dropout=0.9,
            unk_token="a",
        )
    )
    ours = load(backend)
    assert ours.token_bytes(2) == b"ab"
    assert {tuple(ours.encode("ab")) for _ in range(50)} == {(2,)}
    assert "drops merges at random, which is switched off here" in ours.notes


def test_unknown_ids_and_texts_without_ids():
    ours = load(unigram(), lambda record: record["model"].update(unk_id=None))
    with pytest.raises(InputError, match="has no ids for the text: Encountered an unknown token"):
        ours.encode("\u6771")
    for bad in (-1, ours.vocab_size, 10**30):
        with pytest.raises(InputError, match=f"unknown token id {bad}: ids .* run from 0 to 23"):
            ours.decode([bad])
    with pytest.raises(InputError, match="character 1 is half of a surrogate pair"):
        ours.encode("a\ud800")
    holed = load(wordpiece(), lambda record: record["model"]["vocab"].update({"zz": 9}))
    assert holed.kind(7) == "unused"
    with pytest.raises(InputError, match="id 7 is unused"):
        holed.decode([7])


def test_what_is_no_tokenizer():
    with pytest.raises(ArtifactError, match="it has no model"):
        LibraryTokenizer.from_json("{}")
    with pytest.raises(ArtifactError, match=r"not a tokenizer\.json: .*UnkIdNotInVocabulary"):
        load(unigram(), lambda record: record["model"].update(unk_id=999))


@pytest.mark.parametrize("train", [train_unigram, train_wordpiece])
@pytest.mark.parametrize("name", ["gpt2", "cl100k", "whitespace"])
def test_other_models_are_trained_on_our_pretokens(train, name):
    ours = train(TEXTS, vocab_size=300, pretokenizer=name)
    assert 257 <= ours.vocab_size <= 300
    assert ours.pretokenizer is PRETOKENIZERS[name]
    cuts = tokenizers.pre_tokenizers.Sequence(PRETOKENIZERS[name].components()[:-1])
    for text in [*TEXTS, "anything \u0e01\U0001f9ea else\x7f"]:
        ids = ours.encode(text)
        assert ours.decode_bytes(ids) == text.encode()
        assert ours.special_ids.isdisjoint(ids)
        ends, position = {0}, 0
        for token in ids:
            position += len(ours.token_bytes(token))
            ends.add(position)
        assert {len(text[:end].encode()) for _, (_, end) in cuts.pre_tokenize_str(text)} <= ends
    assert ours.encode("<|end|>", allow_special=True) == [0]
    assert not any(b"<|end" in ours.token_bytes(t) for t in range(1, ours.vocab_size))


def test_wordpiece_takes_the_longest_token_first():
    texts = ["ab ab ab bcd bcd bcd abc abc abc abcd"] * 9
    ours = train_wordpiece(texts, vocab_size=275, pretokenizer="whitespace")
    tokens = {ours.token_bytes(token) for token in range(2, ours.vocab_size)}
    longest = max((t for t in tokens if b" abcd".startswith(t)), key=len)
    assert ours.token_bytes(ours.encode(" abcd")[0]) == longest
    again = train_wordpiece(texts, vocab_size=275, pretokenizer="whitespace")
    assert again.digest == ours.digest
    assert ours.encode("x" * (MAX_WORDPIECE_BYTES + 1)) == [ours.unk_id]


def test_wrong_settings_of_other_models():
    with pytest.raises(ConfigError, match=r"at least 257 tokens .*, got 256; ask for more"):
        train_unigram(TEXTS, vocab_size=256, pretokenizer="gpt2")
    with pytest.raises(ConfigError, match=r"at least 258 tokens .*, got 256"):
        train_wordpiece(TEXTS, vocab_size=256, pretokenizer="gpt2")
    with pytest.raises(ConfigError, match="must be several texts, got one str"):
        train_unigram("text", vocab_size=300, pretokenizer="gpt2")
    with pytest.raises(InputError, match="character 1 of a document is half of a surrogate"):
        train_unigram(["a\ud800"], vocab_size=300, pretokenizer="gpt2")

    def documents():
        yield "text"
        raise InputError("the disk is gone")

    with pytest.raises(InputError, match="the disk is gone"):
        train_wordpiece(documents(), vocab_size=300, pretokenizer="gpt2")


def test_sentencepiece_is_imported_only_where_it_is_used():
    code = (
        "import sys, tokkit.tokenizer.formats, tokkit.tokenizer.library\n"
        "print({'sentencepiece', 'tiktoken', 'numba', 'torch'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("train", [train_unigram, train_wordpiece])
def test_a_pretoken_that_the_librarys_trainers_cannot_master_is_refused(train):
    with pytest.raises(InputError, match=r"131,072 bytes .* document 2 has one of 140,000"):
        train(["short", "x " + "a" * 139_999], vocab_size=300, pretokenizer="gpt2")
