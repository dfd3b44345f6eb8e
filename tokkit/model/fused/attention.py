"""Causal attention over whole sequences by blocks of queries, scores kept for the way back.

Torch's kernel for the CPU recomputes the scores on the way back, multiplies small tiles, and
there takes the future's half of them too. Here a block of queries meets only the keys up to its
end, in batched products of MKL's, and its probabilities are kept: B H T^2 / 2 numbers, so that
sequences past `SCORE_BYTES` go to torch's kernel, whose memory grows with T alone.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tokkit.model.fused.products import is_trained, once

QUERY_BLOCK = 64
SCORE_BYTES = 64 << 20  # of the probabilities of one layer


def plain_causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """The twin of `causal_attention`."""
    group = query.shape[1] // key.shape[1]
    if group > 1:
        key, value = (side.repeat_interleave(group, dim=1) for side in (key, value))
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Softmax-weighted means of the values up to each position: (B, H, T, K).

    query (B, H, T, K); key and value (B, G, T, K), one for each group of H / G query heads.
    """
    batch, heads, length, _ = query.shape
    kept = batch * heads * length * (length + QUERY_BLOCK) * 2
    long = length >= 2 * QUERY_BLOCK  # of short texts torch's kernel is as fast
    if not (long and kept <= SCORE_BYTES and is_trained(query, key, value)):
        return plain_causal_attention(query, key, value, scale)
    result: Tensor = _CausalAttention.apply(query, key, value, scale)  # type: ignore[no-untyped-call]
    return result


def _by_head(x: Tensor, heads: int) -> Tensor:
    """(B, G, T, K) -> (B x heads, T, K), contiguous, each of G repeated for its query heads."""
    if (group := heads // x.shape[1]) > 1:
        x = x[:, :, None].expand(-1, -1, group, -1, -1)
    return x.reshape(-1, *x.shape[-2:]).contiguous()


def _blocks(length: int) -> list[tuple[int, int]]:
    """Where blocks of queries begin and end, the last one first."""
    starts = range(0, length, QUERY_BLOCK)
    ends = [*starts[1:], length]
    return list(zip(starts, ends, strict=True))[::-1]


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        heads, length = query.shape[1:3]
        q, k, v = _by_head(query * scale, heads), _by_head(key, heads), _by_head(value, heads)
        result = torch.empty_like(q)
        kept = []
        for start, end in _blocks(length):
            scores = torch.bmm(q[:, start:end], k[:, :end].mT)
            future = scores.new_full((end - start, end - start), -math.inf).triu_(1)
            scores[:, :, start:].add_(future)
            kept.append(torch.softmax(scores, -1, out=scores))
            torch.bmm(scores, v[:, :end], out=result[:, start:end])
        ctx.save_for_backward(q, k, v, *kept)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape)
        return result.view(query.shape)

    @staticmethod
    @once
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        q, k, v, *kept = ctx.saved_tensors
        scale, (whole, grouped) = ctx.scale, ctx.shapes
        above = _by_head(gradient, whole[1])
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for number, (start, end) in enumerate(_blocks(whole[2])):
            pattern, incoming = kept[number], above[:, start:end]
            beta = 1 if number else 0  # the first block reaches every key, and needs no zeros
            of_v[:, :end].baddbmm_(pattern.mT, incoming, beta=beta)
            of_scores = torch.bmm(incoming, v[:, :end].mT)
            torch._softmax_backward_data(
                of_scores, pattern, -1, pattern.dtype, grad_input=of_scores
            )
            part = of_q[:, start:end]
            part.baddbmm_(of_scores, k[:, :end], beta=0, alpha=scale)
            of_k[:, :end].baddbmm_(of_scores.mT, q[:, start:end], beta=beta)  # q bears the scale
        if grouped[1] < whole[1]:
            shape = (whole[0], grouped[1], -1, *whole[2:])
            of_k, of_v = of_k.view(shape).sum(2), of_v.view(shape).sum(2)
        return of_q.view(whole), of_k.view(grouped), of_v.view(grouped), None
