"""GGUF files: their settings and weights, read and dequantised by tokkit itself."""

from __future__ import annotations

from tokkit.model.gguf.file import GgufFile, GgufTensor, is_gguf, read_gguf
from tokkit.model.gguf.loading import config_of_gguf, load_gguf, read_tensor
from tokkit.model.gguf.settings import ARCHITECTURES, config_from_gguf

__all__ = [
    "ARCHITECTURES",
    "GgufFile",
    "GgufTensor",
    "config_from_gguf",
    "config_of_gguf",
    "is_gguf",
    "load_gguf",
    "read_gguf",
    "read_tensor",
]
