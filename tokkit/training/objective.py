"""What is minimised: the cross-entropy of next tokens, in nats, at the places that a batch names.

Shapes: B batch, T time (tokens), N places, V vocabulary.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.model.fused import is_fast, linear_cross_entropy
from tokkit.model.transformer import Transformer

IGNORED = -100
"""The target of a place where nothing is predicted."""


@dataclass(frozen=True, slots=True)
class Batch:
    """ids (B, T) int64, and what is to be predicted where.

    With `rows` and `positions` (N,), `targets` (N,) are predicted there. Without them `targets` is
    (B, T), IGNORED where nothing is predicted. `documents` (B, T) numbers what is packed in a row.
    `share` is the part of the step's targets that this batch has, where a step has several.
    """

    ids: Tensor
    rows: Tensor | None
    positions: Tensor | None
    targets: Tensor
    documents: Tensor | None = None
    share: float = 1.0

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        if self.ids.device == device:
            return self
        rows, positions, documents = (
            None if tensor is None else tensor.to(device)
            for tensor in (self.rows, self.positions, self.documents)
        )
        ids, targets = self.ids.to(device), self.targets.to(device)
        return Batch(ids, rows, positions, targets, documents, self.share)


def next_token_loss(model: Transformer, batch: Batch) -> Tensor:
    """The mean cross-entropy over the targets of a batch, in nats: 0-dim; 0 without a target."""
    if batch.rows is not None and batch.positions is not None:
        hidden = model.hidden(batch.ids, at=(batch.rows, batch.positions))
        return _fused_loss(model, hidden, batch.targets)
    if is_fast(model.embedding):
        hidden = model.hidden(batch.ids, documents=batch.documents).flatten(0, 1)
        targets = batch.targets.flatten()
        if not bool((kept := targets != IGNORED).all()):
            hidden, targets = hidden[kept], targets[kept]
        if not len(targets):
            return model.unembed(hidden).sum()  # 0, and every parameter has its gradient
        return _fused_loss(model, hidden, targets)
    nats = _nats(model, batch)
    return nats.sum() / (batch.targets != IGNORED).sum().clamp(min=1)


def _fused_loss(model: Transformer, hidden: Tensor, targets: Tensor) -> Tensor:
    softcap = model.config.logit_softcap
    return linear_cross_entropy(hidden, model.unembedding_matrix, targets, softcap)


@torch.no_grad()
def nats_by_target(model: Transformer, batch: Batch) -> Tensor:
    """The cross-entropy of each target of a dense batch in nats, (B, T); 0 where IGNORED."""
    return _nats(model, batch).view_as(batch.targets)


def _nats(model: Transformer, batch: Batch) -> Tensor:
    """The cross-entropy of every place, (B x T,), 0 where nothing is predicted."""
    logits = model(batch.ids, documents=batch.documents)
    flat, targets = logits.flatten(0, 1).float(), batch.targets.flatten()
    return functional.cross_entropy(flat, targets, ignore_index=IGNORED, reduction="none")


class Objective(nn.Module):
    """A model with its loss: what is compiled, or trained by several processes, is one module."""

    def __init__(self, model: Transformer, precision: str) -> None:
        super().__init__()
        self.model = model
        self.precision = precision

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The loss of the text, and what is to be minimised: with a mixture's balance in it."""
        config = self.model.config
        with in_precision(self.precision, batch.ids.device):
            loss = next_token_loss(self.model, batch)
        aim = loss
        if config.experts and config.balance_weight:
            aim = loss + config.balance_weight * self.model.balance_loss()
        return loss, aim


def in_precision(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Where products are computed in bfloat16 if `precision` is bf16 (automatic mixed precision).

    bfloat16 has float32's range, so that gradients need no scaling (Micikevicius et al. 2018 is
    about float16, which does).
    """
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)
