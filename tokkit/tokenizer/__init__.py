"""Byte-level byte-pair encoding: learn it, store it, encode and decode with it, look inside it."""

from tokkit.tokenizer.artifact import TOKENIZER_FILE, Piece, Tokenizer
from tokkit.tokenizer.letters import LETTERS, letter_counts, swapped_letters
from tokkit.tokenizer.opaque import OpaqueIds
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.train import Progress, assemble, merges_of, minimum_vocab_size, train

__all__ = [
    "LETTERS",
    "PRETOKENIZERS",
    "TOKENIZER_FILE",
    "OpaqueIds",
    "Piece",
    "Pretokenizer",
    "Progress",
    "Tokenizer",
    "assemble",
    "letter_counts",
    "merges_of",
    "minimum_vocab_size",
    "swapped_letters",
    "train",
]
