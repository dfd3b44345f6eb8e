"""Bits per byte by hand: of a model that knows nothing, and of token frequencies."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_texts import CONTEXT, corpus_file, text_config, tiny_tokenizer

from tokkit.model.transformer import Transformer
from tokkit.training.corpus import EncodedCorpus, encode_corpus, end_token, open_corpus
from tokkit.training.evaluation import evaluate_rows, text_bytes, unigram_bits_per_byte
from tokkit.training.packing import PackedRows
from tokkit.training.text_data import text_data


class Letters:
    """A tokenizer with three letters of 1, 2 and 3 bytes, and an end token."""

    def token_bytes(self, token):
        return ["a", "é", "€", "<|end|>"][token].encode()


def corpus_of(documents, *, end):
    """Ids of documents over a é € (0 1 2), with end token 3 behind each where asked for."""
    sizes = np.array([1, 2, 3])
    stored = [[*document, 3] if end else document for document in documents]
    offsets = np.cumsum([0, *map(len, stored)])
    lengths = np.array([int(sizes[document].sum()) if document else 0 for document in documents])
    ids = np.array([token for document in stored for token in document], dtype=np.uint8)
    return EncodedCorpus(ids, offsets, lengths, 3 if end else None, "")


def know_nothing(vocab_size):
    model = Transformer(text_config(vocab_size=vocab_size).model)
    with torch.no_grad():
        model.unembedding.zero_()
    return model


@pytest.mark.parametrize("batch", [1, 2, 7])
@pytest.mark.parametrize(
    ("end", "tokens", "size"),
    [
        (True, 5, 9),  # é€ aaé: five text tokens of 2 + 3 + 1 + 1 + 2 bytes
        (False, 3, 6),  # the first of each, é and a, is neither predicted nor counted
    ],
)
def test_bits_per_byte_of_even_odds(end, tokens, size, batch):
    """Each of 4 tokens has a quarter, so a token costs 2 bits."""
    corpus = corpus_of([[1, 2], [0, 0, 1], []], end=end)
    everything = np.arange(3)
    assert text_bytes(corpus, everything, Letters()) == size
    rows = PackedRows(corpus.ids, corpus.offsets, everything, 2, corpus.end_id)
    found = evaluate_rows(know_nothing(4), rows, size, batch=batch)
    assert found["loss"] == pytest.approx(math.log(4))
    assert found["bits_per_byte"] == pytest.approx(2 * tokens / size)


def test_evaluation_leaves_the_model_as_it_was():
    model = know_nothing(4).train()
    corpus = corpus_of([[1, 2]], end=True)
    rows = PackedRows(corpus.ids, corpus.offsets, np.arange(1), 2, 3)
    evaluate_rows(model, rows, 5, batch=1)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_the_unigram_baseline_by_hand():
    """Trained on aaé, so 3/7, 2/7, 1/7 and 1/7 of 4 tokens, each one up; asked for é€."""
    asked = np.array([1])
    corpus = corpus_of([[0, 0, 1], [1, 2]], end=True)
    bits = -math.log2(2 / 7) - math.log2(1 / 7)
    assert unigram_bits_per_byte(corpus, asked, 4, 5) == pytest.approx(bits / 5)
    corpus = corpus_of([[0, 0, 1], [1, 2]], end=False)
    assert unigram_bits_per_byte(corpus, asked, 4, 3) == pytest.approx(-math.log2(1 / 7) / 3)


def test_loss_of_packed_rows_is_that_of_documents_alone():
    """What is packed into one row does not change what is predicted in a document."""
    torch.manual_seed(0)
    corpus = corpus_of([[0, 1, 2, 0], [2, 2], [1, 0, 0]], end=True)
    model = Transformer(text_config(vocab_size=4).model)
    total = 0.0
    for document in range(3):
        stored = corpus.ids[corpus.offsets[document] : corpus.offsets[document + 1]].astype(int)
        logits = model(torch.tensor([[3, *stored[:-1]]]))[0]
        chosen = logits.log_softmax(-1)[torch.arange(len(stored)), torch.tensor(stored)]
        total -= float(chosen[:-1].sum().detach())
    rows = PackedRows(corpus.ids, corpus.offsets, np.arange(3), CONTEXT, 3)
    assert len(rows) == 1
    found = evaluate_rows(model, rows, 10, batch=4)
    assert found["bits_per_byte"] == pytest.approx(total / math.log(2) / 10, rel=1e-5)


def test_bytes_are_those_of_the_text(tmp_path):
    """Counted on the file, whatever the tokens; also through a split of real documents."""
    path, tokenizer = corpus_file(tmp_path), tiny_tokenizer()
    texts = [json.loads(line)["text"] for line in path.read_text().splitlines()]
    assert encode_corpus(tokenizer, [path], tmp_path / "corpus", end="<|end|>")
    corpus = open_corpus(tmp_path / "corpus", end_token(tokenizer)[1])
    assert corpus.text_bytes.tolist() == [len(text.encode()) for text in texts]
    data = text_data(corpus, text_config(), tokenizer)
    held_out = data.validation.documents
    assert data.validation_bytes == sum(len(texts[d].encode()) for d in held_out)
    assert set(held_out) | set(data.training.documents) == set(range(len(texts)))
    for document, text in enumerate(texts):
        stored = corpus.ids[corpus.offsets[document] : corpus.offsets[document + 1]]
        assert tokenizer.decode(stored[:-1].tolist()) == text
        assert stored[-1] == corpus.end_id


def test_a_long_text_is_counted_in_parts(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("é and more, " * 60_000)
    other = Path(tmp_path / "other.txt")
    other.write_text("short")
    encode_corpus(tiny_tokenizer(), [path, other], tmp_path / "corpus", end=None)
    found = open_corpus(tmp_path / "corpus", None).text_bytes
    assert found.tolist() == [path.stat().st_size, 5]
