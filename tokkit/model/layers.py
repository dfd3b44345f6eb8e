"""What every layer is made of: linear maps, norms, and taps to look at what flows by."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from tokkit.model import fused
from tokkit.model.config import ModelConfig


class Tap(nn.Module):
    """A named place where `tokkit.model.trace` may look at what flows by; changes nothing."""

    def forward(self, values: Tensor) -> Tensor:
        """Return `values` as they are."""
        return values

    @property
    def watched(self) -> bool:
        """Whether a trace is looking."""
        return bool(self._forward_hooks)


class Linear(nn.Module):
    """y = x W^T + b with W (out, in); filled by `initialise`, never by the constructor."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return fused.linear(x, self.weight, self.bias)


class Norm(nn.Module):
    """RMSNorm, or LayerNorm with its bias, over the last axis: the stream's width, or `width`."""

    def __init__(self, config: ModelConfig, width: int = 0) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.offset = config.norm_offset
        self.weight = nn.Parameter(torch.empty(width or config.width))
        layernorm = config.norm == "layernorm"
        self.bias = nn.Parameter(torch.empty(width or config.width)) if layernorm else None

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        shape = self.weight.shape
        if self.bias is not None:
            return functional.layer_norm(x, shape, self.weight, self.bias, self.epsilon)
        return fused.rms_norm(x, self.weight, self.epsilon, self.offset)
