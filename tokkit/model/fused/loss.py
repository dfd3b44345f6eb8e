"""Unembedding and cross-entropy in one, without the logits of every position in memory.

A block of rows of logits is made, turned into probabilities and then into its gradients in place,
while it lies in the cache (the idea of Wijmans et al. 2024, "Cut your losses"). The gradients of
softmax cross-entropy need the loss's own gradient as a factor only, so they are formed in the
forward pass, and no product is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokkit.model.fused.products import is_fast, once, times_transposed

LOGIT_BYTES = 4 << 20  # of one block of rows
_LEAST_PROBABILITY = 1e-30  # below, a float32 softmax has lost its digits


def plain_linear_cross_entropy(
    hidden: Tensor, unembedding: Tensor, targets: Tensor, softcap: float = 0.0
) -> Tensor:
    """The twin of `linear_cross_entropy`."""
    logits = functional.linear(hidden, unembedding)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    return functional.cross_entropy(logits, targets)


def linear_cross_entropy(
    hidden: Tensor, unembedding: Tensor, targets: Tensor, softcap: float = 0.0
) -> Tensor:
    """Mean cross-entropy in nats, 0-dim, of the logits hidden unembedding^T.

    hidden (N, D), unembedding (V, D), targets (N,) int64 in 0..V - 1. With softcap c > 0 the
    logits are c tanh(logit / c). Differentiable once in hidden and unembedding. N = 0 gives nan,
    as torch's cross_entropy does; a target outside of the vocabulary raises torch's error.
    """
    if not is_fast(hidden, unembedding) or not len(hidden):
        return plain_linear_cross_entropy(hidden, unembedding, targets, softcap)
    if not (torch.is_grad_enabled() and (hidden.requires_grad or unembedding.requires_grad)):
        return _mean_loss(hidden, unembedding, targets, softcap, None, None)
    loss: Tensor = _LinearCrossEntropy.apply(hidden, unembedding, targets, softcap)  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, unembedding: Tensor, targets: Tensor, softcap: float
    ) -> Tensor:
        of_hidden, of_unembedding = (
            torch.empty_like(side, memory_format=torch.contiguous_format) if wanted else None
            for side, wanted in zip((hidden, unembedding), ctx.needs_input_grad[:2], strict=True)
        )
        loss = _mean_loss(hidden, unembedding, targets, softcap, of_hidden, of_unembedding)
        ctx.save_for_backward(of_hidden, of_unembedding)
        ctx.count = len(hidden)
        return loss

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        scale = gradient / ctx.count
        of_hidden, of_unembedding = (
            side if side is None else side * scale for side in ctx.saved_tensors
        )
        return of_hidden, of_unembedding, None, None


def _mean_loss(
    hidden: Tensor,
    unembedding: Tensor,
    targets: Tensor,
    softcap: float,
    of_hidden: Tensor | None,
    of_unembedding: Tensor | None,
) -> Tensor:
    """The mean loss; fills the gradients of the summed loss where they are wanted."""
    size = max(16, LOGIT_BYTES // (hidden.element_size() * len(unembedding)))
    total = hidden.new_zeros((), dtype=torch.float64)
    for start in range(0, len(hidden), size):
        rows = hidden[start : start + size]
        chosen = targets[start : start + size, None]
        block = times_transposed(rows, unembedding)
        tangents = block.div_(softcap).tanh_().clone() if softcap else None
        if tangents is not None:
            block.mul_(softcap)
        torch.softmax(block, -1, out=block)
        probability = block.gather(1, chosen)
        total += _loss_of(probability, rows, unembedding, chosen, softcap).sum(dtype=torch.float64)
        if of_hidden is None and of_unembedding is None:
            del block
            continue
        block.scatter_(1, chosen, probability - 1)
        if tangents is not None:
            block.addcmul_(block, tangents.square_(), value=-1)
        if of_hidden is not None:
            of_hidden[start : start + size] = times_transposed(block, unembedding.t())
        if of_unembedding is not None:
            of_unembedding.addmm_(block.t(), rows, beta=1 if start else 0)
        del block, tangents  # before the next is made, or their memory is not used again
    return (total / len(hidden)).to(hidden.dtype)


def _loss_of(
    probability: Tensor, rows: Tensor, unembedding: Tensor, chosen: Tensor, softcap: float
) -> Tensor:
    """-log of the probabilities (R, 1); those too small for their type from the logits again."""
    loss = probability.log().neg_()
    small = (probability < _LEAST_PROBABILITY).flatten()
    if small.any():
        logits = functional.linear(rows[small], unembedding)
        if softcap:
            logits = softcap * torch.tanh(logits / softcap)
        loss[small] = logits.logsumexp(-1, keepdim=True) - logits.gather(1, chosen[small])
    return loss
