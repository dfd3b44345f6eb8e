"""One task read off rows by one probe, and off everything that the reading is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.spelling_labels import LONGEST
from tokkit.analysis.probing import (
    Floats,
    Ints,
    LogisticProbe,
    Preparation,
    Task,
    cross_entropy,
)
from tokkit.analysis.probing_mlp import MlpProbe
from tokkit.analysis.probing_scores import (
    Scores,
    accuracy,
    average_precision,
    balanced_accuracy,
    decisions,
    macro_f1,
    r_squared,
    usable_heads,
)
from tokkit.analysis.probing_splits import Split

ProbeName = Literal["logistic", "mlp"]
PENALTIES = (0.1, 0.03, 0.01, 0.003)
"""Tried from strong to weak until the validation loss rises."""
TOLERANCE = 1e-5
"""Relative: more digits of the loss change no score in the third place."""
METRICS = {
    "presence": ("balanced accuracy", "average precision"),
    "count": ("balanced accuracy",),
    "first": ("accuracy", "macro-F1"),
    "last": ("accuracy", "macro-F1"),
    "length": ("R squared", "accuracy"),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a probe says of the test rows, (N, H, K), and of those it was trained on.

    `chosen` is the penalty, or the number of epochs, that the validation part chose; `prior`
    (H, K) the shares of the classes in training.
    """

    task: Task
    predicted: Floats
    trained: Floats
    prior: NDArray[np.float64]
    chosen: float


def prepared(rows: Floats, split: Split) -> Floats:
    """All rows, prepared by what the training rows say."""
    return Preparation().fit(rows[split.train]).transform(rows)


def read(
    task: Task,
    rows: Floats,
    split: Split,
    probe: ProbeName,
    *,
    seed: int,
    fixed: float | None = None,
) -> Reading:
    """Fit a probe on prepared rows (N, D) and read the test rows; `fixed` is used, not chosen."""
    fitted: LogisticProbe | MlpProbe
    if probe == "mlp":
        held = rows[split.validation], task.of(split.validation)
        mlp = MlpProbe(task.classes, seed=seed, epochs=None if fixed is None else int(fixed))
        fitted = mlp.fit(rows[split.train], task.of(split.train), None if fixed else held)
        chosen = float(mlp.epochs_)
    elif fixed is None:
        fitted = _best_penalty(task, rows, split)
        chosen = fitted.penalty
    else:
        fitted = LogisticProbe(task.classes, fixed, tolerance=TOLERANCE).fit(
            rows[split.train], task.of(split.train)
        )
        chosen = fixed
    test, train = fitted.predict(rows[split.test]), fitted.predict(rows[split.train])
    return Reading(task, test, train, fitted.prior_, chosen)


def _best_penalty(task: Task, rows: Floats, split: Split) -> LogisticProbe:
    best: LogisticProbe | None = None
    least, last = np.inf, None
    for penalty in PENALTIES:
        last = LogisticProbe(task.classes, penalty, tolerance=TOLERANCE).fit(
            rows[split.train], task.of(split.train), last
        )
        now = cross_entropy(last.predict(rows[split.validation]), task.of(split.validation))
        if now >= least:
            break
        best, least = last, now
    assert best is not None
    return best


def score(
    kind: str,
    reading: Reading,
    labels: Ints,
    weights: NDArray[np.float32],
    *,
    trained: bool = False,
) -> dict[str, Scores]:
    """The metrics of a kind of task, each (B,), against `labels` of the test (or training) rows."""
    predicted = reading.trained if trained else reading.predicted
    classes = reading.task.classes
    if kind in ("presence", "count"):
        heads = usable_heads(labels, classes)
        if not heads.any():
            nothing = np.full(len(weights), np.nan)
            return dict.fromkeys(METRICS[kind], nothing)
        chosen = decisions(predicted, reading.prior)[:, heads]
        found = {
            "balanced accuracy": _mean(
                balanced_accuracy(chosen, labels[:, heads], classes, weights)
            )
        }
        if kind == "presence":
            sure = predicted[:, heads, 1]
            found["average precision"] = _mean(average_precision(sure, labels[:, heads], weights))
        return found
    chosen = decisions(predicted)
    right = accuracy(chosen, labels, weights)
    if kind == "length":
        expected = predicted[:, 0] @ np.arange(1, LONGEST + 1)
        return {"R squared": r_squared(expected, labels[:, 0] + 1, weights), "accuracy": right}
    return {"accuracy": right, "macro-F1": macro_f1(chosen, labels, classes, weights)}


def _mean(by_head: Scores) -> Scores:
    """Over the heads; a resample may lack a class of one of them."""
    known = np.isfinite(by_head)
    total = np.where(known, by_head, 0.0).sum(axis=1)
    return np.asarray(total / np.maximum(known.sum(axis=1), 1))


def majority(kind: str, task: Task, split: Split) -> dict[str, float]:
    """What one gets who always says the commonest class of the training rows, or its mean."""
    test = task.of(split.test)
    if kind in ("presence", "count"):
        heads = usable_heads(test, task.classes)
        common = float((test[:, heads] == 1).mean()) if heads.any() else float("nan")
        found = {"balanced accuracy": 1 / task.classes, "average precision": common}
        return {name: found[name] for name in METRICS[kind]}
    commonest = int(np.bincount(task.of(split.train)[:, 0]).argmax())
    share = float((test == commonest).mean())
    if kind == "length":
        return {"R squared": 0.0, "accuracy": share}
    classes = len(np.unique(test))
    return {"accuracy": share, "macro-F1": 2 * share / (1 + share) / classes}
