"""An edited model on disk: an ordinary checkpoint, with what takes the edit back beside it.

The matrix as it was is kept whole: taking the factors away again would leave rounding behind.
Checkpoint and factors are one folder that appears whole or not at all.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tokkit.analysis.editing.moments import weights_digest
from tokkit.analysis.editing.passes import feedforward_of
from tokkit.analysis.editing.rank_one import Edit, applied
from tokkit.errors import ArtifactError, ConfigError, OutputError
from tokkit.files import atomic_folder
from tokkit.model.checkpoint import write_tensors
from tokkit.model.transformer import Transformer

EDIT_FILE = "edit.safetensors"
MODEL_FOLDER = "model"
EDITS = "edits"
"""The name in a checkpoint's `about` of the list of its edits, the last one last."""
_SCHEMA = "tokkit-edit/1"
_MOST_METADATA = 1 << 20
Write = Callable[[Path, Mapping[str, Any]], object]
"""Writes the model as it is now to a folder, with `about`'s EDITS as given: a checkpoint."""


@dataclass(frozen=True, slots=True)
class KeptEdit:
    """What EDIT_FILE holds: the factors, the matrix before, and digests of the whole weights."""

    layer: int
    left: Tensor
    right: Tensor
    original: Tensor
    weights_before: str
    weights_after: str


def check_place(out: str | os.PathLike[str], source: str | os.PathLike[str]) -> Path:
    """The folder of the edited model in `out`; it must not be, or hold, one that is not an edit.

    Raises ConfigError where it is the model that is read, OutputError where another model stands
    there.
    """
    folder = Path(out) / MODEL_FOLDER
    read = {os.path.realpath(source), os.path.realpath(Path(source) / MODEL_FOLDER)}
    if os.path.realpath(folder) in read or os.path.realpath(out) in read:
        raise ConfigError(
            f"--out must be another folder than the model's, got {out}: the original is not touched"
        )
    if folder.exists() and not (folder / EDIT_FILE).exists():
        raise OutputError(
            f"cannot write {folder}: there is something that is no edited model; choose another "
            "place with --out"
        )
    return folder


def save_edited(
    folder: str | os.PathLike[str],
    model: Transformer,
    edit: Edit,
    write: Write,
    *,
    earlier: object = (),
) -> str:
    """Write the model with its edit to `folder`, and EDIT_FILE into it; return the weights' digest.

    `earlier` are the EDITS that the model has already. The model in memory is left as it was.
    """
    original = feedforward_of(model, edit.layer).down.weight.data
    before = weights_digest(model)
    with applied(model, edit), atomic_folder(folder) as place:
        after = weights_digest(model)
        record = {**edit_record(edit), "weights_before": before, "weights_after": after}
        known = list(earlier) if isinstance(earlier, list | tuple) else []
        write(place, {EDITS: [*known, record]})
        tensors = {"left": edit.left, "right": edit.right, "original": original}
        metadata = {"schema": _SCHEMA, "edit": json.dumps(record, ensure_ascii=False)}
        write_tensors(
            place / EDIT_FILE, {n: t.detach().contiguous() for n, t in tensors.items()}, metadata
        )
    return after


def edit_record(edit: Edit) -> dict[str, Any]:
    """What was changed, as JSON."""
    request = edit.request
    return {
        "layer": edit.layer,
        "subject": request.subject,
        "prompt": request.prompt,
        "target": request.target,
    }


def folder_of_edit(source: str | os.PathLike[str]) -> Path:
    """The folder with EDIT_FILE of a run or of its model; ArtifactError where there is none."""
    for folder in (Path(source), Path(source) / MODEL_FOLDER):
        if (folder / EDIT_FILE).is_file():
            return folder
    raise ArtifactError(
        f"{source} holds no {EDIT_FILE}: give the folder that `tokkit edit --out` wrote"
    )


def take_back(model: Transformer, folder: str | os.PathLike[str]) -> KeptEdit:
    """Put the matrix of before an edit back into the model, and prove by digest that it is whole.

    Raises ArtifactError where the file is damaged, or of another model than this one.
    """
    path = Path(folder) / EDIT_FILE
    kept = read_edit(path)
    if not 0 <= kept.layer < model.config.layers or weights_digest(model) != kept.weights_after:
        raise ArtifactError(
            f"{path} does not belong to the model beside it: take back the edit of the folder "
            "that was written with it"
        )
    weight = feedforward_of(model, kept.layer).down.weight
    if weight.shape != kept.original.shape:
        raise ArtifactError(f"{path} holds a matrix of another shape: it is damaged")
    weight.data = kept.original.to(weight.device)
    if weights_digest(model) != kept.weights_before:
        raise ArtifactError(
            f"{path} does not give the model of before the edit: it is damaged, go back to the "
            "original"
        )
    return kept


def read_edit(path: Path) -> KeptEdit:
    """Read EDIT_FILE; nothing is loaded before its names, types and shapes fit each other."""
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(one.get_shape()) for name, one in slices.items()}
            left, right = shapes.get("left", ()), shapes.get("right", ())
            expected = {"left": left, "right": right, "original": (*left, *right)}
            kinds = {one.get_dtype() for one in slices.values()}
            if shapes != expected or len(left) != 1 or len(right) != 1 or kinds != {"F32"}:
                raise ArtifactError(f"{path} is no edit, it holds {shapes}: edit the model again")
            record = _record(path, file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a whole edit ({error}): edit the model again"
        ) from error
    return KeptEdit(
        layer=record["layer"],
        weights_before=record["weights_before"],
        weights_after=record["weights_after"],
        **tensors,
    )


def _record(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        text = metadata["edit"]
        if metadata["schema"] != _SCHEMA or len(text) > _MOST_METADATA:
            raise ValueError(f"schema {metadata['schema'][:40]!r}")
        record = json.loads(text)
        fits = type(record["layer"]) is int and all(
            isinstance(record[name], str) for name in ("weights_before", "weights_after")
        )
        if not fits:
            raise ValueError("its record is not one of an edit")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no edit ({error}): edit the model again") from error
    return dict(record)


def without_last_edit(about: Mapping[str, Any]) -> dict[str, Any]:
    """`about` as it was before the last edit."""
    edits = about.get(EDITS)
    left = list(edits[:-1]) if isinstance(edits, list) else []
    rest = {name: value for name, value in about.items() if name != EDITS}
    return {**rest, EDITS: left} if left else rest
