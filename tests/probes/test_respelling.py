"""Other letters behind the same ids, other ids behind the same letters, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tokenizer.foreign_files import learned

from tokkit.cli.main import cli, run
from tokkit.errors import ConfigError, InputError
from tokkit.model.checkpoint import save_checkpoint
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.probes.respelling import (
    Respelling,
    cut_otherwise,
    ids_claim,
    letter_table,
    pick_texts,
    respell,
    respelled_tokenizer,
)
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.stochastic import splits_of

TOKENIZER = learned("gpt2", size=60)
CONFIG = ModelConfig(
    vocab_size=TOKENIZER.vocab_size, width=20, layers=2, query_heads=2, context=211
)
TEXTS = [f"How many r's are in strawberry number {n}? The quick brown fox" for n in range(12)]


def test_letters_change_places_and_those_of_contractions_stay():
    table = letter_table()
    assert "it's we'll they've I'm I'd are".translate(table)[2:4] == "'s"
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert sorted(letters.translate(table)) == list(letters), "a permutation"
    assert [a for a in letters if a.translate(table) == a] == list("delmrstv")


@pytest.mark.parametrize("library", [False, True])
def test_other_letters_give_the_same_ids(library):
    tokenizer = LibraryTokenizer.from_json(TOKENIZER.to_json()) if library else TOKENIZER
    other = respelled_tokenizer(tokenizer)
    for text in [*TEXTS, "déjà vu 東京 1234 it's SAID'LL\n\n<|end|>"]:
        respelled = text.translate(letter_table())
        assert respelled != text
        assert other.encode(respelled) == tokenizer.encode(text)
        assert other.decode(tokenizer.encode(text)) == respelled


def test_other_ids_are_the_same_bytes():
    ids = TOKENIZER.encode(" ".join(TEXTS))
    split = cut_otherwise(ids, splits_of(TOKENIZER), np.random.default_rng(0))
    assert len(split) > len(ids)
    assert TOKENIZER.decode_bytes(split) == TOKENIZER.decode_bytes(ids)


def test_a_model_reads_ids():
    found = respell(Transformer(CONFIG, seed=1), TOKENIZER, TEXTS)
    assert all(record.same_ids and record.difference == 0.0 for record in found)
    claim = ids_claim(found)
    assert claim.controls[0].holds
    assert claim.verdict == "supported"


class ReadsLetters(torch.nn.Module):
    """A model whose logits change from one call to the next, as if it saw what ids do not say."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.config, self.calls = Transformer(CONFIG, seed=1), CONFIG, 0
        self.embedding = self.inner.embedding

    def forward(self, ids):
        self.calls += 1
        return self.inner(ids) + 0.01 * self.calls * torch.arange(CONFIG.vocab_size)


def test_a_model_that_saw_letters_would_be_found():
    claim = ids_claim(respell(ReadsLetters(), TOKENIZER, TEXTS))
    assert claim.verdict == "contradicted"


def test_without_effect_of_other_ids_nothing_is_shown():
    deaf = [Respelling("a", "k", 3, 5, True, 0.0, 0.0, False)] * 12
    claim = ids_claim(deaf)
    assert not claim.controls[0].holds
    assert claim.verdict == "inconclusive"


def test_what_is_refused(tmp_path):
    unigram = json.dumps(
        {"model": {"type": "Unigram", "vocab": [["a", 0.0], ["b", -1.0]], "unk_id": 0}}
    )
    with pytest.raises(ConfigError, match="byte-level BPE"):
        respelled_tokenizer(LibraryTokenizer.from_json(unigram))
    with pytest.raises(InputError, match="needs 10 texts with letters, got 1"):
        pick_texts(["12", "words", ""], 50)


def test_the_command(tmp_path, capsys):
    save_checkpoint(tmp_path / "model", Transformer(CONFIG, seed=1), TOKENIZER.to_json(), {})
    text = tmp_path / "text.jsonl"
    text.write_text("\n".join(json.dumps({"text": line}) for line in TEXTS))
    wanted = ["probe", "ids", str(tmp_path / "model"), "--text", str(text), "--count", "11"]
    shown = CliRunner().invoke(cli, [*wanted, "--out", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert "ids-not-words: supported" in shown.stdout
    assert (tmp_path / "out" / "index.html").exists()
    record = json.loads(CliRunner().invoke(cli, [*wanted, "--json"]).stdout)
    assert record["values"]["texts_of_same_ids"] == 11
    assert run(["probe", "ids", str(tmp_path / "nothing")]) == 1
    assert "does not exist" in capsys.readouterr().err
