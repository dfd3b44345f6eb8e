"""What the rows of an arm know of letters, each token told by a probe that never saw it.

Legend of shapes: T tokens, S seeds, J questions, B resamples, 26 letters, K counts (0, 1, 2+).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.arms_reading import ArmsRun, Asked
from tokkit.analysis.embeddings.spelling_labels import spelling_tasks
from tokkit.analysis.embeddings.spelling_reading import TOLERANCE
from tokkit.analysis.probing import (
    Floats,
    LogisticProbe,
    Preparation,
    Task,
    class_shares,
    cross_entropy,
)
from tokkit.analysis.probing_scores import Scores, decisions, stratified_balanced_accuracy
from tokkit.analysis.probing_splits import folds, shuffled_task

FOLDS = 5
PENALTIES = (0.1, 0.03, 0.01)
STAGES = ("before", "after", "shuffled")


@dataclass(frozen=True, slots=True)
class Told:
    """Probabilities of each token's counts, (T, 26, K), by probes that never saw the token."""

    shares: Floats
    prior: NDArray[np.float64]


def told_counts(rows: Floats, task: Task, known: NDArray[np.bool_], seed: int) -> Told:
    """Known tokens are told by cross-fitting in FOLDS folds, all others by the known ones.

    The penalty of a fold is the best on the other folds, so that nothing is chosen on what is
    told. Raises ConfigError for fewer known tokens than folds.
    """
    places = np.flatnonzero(known)
    fold = folds(places, FOLDS, np.random.default_rng([seed, 11]))
    labels = task.of(places)
    within = np.empty((len(PENALTIES), len(places), *task.labels.shape[1:], task.classes), "f4")
    for number in range(FOLDS):
        seen, held = places[fold != number], fold == number
        within[:, held] = _fits(rows, task, seen, rows[places[held]])
    losses = np.array(
        [
            [cross_entropy(by[fold == number], labels[fold == number]) for number in range(FOLDS)]
            for by in within
        ]
    )
    shares = np.empty((len(rows), *within.shape[2:]), dtype=np.float32)
    for number in range(FOLDS):
        best = int(np.delete(losses, number, axis=1).mean(axis=1).argmin())
        shares[places[fold == number]] = within[best, fold == number]
    best = int(losses.mean(axis=1).argmin())
    shares[~known] = _fits(rows, task, places, rows[~known])[best]
    return Told(shares, class_shares(labels, task.classes))


def _fits(rows: Floats, task: Task, seen: NDArray[np.int64], asked: Floats) -> Floats:
    """Probabilities of the rows `asked` by a probe of each penalty, fitted on `seen`."""
    preparation = Preparation().fit(rows[seen])
    prepared, asked = preparation.transform(rows[seen]), preparation.transform(asked)
    found, last = [], None
    for penalty in PENALTIES:
        last = LogisticProbe(task.classes, penalty, tolerance=TOLERANCE).fit(
            prepared, task.of(seen), last
        )
        found.append(last.predict(asked))
    return np.stack(found)


def tell_all(run: ArmsRun, seed: int) -> dict[tuple[str, int, str], Told]:
    """By arm, seed and stage: before, after, and after with the tokens' letters dealt out anew."""
    task = spelling_tasks(run.words)["count"]
    told = {}
    for one in run.trained:
        shuffled = shuffled_task(task, np.random.default_rng([seed, one.seed, 12]))
        for stage, rows, asked in (
            ("before", one.before, task),
            ("after", one.after, task),
            ("shuffled", one.after, shuffled),
        ):
            told[one.arm, one.seed, stage] = told_counts(rows, asked, run.known, seed)
    return told


def presence_scores(
    told: Sequence[Told],
    labels: Sequence[NDArray[np.int64]],
    of: NDArray[np.bool_],
    weights: NDArray[np.float32],
    seeds: NDArray[np.float64],
) -> Scores:
    """Balanced accuracy of present or not, within letters, mean of seeds: (B,).

    `weights` (B, T) and `seeds` (B, S) are resampled tokens and seeds, the same for every arm.
    """
    by_seed = []
    for one, counts in zip(told, labels, strict=True):
        shares = np.stack([one.shares[..., 0], 1 - one.shares[..., 0]], axis=-1)
        prior = np.stack([one.prior[:, 0], 1 - one.prior[:, 0]], axis=-1)
        chosen = decisions(shares, prior)
        present = np.minimum(counts, 1)
        by_seed.append(stratified_balanced_accuracy(chosen[of], present[of], weights[:, of]))
    return np.asarray((np.stack(by_seed, axis=1) * seeds).sum(axis=1) / seeds.sum(axis=1))


def knowledge(told: Told, asked: Asked, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """How much better than the letter's frequency a probe knows each question's tokens: (J,).

    The probability of the asked letter's true count in every token of the word, as the probe says
    it, less the same by the shares of the counts alone: 0 for a row that says nothing, at most 1.
    """
    found = np.zeros(len(asked.tokens))
    for at, (letter, tokens) in enumerate(zip(asked.letters, asked.tokens, strict=True)):
        of = list(tokens)
        true = counts[of, letter]
        by_probe = told.shares[of, letter, true].astype(np.float64)
        found[at] = by_probe.prod() - told.prior[letter, true].prod()
    return found


def without_strata(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values (S, J) less their mean within each seed and stratum of questions."""
    left = values.copy()
    for stratum in np.unique(strata):
        of = strata == stratum
        left[:, of] -= left[:, of].mean(axis=1, keepdims=True)
    return left


def slopes(
    known: NDArray[np.float64],
    right: NDArray[np.float64],
    weights: NDArray[np.float32],
    seeds: NDArray[np.float64],
) -> tuple[Scores, Scores]:
    """Least-squares slope and correlation of being right on knowing, under resamples: (B,) each.

    `known` and `right` (A, S, J) of A arms are without strata; `weights` (B, J) resample words,
    `seeds` (B, S) seeds, the same for every arm. NaN where no knowledge varies.
    """
    moments = []
    for one in (known * right, known**2, right**2):
        by_seed = one.sum(axis=0) @ weights.T.astype(np.float64)
        moments.append((by_seed.T * seeds).sum(axis=1))
    both, of_known, of_right = moments
    with np.errstate(invalid="ignore", divide="ignore"):
        return both / of_known, both / np.sqrt(of_known * of_right)
