"""Linear maps, norms, activations and rotation, in as few passes over memory as they need.

Sources: Zhang and Sennrich 2019 (RMSNorm), Hendrycks and Gimpel 2016 (GELU),
Su et al. 2021 (rotation); the derivatives are worked out here.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokkit.model.fused.products import HAS_ONEDNN, is_fast, is_trained, once, times_transposed
from tokkit.model.positions import rotate as plain_rotate

_GELU_LINEAR = 2 * math.sqrt(2 / math.pi)  # gelu(x) = x sigmoid(linear x + cubic x^3)
_GELU_CUBIC = _GELU_LINEAR * 0.044715
# Below both, setting up takes longer than multiplying faster saves.
_LEAST_PRODUCTS, _LEAST_WEIGHTS = 1 << 24, 1 << 19


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        rows = x.reshape(-1, x.shape[-1])
        return times_transposed(rows, weight, bias).view(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        rows = gradient.reshape(-1, gradient.shape[-1]).contiguous()
        of_x = times_transposed(rows, weight.t()).view(x.shape) if wanted[0] else None
        of_weight = rows.t() @ x.reshape(-1, x.shape[-1]) if wanted[1] else None
        return of_x, of_weight, rows.sum(0) if wanted[2] else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply x (..., I) by weight (O, I) transposed, and add bias (O,): (..., O)."""
    if HAS_ONEDNN and x.numel() * weight.shape[0] >= _LEAST_PRODUCTS and is_fast(x, weight, bias):
        result: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return result
    return functional.linear(x, weight, bias)


def plain_rms_norm(x: Tensor, weight: Tensor, epsilon: float, offset: bool = False) -> Tensor:
    """The twin of `rms_norm`."""
    return functional.rms_norm(x, weight.shape, 1 + weight if offset else weight, epsilon)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        size = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        inverse = size.square_().div_(rows.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(rows, weight, inverse)
        return rows.mul(inverse).mul_(weight).view(x.shape)

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        # LayerNorm's kernel, told that the mean is 0, gives the gradient but for the term that
        # passes through the mean; that term is put back.
        rows, weight, inverse = ctx.saved_tensors
        of_y = gradient.reshape(rows.shape).contiguous()
        of_x, of_weight, _ = torch.ops.aten.native_layer_norm_backward(
            of_y,
            rows,
            [rows.shape[-1]],
            torch.zeros_like(inverse),
            inverse,
            weight,
            weight,
            [True, True, False],
        )
        mean = (of_y @ weight).unsqueeze_(-1).mul_(inverse).div_(rows.shape[-1])
        return of_x.add_(mean).view(gradient.shape), of_weight, None


def rms_norm(x: Tensor, weight: Tensor, epsilon: float, offset: bool = False) -> Tensor:
    """Divide x (..., D) by the root of its mean square plus epsilon; times [1 +] weight (D,)."""
    if is_trained(x, weight) and x.numel():
        result: Tensor = _RMSNorm.apply(x, 1 + weight if offset else weight, epsilon)  # type: ignore[no-untyped-call]
        return result
    return plain_rms_norm(x, weight, epsilon, offset)


def plain_gelu(x: Tensor) -> Tensor:
    """The twin of `gelu`."""
    return functional.gelu(x, approximate="tanh")


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        share = x.square().mul_(_GELU_CUBIC).add_(_GELU_LINEAR).mul_(x).sigmoid_()
        ctx.save_for_backward(x, share)
        return x * share

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, share = ctx.saved_tensors
        slope = x.square().mul_(3 * _GELU_CUBIC).add_(_GELU_LINEAR).mul_(x)
        slope.addcmul_(slope, share, value=-1).add_(1)  # 1 + x (1 - share) times the inner slope
        result: Tensor = slope.mul_(share).mul_(gradient)
        return result


def gelu(x: Tensor) -> Tensor:
    """GELU by its tanh formula, of any shape: x/2 (1 + tanh z) is x sigmoid(2z), a cheaper exp."""
    if is_trained(x):
        result: Tensor = _Gelu.apply(x)  # type: ignore[no-untyped-call]
        return result
    return plain_gelu(x)


def _turned(x: Tensor, cosines: Tensor, sines: Tensor, result: Tensor, way: int) -> Tensor:
    half = cosines.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    left, right = result[..., :half], result[..., half : 2 * half]
    torch.mul(first, cosines, out=left).addcmul_(second, sines, value=-way)
    torch.mul(second, cosines, out=right).addcmul_(first, sines, value=way)
    if 2 * half < x.shape[-1]:
        result[..., 2 * half :] = x[..., 2 * half :]
    return result


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        ctx.save_for_backward(cosines, sines)
        ctx.layout = torch.empty_like(x, device="meta")
        # Contiguous, whatever the strides of x: attention multiplies head by head.
        return _turned(x, cosines, sines, x.new_empty(x.shape), 1)

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cosines, sines = ctx.saved_tensors
        result = torch.empty_like(ctx.layout, device=gradient.device)
        return _turned(gradient, cosines, sines, result, -1), None, None


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turn each pair (i, i + R/2) of the first R numbers of the last axis of x (..., K).

    Cosines and sines (..., R/2) broadcast against x and get no gradient; R = K when whole heads
    turn.
    """
    if is_trained(x, cosines, sines) and not (cosines.requires_grad or sines.requires_grad):
        result: Tensor = _Rotate.apply(x, cosines, sines)  # type: ignore[no-untyped-call]
        return result
    return plain_rotate(x, cosines, sines)
