"""Prove a training by other means: slowly, from the text's counts, without the compiled learner.

Two proofs. On a sample of the pretokens, merges are learned anew by the obvious method, which
counts every pair again before every merge; the compiled learner, given the same sample, must make
the same merges. On the whole table, at some steps drawn by chance, every pretoken is encoded by the
`tokenizers` library with the merges made until then, all pairs are counted, and the merge that was
made must be the most frequent one, ties by age.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from tokkit.errors import TokkitError
from tokkit.tokenizer.alphabet import spell
from tokkit.tokenizer.learning import LearnedMerges, learn

if TYPE_CHECKING:
    from tokkit.tokenizer.from_files import Training

SAMPLED_PRETOKENS = 400
SAMPLED_BYTES = 1 << 15
"""Longer pretokens are left out of the sample: the slow method takes its time for each byte."""
SAMPLED_MERGES = 200
CHECKED_STEPS = 8
_SEED = 0
_ENCODED_AT_ONCE = 1 << 15


def verify_training(training: Training) -> dict[str, Any]:
    """Prove the merges of a training; returns what was checked, for the record.

    Raises TokkitError when a merge was not the most frequent pair: then the learner has a fault.
    Merges of a vocabulary that was extended, vetoed pairs and lengths over the limit are passed
    over, for there the most frequent pair is not what is asked for.
    """
    generator = np.random.default_rng(_SEED)
    options = training.options
    restricted = bool(options.veto or options.max_token_length or options.extend)
    if restricted:
        return {"sampled_merges": 0, "checked_steps": [], "reason": "merges are restricted"}
    sampled = _verify_sample(training, generator)
    steps = _verify_steps(training, generator)
    return {"sampled_merges": sampled, "checked_steps": steps, "reason": None}


def _verify_sample(training: Training, generator: np.random.Generator) -> int:
    table, options = training.table, training.options.learning()
    present = np.flatnonzero(training.counts)
    chosen = generator.permutation(present[table.lengths[present] <= SAMPLED_BYTES])
    chosen = chosen[:SAMPLED_PRETOKENS]
    chosen = chosen[np.cumsum(table.lengths[chosen]) <= SAMPLED_BYTES]
    counts = np.zeros(len(table), dtype=np.int64)
    counts[chosen] = training.counts[chosen]
    fast = learn(table.data, table.offsets, counts, options)
    steps = min(SAMPLED_MERGES, _steps_with_new_tokens(fast))
    age = {token: age for age, token in enumerate(fast.tokens[: fast.alphabet_size])}
    words = {table.pretoken(int(place)): int(counts[place]) for place in chosen}
    slow = slow_merges(words, age, steps, options.min_frequency)
    made = [
        (fast.tokens[left], fast.tokens[right]) for left, right, _ in fast.steps[:steps].tolist()
    ]
    if made != slow:
        place = next(i for i in range(steps) if slow[i : i + 1] != [made[i]])
        raise TokkitError(
            f"the learned merges fail their proof: merge {place} of a sample of {len(chosen)} "
            f"pretokens is {made[place]!r}, by the slow method {slow[place : place + 1]!r}; please "
            f"report it"
        )
    return steps


def _steps_with_new_tokens(learned: LearnedMerges) -> int:
    """How many steps there are before one whose token was there already."""
    results = learned.steps[:, 2]
    again = np.flatnonzero(results < learned.alphabet_size + np.arange(len(results)))
    return int(again[0]) if len(again) else len(results)


def slow_merges(
    words: dict[bytes, int], age: dict[bytes, int], steps: int, min_frequency: int
) -> list[tuple[bytes, bytes]]:
    """Merges by the obvious method: all pairs are counted again before each one.

    `words` maps pretokens to counts; `age` numbers the single bytes, and breaks ties. A pair that
    spells an existing token makes no new one.
    """
    age = dict(age)
    split = {word: [bytes([byte]) for byte in word if bytes([byte]) in age] for word in words}
    merges = []
    for _ in range(steps):
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in split.items():
            for pair in pairwise(parts):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda p: (-pairs[p], age[p[0]], age[p[1]]), default=None)
        if best is None or pairs[best] < min_frequency:
            break
        merges.append(best)
        age.setdefault(best[0] + best[1], len(age))
        for word, parts in split.items():
            split[word] = _joined(parts, best)
    return merges


def _joined(parts: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    joined: list[bytes] = []
    place = 0
    while place < len(parts):
        if place + 1 < len(parts) and (parts[place], parts[place + 1]) == pair:
            joined.append(pair[0] + pair[1])
            place += 2
        else:
            joined.append(parts[place])
            place += 1
    return joined


def _verify_steps(training: Training, generator: np.random.Generator) -> list[int]:
    """Check some steps on the whole table; those after a token that was made twice are left out."""
    learned = training.learned
    sound = _steps_with_new_tokens(learned)
    if not sound:
        return []
    number = min(CHECKED_STEPS, sound)
    steps = sorted({0, sound - 1, *generator.choice(sound, size=number, replace=False).tolist()})
    for step in steps:
        best, count = _most_frequent_pair(training, step)
        made = (int(learned.steps[step, 0]), int(learned.steps[step, 1]))
        if (best, count) != (made, int(learned.counts[step])):
            raise TokkitError(
                f"the learned merges fail their proof: merge {step} joins tokens {made}, which "
                f"stood {int(learned.counts[step])} times, but {best} stood {count} times; please "
                f"report it"
            )
    return steps


def _most_frequent_pair(training: Training, step: int) -> tuple[tuple[int, int], int]:
    """The most frequent pair once `step` merges were made, ties by age, and how often it stands."""
    import tokenizers

    learned, table, counts = training.learned, training.table, training.counts
    known = learned.alphabet_size + step
    spelled = [spell(token) for token in learned.tokens[:known]]
    vocab = {token: number for number, token in enumerate(spelled)}
    merges = [(spelled[left], spelled[right]) for left, right, _ in learned.steps[:step].tolist()]
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=merges))
    present = np.flatnonzero(counts)
    encoded = []
    # An Encoding takes many times the memory of its ids.
    for start in range(0, len(present), _ENCODED_AT_ONCE):
        places = present[start : start + _ENCODED_AT_ONCE]
        pieces = [spell(table.pretoken(int(place))) for place in places]
        encodings = model.encode_batch_fast(pieces, add_special_tokens=False)
        encoded += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
    lengths = np.array([len(ids) for ids in encoded])
    ids = np.concatenate(encoded)
    pairs = ids[:-1] * known + ids[1:]
    inside = np.ones(len(ids), dtype=bool)
    inside[np.cumsum(lengths) - 1] = False
    weights = np.repeat(counts[present], lengths)
    distinct, place = np.unique(pairs[inside[:-1]], return_inverse=True)
    totals = np.bincount(place, weights=weights[:-1][inside[:-1]]).astype(np.int64)
    # The keys rise with (left, right), so the first of the largest is the oldest pair.
    best = int(np.argmax(totals))
    return (int(distinct[best]) // known, int(distinct[best]) % known), int(totals[best])
