"""What stands in a corpus that may surprise whoever trains on it: counted as the text goes by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from tokkit.corpus.duplicates import RepeatCounter
from tokkit.corpus.faults import Fault
from tokkit.corpus.parts import Part
from tokkit.corpus.special import SpecialFinder
from tokkit.errors import InputError

KNOWN_SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|endofprompt|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|pad|>", "<|unk|>"),
    *("<s>", "</s>", "<unk>", "<pad>", "<mask>", "<bos>", "<eos>", "<start_of_turn>"),
    *("<end_of_turn>", "[INST]", "[/INST]", "[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]"),
)
PLACES_KEPT = 5
_MAX_LINES_COMPARED = 1 << 18
_MARK = "\ufeff".encode()


@dataclass(slots=True)
class Tally:
    """How often something was found, and the first places."""

    count: int = 0
    places: list[str] = field(default_factory=list)

    def add(self, count: int, place: str) -> None:
        """Take in `count` finds at one place."""
        self.count += count
        if count and len(self.places) < PLACES_KEPT and place not in self.places:
            self.places.append(place)


@dataclass(slots=True)
class GroupSize:
    """How much text belongs to a group."""

    documents: int = 0
    bytes: int = 0


@dataclass(slots=True)
class LongestLine:
    """The longest line: its bytes without the line end, and where it stands in which document."""

    bytes: int = 0
    origin: str = ""
    line: int = 0


class CorpusSurvey:
    """Takes in the parts of documents as they are read; its attributes are the counts so far.

    Lines end at a line feed; a carriage return that no line feed follows is counted as alone. Each
    document that holds text is compared with all before it (see `RepeatCounter`), each of the first
    2^18 lines that hold text and end, and are not cut by the end of a part, with those before it.
    """

    def __init__(self, special_tokens: Sequence[str] = KNOWN_SPECIAL_TOKENS) -> None:
        self.documents = self.bytes = self.characters = self.lines = self.empty_documents = 0
        self.longest_line = LongestLine()
        self.faults, self.refused = Tally(), Tally()
        self.nul, self.crlf, self.lone_cr = Tally(), Tally(), Tally()
        self.leading_marks, self.inner_marks = Tally(), Tally()
        self.special = {text: Tally() for text in special_tokens}
        self.groups: dict[str, GroupSize] = {}
        self.repeats = RepeatCounter()
        self.repeated_documents: list[str] = []
        self.lines_compared = self.repeated_lines = 0
        self._finder = SpecialFinder([text.encode() for text in special_tokens])
        self._line_hashes: set[int] = set()
        self._document: Part | None = None
        self._last = b""

    def add_fault(self, fault: Fault) -> None:
        """Take in one fault of encoding."""
        at = f", byte {fault.byte_offset}" if fault.byte_offset is not None else ""
        place = f"{fault.name}, line {fault.line}{at}: {fault.reason} ({fault.value})"
        self.faults.add(1, place)

    def add_refused(self, error: InputError) -> None:
        """Take in a file or record that cannot be read."""
        self.refused.add(1, str(error))

    def add(self, part: Part) -> None:
        """Take in the next document, or the next part of the one before."""
        if not part.continued:
            self.finish()
            self._begin(part)
        data = part.data
        self._digest.update(data)
        self._size += len(data)
        self.characters += len(data) if data.isascii() else len(data.decode("utf-8"))
        self.nul.add(data.count(b"\0"), part.origin)
        self._add_marks(data, part)
        self._add_returns(data, part.origin)
        lines = data.split(b"\n")
        self._add_lines(lines, part.origin)
        self._compare(lines[part.continued : -1])
        for spelled, count in self._finder.count(data).items():
            self.special[spelled.decode()].add(count, part.origin)
        self._last = bytes(data[-1:]) or self._last

    def finish(self) -> None:
        """Close the last document; call it again after more parts."""
        part = self._document
        if part is None:
            return
        self._document = None
        self._close_line(part.origin, self._line_bytes, self._line)
        self.lines += self._last not in (b"", b"\n")
        self.lone_cr.add(self._last == b"\r", part.origin)
        self.documents += 1
        self.bytes += self._size
        group = self.groups.setdefault(part.group, GroupSize())
        group.documents += 1
        group.bytes += self._size
        self.empty_documents += not self._size
        is_repeat = self._size > 0 and self.repeats.add(self._digest.digest()[:16])
        if is_repeat and len(self.repeated_documents) < PLACES_KEPT:
            self.repeated_documents.append(part.origin)

    def _begin(self, part: Part) -> None:
        self._document = part
        self._digest = hashlib.sha256()
        self._size = self._line_bytes = 0
        self._line = 1
        self._last = b""
        self._finder.begin()

    def _add_marks(self, data: bytes | bytearray, part: Part) -> None:
        leading = data.startswith(_MARK) and self._last == b""
        self.leading_marks.add(leading, part.origin)
        self.inner_marks.add(data.count(_MARK) - leading, part.origin)

    def _add_returns(self, data: bytes | bytearray, origin: str) -> None:
        # A return at the end of a part is judged by what the next one starts with.
        before = self._last == b"\r" and len(data) > 0
        returns = data.count(b"\r")
        if not returns and not before:
            return
        joined = before and data.startswith(b"\n")
        pairs = data.count(b"\r\n")
        self.crlf.add(pairs + joined, origin)
        alone = returns - pairs - data.endswith(b"\r") + (before and not joined)
        self.lone_cr.add(alone, origin)

    def _add_lines(self, lines: Sequence[bytes | bytearray], origin: str) -> None:
        self.lines += len(lines) - 1
        if len(lines) == 1:
            self._line_bytes += len(lines[0])
            return
        self._close_line(origin, self._line_bytes + len(lines[0]), self._line)
        sizes = list(map(len, lines[1:-1]))
        if sizes and max(sizes) > self.longest_line.bytes:
            self._close_line(origin, max(sizes), self._line + 1 + sizes.index(max(sizes)))
        self._line += len(lines) - 1
        self._line_bytes = len(lines[-1])

    def _close_line(self, origin: str, size: int, line: int) -> None:
        if size > self.longest_line.bytes:
            self.longest_line = LongestLine(size, origin, line)

    def _compare(self, lines: Sequence[bytes | bytearray]) -> None:
        """Count those whole lines with text that came before."""
        room = _MAX_LINES_COMPARED - self.lines_compared
        hashes = [hash(bytes(line)) for line in lines[:room] if line]
        known = len(self._line_hashes)
        self._line_hashes.update(hashes)
        self.lines_compared += len(hashes)
        self.repeated_lines += len(hashes) - (len(self._line_hashes) - known)
