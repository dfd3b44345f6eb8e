"""Hugging Face folders: weights in, tensor by tensor and without a second copy, and out again."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import atomic_folder, write_json, write_text
from tokkit.model.checkpoint import empty_model, load_weights
from tokkit.model.config import ModelConfig
from tokkit.model.families.config import (
    CONFIG_FILE,
    expressing_family,
    family_of,
    read_settings,
    written_settings,
)
from tokkit.model.families.names import HARMLESS, Piece, Shape, pieces, without_prefix
from tokkit.model.families.table import Family
from tokkit.model.strict_json import read_strict_json, shown
from tokkit.model.transformer import Transformer
from tokkit.model.weights import Weights, open_weights
from tokkit.model.weights_writing import write_weights

MAX_SHARD_BYTES = 5 * 10**9
_OUTPUT = "lm_head.weight"
_MOST_LISTED = 5
_WRITTEN_HERE = (".safetensors", ".safetensors.index.json")

Plan = Mapping[str, tuple[Piece, ...]]  # our name -> where it lies in the files


def load_hf(folder: str | os.PathLike[str]) -> Transformer:
    """Load a Hugging Face folder: config.json beside one or many safetensors files.

    Float32 tensors are views over the mapped files, others are converted one by one, so that no
    second copy of the model is held. The model comes back in evaluation mode.
    Raises ArtifactError for settings that cannot be expressed, for unsound files, and for tensors
    that are missing, left over or of the wrong shape or type, which it lists.
    """
    place = Path(folder)
    if not os.path.isdir(place):
        raise ArtifactError(f"{place} is not a folder: give the folder of a Hugging Face model")
    settings = read_strict_json(place / CONFIG_FILE, "model settings")
    family = family_of(settings)
    config = read_settings(family, settings)
    weights = open_weights(place)
    plan = _plan(family, config, weights)
    return load_weights(config, lambda name: _assembled(plan[name], weights))


def _plan(family: Family, config: ModelConfig, weights: Weights) -> Plan:
    """Where each parameter lies in the files; ArtifactError lists what does not fit."""
    fused = any(name.endswith(".mlp.experts.gate_up_proj") for name in weights.names)
    mixtures = sum(config.has_experts(layer) for layer in range(config.layers))
    least = config.layers + (0 if fused else mixtures * config.experts)
    if len(weights) < least:  # no names are made of counts that nothing vouches for
        with_experts = f" and {config.experts} experts" if config.experts else ""
        raise ArtifactError(
            f"{weights.place} holds {len(weights)} tensors, too few for {config.layers} layers"
            f"{with_experts}: the files are of different models, get them again"
        )
    shapes = {name: tuple(t.shape) for name, t in empty_model(config).state_dict().items()}
    plan = {name: pieces(family.names, config, name, fused_experts=fused) for name in shapes}
    prefix = family.names.prefix
    if without_prefix(prefix, weights.names):
        plan = {
            name: tuple(replace(p, name=p.name.removeprefix(prefix)) for p in parts)
            for name, parts in plan.items()
        }
    _check_fit(plan, shapes, weights)
    if config.tied and _OUTPUT in weights:
        _check_tied(plan["embedding"][0].name, weights)
    return plan


def _check_fit(plan: Plan, shapes: Mapping[str, Shape], weights: Weights) -> None:
    """Compare the names, shapes and types in the files with what the settings ask for."""
    wanted: dict[str, Shape] = {}
    for name, parts in plan.items():
        ours = shapes[name][1:] if len(parts) > 1 or _is_stack(parts) else shapes[name]
        wanted |= {part.name: part.shape_in_file(ours) for part in parts}
    faults = [f"{shown(name)} is missing" for name in wanted if name not in weights]
    for name in weights.names:
        if name in wanted and weights.shape(name) != wanted[name]:
            faults.append(f"{shown(name)} is {weights.shape(name)}, not {wanted[name]}")
        elif name in wanted and not weights.is_float(name):
            faults.append(f"{shown(name)} is of type {weights.dtype(name)}, not a plain float")
        elif name not in wanted and not _may_be_left(name, plan):
            faults.append(f"{shown(name)} is left over")
    if faults:
        more = "" if len(faults) <= _MOST_LISTED else f"; and {len(faults) - _MOST_LISTED} more"
        raise ArtifactError(
            f"{weights.place} does not fit its {CONFIG_FILE}, {len(faults)} faults: "
            f"{'; '.join(faults[:_MOST_LISTED])}{more}. Get the whole model again"
        )


def _is_stack(parts: tuple[Piece, ...]) -> bool:
    return ".experts.0." in parts[0].name


def _may_be_left(name: str, plan: Plan) -> bool:
    tied_output = name == _OUTPUT and "unembedding" not in plan
    return tied_output or any(re.fullmatch(pattern, name) for pattern in HARMLESS)


def _check_tied(embedding: str, weights: Weights) -> None:
    """A file may hold the tied matrix twice; if the two differ, one of its words is wrong."""
    alike = weights.dtype(embedding) == weights.dtype(_OUTPUT)
    if not alike or not torch.equal(weights.stored(embedding), weights.stored(_OUTPUT)):
        raise ArtifactError(
            f"{weights.place}: {CONFIG_FILE} ties {_OUTPUT} to {embedding}, but the two differ: "
            "set tie_word_embeddings to false if that is what was trained"
        )


def _assembled(parts: tuple[Piece, ...], weights: Weights) -> Tensor:
    """One parameter, float32: a view where the file holds it so, else new."""
    if not _is_stack(parts):
        stored = _stretch(parts[0], weights)
        made = stored.to(torch.float32).contiguous()
        if made.data_ptr() != stored.data_ptr():
            weights.release(parts[0].name)
        return made
    shape = weights.shape(parts[0].name)
    stacked = torch.empty(len(parts), *shape, dtype=torch.float32)
    for expert, part in enumerate(parts):
        stacked[expert] = weights.stored(part.name)
        weights.release(part.name)
    return stacked


def _stretch(part: Piece, weights: Weights) -> Tensor:
    stored = weights.stored(part.name)
    if part.parts > 1:
        length = stored.shape[part.axis] // part.parts
        stored = stored.narrow(part.axis, part.part * length, length)
    return stored.T if part.transposed else stored


def export_hf(
    model: Transformer,
    folder: str | os.PathLike[str],
    *,
    family: str | None = None,
    files: Mapping[str, str] | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write `model` as a folder that transformers and its kin read, whole or not at all.

    `family` is found where it is not given. `files` are further texts by name, such as
    tokenizer.json. Weights are float32, in shards of at most `max_shard_bytes`; tied ones are
    written once. Raises ConfigError where the family cannot hold a setting, or for a name in
    `files` that is not a plain one; OutputError where the folder cannot be written.
    """
    kind = expressing_family(model.config, family)
    for name in files or {}:
        if (
            not name
            or Path(name).name != name
            or name.startswith(".")
            or name == CONFIG_FILE
            or name.endswith(_WRITTEN_HERE)
        ):
            raise ConfigError(
                f"files must have plain names, and none that the model's own have, got "
                f"{shown(name)}: choose another"
            )
    ours = model.state_dict()
    contents = _contents(kind, model.config, ours)
    shapes = {name: _shape_of(parts, ours) for name, parts in contents.items()}
    with atomic_folder(folder) as place:
        write_weights(
            place,
            shapes,
            lambda name: _joined(contents[name], ours),
            max_shard_bytes=max_shard_bytes,
        )
        for name, text in (files or {}).items():
            write_text(place / name, text)
        write_json(place / CONFIG_FILE, written_settings(model.config, kind))


Source = tuple[Piece, str, int | None]  # and of our parameter the name, and which expert's


def _contents(
    family: Family, config: ModelConfig, ours: Mapping[str, Tensor]
) -> dict[str, list[Source]]:
    """What each tensor of the file is made of, in the order of its parts."""
    contents: dict[str, list[Source]] = {}
    for name in ours:
        parts = pieces(family.names, config, name)
        for expert, part in enumerate(parts):
            chosen = expert if _is_stack(parts) else None
            contents.setdefault(part.name, []).append((part, name, chosen))
    for sources in contents.values():
        sources.sort(key=lambda source: source[0].part)
    return contents


def _shape_of(sources: list[Source], ours: Mapping[str, Tensor]) -> Shape:
    part, name, expert = sources[0]
    return part.shape_in_file(tuple(ours[name].shape[0 if expert is None else 1 :]))


def _joined(sources: list[Source], ours: Mapping[str, Tensor]) -> Tensor:
    tensors = [ours[name] if expert is None else ours[name][expert] for _, name, expert in sources]
    whole = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
    return whole.T if sources[0][0].transposed else whole
