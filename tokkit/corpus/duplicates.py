"""Count texts that stand more than once, in bounded memory."""

from __future__ import annotations

_MOST = 1 << 19


class RepeatCounter:
    """Counts repeats among digests: exactly up to `most` distinct ones, from a sample past that.

    When there are too many to keep, only those in half of the range are, then in a quarter, and so
    on. What is kept is a sample of the distinct digests, each with all its repeats (Gibbons 2001,
    distinct sampling).
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._counts: dict[bytes, int] = {}
        self._mask = 0

    def add(self, digest: bytes) -> bool:
        """Take in 16 bytes of a digest; whether it is known to have come before."""
        if self._mask and int.from_bytes(digest[:8], "big") & self._mask:
            return False
        before = self._counts.get(digest, 0)
        self._counts[digest] = before + 1
        while len(self._counts) > self._most:
            self._mask = self._mask << 1 | 1
            self._counts = {
                kept: count
                for kept, count in self._counts.items()
                if not int.from_bytes(kept[:8], "big") & self._mask
            }
        return before > 0

    @property
    def sampled_share(self) -> float:
        """The share of the distinct digests that is kept: 1 when the count is exact."""
        return 1 / (self._mask + 1)

    @property
    def repeats(self) -> int:
        """How many digests had come before: those kept, divided by the sampled share."""
        return sum(count - 1 for count in self._counts.values()) * (self._mask + 1)
