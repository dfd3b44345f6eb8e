"""Tokens counted from the text, in the blocks of a table."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers

from tokkit.errors import InputError
from tokkit.tokenizer import assemble, counting, text_counts, train
from tokkit.tokenizer.audit import token_counts
from tokkit.tokenizer.counting import count
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.text_counts import count_from_text, follows_from


@pytest.fixture
def corpus(tmp_path):
    rng = random.Random(3)
    words = ["straw", "berry", "how", "many", "é", "的", "12345", "\n", "  "]
    path = tmp_path / "corpus.jsonl"
    with path.open("w") as file:
        for number in range(211):
            text = " ".join(rng.choices(words, k=rng.choice([0, 3, 30, 300, 3000])))
            file.write(json.dumps({"text": text, "lang": "ab"[number % 2]}) + "\n")
    return path


def trained(corpus, pretokenizer):
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    return train(texts, vocab_size=350, pretokenizer=pretokenizer)


def test_what_the_table_gives_too_is_the_same_in_every_block(corpus):
    table = count([corpus], group_field="lang")
    tokenizer = trained(corpus, "gpt2")
    found = count_from_text({"t": tokenizer}, [corpus], table, group_field="lang")["t"]
    assert found.shape == (len(table.blocks), tokenizer.vocab_size)
    assert len(table.blocks) > 100
    expected = token_counts(tokenizer, table).toarray()
    assert found.sum() == expected.sum()
    assert (found.toarray() == expected).all()


def test_blocks_that_counting_adds_up_are_added_up(corpus, monkeypatch):
    monkeypatch.setattr(counting, "SHARD_BYTES", 1 << 15)
    monkeypatch.setattr(text_counts, "_SHARD_BYTES", 1 << 14)
    monkeypatch.setattr(counting, "MAX_BLOCKS_A_GROUP", 8)
    table = count([corpus], group_field="lang")
    assert len(table.blocks) <= 16
    tokenizer = trained(corpus, "cl100k")
    found = count_from_text({"t": tokenizer}, [corpus], table, group_field="lang")["t"]
    assert (found.toarray() == token_counts(tokenizer, table).toarray()).all()


def test_a_library_tokenizer_is_counted_whole(corpus):
    backend = Backend(models.WordLevel({"straw": 0, "berry": 1, "[UNK]": 2}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = LibraryTokenizer.from_json(backend.to_str())
    table = count([corpus])
    assert not follows_from(tokenizer, table)
    found = count_from_text({"t": tokenizer}, [corpus], table)["t"]
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    ids = [token for text in texts for token in tokenizer.encode(text)]
    assert np.asarray(found.sum(axis=0)).ravel().tolist() == np.bincount(ids, minlength=3).tolist()


@pytest.mark.parametrize(
    ("line", "said"),
    [('{"text": "m", "lang": "a"}', "longer"), ('{"text": "m", "lang": "c"}', "no group 'c'")],
)
def test_a_text_that_changed_is_told(corpus, line, said):
    table = count([corpus], group_field="lang")
    tokenizer = assemble([], pretokenizer="none")
    with corpus.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(InputError, match=f"not what the table was counted from: .*{said}"):
        count_from_text({"t": tokenizer}, [corpus], table, group_field="lang")


def test_a_text_that_lost_something_is_told(corpus):
    table = count([corpus])
    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join(lines[:-20]))
    with pytest.raises(InputError, match="it is shorter; count the text again"):
        count_from_text({"t": assemble([], pretokenizer="none")}, [corpus], table)


def test_tokens_that_spell_nothing_of_the_text_are_spread_over_it():
    lay_out = text_counts._lay_out
    assert lay_out(np.array([1, 2, 3]), 6).tolist() == [1, 3, 6]
    assert lay_out(np.array([1, 1]), 10).tolist() == [5, 10]
    assert lay_out(np.array([0, 0]), 4).tolist() == [2, 4]
    assert lay_out(np.array([], np.int64), 4).tolist() == []


@pytest.mark.parametrize(
    ("unit", "pretokenizer", "follows"),
    [
        ("atoms", "gpt2", True),
        ("atoms", "none", False),
        ("gpt2", "gpt2", True),
        ("gpt2", "cl100k", False),
        ("none", "none", True),
    ],
)
def test_which_tokenizers_follow_from_a_table(corpus, unit, pretokenizer, follows):
    tokenizer = assemble([], pretokenizer=pretokenizer)
    assert follows_from(tokenizer, count([corpus], unit)) is follows
