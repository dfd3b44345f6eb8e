"""The number types of GGUF files, and how their blocks become float32.

A quantised row is cut into blocks of 32 or 256 numbers; each has a scale, and small whole numbers
in the bits of its bytes. What the bytes mean is told by the structures of ggml
(github.com/ggml-org/ggml, src/ggml-common.h); numbers come out bit for bit as its reference does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[Any]  # (n,) of the type's structure
Floats = NDArray[np.float32]  # (n, numbers in a block), to be filled


@dataclass(frozen=True, slots=True)
class BlockType:
    """A type: its name, how many numbers a block has, the block's structure, and its decoding."""

    name: str
    block_size: int
    structure: np.dtype[Any]
    decode: Callable[[Blocks, Floats], None]

    @property
    def block_bytes(self) -> int:
        """How many bytes a block takes."""
        return self.structure.itemsize


def _plain(blocks: Blocks, out: Floats) -> None:
    out[:, 0] = blocks


def _bf16(blocks: Blocks, out: Floats) -> None:
    np.left_shift(blocks, 16, out=out.view(np.uint32)[:, 0], dtype=np.uint32)


def _q4_0(blocks: Blocks, out: Floats) -> None:
    whole = _nibbles(blocks["packed"]).reshape(-1, 32).view(np.int8) - np.int8(8)
    np.multiply(whole, blocks["scale"].astype(np.float32)[:, None], out=out)


def _q4_1(blocks: Blocks, out: Floats) -> None:
    scale, least = (blocks[name].astype(np.float32)[:, None] for name in ("scale", "least"))
    np.multiply(_nibbles(blocks["packed"]).reshape(-1, 32), scale, out=out)
    out += least


def _q8_0(blocks: Blocks, out: Floats) -> None:
    np.multiply(blocks["whole"], blocks["scale"].astype(np.float32)[:, None], out=out)


def _q4_k(blocks: Blocks, out: Floats) -> None:
    """Eight parts of 32 numbers, each with a scale and a least of 6 bits: four in low nibbles."""
    scales, leasts = _six_bits(blocks["parts"])  # n 8
    scale = blocks["scale"].astype(np.float32)[:, None] * scales.astype(np.float32)
    least = blocks["least"].astype(np.float32)[:, None] * leasts.astype(np.float32)
    parts = out.reshape(-1, 4, 2, 32)
    np.multiply(_nibbles(blocks["packed"]), scale.reshape(-1, 4, 2, 1), out=parts)
    parts -= least.reshape(-1, 4, 2, 1)


def _six_bits(packed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Eight scales and eight leasts, (n, 8) each, from (n, 12) bytes.

    The first four of each have a byte's low six bits; the others have their low four in a nibble
    of the last four bytes, and their high two at the top of the bytes of the first.
    """
    scales, leasts, shared = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    later_scales = (shared & 0x0F) | ((scales >> 2) & 0x30)
    later_leasts = (shared >> 4) | ((leasts >> 2) & 0x30)
    return (
        np.concatenate((scales & 0x3F, later_scales), axis=1),
        np.concatenate((leasts & 0x3F, later_leasts), axis=1),
    )


def _q6_k(blocks: Blocks, out: Floats) -> None:
    """Sixteen parts of 16 numbers; four bits of each in one place, two more in another."""
    scale = blocks["scale"].astype(np.float32)[:, None] * blocks["parts"].astype(np.float32)
    low, high = blocks["low"], blocks["high"]  # n 2 2 32, n 2 32
    halves = out.reshape(-1, 2, 4, 2, 16)  # of a block, two bits of `high`, parts, numbers
    scale = scale.reshape(-1, 2, 4, 2, 1)
    for quarter in range(4):
        nibble = low[:, :, quarter % 2] >> (4 * (quarter // 2)) & 0x0F
        whole = nibble | (high >> (2 * quarter) & 3) << 4
        whole = (whole.view(np.int8) - np.int8(32)).reshape(-1, 2, 2, 16)
        np.multiply(whole, scale[:, :, quarter], out=halves[:, :, quarter])


def _nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The low four bits of each byte, then the high four: (..., K) -> (..., 2, K)."""
    whole = np.empty((*packed.shape[:-1], 2, packed.shape[-1]), np.uint8)
    np.bitwise_and(packed, 0x0F, out=whole[..., 0, :])
    np.right_shift(packed, 4, out=whole[..., 1, :])
    return whole


_HALF = "<f2"
TYPES = {
    0: BlockType("F32", 1, np.dtype("<f4"), _plain),
    1: BlockType("F16", 1, np.dtype(_HALF), _plain),
    30: BlockType("BF16", 1, np.dtype("<u2"), _bf16),
    2: BlockType("Q4_0", 32, np.dtype([("scale", _HALF), ("packed", "u1", 16)]), _q4_0),
    3: BlockType(
        "Q4_1", 32, np.dtype([("scale", _HALF), ("least", _HALF), ("packed", "u1", 16)]), _q4_1
    ),
    8: BlockType("Q8_0", 32, np.dtype([("scale", _HALF), ("whole", "i1", 32)]), _q8_0),
    12: BlockType(
        "Q4_K",
        256,
        np.dtype(
            [("scale", _HALF), ("least", _HALF), ("parts", "u1", 12), ("packed", "u1", (4, 32))]
        ),
        _q4_k,
    ),
    14: BlockType(
        "Q6_K",
        256,
        np.dtype(
            [
                ("low", "u1", (2, 2, 32)),
                ("high", "u1", (2, 32)),
                ("parts", "i1", 16),
                ("scale", _HALF),
            ]
        ),
        _q6_k,
    ),
}
"""Types that are read, by their number in a file."""

_OTHERS = {
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 13: "Q5_K", 15: "Q8_K",
    16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S",
    22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64",
    29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip


def type_name(kind: int) -> str:
    """What a type is called, for an error; its number where it has no name."""
    return TYPES[kind].name if kind in TYPES else _OTHERS.get(kind, f"type {kind}")
