"""Small transformers for tests: distinct primes as sizes wherever divisibility allows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

BATCH, TIME, VOCAB, HIDDEN = 2, 7, 23, 17


def tiny_config(**changed: Any) -> ModelConfig:
    settings: dict[str, Any] = {
        "vocab_size": VOCAB,
        "width": 30,
        "layers": 2,
        "query_heads": 3,
        "hidden_width": HIDDEN,
        "context": 13,
    }
    return ModelConfig(**(settings | changed))


def shaken(model: Transformer, seed: int = 5) -> Transformer:
    """Noise on every parameter, so that none is a 0 or 1 that hides a fault."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
    return model.eval()


def tiny_model(*, seed: int = 0, **changed: Any) -> Transformer:
    return shaken(Transformer(tiny_config(**changed), seed=seed))


def some_ids(batch: int = BATCH, time: int = TIME, vocab: int = VOCAB, seed: int = 1) -> Tensor:
    return torch.randint(vocab, (batch, time), generator=torch.Generator().manual_seed(seed))
