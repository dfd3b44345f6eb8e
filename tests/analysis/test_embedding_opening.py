"""Subjects of an analysis: what is found in a model or a bare file, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tokkit.analysis.embeddings.opening import file_subject, model_subject
from tokkit.errors import ArtifactError, ConfigError
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer, initial_embedding

VOCAB = 23


def tiny_config(**changed):
    settings = {"vocab_size": VOCAB, "width": 30, "layers": 1, "query_heads": 3, "context": 13}
    return ModelConfig(**(settings | changed))


def tiny_model(**changed):
    return Transformer(tiny_config(**changed), seed=8)


class Named:
    """As many tokens as asked for; the last is special, the one before it no token."""

    def __init__(self, ids: int) -> None:
        self.vocab_size = ids

    def kind(self, token: int) -> str:
        return {self.vocab_size - 1: "special", self.vocab_size - 2: "unused"}.get(token, "token")

    def token_bytes(self, token: int) -> bytes:
        return f"t{token}".encode()


def test_the_rows_before_training_are_those_that_the_model_started_from():
    config = tiny_config(tied=False)
    started = Transformer(config, seed=3)
    assert torch.equal(initial_embedding(config, 3), started.embedding)
    subject = model_subject(tiny_model(), Named(VOCAB), about={"seed": 3})
    assert np.array_equal(subject.initial.whole(), started.embedding.detach().numpy())
    assert model_subject(tiny_model(), Named(VOCAB)).initial is None


def test_tokens_kinds_and_rows_without_a_token():
    subject = model_subject(tiny_model(tied=True), Named(VOCAB - 3))
    assert (subject.tied, subject.output) == (True, None)
    assert subject.special == {VOCAB - 4}
    assert subject.tokens[0] == b"t0"
    assert subject.tokens[VOCAB - 5] == b"", "an unused id has no token"
    assert list(subject.tokens[-3:]) == [b"", b"", b""]
    assert len(subject.tokens) == VOCAB
    with pytest.raises(ConfigError, match=f"the tokenizer has {VOCAB + 1} ids, but 'embedding' "
                                          f"only {VOCAB} rows"):  # fmt: skip
        model_subject(tiny_model(), Named(VOCAB + 1))
    with pytest.raises(ConfigError, match=r"counts must be one a row, 23, got an array of \(5,\)"):
        model_subject(tiny_model(), Named(VOCAB), counts=np.zeros(5, dtype=np.int64))


def test_a_bare_file_by_the_name_of_its_tensor(tmp_path):
    rows, other = torch.randn(11, 5), torch.randn(11, 5)
    path = tmp_path / "model.safetensors"
    save_file({"model.embed_tokens.weight": rows, "lm_head.weight": other, "x": torch.randn(5, 11)},
              path)  # fmt: skip
    found = file_subject(path)
    assert (found.rows.name, found.output.name) == ("model.embed_tokens.weight", "lm_head.weight")
    assert np.array_equal(found.rows.whole(), rows.numpy())
    assert np.array_equal(found.output.whole(), other.numpy())
    named = file_subject(path, tensor="x")
    assert (named.rows.shape, named.output, named.tied) == ((5, 11), None, None)
    with pytest.raises(ArtifactError, match="holds no tensor 'y'"):
        file_subject(path, tensor="y")


def test_a_file_that_does_not_tell_its_embedding(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.randn(3, 2), "b": torch.randn(4, 2), "c": torch.randn(7)}, path)
    with pytest.raises(ConfigError, match=r"name one with --tensor; it holds 'a', 'b'"):
        file_subject(path)
    with pytest.raises(ConfigError, match=r"'c' has the shape \[7\]"):
        file_subject(path, tensor="c")
    save_file({"a": torch.randn(3, 2), "c": torch.randn(7)}, path)
    assert file_subject(path).rows.name == "a", "the only matrix"
    save_file({"a": torch.ones(3, 2, dtype=torch.int32)}, path)
    with pytest.raises(ArtifactError, match="is stored as I32"):
        file_subject(path)


def test_a_tokenizer_of_a_bare_file(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file({"a": torch.randn(7, 4)}, path)
    subject = file_subject(path, tokenizer=Named(7))
    assert (subject.tokens[2], subject.special) == (b"t2", {6})
    with pytest.raises(ConfigError, match="8 ids, but 'a' only 7 rows"):
        file_subject(path, tokenizer=Named(8))
