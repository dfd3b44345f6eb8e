"""Whether a model gives the logits that were recorded of it elsewhere: the claim one-skeleton."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open

from tokkit.errors import ArtifactError
from tokkit.files import sha256
from tokkit.results import Claim, Column, Evidence, Result, Table, collect_provenance

if TYPE_CHECKING:
    from torch import Tensor

    from tokkit.model.transformer import Transformer

KIND = "model.import"
LARGEST_DIFFERENCE = 1e-4  # of the spread of the reference's logits, in float32
_LARGEST_IDS = 1 << 16
_RULE = (
    "Supported where the largest absolute difference between the logits and the reference's is at "
    f"most {LARGEST_DIFFERENCE:g} of the reference's standard deviation; else contradicted."
)


def check_parity(model: Transformer, reference: Path, *, name: str, family: str) -> Result:
    """Compare the logits of `model` with those recorded in a safetensors file.

    The file holds `ids` (B, T) int64 and `logits` (B, T, V) in any float type, as another program
    computed them in float32. Raises ArtifactError for a file that holds anything else.
    """
    ids, logits = _reference(reference, model.config.vocab_size)
    with torch.no_grad():
        ours = model(ids)
    difference = (ours - logits).abs()
    spread = float(logits.std())
    relative = float(difference.max()) / spread if spread else float("inf")
    agree = float((ours.argmax(-1) == logits.argmax(-1)).float().mean())
    evidence = (
        Evidence("largest difference, of the spread", _finite(relative), "", n=logits.numel()),
        Evidence("largest difference", _finite(float(difference.max())), "nats"),
        Evidence("spread of the reference's logits", _finite(spread), "nats"),
        Evidence("places with the same first choice", agree, "proportion", n=ids.numel()),
    )
    return Result(
        kind=KIND,
        title=f"{name} against its reference",
        settings={"model": name, "family": family, "reference": reference.name},
        values={},
        tables={"rows": _rows(difference, spread)},
        claims=(_claim(f"{name} ({family})", relative, evidence),),
        provenance=collect_provenance(
            seeds=[], inputs={reference.name: sha256(reference)}, wall_seconds={}
        ),
    )


def _claim(model: str, relative: float, evidence: tuple[Evidence, ...]) -> Claim:
    holds = relative <= LARGEST_DIFFERENCE
    said = "as its reference does" if holds else "other than its reference"
    return Claim(
        id="one-skeleton",
        statement=(
            f"The families are one skeleton with other settings: {model} gives logits {said}."
        ),
        verdict="supported" if holds else "contradicted",
        rule=_RULE,
        evidence=evidence,
        controls=(),
        limits=(
            "One model in float32 on these ids: other families are checked in the tests.",
            "Who made the reference, and how, this file does not show.",
        ),
    )


def _rows(difference: Tensor, spread: float) -> Table:
    columns = (
        Column("row", "Row"),
        Column("largest", "Largest difference", "nats"),
        Column("relative", "Of the spread"),
    )
    worst = [float(value) for value in difference.flatten(1).amax(1)]
    rows = [
        (row, _finite(value), _finite(value / spread) if spread else None)
        for row, value in enumerate(worst)
    ]
    return Table("Each row of ids", columns, tuple(rows))


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _reference(path: Path, vocab_size: int) -> tuple[Tensor, Tensor]:
    """The ids and logits of a reference file, with shapes that fit each other and the model."""
    try:
        with safe_open(path, framework="pt") as held:
            slices = {name: held.get_slice(name) for name in held.keys()}  # noqa: SIM118
            found = {n: (s.get_dtype(), tuple(s.get_shape())) for n, s in slices.items()}
            _check_shapes(path, found, vocab_size)
            return held.get_tensor("ids"), held.get_tensor("logits").float()
    except (SafetensorError, OSError) as error:
        raise ArtifactError(
            f"{path} is not a whole safetensors file ({error}): record it again"
        ) from error


def _check_shapes(
    path: Path, found: Mapping[str, tuple[str, tuple[int, ...]]], vocab_size: int
) -> None:
    """What the header says, before anything of that size is read."""
    missing = [name for name in ("ids", "logits") if name not in found]
    if missing:
        raise ArtifactError(f"{path} lacks {' and '.join(missing)}: record ids and their logits")
    (kind, shape), (_, of_logits) = found["ids"], found["logits"]
    right = len(shape) == 2 and 0 < shape[0] * shape[1] <= _LARGEST_IDS
    if not right or kind != "I64" or of_logits != (*shape, vocab_size):
        raise ArtifactError(
            f"{path} must hold ids (batch, time) of type I64, up to {_LARGEST_IDS} of them, and "
            f"logits (batch, time, {vocab_size}), got {kind} {shape} and {of_logits}"
        )
