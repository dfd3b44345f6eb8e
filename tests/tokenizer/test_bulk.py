"""Files encoded to arrays: the same ids for any threads and shards, whole or not there at all."""

import errno
import json
import os
from itertools import pairwise

import numpy as np
import pytest

from tokkit.corpus.document import CorpusDigest
from tokkit.corpus.readers import read_documents
from tokkit.errors import ArtifactError, ConfigError, InputError, OutputError
from tokkit.tokenizer import Pretokenizer, assemble, train
from tokkit.tokenizer import bulk as module
from tokkit.tokenizer.array_file import ArrayFile
from tokkit.tokenizer.bulk import decode_file, encode_files
from tokkit.tokenizer.encoded_files import encoded_paths, id_dtype, read_ids

DOCUMENTS = [
    "How many r's are in strawberry? <|end|> how many " * 3,
    "",
    "def f(x):\n\treturn {'a': [x, 12345]}\r\n\r\n" * 7,
    "déjà vu 東京 😀\x00 naïve" * 11,
    "",
]
LONG = "".join(f"word{number} and  {number % 7}\n\n" for number in range(4000))


@pytest.fixture(scope="module")
def tokenizer():
    return train(
        [*DOCUMENTS, LONG], vocab_size=400, pretokenizer="gpt2", added_tokens=["how many "]
    )


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in DOCUMENTS))
    (folder / "b.txt").write_bytes(LONG.encode())
    return [folder / "a.jsonl", folder / "b.txt"]


def documents_of(out):
    ids = np.load(out, mmap_mode="r")
    offsets = np.load(encoded_paths(out).offsets)
    assert (offsets.dtype, offsets[0], offsets[-1]) == (np.int64, 0, len(ids))
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def test_ids_offsets_and_record(tokenizer, corpus, tmp_path):
    out = tmp_path / "new" / "ids.npy"
    seen = []
    record = encode_files(tokenizer, corpus, out, jobs=2, progress=seen.append)
    texts = [*DOCUMENTS, LONG]
    assert documents_of(out) == tokenizer.encode_batch(texts)
    assert isinstance(np.load(out, mmap_mode="r"), np.memmap)
    assert sorted(path.name for path in out.parent.iterdir()) == [
        *("ids.json", "ids.npy", "ids.offsets.npy")
    ]
    assert json.loads((out.parent / "ids.json").read_text()) == record
    digest = CorpusDigest()
    for document in read_documents(corpus):
        digest.add(document)
    assert record["corpus_sha256"] == digest.hexdigest()
    assert record["tokenizer_sha256"] == tokenizer.digest
    assert (record["documents"], record["bytes"]) == (6, sum(len(t.encode()) for t in texts))
    assert (record["engine"], record["dtype"]) == ("compiled", "uint16")
    assert record["tokens"] == len(np.load(out)) == seen[-1].tokens
    assert seen[-1].bytes == record["bytes"]
    assert record["merges_drawn"] is None
    assert record["splits_made"] is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"end": "<|end|>", "allow_special": True},
        {"dropout": 0.3, "seed": 5},
        {"stochastok": 0.4, "seed": 5, "end": "<|end|>"},
        {"dropout": 0.2, "stochastok": 0.2, "seed": 1},
    ],
)
def test_threads_and_shards_cannot_be_seen(tokenizer, corpus, tmp_path, options):
    files = set()
    for number, how in enumerate(
        [{"jobs": 1}, {"jobs": 3, "shard_bytes": 500}, {"jobs": 2, "shard_bytes": 20_000}]
    ):
        out = tmp_path / f"ids{number}.npy"
        encode_files(tokenizer, corpus, out, **options, **how)
        files.add((out.read_bytes(), encoded_paths(out).offsets.read_bytes()))
    assert len(files) == 1


@pytest.mark.parametrize("dropout", [0, 0.3])
def test_how_a_long_document_is_cut_cannot_be_seen(tokenizer, tmp_path, monkeypatch, dropout):
    path = tmp_path / "long.txt"
    path.write_text(LONG * 3)
    whole, cut = tmp_path / "whole.npy", tmp_path / "cut.npy"
    encode_files(tokenizer, [path], whole, dropout=dropout)
    reader = module.ShardReader
    pieces = []

    class Cutting:
        def __init__(self, *arguments, **options):
            self._inner = reader(*arguments, **options, part_bytes=1000)

        def __iter__(self):
            for shard in self._inner:
                pieces.append(len(shard.starts) - 1)
                yield shard

        def __getattr__(self, name):
            return getattr(self._inner, name)

    monkeypatch.setattr(module, "ShardReader", Cutting)
    encode_files(tokenizer, [path], cut, dropout=dropout, shard_bytes=3000)
    assert sum(pieces) > 50
    assert cut.read_bytes() == whole.read_bytes()


def test_end_tokens_stand_after_each_document(tokenizer, corpus, tmp_path):
    plain, ended = tmp_path / "plain.npy", tmp_path / "ended.npy"
    encode_files(tokenizer, corpus, plain)
    encode_files(tokenizer, corpus, ended, end="<|end|>", shard_bytes=300)
    assert documents_of(ended) == [[*document, 0] for document in documents_of(plain)]
    # An added token that is not special can end documents too.
    encode_files(tokenizer, corpus, ended, end="how many ")
    assert {document[-1] for document in documents_of(ended)} == {1}


def test_special_tokens_in_the_text(tokenizer, corpus, tmp_path):
    out = tmp_path / "ids.npy"
    encode_files(tokenizer, corpus, out)
    assert 0 not in np.load(out)
    encode_files(tokenizer, corpus, out, allow_special=True)
    assert np.count_nonzero(np.load(out) == 0) == 3


@pytest.mark.parametrize("options", [{"dropout": 0.4}, {"stochastok": 0.4}])
def test_random_encodings_decode_to_the_same_bytes(tokenizer, corpus, tmp_path, options):
    out, back = tmp_path / "ids.npy", tmp_path / "back.txt"
    record = encode_files(tokenizer, corpus, out, seed=8, **options)
    assert decode_file(tokenizer, out, back) == record["bytes"]
    assert back.read_bytes() == ("".join(DOCUMENTS) + LONG).encode()
    plain = tmp_path / "plain.npy"
    assert encode_files(tokenizer, corpus, plain)["tokens"] < record["tokens"]
    if "dropout" in options:
        assert 0.35 < record["merges_left_out"] / record["merges_drawn"] < 0.45
    else:
        assert 0 < record["splits_made"] <= record["splits_tried"]
        assert record["tokens"] == len(np.load(plain)) + record["splits_made"]


def test_decoding_one_document(tokenizer, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_DECODED_TOKENS", 100)
    out, back = tmp_path / "ids.npy", tmp_path / "back.txt"
    encode_files(tokenizer, corpus, out)
    for number, text in enumerate([*DOCUMENTS, LONG]):
        decode_file(tokenizer, out, back, document=number)
        assert back.read_bytes() == text.encode()
    for number in (6, -1):
        with pytest.raises(ConfigError, match=f"counted from 0 to 5, got {number}; choose"):
            decode_file(tokenizer, out, back, document=number)


def test_no_document_at_all(tokenizer, tmp_path):
    path, out = tmp_path / "empty.jsonl", tmp_path / "ids.npy"
    path.write_text('{"text": ""}\n')
    encode_files(tokenizer, [path], out, end="<|end|>", stochastok=0.5)
    assert documents_of(out) == [[0]]
    encode_files(tokenizer, [path], out)
    assert documents_of(out) == [[]]


def test_the_smallest_type_that_holds_the_vocabulary(tmp_path):
    path, out = tmp_path / "a.txt", tmp_path / "ids.npy"
    path.write_bytes("a\u00ff".encode())
    for size, name in ((256, "u1"), (257, "u2"), (2**16, "u2"), (2**16 + 1, "u4")):
        assert id_dtype(size) == np.dtype(name)
    for specials, name in ((0, "uint8"), (1, "uint16")):
        tokenizer = assemble(
            [], pretokenizer="gpt2", special_tokens=[f"<|{number}|>" for number in range(specials)]
        )
        assert encode_files(tokenizer, [path], out)["dtype"] == name
        assert np.load(out).dtype == name
        assert documents_of(out) == [tokenizer.encode("a\u00ff")]


def test_a_text_without_cuts_is_read_in_pieces_where_no_merge_can_reach(tmp_path):
    tokenizer = train([LONG], vocab_size=400, pretokenizer="none")
    path, out = tmp_path / "a.txt", tmp_path / "ids.npy"
    path.write_text(LONG * 10)
    encode_files(tokenizer, [path], out)
    assert documents_of(out) == [tokenizer.encode(LONG * 10)]


def test_a_pattern_of_ones_own_goes_through_the_library(corpus, tmp_path):
    tokenizer = assemble([(b"a", b"b")], pretokenizer=Pretokenizer("mine", r"[a-z]+|[^a-z]"))
    out = tmp_path / "ids.npy"
    record = encode_files(tokenizer, corpus, out, jobs=2)
    assert record["engine"] == "library"
    assert documents_of(out) == tokenizer.encode_batch([*DOCUMENTS, LONG])


def test_faults_in_the_text_are_replaced_or_skipped(tokenizer, tmp_path):
    path, out = tmp_path / "a.txt", tmp_path / "ids.npy"
    path.write_bytes(b"abc\xffdef")
    with pytest.raises(InputError, match="not UTF-8"):
        encode_files(tokenizer, [path], out)
    assert os.listdir(tmp_path) == ["a.txt"]
    record = encode_files(tokenizer, [path], out, errors="replace")
    assert record["faults_replaced"] == 1
    assert documents_of(out) == [tokenizer.encode("abc\ufffddef")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"out": "ids.bin"}, r"a name that ends in \.npy, got .*; give for example ids\.npy"),
        ({"end": "<|edn|>"}, r"unknown added token '<\|edn\|>': did you mean '<\|end\|>'\?"),
        ({"dropout": 2}, "dropout is a probability from 0 to 1, got 2"),
        ({"stochastok": -1}, "stochastok is a proportion of the tokens from 0 to 100, got -1"),
        ({"errors": "ignore"}, "ignore"),
        ({"jobs": 0}, "jobs must be 1 or more, not 0"),
    ],
)
def test_wrong_settings_write_nothing(tokenizer, corpus, tmp_path, options, said):
    options = {"out": "ids.npy"} | options
    out = tmp_path / options.pop("out")
    with pytest.raises(ConfigError, match=said):
        encode_files(tokenizer, corpus, out, **options)
    assert os.listdir(tmp_path) == ["in"]


def test_a_record_never_takes_the_place_of_another_file(tokenizer, corpus, tmp_path):
    path = tmp_path / "tokenizer.json"
    tokenizer.save(path)
    with pytest.raises(OutputError, match=r"tokenizer\.json: it stands there and is no record of"):
        encode_files(tokenizer, corpus, tmp_path / "tokenizer.npy")
    assert path.read_text() == tokenizer.to_json()


def test_a_full_disk_leaves_what_was_there(tokenizer, corpus, tmp_path, monkeypatch):
    out = tmp_path / "ids.npy"
    encode_files(tokenizer, corpus, out)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("append", "finish"):
        with monkeypatch.context() as patch:
            patch.setattr(ArrayFile, place, full)
            with pytest.raises(OutputError, match="no space left on device"):
                encode_files(tokenizer, corpus, out, end="<|end|>")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="no space left on device"):
            encode_files(tokenizer, corpus, out, end="<|end|>")
    now = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert now == before


def test_an_interruption_leaves_nothing(tokenizer, corpus, tmp_path):
    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_files(
            *(tokenizer, corpus, tmp_path / "ids.npy"), jobs=2, shard_bytes=500, progress=interrupt
        )
    assert os.listdir(tmp_path) == ["in"]


def test_an_array_file_is_what_numpy_would_write(tmp_path):
    ours, theirs = tmp_path / "ours.npy", tmp_path / "theirs.npy"
    for length in (0, 7, 100_003):
        values = np.arange(length, dtype=np.uint16)
        with ArrayFile(ours, np.dtype("u2")) as file:
            for start in range(0, length, 1000):
                file.append(values[start : start + 1000].astype(np.int64))
            file.finish()
        np.save(theirs, values)
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (None, "cannot read ids from"),
        (np.zeros((2, 2), np.int64), "one-dimensional array of integers"),
        (np.zeros(3), "one-dimensional array of integers"),
        (np.array([None]), "cannot read ids from"),
    ],
)
def test_files_that_hold_no_ids(tmp_path, values, said):
    path = tmp_path / "ids.npy"
    if values is not None:
        np.save(path, values)
    with pytest.raises(ArtifactError, match=said):
        read_ids(path)


def test_ids_of_another_tokenizer_are_told(tokenizer, tmp_path):
    path, out = tmp_path / "ids.npy", tmp_path / "back.txt"
    np.save(path, np.array([65, 5000], np.uint16))
    with pytest.raises(InputError, match="unknown token id 5000"):
        decode_file(tokenizer, path, out)
    assert not out.exists()
