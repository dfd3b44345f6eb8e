"""Counts of tokens: from a table, from ids and from a run; what does not fit is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tokkit.analysis.embeddings.token_counts import token_counts
from tokkit.errors import ArtifactError, ConfigError
from tokkit.tokenizer.bulk import encode_files
from tokkit.tokenizer.counting import count_texts
from tokkit.tokenizer.train import train

TEXTS = ["the red fox saw the bird", "", "a fox and the old stone walls", "é the fox."] * 3


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS, vocab_size=280, pretokenizer="gpt2", special_tokens=("<|end|>",))


@pytest.fixture(scope="module")
def other():
    return train(["quite another text"] * 9, vocab_size=280, pretokenizer="gpt2")


def by_hand(tokenizer, texts, rows):
    """Encode every text and count: the slow, obvious way."""
    found = np.zeros(rows, dtype=np.int64)
    for text in texts:
        for token in tokenizer.encode(text):
            found[token] += 1
    return found


def run_folder(place, ids, offsets, *, validation=(), tokenizer_sha256="0" * 64):
    """What token counts read of the folder of a run, written by hand."""
    corpus = place / "corpus"
    corpus.mkdir(parents=True)
    np.save(corpus / "ids.npy", np.array(ids, dtype=np.uint16))
    np.save(corpus / "ids.offsets.npy", np.array(offsets, dtype=np.int64))
    np.save(corpus / "ids.bytes.npy", np.ones(len(offsets) - 1, dtype=np.int64))
    made = {"corpus_sha256": "1" * 64, "tokenizer_sha256": tokenizer_sha256}
    (corpus / "made.json").write_text(json.dumps(made))
    split = {"documents": len(offsets) - 1, "validation": list(validation)}
    (place / "split.json").write_text(json.dumps(split))
    return place


@pytest.mark.parametrize("unit", ["gpt2", "atoms"])
def test_a_table_gives_what_encoding_every_text_gives(tmp_path, tokenizer, unit):
    path = tmp_path / "counts.npz"
    count_texts(TEXTS, unit).save(path)
    found = token_counts(path, tokenizer, 283)
    assert found.dtype == np.int64
    assert found.tolist() == by_hand(tokenizer, TEXTS, 283).tolist()


def test_ids_of_an_encoding_are_counted_with_their_end_tokens(tmp_path, tokenizer):
    text = tmp_path / "text.jsonl"
    text.write_text("".join(json.dumps({"text": line}) + "\n" for line in TEXTS))
    encode_files(tokenizer, [text], tmp_path / "ids.npy", end="<|end|>")
    wanted = by_hand(tokenizer, TEXTS, 280)
    wanted[tokenizer.token_id("<|end|>")] += len(TEXTS)
    assert token_counts(tmp_path / "ids.npy", tokenizer, 280).tolist() == wanted.tolist()


def test_a_run_counts_no_document_that_was_held_out(tmp_path):
    ids, offsets = [0, 1, 1, 2, 3, 3, 3, 4, 0], [0, 2, 4, 4, 7, 9]
    place = run_folder(tmp_path / "run", ids, offsets, validation=[0, 3])
    # Left are documents 1 (1, 2), 2 (empty) and 4 (4, 0).
    assert token_counts(place, None, 7).tolist() == [1, 1, 1, 0, 1, 0, 0]


def test_a_run_without_documents_to_train_on_counts_nothing(tmp_path):
    place = run_folder(tmp_path / "run", [1, 2], [0, 1, 2], validation=[0, 1])
    assert token_counts(place, None, 3).tolist() == [0, 0, 0]


def test_a_table_of_another_pretokenizer_is_refused(tmp_path, tokenizer):
    path = tmp_path / "counts.npz"
    count_texts(TEXTS, "whitespace").save(path)
    with pytest.raises(ConfigError, match=r"does not fit the tokenizer.*count the text again"):
        token_counts(path, tokenizer, 280)


def test_a_table_needs_the_tokenizer_and_as_many_rows(tmp_path, tokenizer):
    path = tmp_path / "counts.npz"
    count_texts(TEXTS, "gpt2").save(path)
    with pytest.raises(ConfigError, match="which is not known: give it with --tokenizer"):
        token_counts(path, None, 280)
    with pytest.raises(ConfigError, match="has 280 ids, but the embedding 279 rows"):
        token_counts(path, tokenizer, 279)


def test_ids_outside_of_the_vocabulary_are_refused(tmp_path):
    for ids, wrong in (([0, 5, 7], 7), ([0, -2, 3], -2)):
        np.save(tmp_path / "ids.npy", np.array(ids, dtype=np.int64))
        with pytest.raises(ArtifactError, match=rf"must lie in 0\.\.6, .* got {wrong}: .*another"):
            token_counts(tmp_path / "ids.npy", None, 7)


def test_ids_of_another_tokenizer_are_refused(tmp_path, tokenizer, other):
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": TEXTS[0]}) + "\n")
    encode_files(other, [text], tmp_path / "ids.npy")
    with pytest.raises(ConfigError, match=r"made by another tokenizer \("):
        token_counts(tmp_path / "ids.npy", tokenizer, 280)
    place = run_folder(tmp_path / "run", [0], [0, 1])
    with pytest.raises(ConfigError, match=r"made by another tokenizer \(000000000000"):
        token_counts(place, tokenizer, 280)


def test_files_that_are_cut_are_refused(tmp_path, tokenizer):
    np.save(tmp_path / "ids.npy", np.arange(1000, dtype=np.int64))
    whole = (tmp_path / "ids.npy").read_bytes()
    (tmp_path / "ids.npy").write_bytes(whole[:-100])
    with pytest.raises(ArtifactError, match="cannot read ids"):
        token_counts(tmp_path / "ids.npy", None, 1000)
    count_texts(TEXTS, "gpt2").save(tmp_path / "counts.npz")
    whole = (tmp_path / "counts.npz").read_bytes()
    (tmp_path / "counts.npz").write_bytes(whole[:-100])
    with pytest.raises(ArtifactError, match="not a whole table of pretokens"):
        token_counts(tmp_path / "counts.npz", tokenizer, 280)


def test_a_table_of_numbers_is_no_list_of_ids(tmp_path):
    np.save(tmp_path / "ids.npy", np.zeros((2, 3)))
    with pytest.raises(ArtifactError, match="one-dimensional array of integers"):
        token_counts(tmp_path / "ids.npy", None, 7)


def test_a_source_that_is_none_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="do not exist: check the path"):
        token_counts(tmp_path / "none.npz", None, 7)
    (tmp_path / "counts.txt").write_text("1 2\n")
    with pytest.raises(
        ConfigError, match=r"from a table .* from ids .* or from the folder of a run"
    ):
        token_counts(tmp_path / "counts.txt", None, 7)
    with pytest.raises(ArtifactError, match="holds no encoded corpus"):
        token_counts(tmp_path, None, 7)


@pytest.mark.parametrize("split", [[], {"documents": 2, "validation": "all"},
                                   {"documents": 2, "validation": [True]}])  # fmt: skip
def test_a_split_that_is_none_is_refused(tmp_path, split):
    place = run_folder(tmp_path / "run", [0, 1], [0, 1, 2])
    (place / "split.json").write_text(json.dumps(split))
    with pytest.raises(ArtifactError, match="lists no documents for validation"):
        token_counts(place, None, 7)


@pytest.mark.parametrize("split", [{"documents": 3, "validation": []},
                                   {"documents": 2, "validation": [2]}])  # fmt: skip
def test_a_split_of_another_corpus_is_refused(tmp_path, split):
    place = run_folder(tmp_path / "run", [0, 1], [0, 1, 2])
    (place / "split.json").write_text(json.dumps(split))
    with pytest.raises(ArtifactError, match="is of a corpus of"):
        token_counts(place, None, 7)


def test_offsets_that_fall_are_refused(tmp_path):
    place = run_folder(tmp_path / "run", [0, 1, 2], [0, 2, 1, 3])
    with pytest.raises(ArtifactError, match="do not rise from 0"):
        token_counts(place, None, 7)
