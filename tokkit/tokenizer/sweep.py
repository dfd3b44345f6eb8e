"""Vocabulary sizes times pre-tokenizers as one table: what a choice costs before it is made.

Each pre-tokenizer is trained once, to the largest size; a smaller byte-pair vocabulary is a prefix
of a larger one. Measured on text is the text that was held out, where there is enough of it:
numbers of the text that was trained on flatter large vocabularies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError, unknown_choice
from tokkit.results import Result, collect_provenance
from tokkit.tokenizer.holdout import Division, divide_blocks
from tokkit.tokenizer.inputs import input_digests
from tokkit.tokenizer.sweep_record import Bounds, Point, premium_table, sweep_table

if TYPE_CHECKING:
    from tokkit.tokenizer.audit.replicates import Replicates
    from tokkit.tokenizer.learning import LearnedMerges
    from tokkit.tokenizer.table import PretokenTable

KIND = "tokenizer.sweep"
SIZES = (1000, 2000, 4000, 8000, 16000, 32000)
MODEL_WIDTH = 768
_BYTES = 256
# Columns of `frequency_values`.
_USED, _RENYI_DECLARED = 0, 6
_ONE_GROUP = "the corpus has one group"

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def sweep(
    table: PretokenTable,
    *,
    sizes: Sequence[int] = SIZES,
    pretokenizers: Sequence[str] = ("gpt2", "cl100k", "o200k"),
    others: Mapping[str, PretokenTable] | None = None,
    model_width: int = MODEL_WIDTH,
    held_out: float | None = None,
    reference: str | None = None,
    min_frequency: int = 2,
    seed: int = 0,
    resamples: int = 1000,
    level: float = 0.95,
    progress: Callable[[str], None] | None = None,
) -> Result:
    """Train and measure every size with every pre-tokenizer.

    `table` holds the corpus as atoms; `others` holds a table of its own for each pre-tokenizer
    that does not follow from atoms. A size counts the 256 bytes and the merges. `held_out` is the
    share of each group's blocks to measure on, 0 for measuring on what is trained on, None for a
    fifth where that leaves enough blocks for intervals. `model_width` is the width of the
    embedding matrices whose parameters are counted. `progress` is told what is being done.

    Returns a Result of kind "tokenizer.sweep". Raises ConfigError for sizes below 256, an unknown
    pre-tokenizer or reference, a share out of range or too large for the corpus.
    """
    sizes = sorted(set(sizes))
    _require(table, sizes, pretokenizers, model_width, reference)
    clock = time.perf_counter()
    division = divide_blocks(table, held_out, np.random.default_rng(seed))
    points: list[Point] = []
    seconds: dict[str, float] = {}
    base: dict[int, Floats] = {}
    for name in dict.fromkeys(pretokenizers):
        started = time.perf_counter()
        own = (others or {}).get(name, table)
        plan = _Plan(
            name,
            # A table of its own may have cut documents elsewhere, and so have other blocks.
            division if own is table else divide_blocks(own, held_out, np.random.default_rng(seed)),
            model_width,
            _reference(table, reference),
            min_frequency,
            progress,
        )
        # Blocks that differ cannot be paired.
        paired = base if own is table else {}
        found = _measure_all(own, sizes, plan, (seed, resamples, level), paired)
        points += [point for point, _ in found]
        if not base and own is table:
            base = {point.asked: rows for point, rows in found}
        seconds[name] = time.perf_counter() - started
    seconds["in all"] = time.perf_counter() - clock
    return Result(
        kind=KIND,
        title="Vocabulary sizes and pre-tokenizers",
        settings={
            "sizes": sizes,
            "pretokenizers": list(dict.fromkeys(pretokenizers)),
            "model_width": model_width,
            "held_out": held_out,
            "reference": _reference(table, reference),
            "min_frequency": min_frequency,
            "seed": seed,
            "resamples": resamples,
            "level": level,
        },
        values={"corpus": _corpus(table, division)},
        tables={
            "sweep": sweep_table(points, held_out=division.held_out),
            "premiums": premium_table(points),
        },
        claims=(),
        provenance=collect_provenance(
            seeds=[seed],
            inputs=input_digests({}, table),
            wall_seconds=seconds,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How one pre-tokenizer is trained and measured."""

    pretokenizer: str
    division: Division
    model_width: int
    reference: str
    min_frequency: int
    progress: Callable[[str], None] | None

    def say(self, what: str) -> None:
        """Tell what is being done."""
        if self.progress:
            self.progress(f"{self.pretokenizer}: {what}")


def _measure_all(
    table: PretokenTable,
    sizes: Sequence[int],
    plan: _Plan,
    drawing: tuple[int, int, float],
    base: Mapping[int, Floats],
) -> list[tuple[Point, Floats]]:
    """Train once to the largest of rising sizes, then measure each.

    Gives each point with the replicates of its bytes a token; `base` holds those, by size, that
    the point is to be compared with.
    """
    from tokkit.tokenizer.learning import LearningOptions, learn

    plan.say(f"training to {sizes[-1]:,} tokens")
    units = table.split(plan.pretokenizer)
    trained = units.block_counts[plan.division.trained]
    counts = np.asarray(trained.sum(axis=0), dtype=np.int64).ravel()
    options = LearningOptions(sizes[-1], min_frequency=plan.min_frequency)
    learned = learn(units.data, units.offsets, counts, options)
    drawn = _replicates(units, plan.division, drawing)
    points = []
    for size in sizes:
        plan.say(f"measuring {size:,} tokens")
        points.append(_measure(units, learned, size, plan, drawn, base.get(size)))
    return points


def _replicates(
    table: PretokenTable, division: Division, drawing: tuple[int, int, float]
) -> Replicates:
    from tokkit.tokenizer.audit.replicates import Replicates

    seed, resamples, level = drawing
    return Replicates(
        np.asarray(table.blocks.group[division.measured], dtype=np.int64),
        tuple(table.group_names),
        resamples=resamples,
        generator=np.random.default_rng(seed),
        level=level,
    )


def _measure(
    units: PretokenTable,
    learned: LearnedMerges,
    size: int,
    plan: _Plan,
    drawn: Replicates,
    base: Floats | None,
) -> tuple[Point, Floats]:
    from tokkit.tokenizer.audit.counts import count_usage
    from tokkit.tokenizer.audit.efficiency import frequency_sums, frequency_values
    from tokkit.tokenizer.train import assemble

    name, division = plan.pretokenizer, plan.division
    made = assemble(learned.merges_at(size), pretokenizer=name, special_tokens=())
    counts = count_usage(name, made, units).counts[division.measured]
    tokens = np.asarray(counts.sum(axis=1), dtype=np.int64).ravel()
    block_bytes = units.blocks.bytes[division.measured]
    values = frequency_values(frequency_sums(counts), block_bytes, made.vocab_size)
    rows = drawn.ratio(block_bytes, tokens)
    compression = drawn.estimate(rows)
    gini, premiums, why = _fairness(tokens, block_bytes, drawn, plan.reference)
    trained_bytes = int(units.blocks.bytes[division.trained].sum())
    point = Point(
        pretokenizer=name,
        asked=size,
        tokens=made.vocab_size,
        bytes_per_token=(compression.value, compression.low, compression.high),
        why_no_interval=compression.reason,
        difference=(None, None, None) if base is None else _bounds(drawn, rows - base),
        trained_bytes_per_token=trained_bytes / max(1, tokens_left_at(learned, size)),
        gini=gini,
        why_no_fairness=why,
        premiums=premiums,
        vocabulary_used=_bounds(drawn, drawn.from_left_out(values[:, _USED])),
        renyi_efficiency=_bounds(drawn, drawn.from_left_out(values[:, _RENYI_DECLARED])),
        width=plan.model_width,
    )
    return point, rows


def _bounds(drawn: Replicates, rows: Floats, group: int | None = None) -> Bounds:
    made = drawn.estimate(rows, group)
    return made.value, made.low, made.high


def _fairness(
    tokens: Ints, block_bytes: Ints, drawn: Replicates, reference: str
) -> tuple[Bounds, tuple[tuple[str, Bounds], ...], str | None]:
    """The Gini coefficient of tokens a byte over groups, and each group's premium."""
    from tokkit.stats import gini
    from tokkit.tokenizer.audit.replicates import divide

    if len(drawn.names) < 2:
        return (None, None, None), (), _ONE_GROUP
    cost = drawn.ratio_by_group(tokens, block_bytes)
    base = drawn.names.index(reference)
    premium = divide(cost, cost[:, base : base + 1])
    rows = tuple(
        (name, _bounds(drawn, premium[:, group], group)) for group, name in enumerate(drawn.names)
    )
    found = _bounds(drawn, gini(cost))
    return found, rows, None if found[0] is not None else "a group has no text that is measured"


def tokens_left_at(learned: LearnedMerges, size: int) -> int:
    """Tokens of the text trained on once the vocabulary holds `size`, from the trace alone."""
    steps = steps_at(learned, size)
    return int(learned.tokens_left[steps - 1]) if steps else learned.symbols


def steps_at(learned: LearnedMerges, size: int) -> int:
    """How many steps of the training belong to the one that stops at `size` tokens."""
    if not len(learned.steps):
        return 0
    full = np.maximum.accumulate(learned.steps[:, 2]) + 1
    before = np.concatenate(([learned.alphabet_size], full[:-1]))
    return int(np.searchsorted(before, size, side="left"))


def _corpus(table: PretokenTable, division: Division) -> dict[str, Any]:
    bytes_of = table.blocks.bytes
    return {
        "documents": int(table.blocks.documents.sum()),
        "bytes": int(bytes_of.sum()),
        "groups": list(table.group_names),
        "blocks": len(table.blocks),
        "measured_on": "held-out blocks" if division.held_out else "the blocks trained on",
        "why_not_held_out": division.reason,
        "blocks_trained_on": len(division.trained),
        "blocks_measured": len(division.measured),
        "bytes_trained_on": int(bytes_of[division.trained].sum()),
        "bytes_measured": int(bytes_of[division.measured].sum()),
    }


def _reference(table: PretokenTable, reference: str | None) -> str:
    if reference is not None:
        return reference
    of_group = np.bincount(table.blocks.group, table.blocks.bytes, minlength=len(table.group_names))
    return table.group_names[int(of_group.argmax())]


def _require(
    table: PretokenTable,
    sizes: Sequence[int],
    pretokenizers: Sequence[str],
    model_width: int,
    reference: str | None,
) -> None:
    from tokkit.tokenizer.presets import resolve_pretokenizer

    if not len(table.blocks) or not table.blocks.bytes.sum():
        raise ConfigError("a sweep needs text, but the table holds none; count some text")
    if not sizes or sizes[0] < _BYTES:
        got = sizes[0] if sizes else "none"
        raise ConfigError(f"sizes are {_BYTES} or more, for the bytes, got {got}; leave it out")
    if not pretokenizers:
        raise ConfigError("a sweep needs 1 or more pre-tokenizers, got none; name one")
    for name in pretokenizers:
        resolve_pretokenizer(name)
    if model_width < 1:
        raise ConfigError(f"the model's width must be 1 or more, got {model_width}")
    if reference is not None and reference not in table.group_names:
        raise ConfigError(unknown_choice("reference group", reference, table.group_names))
