"""Rank files of tiktoken: one token a line, its bytes in base64 and its rank, which is its id.

tiktoken joins, again and again, the neighbours whose joined bytes have the lowest rank, leftmost
first, and takes a whole pretoken that has a rank as it is. The merges of a tokenizer.json name both
parts instead. They say the same when each token is merged from the two parts in which the ranks
leave its own bytes just before the last step: what stands between two cuts is merged as if it stood
alone, so no other two parts can meet there.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Mapping

from tokkit.errors import ArtifactError
from tokkit.tokenizer.records import MAX_IDS_A_TOKEN, MAX_TOKENS, shown

# The largest rank file in use, o200k_base, has 3.6 MB; its longest token has 128 bytes.
MAX_RANK_FILE_BYTES = 1 << 24
MAX_TOKEN_BYTES = 1 << 9
_LINE = re.compile(rb"([A-Za-z0-9+/]+={0,2}) ([0-9]{1,10})")
_SPARE_IDS = 256
_NO_RANK = 1 << 62


def is_rank_file(content: bytes) -> bool:
    """Whether the first line of a file is one of a rank file."""
    return _LINE.fullmatch(content[:4096].split(b"\n", 1)[0].rstrip(b"\r")) is not None


def parse_ranks(content: bytes) -> dict[bytes, int]:
    """The rank of each token, in order of rank.

    Raises ArtifactError, with the line, for what is no rank line, for tokens and ranks that stand
    twice, for tokens of more than 512 bytes, for ranks far above the number of tokens, and where
    a single byte has no rank: then some texts would have no ids.
    """
    if len(content) > MAX_RANK_FILE_BYTES:
        raise ArtifactError(
            f"a rank file may have {MAX_RANK_FILE_BYTES:,} bytes at most, this one has "
            f"{len(content):,}"
        )
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if line:
            token, rank = _parse_line(line, number)
            if token in ranks:
                raise ArtifactError(f"line {number}: token {shown(repr(token), 60)} stands twice")
            ranks[token] = rank
    _check(ranks)
    return dict(sorted(ranks.items(), key=lambda entry: entry[1]))


def _parse_line(line: bytes, number: int) -> tuple[bytes, int]:
    match = _LINE.fullmatch(line)
    if match is None:
        raise ArtifactError(
            f"line {number}: expected a token in base64, a space and its rank, got "
            f"{shown(repr(line[:80]), 60)}"
        )
    try:
        token = base64.b64decode(match[1], validate=True)
    except binascii.Error as error:
        raise ArtifactError(f"line {number}: the token is not base64: {error}") from error
    if len(token) > MAX_TOKEN_BYTES:
        raise ArtifactError(
            f"line {number}: a token may have {MAX_TOKEN_BYTES:,} bytes at most, this one has "
            f"{len(token):,}"
        )
    return token, int(match[2])


def _check(ranks: Mapping[bytes, int]) -> None:
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise ArtifactError(f"each single byte must have a rank, and 0x{missing[0]:02x} has none")
    if len(ranks) > MAX_TOKENS:
        raise ArtifactError(f"{len(ranks):,} tokens, and no more than {MAX_TOKENS:,} are taken")
    if len(set(ranks.values())) < len(ranks):
        seen: set[int] = set()
        for token, rank in ranks.items():
            if rank in seen:
                raise ArtifactError(f"rank {rank} stands twice, the second time for {token[:40]!r}")
            seen.add(rank)
    bound = MAX_IDS_A_TOKEN * len(ranks) + _SPARE_IDS
    if max(ranks.values()) >= bound:
        raise ArtifactError(
            f"the ranks of {len(ranks):,} tokens must be below {bound:,}, got {max(ranks.values())}"
        )


def write_ranks(ranks: Mapping[bytes, int]) -> bytes:
    """The content of a rank file, in order of rank."""
    ordered = sorted(ranks.items(), key=lambda entry: entry[1])
    return b"".join(
        base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in ordered
    )


def merges_of_ranks(
    ranks: Mapping[bytes, int],
) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """The merges, in order of rank, that give the same tokens as these ranks.

    The second value lists the tokens of two bytes or more that no merging reaches; tiktoken gives
    them only for a pretoken that is just that, as a tokenizer with `ignore_merges` does.
    """
    merges, unreached = [], []
    for token in sorted(ranks, key=lambda token: ranks[token]):
        if len(token) < 2:
            continue
        parts = _last_two_parts(token, ranks)
        if parts is None:
            unreached.append(token)
        else:
            merges.append(parts)
    return merges, unreached


def _last_two_parts(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The two parts that merging by all ranks but the token's own leaves, or None for more."""
    parts = [token[start : start + 1] for start in range(len(token))]
    joined = [ranks.get(left + right, _NO_RANK) for left, right in itertools.pairwise(parts)]
    while len(parts) > 2:
        lowest = min(joined)
        if lowest == _NO_RANK:
            return None
        place = joined.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
        del joined[place]
        for pair in (place - 1, place):
            if 0 <= pair < len(joined):
                joined[pair] = ranks.get(parts[pair] + parts[pair + 1], _NO_RANK)
    return parts[0], parts[1]
