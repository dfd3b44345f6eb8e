"""Questions about a list of items: four that only its order answers, and one that its items do.

A question is a row of ids: <start>, the items, the task, what is asked about; the answer is one
token, predicted at the row's last place.

    at k        which item is k-th, from the start         answer: an item
    last k      which item is k-th from the end            answer: an item
    earlier     which of A and B comes earlier             answer: A or B, even odds
    after       which item comes right after A             answer: an item
    present     is A among the items (the control)         answer: yes or no, even odds

Items are drawn evenly and may recur; A and B never do, and where they are asked about they have
ids of their own, so that nothing is matched with itself. k is 1 to `INDICES` at any length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import ConfigError

Ids = NDArray[np.int64]

ORDER_TASKS = ("at k", "last k", "earlier", "after")
CONTROL_TASK = "present"
TASKS = (*ORDER_TASKS, CONTROL_TASK)
ITEMS, INDICES = 16, 8
_TASK_IDS = {task: ITEMS + place for place, task in enumerate(TASKS)}
_FIRST_INDEX = ITEMS + len(TASKS)
_FIRST_ASKED = _FIRST_INDEX + INDICES
YES, NO, START = (_FIRST_ASKED + ITEMS + place for place in range(3))
VOCABULARY = START + 1
EXTRA_TOKENS = 4
"""The most tokens of a row that are no items: <start>, the task, and what is asked about."""

CHANCE = dict.fromkeys(TASKS, 1 / ITEMS) | {"earlier": 0.5, CONTROL_TASK: 0.5}
"""The accuracy of guessing: of "earlier", one of the two items that it asks about."""


@dataclass(frozen=True, slots=True)
class Questions:
    """Rows of ids (N, T) filled up with <start> at the right, and what belongs to each (N,)."""

    ids: Ids
    ends: Ids  # the place of each row's last token
    answers: Ids
    tasks: tuple[str, ...]
    lengths: Ids  # how many items each list has


def question(task: str, items: Sequence[int], asked: Sequence[int]) -> tuple[list[int], int]:
    """The ids of one question and its answer, worked out from the list itself.

    `asked` is k from 1 for "at k" and "last k", else the item or the two items asked about.

    >>> question("at k", [7, 3, 5], [2])
    ([47, 7, 3, 5, 16, 22], 3)
    """
    if task in ("at k", "last k"):
        (k,) = asked
        answer = items[k - 1] if task == "at k" else items[-k]
        return [START, *items, _TASK_IDS[task], _FIRST_INDEX + k - 1], answer
    places = [list(items).index(item) if item in items else -1 for item in asked]
    if task == "earlier":
        answer = asked[0] if places[0] < places[1] else asked[1]
    elif task == "after":
        answer = items[places[0] + 1]
    else:
        answer = YES if places[0] >= 0 else NO
    shown = [_FIRST_ASKED + item for item in asked]
    return [START, *items, _TASK_IDS[task], *shown], answer


def draw(
    n: int, generator: np.random.Generator, *, least: int, most: int, tasks: Sequence[str] = TASKS
) -> Questions:
    """`n` questions, the tasks in turn, on lists of `least` to `most` items, lengths even.

    Raises ConfigError for lists of fewer than 2 items: nothing comes before anything.
    """
    if not 2 <= least <= most:
        raise ConfigError(f"lists need 2 items or more, got {least} to {most}")
    lengths = generator.integers(least, most + 1, n)
    ids = np.full((n, most + EXTRA_TOKENS), START, dtype=np.int64)
    ends, answers = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    named = tuple(tasks[place % len(tasks)] for place in range(n))
    for place, (task, length) in enumerate(zip(named, lengths, strict=True)):
        row, answers[place] = _drawn(task, int(length), generator)
        ids[place, : len(row)], ends[place] = row, len(row) - 1
    return Questions(ids, ends, answers, named, lengths)


def _drawn(task: str, length: int, generator: np.random.Generator) -> tuple[list[int], int]:
    """One question; as many numbers are drawn for each task, so that tasks share their lists."""
    first, second, *others = generator.permutation(ITEMS).tolist()
    items = [others[place] for place in generator.integers(0, len(others), length).tolist()]
    one, shift = int(generator.integers(length)), int(generator.integers(1, length))
    yes, share = bool(generator.integers(2)), float(generator.random())
    if task in ("at k", "last k"):
        return question(task, items, [1 + int(share * min(INDICES, length))])
    if task == "earlier":
        items[one], items[(one + shift) % length] = first, second
        return question(task, items, [first, second])
    if task == "after":
        items[int(share * (length - 1))] = first
    elif yes:
        items[one] = first
    return question(task, items, [first])


def shuffled(questions: Questions, generator: np.random.Generator) -> Questions:
    """The same questions with each list in another order; the answers are those of before."""
    ids = questions.ids.copy()
    for row, length in zip(ids, questions.lengths, strict=True):
        row[1 : 1 + length] = generator.permutation(row[1 : 1 + length])
    return Questions(ids, questions.ends, questions.answers, questions.tasks, questions.lengths)
