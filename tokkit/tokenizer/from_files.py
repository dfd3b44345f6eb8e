"""Train tokenizers from files or from a counted table, and keep beside them how they came about."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tokkit import __version__
from tokkit.errors import ConfigError, OutputError, unknown_choice
from tokkit.files import ensure_folder, write_json
from tokkit.tokenizer.alphabet import spell
from tokkit.tokenizer.artifact import TOKENIZER_FILE, Tokenizer
from tokkit.tokenizer.learning import NO_LIMIT, LearnedMerges, LearningOptions, learn
from tokkit.tokenizer.presets import Pretokenizer, resolve_pretokenizer
from tokkit.tokenizer.table import PretokenTable
from tokkit.tokenizer.train import SPECIAL_TOKENS, assemble, merges_of, require_settings

if TYPE_CHECKING:
    from tokkit.tokenizer.counting import CountProgress

TRAINING_FILE = "training.json"
_VERSIONED = ("numpy", "numba", "tokenizers")


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """What decides the merges, besides the text.

    `sizes` are further, smaller vocabularies to write from the same training. `min_count` leaves
    out pretokens that stand less often. `group_weights` multiplies the counts of the groups it
    names (others count once); weighted counts are rounded to whole numbers. `extend` is the file of
    a tokenizer whose merges come first. `veto` is a regular expression over the bytes of a token:
    what it matches anywhere is not made. The others are those of `LearningOptions`, but that
    `vocab_size` counts the special and added tokens too.
    """

    vocab_size: int
    pretokenizer: Pretokenizer | str = "gpt2"
    special_tokens: Sequence[str] = SPECIAL_TOKENS
    added_tokens: Sequence[str] = ()
    min_frequency: int = 2
    min_gain: float = 0.0
    max_token_length: int | None = None
    limit_alphabet: int | None = None
    veto: str | None = None
    min_count: int = 1
    group_weights: Mapping[str, float] = field(default_factory=dict)
    sizes: Sequence[int] = ()
    extend: str | None = None

    @property
    def fixed(self) -> tuple[str, ...]:
        """The special and the added tokens."""
        return (*self.special_tokens, *self.added_tokens)

    def learning(self) -> LearningOptions:
        """The options of learning proper; ConfigError where they make no sense."""
        require_settings(
            min([self.vocab_size, *self.sizes]), self.special_tokens, self.added_tokens
        )
        if max([0, *self.sizes]) > self.vocab_size:
            raise ConfigError(
                f"the other sizes come from one training to {self.vocab_size}, and may not be "
                f"larger, got {max(self.sizes)}; ask for a larger vocabulary"
            )
        if self.min_count < 1:
            raise ConfigError(f"min_count must be 1 or more, got {self.min_count}")
        return LearningOptions(
            self.vocab_size - len(self.fixed),
            min_frequency=self.min_frequency,
            min_gain=self.min_gain,
            max_token_length=self.max_token_length,
            limit_alphabet=self.limit_alphabet,
            initial_alphabet=bytes(range(256)) if self.limit_alphabet is None else b"",
            alphabet_ids=256,
            veto=_compiled(self.veto),
        )


def _compiled(veto: str | None) -> re.Pattern[bytes] | None:
    try:
        return None if veto is None else re.compile(veto.encode())
    except (re.error, UnicodeEncodeError, OverflowError, RecursionError) as error:
        raise ConfigError(
            f"a veto is a regular expression over bytes, got {veto!r} ({error}); correct it"
        ) from error


@dataclass(frozen=True, slots=True)
class Training:
    """A finished training: the pretokens and counts (n,) it learned from, and what it learned."""

    options: TrainingOptions
    table: PretokenTable
    counts: NDArray[np.int64]
    learned: LearnedMerges
    wall_seconds: Mapping[str, float]

    def tokenizer(self, vocab_size: int | None = None) -> Tokenizer:
        """The tokenizer, or a smaller one: what training to `vocab_size` would have given."""
        options = self.options
        size = options.vocab_size if vocab_size is None else vocab_size
        return assemble(
            self.learned.merges_at(size - len(options.fixed)),
            pretokenizer=options.pretokenizer,
            special_tokens=options.special_tokens,
            added_tokens=options.added_tokens,
        )


def train_on_table(
    table: PretokenTable,
    options: TrainingOptions,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Training:
    """Learn from a table of pretokens, or of atoms, which are cut first.

    `progress` is called with (tokens so far, tokens wanted). Raises ConfigError for settings that
    make no sense, for a table that the pre-tokenizer cannot be had from, and for one in which the
    special tokens were not cut out.
    """
    learning = options.learning()
    started = time.perf_counter()
    _require_cut_out(table, options)
    table = table.split(options.pretokenizer)
    counts = _weighted(table, options)
    counts = np.where(counts >= options.min_count, counts, 0)
    extend = merges_of(Tokenizer.load(options.extend)) if options.extend else ()
    split = time.perf_counter()
    learned = learn(
        table.data,
        table.offsets,
        counts,
        learning,
        extend=extend,
        checkpoint=checkpoint,
        progress=progress,
    )
    seconds = {"split": split - started, "learn": time.perf_counter() - split}
    return Training(options, table, counts, learned, seconds)


def _require_cut_out(table: PretokenTable, options: TrainingOptions) -> None:
    missing = set(options.fixed) - set(table.origin.removed_texts)
    if missing:
        raise ConfigError(
            f"special and added tokens are cut out of the text when it is counted, but in this "
            f"table {sorted(missing)[0]!r} was not; count again with the same tokens"
        )


def _weighted(table: PretokenTable, options: TrainingOptions) -> NDArray[np.int64]:
    weights = options.group_weights
    if not weights:
        return table.totals
    for name, weight in weights.items():
        if table.group_names in ((), ("",)) and name:
            raise ConfigError(
                f"the text has no groups to weigh, got a weight for {name!r}; count it with "
                f"--group-field or --group-by-folder"
            )
        if name not in table.group_names:
            raise ConfigError(unknown_choice("group", name, table.group_names))
        if not 0 <= weight < 1e9:
            raise ConfigError(f"the weight of a group is 0 to 1e9, got {weight} for {name!r}")
    by_group = np.array([float(weights.get(name, 1.0)) for name in table.group_names])
    weighted: NDArray[np.float64] = np.rint(by_group[table.blocks.group] @ table.block_counts)
    if weighted.max(initial=0) >= NO_LIMIT:
        raise ConfigError(
            f"weighted counts stay below 2^62, got {weighted.max():.2g}; use smaller weights"
        )
    return weighted.astype(np.int64)


def train_from_files(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: TrainingOptions,
    *,
    table: PretokenTable | None = None,
    save_table: str | os.PathLike[str] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    verify: bool = False,
    reading: Mapping[str, Any] | None = None,
    jobs: int | None = None,
    on_count: Callable[[CountProgress], None] | None = None,
    on_learn: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train on the documents in `paths`, or on `table`; write tokenizer.json and training.json.

    `out` is a file or a standing folder; each further size goes to `<stem>-<size>.json` beside it.
    `reading` holds options of `count`. `save_table` keeps the counted table, which the next
    training takes instead of the text; `checkpoint` is that of `learn`. With `verify`, the merges
    are proved by an independent slow method before anything is written. The record, which is
    returned too, holds the options, the digest of the corpus, the trace of the merges, the
    vocabulary reached, times and versions. An `out` of another name than tokenizer.json gets its
    record as `<stem>.training.json`.

    Raises what `count` and `train_on_table` raise, and OutputError, before any work, when the
    folder of `out` cannot be written.
    """
    from tokkit.tokenizer.counting import count
    from tokkit.tokenizer.verification import verify_training

    target = tokenizer_path(out)
    options.learning()
    rule = resolve_pretokenizer(options.pretokenizer)
    ensure_folder(target.parent)
    for what, path in (("table", save_table), ("checkpoint", checkpoint)):
        if path is not None:
            _require_own_place(what, Path(path), target, options)
    started = time.perf_counter()
    if table is None:
        table = count(
            paths,
            rule,
            by_blocks=False,
            removed_texts=options.fixed,
            jobs=jobs,
            progress=on_count,
            **(reading or {}),
        )
    if save_table is not None:
        table.save(save_table)
    counted = time.perf_counter()
    training = train_on_table(table, options, checkpoint=checkpoint, progress=on_learn)
    proof = verify_training(training) if verify else None
    tokenizers = {size: training.tokenizer(size) for size in options.sizes}
    tokenizer = training.tokenizer()
    seconds = {"count": counted - started, **training.wall_seconds}
    record = {
        "options": _as_json(options, rule),
        "files": list(table.origin.files),
        "corpus_sha256": "+".join(table.origin.corpus_sha256),
        "documents": table.origin.documents,
        "bytes": table.origin.bytes,
        "replaced": table.origin.replaced,
        "skipped": table.origin.skipped,
        "pretokens": int(training.table.totals.sum()),
        "distinct_pretokens": len(training.table),
        "vocab_size": tokenizer.vocab_size,
        "ran_out_of_pairs": training.learned.ran_out,
        "tokenizer_sha256": tokenizer.digest,
        "sizes": {
            str(sized_path(target, size)): smaller.vocab_size
            for size, smaller in tokenizers.items()
        },
        "verification": proof,
        "wall_seconds": {stage: round(value, 3) for stage, value in seconds.items()},
        "versions": {
            "tokkit": __version__,
            "python": python_version(),
            **{name: metadata.version(name) for name in _VERSIONED},
        },
        "trace": _trace(training.learned),
    }
    for size, smaller in tokenizers.items():
        smaller.save(sized_path(target, size))
    # The tokenizer last: where it stands under its name, its record does too.
    write_json(training_path(target), record)
    tokenizer.save(target)
    return record


def _require_own_place(what: str, path: Path, target: Path, options: TrainingOptions) -> None:
    written = [target, training_path(target), *(sized_path(target, n) for n in options.sizes)]
    if path.resolve() in [other.resolve() for other in written]:
        raise ConfigError(f"the {what} may not take the tokenizer's place, got {path} for both")
    ensure_folder(path.parent)


def train_other_model(
    model: str,
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    options: TrainingOptions,
    *,
    text_field: str = "text",
) -> dict[str, Any]:
    """Train "unigram" or "wordpiece" through `tokenizers`, for comparison; write it to `out`.

    Of the options, vocabulary size, pre-tokenizer and special tokens count. Returns the record,
    which is written beside it. Raises what reading and training raise.
    """
    from tokkit.corpus.document import CorpusDigest
    from tokkit.corpus.readers import read_documents
    from tokkit.tokenizer import other_models

    target = tokenizer_path(out)
    ensure_folder(target.parent)
    digest = CorpusDigest()
    trainers = {"unigram": other_models.train_unigram, "wordpiece": other_models.train_wordpiece}
    started = time.perf_counter()
    tokenizer = trainers[model](
        (document.text for document in digest.watch(read_documents(paths, text_field=text_field))),
        vocab_size=options.vocab_size,
        pretokenizer=options.pretokenizer,
        special_tokens=options.special_tokens,
    )
    record = {
        "model": model,
        "options": _as_json(options, resolve_pretokenizer(options.pretokenizer)),
        "files": [str(path) for path in paths],
        "corpus_sha256": digest.hexdigest(),
        "documents": digest.documents,
        "bytes": digest.bytes,
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.digest,
        "wall_seconds": {"train": round(time.perf_counter() - started, 3)},
        "versions": {"tokkit": __version__, "tokenizers": metadata.version("tokenizers")},
    }
    write_json(training_path(target), record)
    tokenizer.save(target)
    return record


def _as_json(options: TrainingOptions, rule: Pretokenizer) -> dict[str, Any]:
    record = asdict(options)
    return {
        **{
            key: list(value) if isinstance(value, tuple) else value for key, value in record.items()
        },
        "pretokenizer": rule.name,
        "pattern": list(rule.patterns),
    }


def _trace(learned: LearnedMerges) -> dict[str, Any]:
    """Each merge as columns: its parts, how often the pair stood, bytes less one token so far."""
    spelled = [spell(token) for token in learned.tokens]
    return {
        "left": [spelled[left] for left in learned.steps[:, 0].tolist()],
        "right": [spelled[right] for right in learned.steps[:, 1].tolist()],
        "pair_count": learned.counts.tolist(),
        "tokens_saved": (learned.symbols - learned.tokens_left).tolist(),
        "text_bytes": learned.symbols,
    }


def tokenizer_path(out: str | os.PathLike[str]) -> Path:
    """The file to write for `out`: itself, or tokenizer.json in it when it is a folder."""
    target = Path(out)
    if target.is_dir():
        return target / TOKENIZER_FILE
    if target.exists() and not target.is_file():
        raise OutputError(
            f"cannot write {target}: it is no regular file; choose another with --out"
        )
    return target


def training_path(tokenizer: Path) -> Path:
    """Where the record of the tokenizer at this path stands."""
    is_default = tokenizer.name == TOKENIZER_FILE
    return tokenizer.with_name(TRAINING_FILE if is_default else f"{tokenizer.stem}.{TRAINING_FILE}")


def sized_path(tokenizer: Path, size: int) -> Path:
    """Where the tokenizer of a further size stands beside the one at this path."""
    return tokenizer.with_name(f"{tokenizer.stem}-{size}{tokenizer.suffix}")
