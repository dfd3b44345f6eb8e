"""What the weights of models say about their heads, as tables beside their nulls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokkit.experiments import heads_reading as reading
from tokkit.experiments.heads_rotation import TOLERANCE, check_rotation, why_not
from tokkit.results import Column, Table

if TYPE_CHECKING:
    from tokkit.model.config import ModelConfig
    from tokkit.model.transformer import Transformer

Row = tuple[Any, ...]

_ROTATION_SEED = 0
COORDINATES, DIMENSIONS, SHARE = "coordinates", "dimensions", "proportion"


@dataclass(frozen=True, slots=True)
class Subject:
    """A model that is read: its name, its seed and start where it was trained here."""

    name: str
    seed: int | None
    model: Transformer
    initial: Transformer | None = None


def weight_tables(subjects: Iterable[Subject]) -> dict[str, Table]:
    """Tables "reading", "joined", "overlaps" and "rotation"; one model is held at a time."""
    rows: dict[str, list[Row]] = {"reading": [], "joined": [], "overlaps": [], "rotation": []}
    for subject in subjects:
        rows["reading"] += _reading_rows(subject)
        rows["joined"] += _joined_rows(subject)
        rows["overlaps"] += _overlap_rows(subject)
        rows["rotation"].append(_rotation_row(subject))
    return {
        "reading": Table("What each map of each head reads of the residual stream",
                         _READING, tuple(rows["reading"])),
        "joined": Table("Whether a head's three maps fit one subspace of a slice's size, as a "
                        "slice's do in any basis", _JOINED, tuple(rows["joined"])),
        "overlaps": Table("How far the subspaces that heads of a layer read overlap",
                          _OVERLAPS, tuple(rows["overlaps"])),
        "rotation": Table("The residual stream in another basis: largest deviation of a logit, as "
                          "a share of the largest logit", _ROTATION, tuple(rows["rotation"])),
    }  # fmt: skip


_MODEL = (Column("model", "Model"), Column("seed", "Seed"))
_HEAD = (*_MODEL, Column("layer", "Layer"), Column("head", "Head"))


def _of_null(name: str, unit: str) -> tuple[Column, ...]:
    return (
        Column("null_mean", f"{name} of a random matrix", unit),
        Column("null_low", "Its 95% low", unit),
        Column("null_high", "Its 95% high", unit),
    )


_READING = (
    *_HEAD,
    Column("map", "Map"),
    Column("participation", "Coordinates read", COORDINATES),
    Column("slice", "Most that a slice reads", COORDINATES),
    *_of_null("Coordinates", COORDINATES),
    Column("width", "Width of the stream", COORDINATES),
    Column("towards_null", "From a slice (0) to a random projection (1)", SHARE),
    Column("learned", "Coordinates of what training changed", COORDINATES),
    Column("effective_rank", "Effective rank", DIMENSIONS),
    Column("rank_null", "Rank of a random matrix", DIMENSIONS),
)
_JOINED = (
    *_HEAD,
    Column("effective_rank", "Effective rank of the three maps", DIMENSIONS),
    Column("rank_null", "Rank of random maps", DIMENSIONS),
    Column("outside", "Outside of the best subspace of a slice's size", SHARE),
    *_of_null("Outside", SHARE),
)
_OVERLAPS = (
    *_MODEL,
    Column("layer", "Layer"),
    Column("map", "Map"),
    Column("overlap", "Mean overlap", SHARE),
    Column("largest", "Largest", SHARE),
    Column("pairs", "Pairs of heads"),
    *_of_null("Overlap", SHARE),
    Column("same_coordinates", "Coordinates weighed alike (cosine)", SHARE),
    Column("same_null", "... by random matrices", SHARE),
)
_ROTATION = (
    *_MODEL,
    Column("folded", "Gains folded"),
    Column("rotated", "Rotated"),
    Column("tolerance", "Tolerance"),
    Column("holds", "Holds"),
    Column("control", "Readers not rotated back"),
    Column("control_fails", "Control fails"),
    Column("read_before", "Coordinates read before", COORDINATES),
    Column("read_after", "Coordinates read after", COORDINATES),
    Column("slice", "Most that a slice reads", COORDINATES),
    Column("reason", "Why there is no number"),
)


def _digits(value: float) -> float:
    """Four digits: more would be noise, and the record is long."""
    return float(f"{value:.4g}")


def _three(null: reading.Null) -> tuple[float, float, float]:
    return _digits(null.mean), _digits(null.low), _digits(null.high)


def _shape(config: ModelConfig) -> tuple[int, int]:
    return config.head_width, config.width


def _reading_rows(subject: Subject) -> list[Row]:
    head_width, width = _shape(subject.model.config)
    null = reading.participation_null(head_width, width)
    rank = reading.rank_null(head_width, width).mean
    return [
        (subject.name, subject.seed, found.layer, found.head, found.map,
         _digits(found.participation), head_width, *_three(null), width,
         _digits(reading.towards_null(found.participation, head_width, null)),
         None if found.learned is None else _digits(found.learned),
         _digits(found.effective_rank), _digits(rank))
        for found in reading.read_heads(subject.model, subject.initial)
    ]  # fmt: skip


def _joined_rows(subject: Subject) -> list[Row]:
    head_width, width = _shape(subject.model.config)
    null = _three(reading.outside_null(head_width, width))
    rank = _digits(reading.rank_null(len(reading.MAPS) * head_width, width).mean)
    return [
        (subject.name, subject.seed, found.layer, found.head, _digits(found.effective_rank), rank,
         _digits(found.outside), *null)
        for found in reading.read_joined(subject.model)
    ]  # fmt: skip


def _overlap_rows(subject: Subject) -> list[Row]:
    shape = _shape(subject.model.config)
    null = _three(reading.overlap_null(*shape))
    same = _digits(reading.same_coordinates_null(*shape).mean)
    return [
        (subject.name, subject.seed, found.layer, found.map, _digits(found.mean),
         _digits(found.largest), found.pairs, *null, _digits(found.same_coordinates), same)
        for found in reading.read_overlaps(subject.model)
    ]  # fmt: skip


def _rotation_row(subject: Subject) -> Row:
    model = subject.model
    named = (subject.name, subject.seed)
    before, size = reading.mean_participation(model), model.config.head_width
    reason = why_not(model.config)
    if reason is not None:
        return (*named, None, None, TOLERANCE, None, None, None, _digits(before), None, size,
                reason)  # fmt: skip
    found, copy = check_rotation(model, _ROTATION_SEED)
    deviations = [float(f"{value:.2g}") for value in (found.folded, found.rotated, found.control)]
    return (
        *named, deviations[0], deviations[1], TOLERANCE, found.holds, deviations[2],
        found.control_fails, _digits(before), _digits(reading.mean_participation(copy)), size, None,
    )  # fmt: skip
