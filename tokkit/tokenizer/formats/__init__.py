"""Tokenizers in and out: tokenizer.json, tiktoken ranks, vocab + merges, SentencePiece."""

from tokkit.tokenizer.formats.exporting import EXPORT_FORMATS, export_tokenizer
from tokkit.tokenizer.formats.loading import load_tokenizer

__all__ = ["EXPORT_FORMATS", "export_tokenizer", "load_tokenizer"]
