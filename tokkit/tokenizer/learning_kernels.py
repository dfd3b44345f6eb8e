"""Learn merges on the distinct pretokens, position by position.

Layout. All pretokens stand in one int32 array `symbols`, a separator (-1) before, between and after
them. A token of more than one symbol stands at its first and at its last place, the places between
hold -2; so both neighbours of a token are found without any links, from lengths alone.

An entry is a pair with the places where it stood when it arose; entries wait in a binary heap by
count, then by the smaller pair. Counts in the heap may be out of date and are put right when an
entry comes to the top. That is the order of work of the BpeTrainer of `tokenizers`, and it is kept
to the letter, because merges must equal its merges even where two merges spell the same token:
such a token keeps its first id, its pairs can have several entries, each comes to the top on its
own, and a merge works on those pretokens alone that its entry names.

During one merge, changes of counts are summed by neighbour in arrays indexed by token, so the
table of pairs is touched once a neighbour and not once a place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tokkit.jit import kernel
from tokkit.tokenizer.counting_kernels import same_bytes

SEPARATOR = -1
INSIDE = -2
NO_ENTRY = -1
_NO_PAIR = np.uint64(0xFFFFFFFFFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)

# Why the work stopped: see `learn_merges`.
DONE, PAUSED, CANDIDATE, NEEDS_PAIRS, NEEDS_ENTRIES, NEEDS_PLACES, NEEDS_BYTES, NEEDS_MERGES = (
    range(8)
)
# What `counters` hold.
(
    N_TOKENS,
    N_MERGES,
    N_PAIRS,
    N_ENTRIES,
    N_HEAP,
    N_PLACES,
    N_BYTES,
    N_VOCAB,
    TOKENS_LEFT,
    WANTED,
    N_TOUCHED_LEFT,
    N_TOUCHED_RIGHT,
) = range(12)
N_COUNTERS = 12
# What stands in `decision`: nothing, or what became of the candidate at the top of the heap.
UNDECIDED, ACCEPTED, REFUSED = range(3)


class State(NamedTuple):
    """Everything that learning works on; what grows is replaced by a larger copy."""

    counters: NDArray[np.int64]
    symbols: NDArray[np.int32]
    word_of: NDArray[np.int32]
    """The pretoken at each place of `symbols`."""
    weights: NDArray[np.int64]
    """How often each pretoken stands in the text; 1 or more."""
    pairs: NDArray[np.uint64]
    """A table of pairs with open addressing; beside it their counts and their first entries."""
    pair_counts: NDArray[np.int64]
    heads: NDArray[np.int32]
    entry_pairs: NDArray[np.uint64]
    entry_starts: NDArray[np.int32]
    entry_lengths: NDArray[np.int32]
    """How many places an entry has; 0 when it is used up."""
    entry_next: NDArray[np.int32]
    """The next entry of the same pair."""
    places: NDArray[np.signedinteger]
    heap_counts: NDArray[np.int64]
    heap_entries: NDArray[np.int32]
    token_slots: NDArray[np.int32]
    """A table of tokens by their bytes."""
    token_data: NDArray[np.uint8]
    token_starts: NDArray[np.int64]
    token_lengths: NDArray[np.int64]
    sums: NDArray[np.int64]
    """(5, tokens): changes of counts by neighbour, then where its places go; zeros in between."""
    touched: NDArray[np.int32]
    """(2, tokens): the neighbours on the left and on the right of the merge at work."""
    merges: NDArray[np.int32]
    """(merges, 3): left, right, result."""
    trace: NDArray[np.int64]
    """(merges, 2): the pair's count, and how many tokens the text has after the merge."""


@kernel
def pair_of(left, right):  # type: ignore[no-untyped-def]
    """A pair as one key, ordered as (left, right) is."""
    return (np.uint64(left) << np.uint64(32)) | np.uint64(right)


@kernel
def pair_slot(pairs, pair):  # type: ignore[no-untyped-def]
    """The slot of a pair in the table, or the empty one where it belongs."""
    mask = np.uint64(pairs.size - 1)
    code = pair * _MIX
    place = (code ^ (code >> np.uint64(32))) & mask
    while pairs[place] != _NO_PAIR and pairs[place] != pair:
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@kernel
def move_pairs(pairs, pair_counts, heads, new_pairs, new_counts, new_heads):  # type: ignore[no-untyped-def]
    """Move the table of pairs into a new one, but those that no longer matter; return how many."""
    new_pairs[:] = _NO_PAIR
    kept = 0
    for place in range(pairs.size):
        if pairs[place] != _NO_PAIR and (pair_counts[place] != 0 or heads[place] != NO_ENTRY):
            slot = pair_slot(new_pairs, pairs[place])
            new_pairs[slot] = pairs[place]
            new_counts[slot] = pair_counts[place]
            new_heads[slot] = heads[place]
            kept += 1
    return kept


@kernel
def is_before(first_count, first_pair, second_count, second_pair):  # type: ignore[no-untyped-def]
    """Whether the first comes out of the heap first: the larger count, then the smaller pair."""
    return first_count > second_count or (first_count == second_count and first_pair < second_pair)


@kernel
def sift_up(heap_counts, heap_entries, entry_pairs, place):  # type: ignore[no-untyped-def]
    """Move an element up to where it belongs."""
    count, entry = heap_counts[place], heap_entries[place]
    pair = entry_pairs[entry]
    while place > 0:
        above = (place - 1) >> 2
        if not is_before(count, pair, heap_counts[above], entry_pairs[heap_entries[above]]):
            break
        heap_counts[place] = heap_counts[above]
        heap_entries[place] = heap_entries[above]
        place = above
    heap_counts[place] = count
    heap_entries[place] = entry


@kernel
def sift_down(heap_counts, heap_entries, entry_pairs, size):  # type: ignore[no-untyped-def]
    """Move the top element down to where it belongs; each has four below it."""
    count, entry = heap_counts[0], heap_entries[0]
    pair = entry_pairs[entry]
    place = 0
    while True:
        below = 4 * place + 1
        if below >= size:
            break
        best = below
        for other in range(below + 1, min(below + 4, size)):
            if is_before(
                heap_counts[other],
                entry_pairs[heap_entries[other]],
                heap_counts[best],
                entry_pairs[heap_entries[best]],
            ):
                best = other
        if not is_before(heap_counts[best], entry_pairs[heap_entries[best]], count, pair):
            break
        heap_counts[place] = heap_counts[best]
        heap_entries[place] = heap_entries[best]
        place = best
    heap_counts[place] = count
    heap_entries[place] = entry


@kernel
def lay_out(data, offsets, symbol_of_byte, symbols, word_of):  # type: ignore[no-untyped-def]
    """Write the pretokens into `symbols`; bytes that have no symbol (-1) are left out."""
    filled = 1
    symbols[0] = SEPARATOR
    word_of[0] = 0
    for word in range(offsets.size - 1):
        for place in range(offsets[word], offsets[word + 1]):
            symbol = symbol_of_byte[data[place]]
            if symbol >= 0:
                symbols[filled] = symbol
                word_of[filled] = word
                filled += 1
        symbols[filled] = SEPARATOR
        word_of[filled] = word
        filled += 1
    return filled


@kernel
def first_pairs(symbols, word_of, weights, n_symbols, counts, numbers):  # type: ignore[no-untyped-def]
    """Count each pair left * n + right of symbols: by weight in `counts`, by place in `numbers`."""
    for place in range(symbols.size - 1):
        left, right = symbols[place], symbols[place + 1]
        if left >= 0 and right >= 0:
            index = np.int64(left) * n_symbols + right
            counts[index] += weights[word_of[place]]
            numbers[index] += 1


@kernel
def place_first_pairs(symbols, n_symbols, starts, places):  # type: ignore[no-untyped-def]
    """Write each pair's places, in order, from its `starts` on (which move along)."""
    for place in range(symbols.size - 1):
        left, right = symbols[place], symbols[place + 1]
        if left >= 0 and right >= 0:
            index = np.int64(left) * n_symbols + right
            places[starts[index]] = place
            starts[index] += 1


@kernel
def add_entry(state, pair, slot, start, length):  # type: ignore[no-untyped-def]
    """A new entry of the pair in `slot`, linked to its other ones, in the heap if it counts."""
    counters = state.counters
    entry = counters[N_ENTRIES]
    state.entry_pairs[entry] = pair
    state.entry_starts[entry] = start
    state.entry_lengths[entry] = length
    state.entry_next[entry] = state.heads[slot]
    state.heads[slot] = entry
    counters[N_ENTRIES] += 1
    if state.pair_counts[slot] > 0:
        place = counters[N_HEAP]
        state.heap_counts[place] = state.pair_counts[slot]
        state.heap_entries[place] = entry
        counters[N_HEAP] += 1
        sift_up(state.heap_counts, state.heap_entries, state.entry_pairs, place)


@kernel
def pop(state):  # type: ignore[no-untyped-def]
    """Take the top out of the heap."""
    counters = state.counters
    counters[N_HEAP] -= 1
    last = counters[N_HEAP]
    if last > 0:
        state.heap_counts[0] = state.heap_counts[last]
        state.heap_entries[0] = state.heap_entries[last]
        sift_down(state.heap_counts, state.heap_entries, state.entry_pairs, last)


@kernel
def change_pair(state, pair, change):  # type: ignore[no-untyped-def]
    """Add to the count of a pair, which enters the table when it is new; return its slot."""
    slot = pair_slot(state.pairs, pair)
    if state.pairs[slot] == _NO_PAIR:
        state.pairs[slot] = pair
        state.pair_counts[slot] = 0
        state.heads[slot] = NO_ENTRY
        state.counters[N_PAIRS] += 1
    state.pair_counts[slot] += change
    return slot


@kernel
def start_entries(state, n_symbols, counts, numbers):  # type: ignore[no-untyped-def]
    """The pairs of symbols become the first entries; `numbers` is left as where each ends."""
    start = np.int64(0)
    for index in range(n_symbols * n_symbols):
        length = numbers[index]
        numbers[index] = start
        if length > 0:
            pair = pair_of(index // n_symbols, index % n_symbols)
            slot = change_pair(state, pair, counts[index])
            add_entry(state, pair, slot, start, length)
            start += length
    place_first_pairs(state.symbols, n_symbols, numbers, state.places)
    state.counters[N_PLACES] = start


@kernel
def unlink(state, entry, slot):  # type: ignore[no-untyped-def]
    """Take an entry out of its pair's list and mark it used up."""
    if state.heads[slot] == entry:
        state.heads[slot] = state.entry_next[entry]
    else:
        other = state.heads[slot]
        while state.entry_next[other] != entry:
            other = state.entry_next[other]
        state.entry_next[other] = state.entry_next[entry]
    state.entry_lengths[entry] = 0


@kernel
def token_hash(token_data, start, length):  # type: ignore[no-untyped-def]
    """A hash of a token's bytes (FNV-1a)."""
    code = np.uint64(0xCBF29CE484222325)
    for place in range(start, start + length):
        code = (code ^ np.uint64(token_data[place])) * np.uint64(0x100000001B3)
    return code ^ (code >> np.uint64(29))


@kernel
def token_slot(state, start, length):  # type: ignore[no-untyped-def]
    """The slot of the token with these bytes, or the empty one where it belongs."""
    mask = np.uint64(state.token_slots.size - 1)
    place = token_hash(state.token_data, start, length) & mask
    while state.token_slots[place] >= 0:
        token = state.token_slots[place]
        if state.token_lengths[token] == length and same_bytes(
            state.token_data, state.token_starts[token], state.token_data, start, length
        ):
            break
        place = (place + np.uint64(1)) & mask
    return np.int64(place)


@kernel
def enter_symbols(state, n_symbols):  # type: ignore[no-untyped-def]
    """Enter the single bytes into the table of tokens."""
    for symbol in range(n_symbols):
        slot = token_slot(state, state.token_starts[symbol], 1)
        state.token_slots[slot] = symbol


@kernel
def token_of(state, left, right):  # type: ignore[no-untyped-def]
    """The id of the token that left and right spell together: a new one, or the one there is."""
    counters = state.counters
    start = counters[N_BYTES]
    filled = start
    for part in (left, right):
        first = state.token_starts[part]
        for place in range(first, first + state.token_lengths[part]):
            state.token_data[filled] = state.token_data[place]
            filled += 1
    slot = token_slot(state, start, filled - start)
    if state.token_slots[slot] >= 0:
        return np.int64(state.token_slots[slot])
    token = counters[N_TOKENS]
    state.token_slots[slot] = token
    state.token_starts[token] = start
    state.token_lengths[token] = filled - start
    counters[N_BYTES] = filled
    counters[N_TOKENS] += 1
    counters[N_VOCAB] += 1
    return token


@kernel
def places_of(state, slot):  # type: ignore[no-untyped-def]
    """How many places the entries of a pair have together."""
    total = np.int64(0)
    entry = state.heads[slot]
    while entry != NO_ENTRY:
        total += state.entry_lengths[entry]
        entry = state.entry_next[entry]
    return total


@kernel
def places_to_merge(state, entry, slot, every):  # type: ignore[no-untyped-def]
    """The places that a merge works on, in order.

    Those of the entry; where its pair has other entries, also theirs, as far as they lie in the
    same pretokens, or all of them with `every`.
    """
    start, length = state.entry_starts[entry], state.entry_lengths[entry]
    own = state.places[start : start + length].copy()
    if state.heads[slot] == entry and state.entry_next[entry] == NO_ENTRY:
        return own
    words = np.unique(state.word_of[own])
    found = np.empty(places_of(state, slot), dtype=own.dtype)
    count = 0
    other = state.heads[slot]
    while other != NO_ENTRY:
        start, length = state.entry_starts[other], state.entry_lengths[other]
        for place in state.places[start : start + length]:
            word = state.word_of[place]
            nearest = np.searchsorted(words, word)
            if every or (nearest < words.size and words[nearest] == word):
                found[count] = place
                count += 1
        other = state.entry_next[other]
    return np.unique(found[:count])


@kernel
def join_places(state, here, left, right, token, length_limit):  # type: ignore[no-untyped-def]
    """Join `left` and `right` to `token` at the places `here`.

    Gathers in `state.sums`, by neighbour, what the pairs (neighbour, left), (neighbour, token),
    (right, neighbour) and (token, neighbour) lose or win, and in `state.touched` the neighbours.
    Returns (neighbours, places, number) of the new pairs on the left, then of those on the right.
    """
    symbols, sums, touched, lengths = state.symbols, state.sums, state.touched, state.token_lengths
    left_neighbours = np.empty(here.size, dtype=np.int32)
    left_places = np.empty(here.size, dtype=here.dtype)
    right_neighbours = np.empty(here.size, dtype=np.int32)
    right_places = np.empty(here.size, dtype=here.dtype)
    n_left, n_right, n_touched_left, n_touched_right = 0, 0, 0, 0
    left_length = lengths[left]
    length = left_length + lengths[right]
    saved = np.int64(0)
    for where in here:
        place = np.int64(where)
        second = place + left_length
        if symbols[place] != left or symbols[second] != right:
            continue
        after = place + length
        weight = state.weights[state.word_of[place]]
        saved += weight
        neighbour = symbols[place - 1]
        if neighbour >= 0:
            if sums[0, neighbour] == 0:
                touched[0, n_touched_left] = neighbour
                n_touched_left += 1
            sums[0, neighbour] += weight
            if lengths[neighbour] + length < length_limit:
                sums[1, neighbour] += weight
                left_neighbours[n_left] = neighbour
                left_places[n_left] = place - lengths[neighbour]
                n_left += 1
        neighbour = symbols[after]
        if neighbour >= 0:
            if sums[2, neighbour] == 0:
                touched[1, n_touched_right] = neighbour
                n_touched_right += 1
            sums[2, neighbour] += weight
            if lengths[neighbour] + length < length_limit:
                sums[3, neighbour] += weight
                right_neighbours[n_right] = neighbour
                right_places[n_right] = place
                n_right += 1
        symbols[second - 1] = INSIDE
        symbols[second] = INSIDE
        symbols[place] = token
        symbols[after - 1] = token
    counters = state.counters
    counters[TOKENS_LEFT] -= saved
    counters[N_TOUCHED_LEFT] = n_touched_left
    counters[N_TOUCHED_RIGHT] = n_touched_right
    return left_neighbours, left_places, n_left, right_neighbours, right_places, n_right


@kernel
def file_places(state, side, n_touched, neighbours, places, number):  # type: ignore[no-untyped-def]
    """Write the places of the new pairs of one side behind the others, sorted by neighbour.

    sums[4, neighbour] becomes where those of a neighbour end.
    """
    cursor = state.sums[4]
    for place in range(number):
        cursor[neighbours[place]] += 1
    start = state.counters[N_PLACES]
    for place in range(n_touched):
        neighbour = state.touched[side, place]
        length = cursor[neighbour]
        cursor[neighbour] = start
        start += length
    for place in range(number):
        neighbour = neighbours[place]
        state.places[cursor[neighbour]] = places[place]
        cursor[neighbour] += 1
    state.counters[N_PLACES] = start


@kernel
def enter_new_pairs(state, side, n_touched, token, first):  # type: ignore[no-untyped-def]
    """Make entries of the places that `file_places` wrote from `first` on; clear the sums."""
    start = first
    for place in range(n_touched):
        neighbour = state.touched[side, place]
        end = state.sums[4, neighbour]
        if end > start:
            pair = pair_of(neighbour, token) if side == 0 else pair_of(token, neighbour)
            slot = pair_slot(state.pairs, pair)
            if side == 1 and neighbour == token and state.sums[1, token] > 0:
                # The same pair arose on the left too: its newest entry takes these places in.
                entry = state.heads[slot]
                begin, length = state.entry_starts[entry], state.entry_lengths[entry]
                both = np.unique(
                    np.concatenate((state.places[begin : begin + length], state.places[start:end]))
                )
                begin = state.counters[N_PLACES]
                state.places[begin : begin + both.size] = both
                state.counters[N_PLACES] += both.size
                state.entry_starts[entry] = begin
                state.entry_lengths[entry] = both.size
            else:
                add_entry(state, pair, slot, start, end - start)
            start = end
        state.sums[4, neighbour] = 0


@kernel
def apply_merge(state, entry, slot, left, right, every, length_limit):  # type: ignore[no-untyped-def]
    """Merge `left` and `right` where `entry` stands (everywhere with `every`); return the token."""
    counters, sums = state.counters, state.sums
    count = state.pair_counts[slot]
    here = places_to_merge(state, entry, slot, every)
    if every:
        while state.heads[slot] != NO_ENTRY:
            unlink(state, state.heads[slot], slot)
    else:
        unlink(state, entry, slot)
    token = token_of(state, left, right)
    left_neighbours, left_places, n_left, right_neighbours, right_places, n_right = join_places(
        state, here, left, right, token, length_limit
    )
    n_touched_left, n_touched_right = counters[N_TOUCHED_LEFT], counters[N_TOUCHED_RIGHT]
    for place in range(n_touched_left):
        neighbour = state.touched[0, place]
        change_pair(state, pair_of(neighbour, left), -sums[0, neighbour])
        if sums[1, neighbour] > 0:
            change_pair(state, pair_of(neighbour, token), sums[1, neighbour])
    for place in range(n_touched_right):
        neighbour = state.touched[1, place]
        change_pair(state, pair_of(right, neighbour), -sums[2, neighbour])
        if sums[3, neighbour] > 0:
            change_pair(state, pair_of(token, neighbour), sums[3, neighbour])
    first = counters[N_PLACES]
    file_places(state, 0, n_touched_left, left_neighbours, left_places, n_left)
    enter_new_pairs(state, 0, n_touched_left, token, first)
    first = counters[N_PLACES]
    file_places(state, 1, n_touched_right, right_neighbours, right_places, n_right)
    enter_new_pairs(state, 1, n_touched_right, token, first)
    for place in range(n_touched_left):
        sums[0, state.touched[0, place]] = 0
        sums[1, state.touched[0, place]] = 0
    for place in range(n_touched_right):
        sums[2, state.touched[1, place]] = 0
        sums[3, state.touched[1, place]] = 0
    merge = counters[N_MERGES]
    state.merges[merge, 0] = left
    state.merges[merge, 1] = right
    state.merges[merge, 2] = token
    state.trace[merge, 0] = count
    state.trace[merge, 1] = counters[TOKENS_LEFT]
    counters[N_MERGES] += 1
    return token


@kernel
def lacks_room(state, slot, left, right):  # type: ignore[no-untyped-def]
    """Which array must grow before the merge of the pair in `slot`; PAUSED when none must."""
    counters = state.counters
    places = places_of(state, slot)
    neighbours = min(2 * places, 2 * (counters[N_TOKENS] + 1)) + 2
    if (
        counters[N_TOKENS] + 1 >= state.token_starts.size
        or counters[N_MERGES] >= state.merges.shape[0]
    ):
        return NEEDS_MERGES
    length = state.token_lengths[left] + state.token_lengths[right]
    if counters[N_BYTES] + length > state.token_data.size:
        counters[WANTED] = length
        return NEEDS_BYTES
    if 3 * (counters[N_PAIRS] + 2 * neighbours) > 2 * state.pairs.size:
        counters[WANTED] = 2 * neighbours
        return NEEDS_PAIRS
    if counters[N_ENTRIES] + neighbours > state.entry_pairs.size:
        counters[WANTED] = neighbours
        return NEEDS_ENTRIES
    if counters[N_PLACES] + 4 * places > state.places.size:
        counters[WANTED] = 4 * places
        return NEEDS_PLACES
    return PAUSED


@kernel
def learn_merges(state, vocab_limit, least_count, length_limit, most_merges, ask, decision):  # type: ignore[no-untyped-def]
    """Merge the most frequent pair, again and again; return why it stopped.

    DONE: the vocabulary has `vocab_limit` tokens, or no pair stands `least_count` times. PAUSED:
    `most_merges` were made. CANDIDATE, with `ask`: the pair at the top waits for a decision, which
    the next call brings. NEEDS_...: an array must have counters[WANTED] more room; call again.
    """
    counters = state.counters
    made = 0
    while counters[N_VOCAB] < vocab_limit and counters[N_HEAP] > 0:
        if made == most_merges:
            return PAUSED
        entry = state.heap_entries[0]
        pair = state.entry_pairs[entry]
        slot = pair_slot(state.pairs, pair)
        count = state.pair_counts[slot] if state.pairs[slot] == pair else np.int64(0)
        if state.entry_lengths[entry] == 0 or count <= 0:
            pop(state)
            continue
        if count != state.heap_counts[0]:
            state.heap_counts[0] = count
            sift_down(state.heap_counts, state.heap_entries, state.entry_pairs, counters[N_HEAP])
            continue
        if count < least_count:
            return DONE
        left = np.int64(pair >> np.uint64(32))
        right = np.int64(pair & np.uint64(0xFFFFFFFF))
        room = lacks_room(state, slot, left, right)
        if room != PAUSED:
            return room
        if ask and decision == UNDECIDED:
            return CANDIDATE
        pop(state)
        if decision == REFUSED:
            unlink(state, entry, slot)
        else:
            apply_merge(state, entry, slot, left, right, False, length_limit)
            made += 1
        decision = UNDECIDED
    return DONE


@kernel
def replay_merges(state, merges, first, length_limit):  # type: ignore[no-untyped-def]
    """Make given merges, (n, 2) pairs of tokens, from number `first` on, wherever they apply.

    Returns (how many are done, why it stopped: DONE or NEEDS_...). A pair that does not stand in
    the text only makes its token.
    """
    for number in range(first, merges.shape[0]):
        left, right = np.int64(merges[number, 0]), np.int64(merges[number, 1])
        pair = pair_of(left, right)
        slot = change_pair(state, pair, 0)
        room = lacks_room(state, slot, left, right)
        if room != PAUSED:
            return number, room
        if state.heads[slot] == NO_ENTRY:
            add_entry(state, pair, slot, state.counters[N_PLACES], 0)
        apply_merge(state, state.heads[slot], slot, left, right, True, length_limit)
    return merges.shape[0], DONE


@kernel
def compact_places(state):  # type: ignore[no-untyped-def]
    """Close the gaps that used-up entries left in `places`."""
    order = np.argsort(state.entry_starts[: state.counters[N_ENTRIES]], kind="mergesort")
    filled = np.int64(0)
    for entry in order:
        start, length = state.entry_starts[entry], state.entry_lengths[entry]
        if length > 0:
            for place in range(length):
                state.places[filled + place] = state.places[start + place]
            state.entry_starts[entry] = filled
            filled += length
    state.counters[N_PLACES] = filled
