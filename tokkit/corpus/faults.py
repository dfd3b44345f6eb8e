"""What is done about text that is not Unicode: told, replaced or left out, and counted.

A fault is a stretch of bytes for which Python's decoder, and the Unicode standard in its chapter
3.9, would put one U+FFFD; or half of a surrogate pair in a JSON string. strict raises at the first
one; replace puts U+FFFD in its place; skip leaves out the fault alone and joins what stands around
it. Nothing else is altered: a NUL or a byte-order mark is text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

from tokkit.errors import ConfigError, InputError, unknown_choice

ERRORS = ("strict", "replace", "skip")
_REPLACEMENT = "\ufffd".encode()
_WINDOW_BYTES = 512
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: where it stands, in lines and bytes of the unpacked text, and what it is."""

    name: str
    line: int
    byte_offset: int | None
    value: str
    reason: str


@dataclass(slots=True)
class FaultPolicy:
    """What to do about faults, and how many there were.

    `report`, if given, is told of each that is replaced or skipped. With `refused`, a record or
    file that cannot be read is told to it and passed over, instead of ending the reading.
    """

    errors: str = "strict"
    report: Callable[[Fault], None] | None = None
    refused: Callable[[InputError], None] | None = None
    replaced: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        if self.errors not in ERRORS:
            raise ConfigError(unknown_choice("way with encoding errors", self.errors, ERRORS))

    def clean(
        self, data: bytes, *, final: bool, name: str, offset: int, line: int, unpacked: bool
    ) -> tuple[bytes, int]:
        """(`data` as valid UTF-8, the bytes of it that were taken).

        Unless `final`, a character that is cut at the end is not taken: give it again with what
        follows. `offset` and `line` (from 1) are where `data` starts. Raises InputError for strict.
        """
        if data.isascii():
            return data, len(data)
        try:
            taken = codecs.utf_8_decode(data, "strict", final)[1]
        except UnicodeDecodeError as error:
            place = _Place(name, offset, line, unpacked)
            if self.errors == "strict":
                raise place.failure(data, error) from error
            return self._mend(data, final, place)
        return (data if taken == len(data) else data[:taken]), taken

    def _mend(self, data: bytes, final: bool, place: _Place) -> tuple[bytes, int]:
        mark = _REPLACEMENT if self.errors == "replace" else b""
        parts: list[bytes] = []
        done = 0
        while done < len(data):
            # Each fault costs a copy of what the decoder was given: a little at a time, then.
            window = data[done : done + _WINDOW_BYTES]
            is_last = done + len(window) == len(data)
            try:
                taken = codecs.utf_8_decode(window, "strict", final and is_last)[1]
            except UnicodeDecodeError as error:
                parts += (window[: error.start], mark)
                self._count(place.fault(data, done + error.start, error.reason))
                done += error.end
                continue
            parts.append(window[:taken])
            done += taken
            if is_last:
                break
        return b"".join(parts), done

    def clean_text(self, text: str, name: str, line: int) -> bytes:
        """The UTF-8 bytes of a JSON string, which can hold halves of surrogate pairs."""
        try:
            return text.encode("utf-8")
        except UnicodeEncodeError as error:
            value = f"U+{ord(text[error.start]):04X}"
            if self.errors == "strict":
                raise InputError(
                    f"{name}, line {line}: text must be valid Unicode, but character "
                    f"{error.start} is half of a surrogate pair ({value}); repair the text"
                ) from error
        for match in _HALF_PAIR.finditer(text):
            value = f"U+{ord(match.group()):04X}"
            self._count(Fault(name, line, None, value, "half of a surrogate pair"))
        return _HALF_PAIR.sub("\ufffd" if self.errors == "replace" else "", text).encode("utf-8")

    def refuse(self, error: InputError) -> None:
        """Raise `error`, or tell it and return, so that the reader goes on behind it."""
        if self.refused is None:
            raise error
        self.refused(error)

    def _count(self, fault: Fault) -> None:
        if self.errors == "replace":
            self.replaced += 1
        else:
            self.skipped += 1
        if self.report is not None:
            self.report(fault)


class _Place:
    """Where a block of bytes stands in the unpacked text of a file."""

    def __init__(self, name: str, offset: int, line: int, unpacked: bool) -> None:
        self._name = name
        self._offset = offset
        self._line = line
        self._unpacked = unpacked
        self._counted = 0

    def fault(self, data: bytes, start: int, reason: str) -> Fault:
        """The fault at `start` of the block, which stands after those told before."""
        self._line += data.count(b"\n", self._counted, start)
        self._counted = start
        return Fault(self._name, self._line, self._offset + start, f"0x{data[start]:02x}", reason)

    def failure(self, data: bytes, error: UnicodeDecodeError) -> InputError:
        """What to raise for the first fault of the block."""
        fault = self.fault(data, error.start, error.reason)
        unpacked = " of the unpacked text" if self._unpacked else ""
        return InputError(
            f"{self._name} is not UTF-8: {fault.reason} at byte {fault.byte_offset} "
            f"({fault.value}){unpacked}; repair line {fault.line}, or convert the file, for "
            f"example with iconv -t UTF-8"
        )
