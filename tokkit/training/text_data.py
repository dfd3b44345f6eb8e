"""What a run on text trains and is measured on: its settings, and the corpus cut up by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tokkit.errors import ConfigError
from tokkit.model.config import LARGEST_SIZE, ModelConfig
from tokkit.training.config import TrainingConfig
from tokkit.training.corpus import EncodedCorpus
from tokkit.training.evaluation import text_bytes, unigram_bits_per_byte
from tokkit.training.packing import Numbers, PackedRows, split_documents


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What a run on text is; checked when made (ConfigError)."""

    model: ModelConfig
    training: TrainingConfig
    sequences: int = 16  # of model.context tokens, a step
    accumulate: int = 1  # parts of a step, whose gradients are added up: less memory
    validation_share: float = 0.05  # of the documents
    keep: int = 2  # checkpoints of the last evaluations
    seed: int = 0  # of the parameters, the split and the order

    def __post_init__(self) -> None:
        for name in ("sequences", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sequences > LARGEST_SIZE:  # a step that would never end, nor heed Ctrl-C
            raise ConfigError(f"sequences must be at most {LARGEST_SIZE}, got {self.sequences}")
        if self.keep < 0 or self.seed < 0:
            raise ConfigError(f"keep and seed must not be negative, got {self.keep}, {self.seed}")

    def check_processes(self, count: int) -> None:
        """Each process must have as many sequences as each other, in as many parts."""
        if self.sequences % (self.accumulate * count):
            raise ConfigError(
                f"sequences a step must be a multiple of accumulate x processes, got "
                f"{self.sequences} and {self.accumulate} x {count}"
            )


@dataclass(frozen=True, slots=True)
class TextData:
    """The corpus, cut for training and validation, with what it is measured by."""

    corpus: EncodedCorpus
    training: PackedRows
    validation: PackedRows | None
    validation_bytes: int
    unigram_bits_per_byte: float | None


def text_data(corpus: EncodedCorpus, config: TextConfig, tokenizer: Any) -> TextData:
    """Split and pack the corpus; ConfigError where one of the two parts would be empty."""
    documents = len(corpus.text_bytes)
    held_out = split_documents(documents, config.validation_share, config.seed)
    training = np.setdiff1d(np.arange(documents), held_out, assume_unique=True)

    def rows(chosen: Numbers) -> PackedRows:
        return PackedRows(corpus.ids, corpus.offsets, chosen, config.model.context, corpus.end_id)

    learned, validation = rows(training), rows(held_out) if len(held_out) else None
    for name, chosen in (("train on", training), ("validate on", held_out)):
        if len(chosen) and not _predicted(corpus, chosen):
            raise ConfigError(
                f"the documents to {name} hold no token of text to predict: give more text"
            )
    if validation is None:
        return TextData(corpus, learned, None, 0, None)
    size = text_bytes(corpus, held_out, tokenizer)
    unigram = unigram_bits_per_byte(corpus, held_out, config.model.vocab_size, size)
    return TextData(corpus, learned, validation, size, unigram)


def _predicted(corpus: EncodedCorpus, documents: Numbers) -> int:
    """How many tokens of text are predicted in these documents, in one reading."""
    tokens = corpus.offsets[documents + 1] - corpus.offsets[documents]
    # Stored with each is its end token, which is no text; without one its first has no cause.
    return int(np.maximum(tokens - 1, 0).sum())
