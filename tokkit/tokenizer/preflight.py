"""Look at a corpus before training on it: what is in it, and what the training will take.

The text is read once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tokkit.corpus.check import KNOWN_SPECIAL_TOKENS, CorpusSurvey, GroupSize, LongestLine
from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.findings import Finding, findings_of
from tokkit.corpus.inputs import find_sources, folder_files, stored_bytes
from tokkit.corpus.parts import Part
from tokkit.corpus.shards import ShardReader
from tokkit.errors import ConfigError, InputError
from tokkit.tokenizer.forecast import Forecaster, LongestPretoken, TrainingEstimate
from tokkit.tokenizer.memory import available_bytes
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.splitting import last_cut
from tokkit.tokenizer.train import SPECIAL_TOKENS

# Small enough that every n-th is a sample of all parts of a text.
_SHARD_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class CorpusCheck:
    """What stands in a corpus, what of it deserves a look, and what training on it will take."""

    files: int
    left_out_files: int
    stored_bytes: int | None
    documents: int
    empty_documents: int
    bytes: int
    characters: int
    lines: int
    longest_line: LongestLine
    longest_pretoken: LongestPretoken
    groups: dict[str, GroupSize]
    repeated_documents: int
    repeated_documents_sampled_share: float
    repeated_lines: int
    lines_compared: int
    special_tokens: dict[str, int]
    findings: tuple[Finding, ...]
    training: TrainingEstimate
    corpus_sha256: str
    wall_seconds: float

    @property
    def stops_training(self) -> bool:
        """Whether anything found would end a training with the usual settings."""
        return any(finding.stops_training for finding in self.findings)


def check_corpus(
    paths: Sequence[str | os.PathLike[str]],
    *,
    pretokenizer: Pretokenizer | str = "gpt2",
    vocab_size: int = 32_000,
    special_tokens: Sequence[str] | None = None,
    text_field: str = "text",
    group_field: str | None = None,
    group_by_folder: bool = False,
    progress: Callable[[int], None] | None = None,
) -> CorpusCheck:
    """Read a corpus once, and say what is in it and what training a tokenizer on it will take.

    Bytes that are not UTF-8 are counted and read as U+FFFD; a record or file that cannot be read
    is told among the findings and passed over. `special_tokens` are looked for in the text, by
    default those that training adds and the well-known ones of other models. `progress` is called
    with the bytes read so far.

    Raises InputError for a path that names nothing, ConfigError for settings that are unknown.
    """
    started = time.perf_counter()
    rule = resolve_pretokenizer(pretokenizer)
    if vocab_size < 256:
        raise ConfigError(f"vocab_size is at least the 256 bytes, got {vocab_size}; ask for more")
    survey = CorpusSurvey(_tokens_to_find(special_tokens))
    forecaster = Forecaster(rule, stored_bytes(find_sources(paths)) or 0)
    watch = _Stopwatch(survey.add)
    reader = ShardReader(
        paths,
        text_field=text_field,
        group_field=group_field,
        group_by_folder=group_by_folder,
        errors=FaultPolicy("replace", survey.add_fault, survey.add_refused),
        cut=lambda data: last_cut(data, rule),
        remove=[text.encode() for text in SPECIAL_TOKENS],
        shard_bytes=_SHARD_BYTES,
        watch=watch,
    )
    try:
        for shard in reader:
            forecaster.add(shard)
            if progress:
                progress(reader.bytes)
    except InputError as error:
        # Of the whole reading: a piece that is too long for any training.
        survey.add_refused(error)
    survey.finish()
    seconds = time.perf_counter() - started
    training = forecaster.estimate(vocab_size, seconds - forecaster.seconds - watch.seconds)
    return _gathered(paths, survey, forecaster.longest, training, reader.hexdigest(), seconds)


def _tokens_to_find(special_tokens: Sequence[str] | None) -> Sequence[str]:
    if special_tokens is None:
        return tuple(dict.fromkeys((*SPECIAL_TOKENS, *KNOWN_SPECIAL_TOKENS)))
    if not all(special_tokens):
        raise ConfigError("a special token must hold text, got an empty one; leave it out")
    return special_tokens


def _memory_finding(training: TrainingEstimate) -> tuple[Finding, ...]:
    free = available_bytes()
    if free is None or training.memory_bytes <= free:
        return ()
    finding = Finding(
        f"training needs about {training.memory_bytes / 1e6:,.0f} MB of memory, and "
        f"{free / 1e6:,.0f} MB are free",
        1,
        True,
        (),
        "count parts of the text apart, or choose a pre-tokenizer that cuts more",
    )
    return (finding,)


def _gathered(
    paths: Sequence[str | os.PathLike[str]],
    survey: CorpusSurvey,
    longest: LongestPretoken,
    training: TrainingEstimate,
    digest: str,
    seconds: float,
) -> CorpusCheck:
    sources = find_sources(paths)
    return CorpusCheck(
        files=len(sources),
        left_out_files=_left_out(paths),
        stored_bytes=stored_bytes(sources),
        documents=survey.documents,
        empty_documents=survey.empty_documents,
        bytes=survey.bytes,
        characters=survey.characters,
        lines=survey.lines,
        longest_line=survey.longest_line,
        longest_pretoken=longest,
        groups=survey.groups,
        repeated_documents=survey.repeats.repeats,
        repeated_documents_sampled_share=survey.repeats.sampled_share,
        repeated_lines=survey.repeated_lines,
        lines_compared=survey.lines_compared,
        special_tokens={name: tally.count for name, tally in survey.special.items()},
        findings=(*_memory_finding(training), *findings_of(survey, longest.bytes)),
        training=training,
        corpus_sha256=digest,
        wall_seconds=round(seconds, 3),
    )


class _Stopwatch:
    """Calls a function and adds up the seconds it takes."""

    def __init__(self, function: Callable[[Part], None]) -> None:
        self._function = function
        self.seconds = 0.0

    def __call__(self, part: Part) -> None:
        started = time.perf_counter()
        self._function(part)
        self.seconds += time.perf_counter() - started


def _left_out(paths: Sequence[str | os.PathLike[str]]) -> int:
    return sum(folder_files(os.fspath(path))[1] for path in paths if os.path.isdir(path))
