"""A trained model on disk: config.json, model.safetensors and tokenizer.json in one folder.

The folder appears whole or not at all, and config.json holds the digests of the other two, so
that a cut, altered or foreign file is told from a good one before anything is computed with it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import atomic_folder, read_json, sha256, write_json, write_text
from tokkit.model.config import ModelConfig
from tokkit.model.transformer import Transformer

SCHEMA = "tokkit-checkpoint/1"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model, the path of its tokenizer, and what else config.json says of it."""

    model: Transformer
    tokenizer_path: Path
    about: Mapping[str, Any]


def save_checkpoint(
    folder: str | os.PathLike[str],
    model: Transformer,
    tokenizer_json: str,
    about: Mapping[str, Any],
) -> None:
    """Write the checkpoint, atomically; `about` is any JSON that later stages want to know.

    Raises OutputError when the folder cannot be written.
    """
    with atomic_folder(folder) as place:
        write_text(place / TOKENIZER_FILE, tokenizer_json)
        tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        write_tensors(place / WEIGHTS_FILE, tensors)
        digests = {name: sha256(place / name) for name in (WEIGHTS_FILE, TOKENIZER_FILE)}
        record = {
            "schema": SCHEMA,
            "model": model.config.to_dict(),
            "about": dict(about),
            "sha256": digests,
        }
        write_json(place / CONFIG_FILE, record)


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file; a full disk is an OSError here, as it is for any other file."""
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error


def is_checkpoint(folder: str | os.PathLike[str]) -> bool:
    """Whether `folder` looks like a checkpoint: it holds a config.json."""
    return (Path(folder) / CONFIG_FILE).is_file()


def load_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Read and verify a checkpoint; the model comes back in evaluation mode.

    Raises ArtifactError, naming the file, when one is missing, cut, altered, or does not fit.
    """
    place = Path(folder)
    if not place.is_dir():
        raise ArtifactError(
            f"checkpoint {place} is not a folder: give the folder of a trained model"
        )
    record = read_json(place / CONFIG_FILE, what="checkpoint settings")
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{place / CONFIG_FILE} is not of schema {SCHEMA!r}: train the model again"
        )
    try:
        config = ModelConfig.from_dict(record["model"])
        digests, about = dict(record["sha256"]), dict(record["about"])
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise ArtifactError(f"{place / CONFIG_FILE} cannot be used: {error}") from error
    for name in (WEIGHTS_FILE, TOKENIZER_FILE):
        _verify(place / name, digests.get(name))
    return Checkpoint(_read_model(place / WEIGHTS_FILE, config), place / TOKENIZER_FILE, about)


def _verify(path: Path, digest: object) -> None:
    if not path.is_file():
        raise ArtifactError(f"the checkpoint lacks {path}: copy the whole folder, or train again")
    try:
        found = sha256(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ArtifactError(f"cannot read {path}: {reason}; check the place") from error
    if found != digest:
        raise ArtifactError(
            f"{path} is not the file that the checkpoint was saved with (it is cut, altered or "
            f"from another model; sha256 {found[:12]}..., expected {str(digest)[:12]}...): "
            "copy the whole folder again, or train again"
        )


def empty_model(config: ModelConfig) -> Transformer:
    """The model of `config` without memory: names and shapes, on torch's meta device."""
    with torch.device("meta"):
        shape = (config.vocab_size, config.token_features)
        features = torch.empty(shape) if config.token_features else None
        return Transformer(config, seed=None, token_features=features)


def load_weights(config: ModelConfig, tensor_of: Callable[[str], Tensor]) -> Transformer:
    """A model in evaluation mode whose tensors are those that `tensor_of(name)` gives.

    Each name of the state dict is asked for once; its tensor, float32 and of the model's shape, is
    adopted as it is, without a copy. Raises ArtifactError for another type or shape.
    """
    model = empty_model(config)
    for name, tensor in model.state_dict().items():
        given = tensor_of(name)
        if given.shape != tensor.shape or given.dtype != torch.float32:
            raise ArtifactError(
                f"{name} must be float32 {tuple(tensor.shape)}, got {given.dtype} "
                f"{tuple(given.shape)}: the weights are not of this model"
            )
        owner, _, last = name.rpartition(".")
        module = model.get_submodule(owner)
        if last in module._parameters:
            module._parameters[last] = torch.nn.Parameter(given)
        else:
            module._buffers[last] = given
    return model.eval()


def _read_model(path: Path, config: ModelConfig) -> Transformer:
    try:
        with safe_open(path, framework="pt") as weights:
            slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
            found = {n: f"{s.get_dtype()} {tuple(s.get_shape())}" for n, s in slices.items()}
            _check_tensors(path, found, config)
            return load_weights(config, weights.get_tensor)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a whole safetensors file ({error}): train again"
        ) from error


def _check_tensors(path: Path, found: Mapping[str, str], config: ModelConfig) -> None:
    """Compare names, types and shapes, as "F32 (23, 30)", with what the config asks for.

    Done on a skeleton without memory: what a file says of itself is not believed first.
    """
    if config.layers > len(found):
        raise ArtifactError(
            f"{path} holds {len(found)} tensors, too few for {config.layers} layers"
        )
    expected = {
        name: f"F32 {tuple(tensor.shape)}"
        for name, tensor in empty_model(config).state_dict().items()
    }
    faults = [f"{name} is missing" for name in expected.keys() - found.keys()]
    faults += [f"{name} is left over" for name in found.keys() - expected.keys()]
    faults += [
        f"{name} is {found[name]}, not {expected[name]}"
        for name in expected.keys() & found.keys()
        if found[name] != expected[name]
    ]
    if faults:
        shown = "; ".join(sorted(faults)[:5]) + ("; ..." if len(faults) > 5 else "")
        raise ArtifactError(f"{path} does not fit its {CONFIG_FILE}: {shown}")
