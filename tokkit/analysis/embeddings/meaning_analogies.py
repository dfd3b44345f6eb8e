"""Analogies: whether the step from one word to another is the same step for other pairs.

a is to b as c is to d: d is looked for near b - a + c. Two known artefacts are shown beside every
number: without leaving out the three given words the answer is mostly one of them, and the word
nearest to c alone is often right (Linzen 2016, "Issues in evaluating semantic spaces using word
analogies"; Rogers, Drozd and Li 2017, "The (too many) problems of analogical reasoning").
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.meaning_words import Quadruple, Rows
from tokkit.analysis.matrix import Matrix
from tokkit.errors import ConfigError
from tokkit.stats import Interval, block_weights, wilson

Ids = NDArray[np.int64]
ADD, MULTIPLY, NEAREST, OTHER_PAIR = "3CosAdd", "3CosMul", "nearest to c", "offset of a wrong pair"
METHODS = (ADD, MULTIPLY, NEAREST, OTHER_PAIR)
WITHIN, ALL_WORDS = "words of the relation", "all rows of words"
MOST_QUESTIONS = 300
"""Questions of one relation; more are drawn from."""
MIN_PAIRS = 4
RESAMPLES = 2000
_EPSILON = 0.001  # of 3CosMul, as Levy and Goldberg have it
_BLOCK_ROWS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """The questions of one kind, as places in `words`.

    pairs       (P, 2) places of first and second words
    asked       (Q, 2) places in `pairs`: a:b is asked with c:d, whose d is the answer
    other       (Q,) place in `pairs` of a pair that is neither: a wrong offset runs to its second
    left_out    reason to number of pairs
    """

    kind: str
    words: tuple[str, ...]
    pairs: Ids
    asked: Ids
    other: Ids
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalogyFinding:
    """How often one method found the fourth word.

    `kind` is "" over all relations. `excluded` says whether the three given words may be the
    answer. `given` is the share of answers that are one of them. `accuracy` has an interval over
    pairs: a question shares each of its pairs with many others. `over_nearest` is what the method
    adds to the word nearest to c, `over_initial` what trained rows add to initial ones, on the
    same questions.
    """

    kind: str
    method: str
    candidates: str
    excluded: bool
    rows: str
    questions: int
    pairs: int
    accuracy: Interval
    given: float
    over_nearest: Interval | None = None
    over_initial: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Right or wrong by question, (Q,), and whether the answer was one of the given words."""

    right: Rows
    given: Rows


Answers = Mapping[tuple[str, bool], Answered]
"""Method and whether the given words were excluded, to what was answered."""


def relation(
    kind: str,
    given: Sequence[tuple[str, str]] | Sequence[Quadruple],
    known: Mapping[str, int],
    generator: np.random.Generator,
) -> Relation:
    """Put the questions of one kind together, from pairs or from quadruples of words.

    From pairs each is asked with each other; from quadruples those that are given. `known` maps
    the words that have a row of their own to it. Pairs with a word that has none, and pairs with
    the first or the second word of one before (two answers, or one for two), are left out and
    counted. At most MOST_QUESTIONS are asked, drawn by `generator`. Raises ConfigError for lists
    of another length.
    """
    listed, wanted = _listed(kind, given)
    left: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []
    firsts: set[str] = set()
    seconds: set[str] = set()
    for pair in listed:
        if any(word not in known for word in pair):
            left["pairs with a word that is not one row"] += 1
        elif pair[0] == pair[1] or pair[0] in firsts or pair[1] in seconds:
            left["pairs whose answer another pair shares"] += 1
        else:
            pairs.append(pair)
            firsts.add(pair[0])
            seconds.add(pair[1])
    place = {pair: number for number, pair in enumerate(pairs)}
    questions = [
        (place[first], place[second])
        for first, second in wanted
        if first in place and second in place and first != second
    ]
    if len(pairs) < MIN_PAIRS:
        questions = []
    if len(questions) > MOST_QUESTIONS:
        drawn = np.sort(generator.choice(len(questions), MOST_QUESTIONS, replace=False))
        questions = [questions[number] for number in drawn]
    words = tuple(word for pair in pairs for word in pair)
    asked = np.array(questions, dtype=np.int64).reshape(-1, 2)
    return Relation(
        kind=kind,
        words=words,
        pairs=np.arange(2 * len(pairs), dtype=np.int64).reshape(-1, 2),
        asked=asked,
        other=_others(asked, len(pairs), generator),
        left_out=dict(left),
    )


def _listed(
    kind: str, given: Sequence[tuple[str, str]] | Sequence[Quadruple]
) -> tuple[list[tuple[str, str]], list[tuple[tuple[str, str], tuple[str, str]]]]:
    """Distinct pairs, and the questions as two pairs each."""
    sizes = {len(words) for words in given}
    if len(sizes) > 1 or not sizes <= {2, 4}:
        raise ConfigError(
            f"an analogy is a pair (a, b) or four words (a, b, c, d), but {kind!r} has lists of "
            f"{sorted(sizes)}: give all of one form"
        )
    if sizes == {2}:
        pairs = list(dict.fromkeys((words[0], words[1]) for words in given))
        return pairs, [(first, second) for first in pairs for second in pairs]
    halves = [((words[0], words[1]), (words[-2], words[-1])) for words in given]
    return list(dict.fromkeys(pair for question in halves for pair in question)), halves


def _others(asked: Ids, pairs: int, generator: np.random.Generator) -> Ids:
    """For each question a pair that is neither of its two."""
    if not len(asked):
        return np.empty(0, dtype=np.int64)
    low, high = asked.min(axis=1), asked.max(axis=1)
    drawn = generator.integers(0, pairs - 2, size=len(asked))
    drawn += drawn >= low
    return np.asarray(drawn + (drawn >= high), dtype=np.int64)


def ask(
    relations: Sequence[Relation],
    known: Mapping[str, int],
    matrix: Matrix,
    mean: Rows,
    candidates: Sequence[Ids],
) -> list[Answers]:
    """Ask all questions by each method, with and without the given words as answers.

    The answer is the row of highest score among the `candidates` of its relation (ids of rows);
    rows are centred on `mean` (D,) and of unit length, read once, a block at a time. Ties go to
    the first row. Returns what was right, for each relation.
    """
    posed = [_pose(relation, known, matrix, mean) for relation in relations]
    allowed = [np.isin(np.unique(np.concatenate(candidates)), own) for own in candidates]
    for start, ids, block in _blocks(matrix, mean, np.unique(np.concatenate(candidates))):
        for question, mask in zip(posed, allowed, strict=True):
            inside = mask[start : start + len(ids)]
            if inside.any():
                question.look(ids[inside], block[inside])
    return [question.answers() for question in posed]


@dataclass(frozen=True, slots=True)
class _Posed:
    """The questions of a relation as vectors (words, D) and places in them, and the best so far.

    `given` (method to (Q, 3)) are the places of the words of a question, `ids` the rows of words.
    """

    vectors: NDArray[np.float32]
    ids: Ids
    given: Mapping[str, Ids]
    answer: Ids
    best: Mapping[tuple[str, bool], tuple[NDArray[np.float32], Ids]]

    def look(self, block_ids: Ids, block: NDArray[np.float32]) -> None:
        """Compare with a block of candidates, whose ids ascend."""
        similar = block @ self.vectors.T
        for method, given in self.given.items():
            scores = _scores(method, similar, given)
            _keep(self.best[method, False], scores, block_ids)
            scores[_places(block_ids, self.ids[given])] = -np.inf
            _keep(self.best[method, True], scores, block_ids)

    def answers(self) -> Answers:
        """What was right and what was one of the given words."""
        return {
            (method, excluded): Answered(
                right=(found == self.answer).astype(np.float64),
                given=(found[:, None] == self.ids[self.given[method]])
                .any(axis=1)
                .astype(np.float64),
            )
            for (method, excluded), (_, found) in self.best.items()
        }


def _pose(relation: Relation, known: Mapping[str, int], matrix: Matrix, mean: Rows) -> _Posed:
    ids = np.array([known[word] for word in relation.words], dtype=np.int64)
    first, second = relation.asked.T
    a, b = relation.pairs[first].T
    c, d = relation.pairs[second].T
    wrong = relation.pairs[relation.other, 1]
    count = len(relation.asked)
    return _Posed(
        vectors=_unit(matrix.take(ids), mean),
        ids=ids,
        given={
            method: np.stack([a, wrong if method == OTHER_PAIR else b, c], axis=1)
            for method in METHODS
        },
        answer=ids[d],
        best={
            (method, excluded): (
                np.full(count, -np.inf, dtype=np.float32),
                np.full(count, -1, dtype=np.int64),
            )
            for method in METHODS
            for excluded in (True, False)
        },
    )


def _scores(method: str, similar: NDArray[np.float32], given: Ids) -> NDArray[np.float32]:
    """The score of each candidate for each question, (candidates, Q).

    3CosAdd: cos(d, b) - cos(d, a) + cos(d, c), Mikolov, Yih and Zweig (2013). 3CosMul:
    cos(d, b) cos(d, c) / (cos(d, a) + 0.001) with cosines moved to 0 to 1, Levy and Goldberg
    (2014).
    """
    a, b, c = given.T
    if method == NEAREST:
        return similar[:, c]
    if method == MULTIPLY:
        moved = (1 + similar) / 2
        return np.asarray(moved[:, b] * moved[:, c] / (moved[:, a] + np.float32(_EPSILON)))
    return np.asarray(similar[:, b] - similar[:, a] + similar[:, c])


def _keep(
    best: tuple[NDArray[np.float32], Ids], scores: NDArray[np.float32], block_ids: Ids
) -> None:
    highest, found = best
    top = scores.argmax(axis=0)
    values = scores[top, np.arange(scores.shape[1])]
    better = values > highest
    highest[better], found[better] = values[better], block_ids[top[better]]


def _places(block_ids: Ids, given: Ids) -> tuple[Ids, Ids]:
    """Where the given words stand in a block of sorted ids: (places in the block, questions)."""
    place = np.searchsorted(block_ids, given)
    there = block_ids[np.minimum(place, len(block_ids) - 1)] == given
    question = np.broadcast_to(np.arange(len(given))[:, None], given.shape)
    return place[there], question[there]


def _blocks(matrix: Matrix, mean: Rows, ids: Ids) -> Iterator[tuple[int, Ids, NDArray[np.float32]]]:
    for start in range(0, len(ids), _BLOCK_ROWS):
        chosen = ids[start : start + _BLOCK_ROWS]
        yield start, chosen, _unit(matrix.take(chosen), mean)


def _unit(rows: NDArray[np.float32], mean: Rows) -> NDArray[np.float32]:
    centred = rows - mean.astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0))


def findings(
    relations: Sequence[Relation],
    answers: Sequence[Answers],
    generator: np.random.Generator,
    *,
    candidates: str,
    rows: str,
    initial: Sequence[Answers] | None = None,
) -> list[AnalogyFinding]:
    """Accuracy by method and relation, and over all (kind ""), with intervals over pairs.

    `initial` are the answers of the same model's initial rows to the same questions. Relations
    without a question are left out.
    """
    asked = [number for number, relation in enumerate(relations) if len(relation.asked)]
    if not asked:
        return []
    sizes = [len(relation.pairs) for relation in relations]
    starts = np.cumsum([0, *sizes])
    weights = block_weights(np.repeat(np.arange(len(sizes)), sizes), RESAMPLES, generator)
    groups = [(relations[number].kind, [number]) for number in asked]
    if len(groups) > 1:
        groups.append(("", asked))
    found = []
    for kind, members in groups:
        pairs = np.concatenate([relations[number].asked + starts[number] for number in members])
        group = _Group(pairs, weights, sum(sizes[number] for number in members))
        for method, excluded in answers[members[0]]:
            key = (method, excluded)
            right, given = _joined(answers, members, key)
            nearest, _ = _joined(answers, members, (NEAREST, excluded))
            before = None if initial is None else _joined(initial, members, key)[0]
            found.append(
                AnalogyFinding(
                    kind=kind,
                    method=method,
                    candidates=candidates,
                    excluded=excluded,
                    rows=rows,
                    questions=len(pairs),
                    pairs=group.pairs,
                    accuracy=group.share(right),
                    given=float(given.mean()),
                    over_nearest=None if method == NEAREST else group.mean(right - nearest),
                    over_initial=None if before is None else group.mean(right - before),
                )
            )
    return found


def _joined(
    answers: Sequence[Answers], members: Sequence[int], key: tuple[str, bool]
) -> tuple[Rows, Rows]:
    """What was right, and what was a given word, over the questions of several relations."""
    asked = [answers[number][key] for number in members]
    return np.concatenate([one.right for one in asked]), np.concatenate(
        [one.given for one in asked]
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Questions (Q, 2) as places of their pairs in `weights` (resamples, all pairs)."""

    asked: Ids
    weights: Rows
    pairs: int

    def mean(self, values: Rows) -> Interval:
        """The mean over questions: each counts as often as both of its pairs were drawn."""
        drawn = self.weights[:, self.asked[:, 0]] * self.weights[:, self.asked[:, 1]]
        totals = drawn.sum(axis=1)
        means = (drawn @ values)[totals > 0] / totals[totals > 0]
        # Sums of weights can pass 1 by rounding.
        low, high = np.clip(np.quantile(means, [0.025, 0.975]), -1.0, 1.0)
        return Interval(float(values.mean()), float(low), float(high), 1, self.pairs, 0.95)

    def share(self, right: Rows) -> Interval:
        """As `mean`; where all answers are alike, Wilson's for as many answers as pairs."""
        if right.min() < right.max():
            return self.mean(right)
        bounds = wilson(round(float(right[0]) * self.pairs), self.pairs)
        return Interval(float(right[0]), bounds.low, bounds.high, 1, self.pairs, bounds.level)
