"""Second moments of what the feed-forward layers hold, C = E[k k^T], over a text.

They say which keys a matrix has been used with, so that an edit can spare those (Kohonen 1972;
Bau et al. 2020; Meng et al. 2022, equation 2). They cost a pass over tens of thousands of tokens,
so they are worked out once and kept.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tokkit.analysis.editing.passes import feedforward_of
from tokkit.analysis.windows import MOST_CHARACTERS
from tokkit.errors import ArtifactError, ConfigError, InputError
from tokkit.files import atomic_file, ensure_folder
from tokkit.model.checkpoint import write_tensors
from tokkit.model.layout import Layout
from tokkit.model.trace import trace
from tokkit.model.transformer import Transformer

TOKENS = 24_576  # read where nothing else is asked for
WINDOW = 128  # tokens of a row
_BATCH_TOKENS = 2048
_MOST_BYTES = 1 << 33  # of sums that are held at once
_TENSOR = "moment"
Told = Callable[[str, str, int, int], None]
Ids = NDArray[np.int64]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


def second_moments(
    model: Transformer,
    ids: Ids,
    layers: Sequence[int],
    *,
    given: int = 0,
    folder: str | os.PathLike[str] | None = None,
    told: Told = _silent,
) -> dict[int, Tensor]:
    """C of each layer, (M, M) float32: the mean of k k^T over tokens, in one pass for all layers.

    `ids` (N, T) int64 are windows of text, of whose rows the first `given` tokens (what begins a
    text) do not count. With a `folder` they are kept there, a file a layer, named by a digest of
    weights and tokens, and read from there the next time. Raises ConfigError for a layer that has
    no dense feed-forward, ArtifactError for a kept file that is damaged.
    """
    for layer in layers:
        feedforward_of(model, layer)
    found: dict[int, Tensor] = {}
    if folder is not None:
        ensure_folder(folder)
        name = moments_name(model, ids, given)
        paths = {layer: Path(folder) / f"{name}-{layer}.safetensors" for layer in layers}
        width = model.config.hidden_width
        found = {at: _read(path, width) for at, path in paths.items() if path.exists()}
    missing = [layer for layer in layers if layer not in found]
    if missing:
        counted = _counted(model, ids, missing, given, told)
        if folder is not None:
            for layer, moment in counted.items():
                with atomic_file(paths[layer]) as place:
                    write_tensors(place, {_TENSOR: moment})
        found |= counted
    return {layer: found[layer] for layer in layers}


def packed_rows(
    tokenizer: Any,
    texts: Iterable[str],
    *,
    tokens: int,
    length: int,
    start_ids: Sequence[int] = (),
) -> Ids:
    """About `tokens` tokens of texts, one after the other, in rows of `length`: (N, S + T).

    Short texts share a row: here no row stands for a text of its own. `start_ids` stand before
    each. Raises InputError where the texts do not fill one row.
    """
    held: list[int] = []
    for text in texts:
        held += tokenizer.encode(text[:MOST_CHARACTERS])
        if len(held) >= tokens:
            break
    rows = min(len(held), max(tokens, length)) // length
    if rows == 0:
        raise InputError(
            f"the text must fill one row of {length} tokens, got {len(held)}: give longer texts"
        )
    ids = np.array(held[: rows * length], dtype=np.int64).reshape(rows, length)
    start = np.tile(np.array(start_ids, dtype=np.int64), (rows, 1))
    return np.concatenate((start, ids), axis=1)


def moments_name(model: Transformer, ids: Ids, given: int = 0) -> str:
    """What tells these moments from others: 24 digits of a digest of weights and tokens."""
    digest = hashlib.sha256(f"{given}/{ids.shape}".encode())
    digest.update(np.ascontiguousarray(ids).data)
    digest.update(weights_digest(model).encode())
    return digest.hexdigest()[:24]


def weights_digest(model: Transformer) -> str:
    """SHA-256 of every tensor's name and bits, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def _counted(
    model: Transformer, ids: Ids, layers: Sequence[int], given: int, told: Told
) -> dict[int, Tensor]:
    width = model.config.hidden_width
    if len(layers) * width * width * 8 > _MOST_BYTES:
        raise ConfigError(
            f"the second moments of {len(layers)} layers of {width} units take more than "
            f"{_MOST_BYTES:,} bytes: ask for fewer layers at once"
        )
    sums = {layer: torch.zeros(width, width, dtype=torch.float64) for layer in layers}
    rows = torch.from_numpy(np.ascontiguousarray(ids)).to(model.embedding.device)
    step = max(1, _BATCH_TOKENS // rows.shape[1])
    for start in range(0, len(rows), step):
        told("second moments", "rows", start, len(rows))
        for layer, keys in _keys(model, rows[start : start + step], layers).items():
            flat = keys[:, given:].flatten(0, 1)
            sums[layer] += (flat.T @ flat).double()  # one batch's sum is exact enough in float32
    tokens = rows[:, given:].numel()
    moments = {layer: (total / tokens).float() for layer, total in sums.items()}
    if not all(bool(moment.isfinite().all()) for moment in moments.values()):
        raise ArtifactError("the model's activations are not finite: its weights are damaged")
    return moments


def _keys(model: Transformer, ids: Tensor, layers: Sequence[int]) -> Mapping[int, Tensor]:
    """What the down projection of each layer is given, (B, T, M); later layers are not run."""
    names = {layer: f"blocks.{layer}.feedforward.hidden" for layer in layers}
    with trace(model, names.values()) as seen:
        layout = Layout(model.config, ids.shape[1], ids.device)
        stream = model.embed(ids, layout)
        for block in model.blocks[: max(layers) + 1]:
            stream = block(stream, None, layout)
    return {layer: seen[name] for layer, name in names.items()}


def _read(path: Path, width: int) -> Tensor:
    try:
        with safe_open(path, framework="pt") as file:
            kept = file.get_slice(_TENSOR)
            shape, dtype = list(kept.get_shape()), kept.get_dtype()
            if shape != [width, width] or dtype != "F32":
                raise ArtifactError(
                    f"{path} must hold second moments, F32 {[width, width]}, got {dtype} {shape}: "
                    "delete the file"
                )
            moment: Tensor = file.get_tensor(_TENSOR)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is no whole file of second moments ({error}): delete it, it is made again"
        ) from error
    if not bool(moment.isfinite().all()):
        raise ArtifactError(f"{path} holds numbers that are not finite: delete the file")
    return moment
