"""What a survey of a corpus found that deserves a look, in the order of its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tokkit.corpus.check import PLACES_KEPT, CorpusSurvey, Tally

LONG_LINE_BYTES = 1 << 20
LONG_PRETOKEN_BYTES = 1 << 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found: how often, the first places, what to do about it.

    With `stops_training`, a training with the usual settings would end with an error.
    """

    what: str
    count: int
    stops_training: bool
    places: tuple[str, ...]
    advice: str


def findings_of(survey: CorpusSurvey, longest_pretoken_bytes: int) -> tuple[Finding, ...]:
    """The findings of a finished survey; empty for a corpus that holds no surprise."""
    found = [*_faults(survey), *_lengths(survey, longest_pretoken_bytes), *_repeats(survey)]
    return tuple(finding for finding in found if finding.count)


def _tallied(what: str, tally: Tally, advice: str, *, stops: bool = False) -> Finding:
    return Finding(what, tally.count, stops, tuple(tally.places), advice)


def _faults(survey: CorpusSurvey) -> Sequence[Finding]:
    special = Tally()
    for text, tally in survey.special.items():
        special.count += tally.count
        special.places += [f"{text} in {place}" for place in tally.places]
    del special.places[PLACES_KEPT:]
    return [
        _tallied(
            "files or records that cannot be read",
            survey.refused,
            "repair or leave them out",
            stops=True,
        ),
        _tallied(
            "invalid UTF-8 or half surrogate pairs",
            survey.faults,
            "repair them, or train with --errors replace or --errors skip",
            stops=True,
        ),
        _tallied(
            "texts that spell a special token",
            special,
            "whoever writes them into a text can steer a model; remove or escape them",
        ),
        _tallied("NUL characters", survey.nul, "binary data, perhaps; they are kept as text"),
        _tallied("CRLF line ends", survey.crlf, "a tokenizer learns them beside plain line feeds"),
        _tallied("carriage returns alone", survey.lone_cr, "old line ends, perhaps; kept as text"),
        _tallied(
            "documents that begin with a byte-order mark",
            survey.leading_marks,
            "it is kept as text; remove it unless it is meant",
        ),
        _tallied(
            "byte-order marks inside documents", survey.inner_marks, "files joined, perhaps; kept"
        ),
    ]


def _lengths(survey: CorpusSurvey, longest_pretoken_bytes: int) -> Sequence[Finding]:
    line = survey.longest_line
    return [
        Finding(
            f"a line of {line.bytes:,} bytes",
            int(line.bytes > LONG_LINE_BYTES),
            False,
            (f"{line.origin}, line {line.line} of the document",),
            "no prose; look at it",
        ),
        Finding(
            f"a pretoken of {longest_pretoken_bytes:,} bytes",
            int(longest_pretoken_bytes > LONG_PRETOKEN_BYTES),
            False,
            (),
            "no word; look at it, and at the pre-tokenizer",
        ),
        Finding("documents of zero bytes", survey.empty_documents, False, (), "they teach nothing"),
    ]


def _repeats(survey: CorpusSurvey) -> Sequence[Finding]:
    sampled = survey.repeats.sampled_share < 1
    about = " (estimated from a sample)" if sampled else ""
    return [
        Finding(
            f"documents that stood before, byte for byte{about}",
            survey.repeats.repeats,
            False,
            tuple(survey.repeated_documents),
            "they weigh twice in every count; remove them unless that is meant",
        )
    ]
