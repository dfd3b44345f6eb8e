"""From what the models of the positions experiment answered to its numbers.

Seeds and questions, or windows, are crossed: every seed of every scheme is asked the same ones,
so that differences are paired by both. Bits per byte of a window are its bits over the windows'
mean bytes: their mean is all bits over all bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ArtifactError
from tokkit.experiments.position_asking import PLACES
from tokkit.experiments.position_schemes import (
    BLIND,
    CANNOT,
    LENGTHS,
    NONE,
    SCALINGS,
    SCHEMES,
    WITH_POSITIONS,
)
from tokkit.experiments.position_tasks import CHANCE, CONTROL_TASK, ORDER_TASKS, TASKS
from tokkit.experiments.position_text import Text, load_text, text_tokens
from tokkit.experiments.position_verdict import COMPARED, ORDER, Found, position_claims
from tokkit.files import read_json
from tokkit.results import Column, Table
from tokkit.stats import Interval, factorial_permutation, hierarchical_bootstrap, holm
from tokkit.training.loop import read_metrics

if TYPE_CHECKING:
    from tokkit.experiments.positions import PositionsConfig

Floats = NDArray[np.float64]
Row = tuple[Any, ...]

_EVERY = (ORDER, *TASKS)
_SEED, _SIGNS_SEED = 0, 4


class Measured:
    """What all models answered, as arrays with the seeds in front; None where none can be asked."""

    def __init__(self, place: Path, config: PositionsConfig) -> None:
        self.config, self.text = config, load_text(place)
        self.records = {
            part: {
                scheme: [_read(place, part, scheme, seed) for seed in range(config.seeds)]
                for scheme in (*SCHEMES, *((BLIND,) if part == "order" else ()))
            }
            for part in ("text", "order")
        }
        self._generator = np.random.default_rng(_SEED)

    def _of(self, part: str, arm: str) -> list[Mapping[str, Any]]:
        scheme = "rotary" if arm in SCALINGS else arm
        return [record["arms"][arm] for record in self.records[part][scheme]]

    def order(self, arm: str, task: str, length: float) -> Floats | None:
        """1 where right: (seeds, questions); all order tasks stand one behind the other."""
        found = [record[str(length)] for record in self._of("order", arm)]
        if found[0] is None:
            return None
        tasks = ORDER_TASKS if task == ORDER else (task,)
        return np.array([[float(c) for name in tasks for c in row[name]] for row in found])

    def matched(self, arm: str, length: float, what: str = "nats") -> Floats | None:
        """Bits per byte (or, with "right", accuracy) of the same last targets: (seeds, windows)."""
        found = [record["matched"][str(length)] for record in self._of("text", arm)]
        if found[0] is None:
            return None
        scored = self.text.windows[:, -(self.config.text_length // 2) :]
        return self._rated(np.array([row[what] for row in found]), scored, what)

    def trained(self, scheme: str, what: str = "nats") -> Floats:
        """As `matched`, of every token in contexts as trained."""
        found = [record["trained"][what] for record in self._of("text", scheme)]
        return self._rated(np.array(found), self.text.windows[:, 1:], what)

    def by_place(self, arm: str) -> list[Floats | None]:
        """Bits per byte in each stretch of a window: (seeds,) each."""
        found = [record["by_place"] for record in self._of("text", arm)]
        pieces = np.split(self.text.windows[:, 1:], PLACES, axis=1)
        values: list[Floats | None] = []
        for place, targets in enumerate(pieces):
            nats = [row[place] for row in found]
            size = self.text.token_bytes[targets].sum()
            values.append(None if nats[0] is None else np.array(nats) / math.log(2) / size)
        return values

    def _rated(self, sums: Floats, targets: NDArray[np.int64], what: str) -> Floats:
        if what == "right":
            return np.asarray(sums / text_tokens(self.text, targets).sum(1).mean())
        return np.asarray(sums / math.log(2) / self.text.token_bytes[targets].sum(1).mean())

    def interval(self, values: Floats) -> Interval:
        """The mean of (seeds, items), with its interval."""
        return hierarchical_bootstrap(values, self._generator)


def _read(place: Path, part: str, scheme: str, seed: int) -> Mapping[str, Any]:
    from tokkit.experiments.positions import measured_path

    path = measured_path(place, part, scheme, seed)
    record = read_json(path, what="measurements")
    if not isinstance(record, dict) or "arms" not in record:
        raise ArtifactError(f"{path} is no record of measurements: delete it, and run again")
    return record


def find(place: Path, config: PositionsConfig) -> dict[str, Any]:
    """Everything a Result needs besides its settings and provenance."""
    measured = Measured(place, config)
    tables = {
        "text_trained": _trained_table(measured),
        "text_lengths": _lengths_table(measured),
        "text_changes": _changes_table(measured),
        "text_pairs": _pairs_table(measured),
        "text_against_none": _text_gains_table(measured),
        "text_by_place": _places_table(measured),
        "order": _order_table(measured),
        "order_against_none": _gains_table(measured),
        "curves": _curves_table(place, config),
    }
    unchanged = float(np.mean([r["unchanged"] for r in measured.records["order"][BLIND]]))
    claims = position_claims(
        Found(
            trained=tables["text_trained"],
            order=tables["order"],
            gains=tables["order_against_none"],
            changes=tables["text_changes"],
            pairs=tables["text_pairs"],
            unchanged=unchanged,
            seeds=config.seeds,
        )
    )
    return {"values": _values(measured, unchanged), "tables": tables, "claims": claims}


def _values(measured: Measured, unchanged: float) -> dict[str, Any]:
    hidden = ("token_bytes",)
    config = measured.config
    return {
        "schemes": {name: scheme.how for name, scheme in SCHEMES.items()},
        "scalings": {name: scaling.how for name, scaling in SCALINGS.items()},
        "blind": {"name": BLIND, "unchanged_when_shuffled": unchanged},
        "trained_tokens": config.text_length,
        "trained_items": config.order_length,
        "chance": {**CHANCE, ORDER: float(np.mean([CHANCE[task] for task in ORDER_TASKS]))},
        "unigram_bits_per_byte": _unigram(measured.text),
        "text": {k: v for k, v in measured.text.record.items() if k not in hidden},
        "training_seconds": {
            part: {
                scheme: round(float(np.mean([r["training_seconds"] for r in records])), 1)
                for scheme, records in schemes.items()
            }
            for part, schemes in measured.records.items()
        },
    }


def _unigram(text: Text) -> float:
    targets = text.windows[:, 1:]
    nats = (text.unigram[targets] * text_tokens(text, targets)).sum()
    return float(nats / math.log(2) / text.token_bytes[targets].sum())


# Tables -----------------------------------------------------------------------------------------

_ARM, _SCHEME, _TASK = Column("arm", "Arm"), Column("scheme", "Scheme"), Column("task", "Task")
_LENGTH = Column("length", "Length", "trained lengths")
_BPB = "bits per byte"
_REASON = Column("reason", "Why there is no number")


def _bounds(unit: str) -> tuple[Column, Column]:
    return Column("low", "95% low", unit), Column("high", "95% high", unit)


def _three(found: Interval) -> tuple[float, float, float]:
    return found.estimate, found.low, found.high


def _trained_table(measured: Measured) -> Table:
    unigram = _unigram(measured.text)
    rows: list[Row] = []
    for scheme in SCHEMES:
        found = measured.interval(measured.trained(scheme))
        right = measured.interval(measured.trained(scheme, "right"))
        saved = 1 - found.estimate / unigram
        rows.append((scheme, *_three(found), *_three(right), unigram, saved, found.n_items,
                     found.n_seeds))  # fmt: skip
    columns = (
        _SCHEME, Column("bits_per_byte", "Bits per byte", _BPB), *_bounds(_BPB),
        Column("accuracy", "Next token right", "proportion"),
        Column("accuracy_low", "Its 95% low", "proportion"),
        Column("accuracy_high", "Its 95% high", "proportion"),
        Column("unigram", "Unigram baseline", _BPB),
        Column("saved", "Below the unigram", "proportion"),
        Column("n", "Windows", "windows"), Column("seeds", "Seeds", "seeds"),
    )  # fmt: skip
    return Table("Held-out text in contexts of the trained length", columns, tuple(rows))


def _lengths_table(measured: Measured) -> Table:
    rows: list[Row] = []
    for arm in (*SCHEMES, *SCALINGS):
        for length in LENGTHS:
            tokens = round(length * measured.config.text_length)
            bits, right = (measured.matched(arm, length, what) for what in ("nats", "right"))
            if bits is None or right is None:
                rows.append((arm, length, tokens, *[None] * 7, CANNOT))
                continue
            found = measured.interval(bits)
            rows.append((arm, length, tokens, *_three(found), *_three(measured.interval(right)),
                         found.n_items, None))  # fmt: skip
    columns = (
        _ARM, _LENGTH, Column("tokens", "Window", "tokens"),
        Column("bits_per_byte", "Bits per byte", _BPB), *_bounds(_BPB),
        Column("accuracy", "Next token right", "proportion"),
        Column("accuracy_low", "Its 95% low", "proportion"),
        Column("accuracy_high", "Its 95% high", "proportion"),
        Column("n", "Windows", "windows"), _REASON,
    )  # fmt: skip
    title = "The same target tokens at the end of windows of growing length"
    return Table(title, columns, tuple(rows))


def _change(measured: Measured, arm: str, length: float) -> Floats | None:
    at, start = measured.matched(arm, length), measured.matched(arm, 1.0)
    return None if at is None or start is None else at - start


def _changes_table(measured: Measured) -> Table:
    rows: list[Row] = []
    for arm in (*SCHEMES, *SCALINGS):
        for length in LENGTHS[1:]:
            change = _change(measured, arm, length)
            if change is None:
                rows.append((arm, length, None, None, None, None, CANNOT))
            else:
                found = measured.interval(change)
                rows.append((arm, length, *_three(found), found.n_items, None))
    columns = (_ARM, _LENGTH, Column("change", "Change", _BPB), *_bounds(_BPB),
               Column("n", "Windows", "windows"), _REASON)  # fmt: skip
    title = "Change in bits per byte of the same targets, from the trained length"
    return Table(title, columns, tuple(rows))


def _compared(measured: Measured, named: Sequence[tuple[tuple[Any, ...], Floats]]) -> list[Row]:
    """Names, then: difference, bounds, items, test, p, and p by Holm over these rows alone."""
    tests = [_test(values.mean(axis=1)) for _, values in named]
    corrected = holm([None if test is None else test[1] for test in tests])
    rows = []
    for (names, values), test, p_holm in zip(named, tests, corrected, strict=True):
        found = measured.interval(values)
        method, p = test or (None, None)
        rows.append((*names, *_three(found), found.n_items, method, p, p_holm))
    return rows


def _test(by_seed: Floats) -> tuple[str, float] | None:
    """The sign-flip test over seeds, and None of one seed, of which no test can tell anything."""
    if len(by_seed) < 2:
        return None
    test = factorial_permutation(by_seed, np.random.default_rng(_SIGNS_SEED))
    return f"sign-flip permutation over {test.n} seeds", test.p


def _comparison_columns(names: Iterable[Column], unit: str, items: str) -> tuple[Column, ...]:
    return (
        *names, Column("difference", "Difference", unit), *_bounds(unit),
        Column("n", items.capitalize(), items), Column("test", "Test"), Column("p", "p"),
        Column("p_holm", "p, Holm"),
    )  # fmt: skip


def _pairs_table(measured: Measured) -> Table:
    named = []
    for first, second in COMPARED:
        one, other = _change(measured, first, 2.0), _change(measured, second, 2.0)
        if one is not None and other is not None:
            named.append(((first, second), one - other))
    columns = (Column("first", "Scheme"), Column("second", "Minus scheme"))
    title = "Pairs of schemes: change in bits per byte from 1 to 2 trained lengths"
    return Table(title, _comparison_columns(columns, _BPB, "windows"),
                 tuple(_compared(measured, named)))  # fmt: skip


def _text_gains_table(measured: Measured) -> Table:
    none = measured.trained(NONE)
    named = [((scheme,), measured.trained(scheme) - none) for scheme in WITH_POSITIONS]
    return Table("Bits per byte at the trained length, minus none's",
                 _comparison_columns((_SCHEME,), _BPB, "windows"),
                 tuple(_compared(measured, named)))  # fmt: skip


def _gains_table(measured: Measured) -> Table:
    """Accuracy minus none's at the trained length; Holm over the schemes, within each task."""
    rows: list[Row] = []
    for task in _EVERY:
        none = measured.order(NONE, task, 1.0)
        named = []
        for scheme in WITH_POSITIONS:
            own = measured.order(scheme, task, 1.0)
            if own is not None and none is not None:
                named.append(((scheme, task), own - none))
        rows += _compared(measured, named)
    return Table("Accuracy on questions about lists at the trained length, minus none's",
                 _comparison_columns((_SCHEME, _TASK), "proportion", "questions"),
                 tuple(rows))  # fmt: skip


def _order_table(measured: Measured) -> Table:
    chance = {**CHANCE, ORDER: float(np.mean([CHANCE[task] for task in ORDER_TASKS]))}
    rows: list[Row] = []
    for arm in (*SCHEMES, *SCALINGS, BLIND):
        for task in _EVERY:
            for length in LENGTHS:
                items = round(length * measured.config.order_length)
                values = measured.order(arm, task, length)
                if values is None:
                    rows.append((arm, task, length, items, *[None] * 3, chance[task], None, CANNOT))
                    continue
                found = measured.interval(values)
                rows.append((arm, task, length, items, *_three(found), chance[task], found.n_items,
                             None))  # fmt: skip
    columns = (
        _ARM, _TASK, _LENGTH, Column("items", "Items in the list", "items"),
        Column("accuracy", "Accuracy", "proportion"), *_bounds("proportion"),
        Column("chance", "Chance", "proportion"), Column("n", "Questions", "questions"), _REASON,
    )  # fmt: skip
    title = f"Accuracy on questions about lists; {CONTROL_TASK} is the control: it needs no order"
    return Table(title, columns, tuple(rows))


def _places_table(measured: Measured) -> Table:
    step = int(LENGTHS[-1] * measured.config.text_length) // PLACES
    rows: list[Row] = []
    for arm in (*SCHEMES, *SCALINGS):
        for place, values in enumerate(measured.by_place(arm)):
            at = (arm, place * step, (place + 1) * step)
            if values is None:
                rows.append((*at, None, None, None, CANNOT))
            elif len(values) == 1:  # one seed, and windows are summed over: no interval
                rows.append((*at, float(values[0]), None, None, None))
            else:
                rows.append((*at, *_three(measured.interval(values[:, None])), None))
    columns = (
        _ARM, Column("start", "From token", "tokens"), Column("end", "To token", "tokens"),
        Column("bits_per_byte", "Bits per byte", _BPB), *_bounds(_BPB), _REASON,
    )  # fmt: skip
    title = "Bits per byte by place in a window of 4 trained lengths; intervals over seeds"
    return Table(title, columns, tuple(rows))


def _curves_table(place: Path, config: PositionsConfig) -> Table:
    from tokkit.experiments.positions import jobs_of

    rows: list[Row] = []
    for job in jobs_of(config):
        for line in read_metrics(place / "training" / job.name):
            for order, seed in enumerate(job.seeds):
                at = (job.part, job.scheme, seed, line["step"])
                rows.append((*at, "loss", line["losses"][order]))
                if "evaluations" in line:
                    rows += [(*at, m, v) for m, v in line["evaluations"][order].items()]
    columns = (
        Column("part", "Part"), _SCHEME, Column("seed", "Seed"), Column("step", "Step", "steps"),
        Column("measure", "Measure"),
        Column("value", "Loss, or accuracy", "nats or proportion"),
    )  # fmt: skip
    return Table("Learning curves", columns, tuple(rows))
