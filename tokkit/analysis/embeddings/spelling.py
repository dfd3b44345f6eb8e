"""What a row knows of its letters: probes on tokens they never saw, against their controls.

The question is whether rows tell more than a probe could make up: a random label for each word
(Hewitt and Liang 2019), rows that were never trained, and what is known without letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.spelling_labels import (
    Spelled,
    of_length,
    spelled_tokens,
    spelling_tasks,
    surface,
)
from tokkit.analysis.embeddings.spelling_reading import (
    TOLERANCE,
    ProbeName,
    Reading,
    prepared,
    read,
    score,
)
from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.probing import Floats, LogisticProbe, Task, one_thread
from tokkit.analysis.probing_mdl import CodeLength, Predictor, boundaries, online_code
from tokkit.analysis.probing_scores import Scores, group_weights
from tokkit.analysis.probing_splits import (
    Split,
    control_task,
    shuffled_task,
    split_groups,
    variant_split,
)
from tokkit.analysis.section import Section

MOST_TOKENS = 6_000
LEAST_TOKENS = 300
RESAMPLES = 500
PROBES: tuple[ProbeName, ...] = ("logistic", "mlp")
CODED = ("presence", "first", "last", "length")
CODE_PRECISIONS = (400.0, 50.0)
"""Of the weights; the penalty on the mean loss is this over the number of rows seen."""
INITIAL = "rows before training"
RANDOM = "random rows of the same covariance"


@dataclass(frozen=True, slots=True)
class Bench:
    """Everything that is read alike: tokens, split, prepared rows by name, resampled weights."""

    spelled: Spelled
    split: Split
    rows: Mapping[str, Floats]
    weights: NDArray[np.float32]
    baseline: str
    seed: int


@dataclass(frozen=True, slots=True)
class Found:
    """One task by one probe: the readings, and each condition's scores by metric."""

    kind: str
    probe: ProbeName
    task: Task
    readings: Mapping[str, Reading]
    scores: Mapping[str, Mapping[str, Scores]]


def spelling_section(
    subject: Subject,
    *,
    seed: int,
    most_tokens: int = MOST_TOKENS,
    resamples: int = RESAMPLES,
) -> Section | None:
    """What the rows know of letters: spelling_* tables; None with fewer than LEAST_TOKENS words.

    At most `most_tokens` of the tokens that are letters alone are looked at, drawn from `seed`.
    Raises InputError where there are more tokens than rows.
    """
    from tokkit.analysis.embeddings.spelling_tables import section_of

    every = spelled_tokens(subject)
    if every is None or len(every) < LEAST_TOKENS:
        return None
    generator = np.random.default_rng([seed, 5])
    chosen = np.sort(generator.permutation(len(every))[:most_tokens])
    spelled = every.take(chosen)
    with one_thread():
        bench = make_bench(subject, spelled, seed=seed, resamples=resamples)
        tasks = spelling_tasks(spelled.words)
        found = [
            measure(bench, kind, probe, task) for kind, task in tasks.items() for probe in PROBES
        ]
        logistic = {one.kind: one for one in found if one.probe == "logistic"}
        codes = {kind: code_lengths(bench, tasks[kind]) for kind in CODED}
        variants = {
            kind: other_splits(bench, logistic[kind]) for kind in ("presence", "first", "last")
        }
    return section_of(subject, every, bench, found, codes, variants)


def make_bench(subject: Subject, spelled: Spelled, *, seed: int, resamples: int) -> Bench:
    """Split the tokens by word and prepare every kind of rows on its training part."""
    generator = np.random.default_rng([seed, 6])
    split = split_groups(spelled.groups, generator)
    rows = subject.rows.take(spelled.ids)
    known = subject.initial is not None
    initial = subject.initial.take(spelled.ids) if subject.initial else alike(rows, generator)
    plain = {
        "rows": rows,
        "initial": initial,
        "surface": surface(subject, spelled, rows),
        "length": of_length(spelled),
    }
    weights = group_weights(spelled.groups[split.test], resamples, generator)
    made = {name: prepared(given, split) for name, given in plain.items()}
    return Bench(spelled, split, made, weights, INITIAL if known else RANDOM, seed)


def alike(rows: Floats, generator: np.random.Generator) -> Floats:
    """Random rows, normal, of the mean and covariance of `rows`: their spectrum, no token's row."""
    centred = rows.astype(np.float64) - rows.mean(axis=0)
    drawn = generator.standard_normal((len(rows), len(rows)), dtype=np.float32)
    mixed = drawn @ centred.astype(np.float32) / np.sqrt(len(rows))
    return np.asarray(mixed + rows.mean(axis=0), dtype=np.float32)


def measure(bench: Bench, kind: str, probe: ProbeName, task: Task) -> Found:
    """Read a task off the rows and off all that it is held against, by one probe."""
    generator = np.random.default_rng([bench.seed, 7])
    split, rows, seed = bench.split, bench.rows, bench.seed
    readings = {"rows": read(task, rows["rows"], split, probe, seed=seed)}
    readings["initial"] = read(task, rows["initial"], split, probe, seed=seed)
    fixed = readings["rows"].chosen  # a control is read by the very same probe
    for name, other in (
        ("control", control_task(task, bench.spelled.groups, generator)),
        ("shuffled", shuffled_task(task, generator)),
    ):
        readings[name] = read(other, rows["rows"], split, probe, seed=seed, fixed=fixed)
    if probe == "logistic":
        for name in ("surface", "length"):
            if name != kind:
                readings[name] = read(task, rows[name], split, probe, seed=seed)
    scores = {
        name: score(kind, reading, reading.task.of(split.test), bench.weights)
        for name, reading in readings.items()
    }
    once = np.ones((1, len(split.train)), dtype=np.float32)
    for name, of in (("control on training words", "control"), ("training words", "rows")):
        reading = readings[of]
        labels = reading.task.of(split.train)
        scores[name] = score(kind, reading, labels, once, trained=True)
    return Found(kind, probe, task, readings, scores)


def other_splits(bench: Bench, found: Found) -> dict[str, Scores]:
    """The first metric of a task where word families stay together, and where words were seen.

    "stems": no first four letters in two parts. "variants", "variants, control": tested on
    another way of writing (space, capital) of words trained on, as Hewitt and Liang do.
    """
    generator = np.random.default_rng([bench.seed, 8])
    spelled, rows = bench.spelled, bench.rows["rows"]
    splits = {"stems": (split_groups(spelled.stems, generator), found.task)}
    seen = variant_split(spelled.groups, generator)
    if len(seen.test) >= LEAST_TOKENS // 3:
        control = control_task(found.task, spelled.groups, generator)
        splits["variants"] = (seen, found.task)
        splits["variants, control"] = (seen, control)
    values = {}
    for name, (split, task) in splits.items():
        groups = spelled.stems if name == "stems" else spelled.groups
        weights = group_weights(groups[split.test], len(bench.weights) - 1, generator)
        fixed = found.readings["rows"].chosen
        reading = read(task, rows, split, "logistic", seed=bench.seed, fixed=fixed)
        scored = score(found.kind, reading, task.of(split.test), weights)
        values[name] = next(iter(scored.values()))
    return values


def code_lengths(bench: Bench, task: Task) -> dict[str, CodeLength]:
    """Online code of a task by the rows, by rows before training, and of the control task."""
    generator = np.random.default_rng([bench.seed, 9])
    groups = bench.spelled.groups
    # Words in random order, all tokens of a word together.
    place = generator.permutation(int(groups.max()) + 1)
    order = np.argsort(place[groups], kind="stable")
    control = control_task(task, groups, generator)
    return {
        "rows": _code(bench.rows["rows"][order], task, order),
        "initial": _code(bench.rows["initial"][order], task, order),
        "control": _code(bench.rows["rows"][order], control, order),
    }


def _code(rows: Floats, task: Task, order: NDArray[np.int64]) -> CodeLength:
    labels = task.of(order)

    def predictor(precision: float) -> Predictor:
        def predict(seen: int, until: int) -> Floats:
            probe = LogisticProbe(task.classes, precision / seen, tolerance=TOLERANCE)
            return probe.fit(rows[:seen], labels[:seen]).predict(rows[seen:until])

        return predict

    predictors = [predictor(precision) for precision in CODE_PRECISIONS]
    return online_code(predictors, labels, task.classes, boundaries(len(labels)))
