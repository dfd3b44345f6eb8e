"""A tokenizer of whole words, and models whose units answer to categories by construction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

CATEGORIES = {
    name: tuple(f"{name}{letter * (1 + place // 7)}" for place, letter in enumerate("abcdefg" * 2))
    for name in ("ant", "bun", "cap", "dye")
}
PLAIN = tuple(f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(60))
WORDS = ("and", *PLAIN, *(word for words in CATEGORIES.values() for word in words))
WIDTH, HIDDEN = 32, 23
PLANTED = {"ant": (0, 3), "bun": (0, 7), "cap": (1, 11)}  # layer and unit


class WordTokenizer:
    """Each word with a space before it is a token; id 0 is what is no word."""

    digest = "0" * 64

    def __init__(self) -> None:
        self._ids = {word: place for place, word in enumerate(WORDS, start=1)}

    @property
    def vocab_size(self) -> int:
        return len(self._ids) + 1

    def encode(self, text: str) -> list[int]:
        return [self._ids.get(word, 0) for word in text.split()]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def token_bytes(self, token: int) -> bytes:
        return f" {WORDS[token - 1]}".encode() if token else b" ?"

    def token(self, word: str) -> int:
        return self._ids[word]


TOKENIZER = WordTokenizer()


def texts(count: int = 40, length: int = 40, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(WORDS, length)) for _ in range(count)]


def small_model(seed: int = 1, **changed: object) -> Transformer:
    settings = {
        "vocab_size": TOKENIZER.vocab_size, "width": WIDTH, "layers": 2, "query_heads": 2,
        "hidden_width": HIDDEN, "context": 64, **changed,
    }  # fmt: skip
    return Transformer(ModelConfig(**settings), seed=seed).eval()  # type: ignore[arg-type]


def category_tokens(name: str) -> Tensor:
    return torch.tensor([TOKENIZER.token(word) for word in CATEGORIES[name]])


@torch.no_grad()
def planted_model() -> Transformer:
    """Three categories have an axis of the stream; a unit reads it and writes their words."""
    model = small_model()
    for block in model.blocks:
        block.attention.output.weight.zero_()
        block.feedforward.down.weight.mul_(0.1)
    unembedding = model.unembedding
    assert unembedding is not None
    for axis, (name, (layer, unit)) in enumerate(PLANTED.items()):
        model.embedding[:, axis] = 0.0
        model.embedding[category_tokens(name), axis] = 1.0
        feedforward = model.blocks[layer].feedforward
        for part in (feedforward.gate, feedforward.up):
            part.weight[unit] = 0.0
            part.weight[unit, axis] = 1.0
        feedforward.down.weight[:, unit] = 0.0
        # A direction of its own carries from the unit to the words, beside the one that is read.
        out = len(PLANTED) + axis
        feedforward.down.weight[out, unit] = 2.0
        unembedding[:, out] = 0.0
        unembedding[category_tokens(name), out] = 1.0
    return model
