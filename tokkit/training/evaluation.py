"""Bits per byte of held-out text, and what a model that knows no context would need.

Bits per byte = nats of the predicted text tokens / ln 2 / bytes of their text, where

- text tokens are all tokens but the end token, which is predicted and trained but not text, and
  padding, which is neither;
- bytes are those of the documents as they were read, in UTF-8, never of decoded tokens;
- with an end token every text token is predicted, the first from the end token alone; without
  one the first token of each document is not, and its bytes are left out of the divisor too;
- the documents are read as one stream cut into rows of `context` tokens, and what a row's end
  cuts off, of a short document too, sees the one token before it only: the figure is most often
  above the model's own.

The unigram baseline spends -log p(token) on the same tokens, with p from the training documents,
each count one up (Laplace), so that two tokenizers' figures can be compared with their baselines.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tokkit.model.transformer import Transformer
from tokkit.training.corpus import EncodedCorpus
from tokkit.training.objective import IGNORED, in_precision, nats_by_target
from tokkit.training.packing import Numbers, PackedRows
from tokkit.training.processes import ALONE, Processes

_CHUNK_TOKENS = 1 << 22


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """Nats of text tokens as bits for each byte of their text.

    >>> round(bits_per_byte(3 * math.log(2), 2), 6)
    1.5
    """
    return nats / math.log(2) / text_bytes


def text_bytes(corpus: EncodedCorpus, documents: Numbers, tokenizer: Any) -> int:
    """The bytes of the text tokens that are predicted in these documents."""
    total = int(corpus.text_bytes[documents].sum())
    if corpus.end_id is None:
        begun = documents[corpus.offsets[documents + 1] > corpus.offsets[documents]]
        first, counts = np.unique(corpus.ids[corpus.offsets[begun]], return_counts=True)
        total -= sum(
            len(tokenizer.token_bytes(int(token))) * int(n)
            for token, n in zip(first, counts, strict=True)
        )
    return total


def evaluate_rows(
    model: Transformer,
    rows: PackedRows,
    size_bytes: int,
    *,
    batch: int,
    precision: str = "float32",
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Loss (nats a predicted token, end tokens included) and bits per byte of all rows.

    `batch` rows at a time; each process takes its share of them.
    """
    device = model.embedding.device
    was_training = model.training
    model.eval()
    found = np.zeros(3)
    with torch.no_grad(), in_precision(precision, device):
        for start in range(processes.rank * batch, len(rows), processes.count * batch):
            numbers = np.arange(start, min(start + batch, len(rows)), dtype=np.int64)
            part = rows.rows(numbers)
            nats = nats_by_target(model, part.to(device)).cpu().double()
            text = part.targets != IGNORED
            found[:2] += float(nats.sum()), int(text.sum())
            if rows.end_id is not None:
                text &= part.targets != rows.end_id
            found[2] += float(nats[text].sum())
    model.train(was_training)
    told = torch.from_numpy(found)
    if device.type == "cuda" and processes.count > 1:
        told = told.to(device)
    nats_sum, predicted, text_nats = processes.total(told).tolist()
    return {
        "loss": nats_sum / max(1.0, predicted),
        "bits_per_byte": bits_per_byte(text_nats, max(1, size_bytes)),
    }


def unigram_bits_per_byte(
    corpus: EncodedCorpus, held_out: Numbers, vocab_size: int, size_bytes: int
) -> float:
    """Bits per byte of the held-out documents under the token frequencies of the training ones."""
    everywhere = _counts(corpus, vocab_size)
    held = np.zeros(vocab_size, dtype=np.int64)
    for document in held_out:
        tokens = corpus.ids[corpus.offsets[document] : corpus.offsets[document + 1]]
        held += np.bincount(tokens, minlength=vocab_size)
    learned = everywhere - held
    if corpus.end_id is not None:
        learned[corpus.end_id] = held[corpus.end_id] = 0
    else:
        begun = held_out[corpus.offsets[held_out + 1] > corpus.offsets[held_out]]
        held -= np.bincount(corpus.ids[corpus.offsets[begun]], minlength=vocab_size)
    surprise = -np.log((learned + 1) / (learned.sum() + vocab_size))
    return bits_per_byte(float(held @ surprise), max(1, size_bytes))


def _counts(corpus: EncodedCorpus, vocab_size: int) -> NDArray[np.int64]:
    counts = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(corpus.ids), _CHUNK_TOKENS):
        counts += np.bincount(corpus.ids[start : start + _CHUNK_TOKENS], minlength=vocab_size)
    return counts
