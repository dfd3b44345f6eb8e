"""Whether text comes back as it went in, and which tokens are no good.

Numbers of the vocabulary count ids; numbers of the corpus weigh them by how often they stand there.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.errors import TokkitError
from tokkit.results import Column, Table
from tokkit.tokenizer.audit.counts import Usage
from tokkit.tokenizer.audit.efficiency import Metric
from tokkit.tokenizer.audit.reachability import CLASSES, Reach, find_reach
from tokkit.tokenizer.audit.replicates import Replicates
from tokkit.tokenizer.audit.tables import REASON, TOKENIZER

Flags = NDArray[np.bool_]

LONG_RUN = 16
"""A token that repeats one character this often or more is junk."""
_LIBRARY_SAMPLE = 20_000
_MOST_LISTED = 100

SPECIAL_CASES = {
    "empty": "",
    "NUL": "a\0b",
    "control characters": "\x01\x02\x1b[31m\x7f\x9f",
    "space at both ends": "  two spaces  ",
    "tabs and line feeds": "\t\ta\n\n\nb\n",
    "carriage returns": "a\r\nb\rc\r\n",
    "line and paragraph separators": "a\u2028b\u2029c\x85d",
    "other spaces": "a\u00a0b\u2003c\u3000d",
    "byte-order mark": "\ufefftext",
    "capitals": "ÀÉÎ STRASSE straße İstanbul",
    "combining marks": "e\u0301 n\u0303 \u0915\u094d\u0937",
    "composed and decomposed": "\u00e9 e\u0301 \u212b \ufb01",
    "emoji joined": "👩\u200d👩\u200d👧\u200d👦 🏳\ufe0f\u200d🌈 👍🏽",
    "right to left": "\u202eabc\u202c שלום مرحبا",
    "Chinese, Japanese, Korean": "汉字 かな カナ 한국어",
    "digits of other scripts": "٣٤٥ ४५६ １２３ ²½Ⅷ",
    "private use and unassigned": "\ue000\U000f0000\u0378\U0010ffff",
    "noncharacters": "\ufffe\uffff\U0001fffe",
    "replacement character": "\ufffd\ufffd",
    "a long run": "a" * 500 + " " * 300,
    "apostrophes": "don't I'LL we’ve 's",
}


@dataclass(frozen=True, slots=True)
class Faith:
    """What was found of one tokenizer: metrics, and the marks of its ids (vocabulary,) by name."""

    metrics: list[Metric]
    marks: Mapping[str, Flags]
    reach: Reach | None
    why_no_reach: str | None


def examine(usage: Usage, replicates: Replicates) -> Faith:
    """All that concerns faithfulness, of one tokenizer."""
    texts = [_text(data) for data in usage.tokens.pieces]
    marks = junk_marks(usage, texts)
    reach, why_not = _reach(usage)
    found = [
        *_round_trip(usage, replicates),
        *_unknown(usage, replicates),
        *(
            metric
            for name, label in _MARKS.items()
            for metric in _of_mark(name, label, marks[name], usage, replicates)
        ),
        *_reach_metrics(reach, why_not, usage),
        *_duplicate_metrics(usage, texts),
    ]
    return Faith(found, marks, reach, why_not)


# Round trips -------------------------------------------------------------------------------------


def _round_trip(usage: Usage, replicates: Replicates) -> list[Metric]:
    words = ("round_trip_failures", "Pretokens that do not come back", "proportion")
    if usage.units is None or usage.ids is None or usage.id_offsets is None:
        reason = "its tokens were counted by the caller; see the special cases"
        return [
            Metric(*words, "pretokens of the text", "micro", None, reason=reason),
            Metric(*words, "distinct pretokens", "by type", None, reason=reason),
        ]
    failed = _failures(usage)
    rows = usage.units.block_counts
    return [
        Metric(
            *words, "pretokens of the text", "micro",
            replicates.ratio(rows @ failed.astype(np.int64), rows.sum(axis=1)),
        ),
        Metric(*words, "distinct pretokens", "by type", None, fixed=float(failed.mean())),
    ]  # fmt: skip


def _failures(usage: Usage) -> Flags:
    """Whether the tokens of each distinct pretoken do not decode to its bytes."""
    from tokkit.tokenizer.artifact import Tokenizer
    from tokkit.tokenizer.audit.characters_kernels import same_bytes

    units, ids, offsets = usage.units, usage.ids, usage.id_offsets
    assert units is not None
    assert ids is not None
    assert offsets is not None
    if isinstance(usage.tokenizer, Tokenizer):
        tokens = usage.tokens
        same: Flags = same_bytes(
            units.data, units.offsets, ids, offsets, tokens.data, tokens.offsets
        )
        return ~same
    # The library decodes one by one, with rules of its own.
    decode = usage.tokenizer.decode_bytes
    return np.array(
        [
            decode(ids[offsets[k] : offsets[k + 1]].tolist()) != units.pretoken(k)
            for k in range(len(units))
        ],
        dtype=np.bool_,
    )


def cases_table(usages: Sequence[Usage]) -> Table:
    """Which of a fixed list of hard texts come back byte for byte."""
    rows = []
    for usage in usages:
        for name, text in SPECIAL_CASES.items():
            rows.append((usage.name, name, text, *_case(usage.tokenizer, text)))
    columns = (
        TOKENIZER,
        Column("case", "Case"),
        Column("text", "Text"),
        Column("tokens", "Tokens", "tokens"),
        Column("same", "Comes back"),
        Column("decoded", "What comes back instead"),
        REASON,
    )
    return Table("Round trips of hard texts", columns, tuple(rows))


def _case(tokenizer: Any, text: str) -> tuple[int | None, bool | None, str | None, str | None]:
    try:
        ids = tokenizer.encode(text)
        back = tokenizer.decode_bytes(ids)
    except TokkitError as error:
        return None, None, None, str(error)
    same = back == text.encode()
    return len(ids), same, None if same else back.decode("utf-8", "backslashreplace"), None


# Marks of tokens ---------------------------------------------------------------------------------

_MARKS = {
    "not_utf8_alone": "Tokens that are not valid UTF-8 alone",
    "control_tokens": "Tokens with control characters other than tab and line ends",
    "run_tokens": f"Tokens that repeat one character {LONG_RUN} times or more",
    "unassigned_tokens": "Tokens with U+FFFD, private use or unassigned characters",
}


def junk_marks(usage: Usage, texts: Sequence[str | None]) -> dict[str, Flags]:
    """For each mark the ids (vocabulary,) that bear it; special and unused ids bear none.

    `texts` are those of the tokens, None for what is no text.
    """
    marks = {name: np.zeros(len(texts), np.bool_) for name in _MARKS}
    fixed = usage.tokenizer.special_ids
    for token, text in enumerate(texts):
        if token in fixed:
            continue
        if text is None:
            marks["not_utf8_alone"][token] = True
            continue
        if not (text.isascii() and text.isprintable()):
            kinds = {unicodedata.category(c) for c in text if c not in "\t\n\r"}
            marks["control_tokens"][token] = "Cc" in kinds
            marks["unassigned_tokens"][token] = "\ufffd" in text or bool(kinds & {"Co", "Cn"})
        if len(text) >= LONG_RUN:
            marks["run_tokens"][token] = _longest_run(text) >= LONG_RUN
    return marks


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _longest_run(text: str) -> int:
    longest = run = 0
    last = ""
    for character in text:
        run = run + 1 if character == last else 1
        longest, last = max(longest, run), character
    return longest


def _of_mark(
    name: str, label: str, mark: Flags, usage: Usage, replicates: Replicates
) -> list[Metric]:
    share = replicates.ratio(usage.counts @ mark.astype(np.int64), usage.of_blocks)
    by_type = float(mark.sum() / usage.declared)
    return [
        Metric(name, label, "proportion", "tokens", "micro", share),
        Metric(name, label, "proportion", "declared ids", "by type", None, fixed=by_type),
    ]


def _unknown(usage: Usage, replicates: Replicates) -> list[Metric]:
    from tokkit.tokenizer.artifact import Tokenizer

    words = ("unknown_tokens", "Unknown tokens", "proportion", "tokens", "micro")
    unknown = getattr(usage.tokenizer, "unk_id", None)
    if unknown is None and not isinstance(usage.tokenizer, Tokenizer):
        return [Metric(*words, None, reason="it has no unknown token")]
    mark = np.zeros(len(usage.tokens), np.int64)
    if unknown is not None:
        mark[unknown] = 1
    # A byte-level BPE has a token for each byte: nothing is unknown to it.
    return [Metric(*words, replicates.ratio(usage.counts @ mark, usage.of_blocks))]


# Tokens that never come out ----------------------------------------------------------------------


def _reach(usage: Usage) -> tuple[Reach | None, str | None]:
    from tokkit.tokenizer.artifact import Tokenizer

    if not isinstance(usage.tokenizer, Tokenizer):
        return None, "it is no byte-level BPE, for which alone this is decided"
    if usage.tokenizer.pretokenizer is None:
        return None, "its pre-tokenizer is not known"
    return find_reach(usage.encoder, usage.tokens, usage.of_tokens > 0), None


def _reach_metrics(reach: Reach | None, why_not: str | None, usage: Usage) -> list[Metric]:
    found = []
    for kind, name in zip(
        CLASSES,
        ("unreachable_by_merges", "unreachable_same_bytes", "unreachable_not_utf8",
         "unreachable_by_pretokenizer", "reach_not_decided"),
        strict=True,
    ):  # fmt: skip
        label = f"Tokens that never come out: {CLASSES[kind]}"
        words = (name, label, "tokens", "declared ids", "by type")
        fixed = None if reach is None else float(len(reach.ids(kind)))
        found.append(Metric(*words, None, reason=why_not, fixed=fixed))
    return found


def unreachable_table(found: Mapping[str, tuple[Usage, Faith]]) -> Table:
    """The tokens that never come out, up to 100 of each class."""
    rows: list[tuple[Any, ...]] = []
    for name, (usage, faith) in found.items():
        if faith.reach is None:
            rows.append((name, None, None, None, faith.why_no_reach))
            continue
        for kind, label in CLASSES.items():
            rows += [
                (name, int(token), _shown(usage.tokens[token]), label, None)
                for token in faith.reach.ids(kind)[:_MOST_LISTED]
            ]
    columns = (
        TOKENIZER,
        Column("id", "Id"),
        Column("token", "Token"),
        Column("class", "Why it never comes out"),
        REASON,
    )
    return Table("Tokens that never come out of the encoder (100 a class)", columns, tuple(rows))


def junk_table(found: Mapping[str, tuple[Usage, Faith]]) -> Table:
    """The marked tokens, those met most often first, up to 100 of each mark."""
    rows = []
    for name, (usage, faith) in found.items():
        counts = usage.of_tokens
        for mark, flags in faith.marks.items():
            ids = np.flatnonzero(flags)
            ids = ids[np.argsort(-counts[ids], kind="stable")][:_MOST_LISTED]
            rows += [
                (name, mark, int(token), _shown(usage.tokens[token]), int(counts[token]))
                for token in ids
            ]
    columns = (
        TOKENIZER,
        Column("mark", "Mark"),
        Column("id", "Id"),
        Column("token", "Token"),
        Column("count", "Times in the text", "tokens"),
    )
    return Table("Junk tokens (100 a mark)", columns, tuple(rows))


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


# Duplicates --------------------------------------------------------------------------------------

_DUPLICATES = {
    "duplicates_by_case": "Tokens equal to another but for case",
    "duplicates_by_space": "Tokens equal to another but for a leading space",
    "duplicates": "Tokens equal to another but for case or a leading space",
}


def duplicate_keys(usage: Usage, texts: Sequence[str | None]) -> dict[str, list[str]]:
    """For each kind what the ordinary tokens are like: tokens of one key differ only by that.

    Each list has one key for each token that is a text and neither special nor unused.
    """
    fixed = usage.tokenizer.special_ids
    kept = [text for token, text in enumerate(texts) if text and token not in fixed]
    bare = [text[1:] if text[0] == " " and len(text) > 1 else text for text in kept]
    return {
        "duplicates_by_case": [text.casefold() for text in kept],
        "duplicates_by_space": bare,
        "duplicates": [text.casefold() for text in bare],
    }


def _duplicate_metrics(usage: Usage, texts: Sequence[str | None]) -> list[Metric]:
    found = []
    for name, keys in duplicate_keys(usage, texts).items():
        shared = sum(count for count in Counter(keys).values() if count > 1)
        words = (name, _DUPLICATES[name], "proportion", "declared ids", "by type")
        found.append(Metric(*words, None, fixed=shared / usage.declared))
    return found


# Special tokens ----------------------------------------------------------------------------------


def special_table(usages: Sequence[Usage]) -> Table:
    """For each special token: whether plain text that spells it turns into it."""
    rows = []
    for usage in usages:
        for token in sorted(usage.tokenizer.special_ids)[:_MOST_LISTED]:
            text = _shown(usage.tokens[token])
            try:
                times: int | None = Counter(usage.tokenizer.encode(f"a {text} b"))[token]
                reason = None
            except TokkitError as error:
                times, reason = None, str(error)
            rows.append((usage.name, token, text, None if times is None else times > 0, reason))
    columns = (
        TOKENIZER,
        Column("id", "Id"),
        Column("token", "Special token"),
        Column("injected", "Plain text turns into it"),
        REASON,
    )
    return Table("Special tokens spelled in plain text (100 a tokenizer)", columns, tuple(rows))
