"""Where text is cut: into pretokens, into atoms, and where a long text can be cut at all.

Text is given as the bytes of many pieces, joined, and where each begins; a pretoken never crosses
the end of a piece. The presets have compiled kernels, equal to the `tokenizers` library; any other
pattern runs through the library itself. `atom_rules` says what an atom is and why it is safe.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import pre_tokenizers

from tokkit.errors import InputError
from tokkit.tokenizer import atom_rules
from tokkit.tokenizer.plain_rules import automaton
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.unicode_classes import NEWLINE, SPACE, class_table

Bytes = NDArray[np.uint8]
Longs = NDArray[np.int64]
Ints = NDArray[np.int32]

LONGEST = 2**31 - 1
ATOM_FAMILY = frozenset(
    ["gpt2", "cl100k", "o200k", "llama3", "qwen2", "deepseek-v3", "chars", "bytes"]
)
"""The presets whose pretokens follow from atoms."""

_FIRST_LOOK_BYTES = 1 << 10
# By what a rule does, not by its name: a rule read from a file may bear any.
_PRESET_OF = {(preset.pattern, preset.of_bytes): name for name, preset in PRETOKENIZERS.items()}


def preset_name(pretokenizer: Pretokenizer | str) -> str | None:
    """The preset that cuts by the same patterns; None for a rule of one's own.

    >>> preset_name(Pretokenizer("mine", PRETOKENIZERS["gpt2"].pattern))
    'gpt2'
    """
    rule = resolve_pretokenizer(pretokenizer)
    if rule.name in PRETOKENIZERS and PRETOKENIZERS[rule.name] == rule:
        return rule.name
    return _PRESET_OF.get((rule.pattern, rule.of_bytes))


def is_compiled(pretokenizer: Pretokenizer | str) -> bool:
    """Whether `pretoken_ends` has a fast way for this rule; others go through `tokenizers`."""
    return preset_name(pretokenizer) is not None


def pretoken_ends(data: Bytes, starts: Longs, pretokenizer: Pretokenizer | str) -> Ints:
    """Where the pretokens of all pieces end, in order: int32 (pretokens,), positions in `data`.

    `data` is uint8 (bytes,), valid UTF-8; `starts` is int64 (pieces + 1,), rising from 0 to
    len(data), and piece p is `data[starts[p]:starts[p + 1]]`, split on its own. An empty piece
    has no pretokens. Raises InputError for more than 2**31 - 1 bytes, or when `starts` does not
    cover the data; ConfigError when a pattern does not compile.
    """
    check_pieces(data, starts)
    rule = resolve_pretokenizer(pretokenizer)
    preset = preset_name(rule)
    if preset is None:
        return _library_ends(data, starts, rule)
    if preset == "bytes":
        return np.arange(1, len(data) + 1, dtype=np.int32)
    if preset == "none":
        return starts[1:][np.diff(starts) > 0].astype(np.int32)
    if preset == "chars":
        return _character_ends(data)
    return _kernel_ends(data, starts, preset)


def check_pieces(data: Bytes, starts: Longs) -> None:
    """InputError unless the pieces cover the data, and int32 can count its bytes."""
    if len(data) > LONGEST:
        raise InputError(
            f"pieces of at most {LONGEST} bytes together can be split at once, got {len(data)}; "
            "give fewer pieces at a time"
        )
    if not len(starts) or starts[0] != 0 or starts[-1] != len(data) or (np.diff(starts) < 0).any():
        raise InputError(
            f"starts must rise from 0 to the {len(data)} bytes of data, got {starts[:3].tolist()} "
            f"... {starts[-3:].tolist()}; give the start of each piece and the end of the last"
        )


def _character_ends(data: Bytes) -> Ints:
    begins = np.flatnonzero((data & 0xC0) != 0x80)
    return np.append(begins[1:], len(data)).astype(np.int32) if len(data) else begins.astype("i4")


def _kernel_ends(data: Bytes, starts: Longs, preset: str) -> Ints:
    from tokkit.tokenizer import splitting_kernels as kernels

    table = class_table()
    # One a byte at most. Memory that no end is written to is never touched, so it costs nothing.
    ends = np.empty(len(data) + 1, dtype=np.int32)
    tables = (table.index, table.blocks)
    data, starts = _read_only(data, starts)
    if preset == "whitespace":
        count = kernels.whitespace_ends(data, starts, tables, ends)
    elif preset in ("cl100k", "llama3", "qwen2"):
        digits = 1 if preset == "qwen2" else 3
        count = kernels.cl100k_ends(data, starts, digits, automaton(preset), tables, ends)
    else:
        by_name: dict[str, Callable[..., int]] = {
            "gpt2": kernels.gpt2_ends,
            "o200k": kernels.o200k_ends,
            "deepseek-v3": kernels.deepseek_ends,
        }
        count = by_name[preset](data, starts, automaton(preset), tables, ends)
    return ends[:count].copy()


def _read_only(data: Bytes, starts: Longs) -> tuple[Bytes, Longs]:
    """The same as contiguous views that cannot be written: one type, so one compilation."""
    frozen = np.ascontiguousarray(data, np.uint8)[:], np.ascontiguousarray(starts, np.int64)[:]
    for array in frozen:
        array.flags.writeable = False
    return frozen


def _library_ends(data: Bytes, starts: Longs, rule: Pretokenizer) -> Ints:
    """The same by `tokenizers`, piece by piece; a character of its byte alphabet is one byte."""
    components = rule.components()
    if not rule.of_bytes:
        components = components[:-1]
    split = pre_tokenizers.Sequence(components)
    lengths: list[int] = []
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        text = data[begin:end].tobytes().decode("utf-8")
        for pretoken, _ in _split_by_library(split, text, rule):
            lengths.append(len(pretoken) if rule.of_bytes else len(pretoken.encode("utf-8")))
    lengths = [length for length in lengths if length]
    return np.cumsum(lengths, dtype=np.int64).astype(np.int32)


def _split_by_library(split: Any, text: str, rule: Pretokenizer) -> Any:
    try:
        return split.pre_tokenize_str(text)
    except BaseException as error:
        # The engine gives up after ten million steps back in one match, by a panic of Rust, which
        # is no Exception. The kernels have no such limit.
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(
            f"the pattern of pre-tokenizer {rule.name!r} cannot split a text of {len(text)} "
            f"characters ({error}); cut the text, or write the pattern so that it tries less"
        ) from None


def atom_ends(data: Bytes, starts: Longs) -> Ints:
    """Where the atoms of all pieces end, in order: int32 (atoms,), positions in `data`.

    Arguments and errors as `pretoken_ends`. For each preset of ATOM_FAMILY, splitting the atoms
    one by one gives the pretokens of the pieces.
    """
    check_pieces(data, starts)
    return _atom_ends(data, starts, atom_rules.START, known=True)


def _atom_ends(data: Bytes, starts: Longs, first_state: int, *, known: bool) -> Ints:
    from tokkit.tokenizer import atom_kernels

    table = class_table()
    ends = np.empty(len(data) + 1, dtype=np.int32)
    count = atom_kernels.atom_ends(
        *_read_only(data, starts),
        first_state,
        known,
        atom_rules.automaton(),
        (table.index, table.blocks),
        ends,
    )
    return ends[:count].copy()


def last_cut(data: Bytes, pretokenizer: Pretokenizer | str) -> int:
    """The last place found where a text that goes on after `data` may be cut; 0 if there is none.

    `data` is uint8 (bytes,), UTF-8 from the start of a text or of a piece; a last character that
    is not whole is left to what follows. Whatever follows, the two sides are split into the same
    pretokens as the whole (and, for the presets of ATOM_FAMILY, into the same atoms). For `none`
    and for patterns that are no preset's the answer is 0: nothing is known of them.
    """
    preset = preset_name(pretokenizer)
    if preset == "bytes":
        return len(data)
    whole = len(data) - _unfinished(data)
    if preset == "chars":
        return whole
    if preset == "whitespace":
        return _last_cut_of_whitespace(data[:whole])
    return _last_atom_end(data[:whole]) if preset in ATOM_FAMILY else 0


def last_atom_cut(data: Bytes) -> int:
    """As `last_cut`, for a text that is split into atoms."""
    return _last_atom_end(data[: len(data) - _unfinished(data)])


def _unfinished(data: Bytes) -> int:
    """The number of bytes at the end that begin a character without ending it: 0 to 3."""
    for back in range(1, min(3, len(data)) + 1):
        lead = int(data[-back])
        if lead >= 0xC0:
            width = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
            return back if width > back else 0
        if lead < 0x80:
            return 0
    return 0


def _last_atom_end(data: Bytes) -> int:
    """The last end of an atom that holds whatever follows, found in windows from the end."""
    look = _FIRST_LOOK_BYTES
    while True:
        begin = _character_start(data, max(0, len(data) - look))
        state = atom_rules.UNKNOWN if begin else atom_rules.START
        starts = np.array([0, len(data) - begin], dtype=np.int64)
        ends = _atom_ends(data[begin:], starts, state, known=False)
        if len(ends) > 1:
            return begin + int(ends[-2])
        if begin == 0:
            return 0
        look *= 4


def _last_cut_of_whitespace(data: Bytes) -> int:
    """Before the last white space that stands after something else: a word ends there always."""
    look = _FIRST_LOOK_BYTES
    while True:
        begin = _character_start(data, max(0, len(data) - look))
        text = data[begin:].tobytes().decode("utf-8", errors="surrogateescape")
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        white = np.isin(class_table().of(points), (SPACE, NEWLINE))
        cuts = np.flatnonzero(white[1:] & ~white[:-1])
        if len(cuts):
            return begin + len(text[: int(cuts[-1]) + 1].encode("utf-8", "surrogateescape"))
        if begin == 0:
            return 0
        look *= 4


def _character_start(data: Bytes, position: int) -> int:
    while position > 0 and data[position] & 0xC0 == 0x80:
        position -= 1
    return position
