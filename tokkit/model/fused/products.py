"""When the fast ways of `tokkit.model.fused` hold, and the matrix product that they use."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from tokkit.errors import InputError


def is_fast(*tensors: Tensor | None) -> bool:
    """Whether a function of `tokkit.model.fused` takes its fast way for these tensors."""
    given = [tensor for tensor in tensors if tensor is not None]
    return (
        all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in given)
        and all(type(tensor) in (Tensor, torch.nn.Parameter) for tensor in given)
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
        and not torch.compiler.is_compiling()
    )


def is_trained(*tensors: Tensor | None) -> bool:
    """Whether `is_fast`, and a gradient will be asked for; else plain torch has less to set up."""
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    return wanted and is_fast(*tensors)


def _has_onednn() -> bool:
    """Whether oneDNN's matrix products are there, and likely the faster ones.

    For float32 torch takes MKL's, which leave AVX-512 unused on processors that are not Intel's
    and lose half of their speed where a matrix has rows that do not fill whole vectors.
    """
    return (
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


HAS_ONEDNN = _has_onednn()


def times_transposed(x: Tensor, matrix: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply x (N, I) by matrix (O, I) transposed, of any strides, and add bias: (N, O)."""
    if HAS_ONEDNN and x.dtype == torch.float32 and x.numel() and matrix.numel():
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, matrix, bias, "none", [], None)
        return product
    return functional.linear(x, matrix, bias)


def once(backward: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse to be recorded for a second derivative.

    Torch's own once_differentiable looks at the incoming gradient alone, and would quietly leave
    out what the second derivative has from the saved tensors.
    """

    @wraps(backward)
    def guarded(ctx: Any, *gradients: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise InputError(
                "the fused functions of a float32 model have first derivatives only, and a second "
                "was asked for (create_graph): use the model in float64, or torch.func"
            )
        return backward(ctx, *gradients)

    return guarded
