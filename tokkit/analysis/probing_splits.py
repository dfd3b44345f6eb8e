"""Parts to train, choose and test on, and the labels of control tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tokkit.analysis.probing import Ints, Task
from tokkit.errors import ConfigError

SHARES = (0.6, 0.2, 0.2)


@dataclass(frozen=True, slots=True)
class Split:
    """Places of the rows of each part, in ascending order; a group lies in one part alone."""

    train: Ints
    validation: Ints
    test: Ints


def group_numbers(names: Sequence[str]) -> Ints:
    """A number for each name, the same for equal names, in order of first appearance."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def split_groups(
    groups: ArrayLike, generator: np.random.Generator, shares: Sequence[float] = SHARES
) -> Split:
    """Split rows into train, validation and test so that no group lies in two of them.

    `groups` (N,) numbers the group of each row. Raises ConfigError for fewer than three groups.
    """
    of_row = np.asarray(groups, dtype=np.int64)
    names, place, sizes = np.unique(of_row, return_inverse=True, return_counts=True)
    if len(names) < 3:
        raise ConfigError(
            f"train, validation and test need 3 or more groups of rows, got {len(names)}"
        )
    order = generator.permutation(len(names))
    # By the middle of each group, so that parts have their share of rows, not of groups.
    middle = np.empty(len(names))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2
    bounds = np.cumsum(shares)[:2] / np.sum(shares) * len(of_row)
    part = np.searchsorted(bounds, middle)
    part[order[0]], part[order[-2]], part[order[-1]] = 0, 1, 2  # none is empty
    return Split(*(np.flatnonzero(part[place] == wanted) for wanted in range(3)))


def control_task(task: Task, groups: ArrayLike, generator: np.random.Generator) -> Task:
    """The control task: each group has a label of its own, drawn as labels are distributed.

    Each head is drawn apart, from the heads' labels of random rows. Source: Hewitt and Liang
    (2019), "Designing and Interpreting Probes with Control Tasks", section 2; their word types
    are the groups here.
    """
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    rows, heads = task.labels.shape
    sources = generator.integers(rows, size=(int(place.max()) + 1, heads))
    drawn = np.take_along_axis(task.labels, sources, axis=0)
    return Task(f"{task.name}, control", drawn[place], task.classes, task.heads)


def shuffled_task(task: Task, generator: np.random.Generator) -> Task:
    """The task with its rows of labels dealt out anew: their distribution stays as it is."""
    dealt = task.labels[generator.permutation(len(task.labels))]
    return Task(f"{task.name}, shuffled", dealt, task.classes, task.heads)


def variant_split(groups: ArrayLike, generator: np.random.Generator) -> Split:
    """Test on one row of each group of two or more, train on all others: groups that were seen.

    A fifth of the other rows is the validation part. It is Hewitt and Liang's setting, where a
    probe can be right by remembering the type of a token.
    """
    of_row = np.asarray(groups, dtype=np.int64)
    order = generator.permutation(len(of_row))
    _, first, sizes = np.unique(of_row[order], return_index=True, return_counts=True)
    test = np.sort(order[first[sizes > 1]])
    rest = np.setdiff1d(np.arange(len(of_row)), test)
    held = generator.random(len(rest)) < SHARES[1]
    return Split(rest[~held], rest[held], test)


def folds(groups: ArrayLike, count: int, generator: np.random.Generator) -> Ints:
    """The fold of each row, 0 to `count` - 1; a group lies in one fold alone."""
    names, place = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < count:
        raise ConfigError(f"{count} folds need as many groups of rows, got {len(names)}")
    numbers = np.arange(len(names)) % count
    dealt: Ints = generator.permutation(numbers)[place]
    return dealt
