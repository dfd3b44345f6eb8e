"""Byte-pair encoding the obvious way: the oracle of the fast one."""

from collections import Counter
from itertools import pairwise


def join(parts, pair):
    """Replace each `pair` in `parts`, from the left, by its concatenation."""
    joined, position = [], 0
    while position < len(parts):
        if tuple(parts[position : position + 2]) == pair:
            joined.append(pair[0] + pair[1])
            position += 2
        else:
            joined.append(parts[position])
            position += 1
    return joined


def encode(data, merges):
    """The tokens of one piece of text: always the merge of the lowest rank first."""
    parts = [bytes([byte]) for byte in data]
    rank = {pair: number for number, pair in enumerate(merges)}
    while pairs := [pair for pair in pairwise(parts) if pair in rank]:
        parts = join(parts, min(pairs, key=rank.__getitem__))
    return parts


def learn(pieces, count, order):
    """Merges: the commonest pair each time; ties go to the smaller pair of ages."""
    words = [[bytes([byte]) for byte in piece] for piece in pieces]
    age = {bytes([byte]): place for place, byte in enumerate(order)}
    merges = []
    while len(age) < len(order) + count:
        pairs = Counter(pair for word in words for pair in pairwise(word))
        pairs = {pair: number for pair, number in pairs.items() if number >= 2}
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], age[pair[0]], age[pair[1]]))
        merges.append(best)
        age.setdefault(best[0] + best[1], len(age))
        words = [join(word, best) for word in words]
    return merges
