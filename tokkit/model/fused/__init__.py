"""The parts of a training step that plain torch does in more passes than they need.

Each function stands beside a plain twin (`plain_*`): its oracle in the tests, and what is computed
wherever the fast way does not hold: other types than float32, other devices than the CPU, autocast,
torch.func, forward-mode derivatives, torch.compile, and where no gradient is asked for. A second
derivative through the fast way raises InputError. All are deterministic: the same bits for as many
threads.
"""

from __future__ import annotations

from tokkit.model.fused.attention import causal_attention, plain_causal_attention
from tokkit.model.fused.layers import (
    gelu,
    linear,
    plain_gelu,
    plain_rms_norm,
    rms_norm,
    rotate,
)
from tokkit.model.fused.loss import linear_cross_entropy, plain_linear_cross_entropy
from tokkit.model.fused.products import is_fast
from tokkit.model.positions import rotate as plain_rotate

__all__ = [
    "causal_attention",
    "gelu",
    "is_fast",
    "linear",
    "linear_cross_entropy",
    "plain_causal_attention",
    "plain_gelu",
    "plain_linear_cross_entropy",
    "plain_rms_norm",
    "plain_rotate",
    "rms_norm",
    "rotate",
]
