"""Small trainings: a memory task on few ids, each batch made from its step number alone."""

from __future__ import annotations

from typing import Any

import torch

from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer
from tokkit.training.loop import Batch, TrainingConfig

VOCAB, FEATURES = 13, 3


def tiny_model(*, seed: int = 0, **changed: Any) -> Transformer:
    settings: dict[str, Any] = {
        "vocab_size": VOCAB,
        "width": 20,
        "layers": 2,
        "query_heads": 2,
        "hidden_width": 17,
        "context": 11,
    }
    config = ModelConfig(**(settings | changed))
    features = (torch.arange(VOCAB * FEATURES).view(VOCAB, FEATURES) % 5).float()
    return Transformer(
        config, seed=seed, token_features=features if config.token_features else None
    )


def training_config(**changed: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "steps": 29,
        "learning_rate": 0.01,
        "warmup_steps": 5,
        "log_every": 3,
        "evaluate_every": 7,
    }
    return TrainingConfig(**(settings | changed))


def batch_at(step: int) -> Batch:
    """Five rows of seven ids; at the end the first id is wanted, in between the one before."""
    generator = torch.Generator().manual_seed(1000 + step)
    ids = torch.randint(VOCAB, (5, 7), generator=generator)
    rows = torch.arange(5).repeat(2)
    positions = torch.tensor([6] * 5 + [3] * 5)
    return Batch(ids, rows, positions, torch.cat([ids[:, 0], ids[:, 2]]))


@torch.no_grad()
def evaluate(model: Transformer) -> dict[str, float]:
    batch = batch_at(-1)
    logits = model(batch.ids, at=(batch.rows, batch.positions))
    return {"accuracy": float((logits.argmax(-1) == batch.targets).float().mean())}
