"""The measures of all agreement sentences as arrays, with what chance would give.

N items, L layers, H heads; roles in the order of WEIGHT_ROLES. NaN where an item lacks the role.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.attention.agreement_items import SUBJECT, Item
from tokkit.analysis.attention.agreement_measures import (
    DIRECTIONS,
    FIRST,
    WEIGHT_ROLES,
    Caused,
    Knocked,
    Looked,
    Plan,
)
from tokkit.analysis.intervals import Ratios, Resampling

Floats = NDArray[np.float64]
QUERIES = ("last token", "verb")


@dataclass(frozen=True, slots=True)
class Weights:
    """Attention given to each role.

    mass         (N, queries, L, H, roles) summed over the columns of the role
    even         (N, queries, roles) what even dealing over all columns would give
    by_distance  (N, L, H) the mean weight, in other sentences, of columns that are no subject and
                 not the first, as far from the last token as this sentence's subject; NaN where
                 no other sentence has one there
    """

    mass: Floats
    even: Floats
    by_distance: Floats


@dataclass(frozen=True, slots=True)
class Measured:
    """All that the tables and the claim are made of; `fresh` is of untrained weights.

    `n_everywhere` is the number of items, the first ones, whose heads are patched at all columns;
    `more_items` are sentences whose weights alone are taken, so that there are enough of each
    number of attractors.
    """

    items: Sequence[Item]
    weights: Weights
    caused: Sequence[Caused]
    fresh_weights: Weights
    fresh_knocked: Sequence[Knocked]
    plan: Plan
    n_everywhere: int
    more_items: Sequence[Item] = ()
    more_weights: Weights | None = None

    @property
    def attractors(self) -> NDArray[np.int64]:
        """How many each item has: (N,)."""
        return np.array([item.attractors for item in self.items])

    @property
    def apart(self) -> Floats:
        """The whole way between the two sentences of each pair, in logits: (N,)."""
        return np.array([found.apart for found in self.caused])

    def moved(self, direction: str, of: str) -> Floats:
        """What patching moved, (N, ...): `of` is a field of Patched."""
        return np.stack([getattr(found.patched[direction], of) for found in self.caused])


def gather_weights(looked: Sequence[Looked], items: Sequence[Item]) -> Weights:
    """Put the weights of single sentences together."""
    pairs = [(found.at_last, found.roles) for found in looked]
    at_verb = [(found.at_verb, [*found.roles, -1]) for found in looked]
    mass, even = [], []
    for group in zip(pairs, at_verb, strict=True):
        sums, shares = zip(*(_by_role(weights, np.array(roles)) for weights, roles in group),
                           strict=True)  # fmt: skip
        mass.append(np.stack(sums))
        even.append(np.stack(shares))
    return Weights(np.stack(mass), np.stack(even), _by_distance(looked, items))


def _by_role(weights: Floats, roles: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mass (L, H, roles) of weights (L, H, T), and the same dealt evenly, (roles,)."""
    members = roles[:, None] == np.arange(len(WEIGHT_ROLES))
    mass, even = weights @ members, members.mean(0)
    absent = ~members.any(0)
    mass[..., absent] = np.nan
    return mass, np.where(absent, np.nan, even)


def _by_distance(looked: Sequence[Looked], items: Sequence[Item]) -> Floats:
    longest = max(len(item.ids) for item in items)
    shape = looked[0].at_last.shape[:2]
    sums, counts = np.zeros((longest, *shape)), np.zeros(longest)
    named = [WEIGHT_ROLES.index(role) for role in (SUBJECT, FIRST)]
    for found in looked:
        columns = np.flatnonzero(~np.isin(found.roles, named))
        distances = len(found.roles) - 1 - columns
        sums[distances] += found.at_last[..., columns].transpose(2, 0, 1)
        counts[distances] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums / counts[:, None, None]
    # A sentence's own subject is not among the columns, so these are all of other sentences,
    # but for the few of its own at the distance of another token of the subject.
    return np.stack([
        sum(means[item.last - column] for column in item.places[SUBJECT]) for item in items
    ])  # fmt: skip


def means(drawn: Resampling, values: Floats) -> Ratios:
    """Means over the items that have a value, (N, ...), with intervals."""
    present = np.isfinite(values)
    return drawn.ratios(np.where(present, values, 0.0), present.astype(np.float64))


def shares(drawn: Resampling, moved: Floats, apart: Floats) -> Ratios:
    """What was moved, (N, ...), of the whole way (N,), as a ratio of sums, with intervals.

    0 is the sentence that was patched, 1 the one that the patch is from. The ratio of sums gives
    a sentence the weight of its own way: one that the number hardly moves cannot blow up.
    """
    present = np.isfinite(moved)
    whole = np.broadcast_to(apart.reshape(-1, *[1] * (moved.ndim - 1)), moved.shape)
    return drawn.ratios(np.where(present, moved, 0.0), np.where(present, whole, 0.0))


def rank_correlation(
    drawn: Resampling, weights: Floats, moved: Floats, apart: Floats
) -> tuple[float, float, float]:
    """Spearman's, over heads, of mean weight with share moved, both (N, L, H), and its interval."""
    looks, effects = weights.reshape(len(weights), -1), moved.reshape(len(moved), -1)
    draws = np.vstack((np.ones(len(looks)), drawn.weights[:, drawn.groups]))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (draws @ effects) / (draws @ apart)[:, None]
    found = _correlations(_ranks(draws @ looks), _ranks(share))
    if len(drawn) < 2 or np.isnan(found).any():
        return float(found[0]), float("nan"), float("nan")
    low, high = np.quantile(found[1:], (0.025, 0.975))
    return float(found[0]), float(low), float(high)


def _ranks(values: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1), dtype=np.float64)


def _correlations(first: Floats, second: Floats) -> Floats:
    first = first - first.mean(1, keepdims=True)
    second = second - second.mean(1, keepdims=True)
    scale = np.sqrt((first**2).sum(1) * (second**2).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((first * second).sum(1) / scale)


def directions_agree(measured: Measured) -> float:
    """The largest gap between the shares of the two directions, over layers and roles of states.

    0 where putting in and taking out tell the same, as they must in a linear model.
    """
    both = []
    for direction in DIRECTIONS:
        moved = measured.moved(direction, "states")
        present = np.isfinite(moved)
        whole = np.where(present, measured.apart[:, None, None], 0).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            both.append(np.where(present, moved, 0).sum(0) / whole)
    gap = np.abs(both[0] - both[1])
    return float(gap[np.isfinite(gap)].max(initial=0.0))
