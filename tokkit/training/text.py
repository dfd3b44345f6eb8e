"""Training on text: from files and a tokenizer to a model that can be opened, in one folder.

What the folder holds stands in `tokkit.training.run_folder`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from tokkit.errors import ConfigError
from tokkit.files import ensure_folder, write_json
from tokkit.model.transformer import Transformer
from tokkit.results import Result, write_result
from tokkit.training.corpus import (
    EncodedCorpus,
    Told,
    encode_corpus,
    end_token,
    open_corpus,
    tokenizer_json,
)
from tokkit.training.evaluation import evaluate_rows
from tokkit.training.lock import locked
from tokkit.training.loop import DivergedError, Line, read_metrics, train
from tokkit.training.packing import parts_of
from tokkit.training.processes import Processes, joined
from tokkit.training.run_folder import (
    CORPUS_FOLDER,
    MODEL,
    SPLIT_FILE,
    TRAINING_FOLDER,
    Keeper,
    claim,
    clean,
)
from tokkit.training.text_data import TextConfig, TextData, text_data
from tokkit.training.text_result import text_result


def train_on_text(
    tokenizer: Any,
    corpus: Sequence[str | os.PathLike[str]],
    config: TextConfig,
    folder: str | os.PathLike[str],
    *,
    end: str | None = None,
    text_field: str = "text",
    errors: str = "strict",
    jobs: int | None = None,
    device: str = "auto",
    compiled: bool = False,
    told: Told | None = None,
    on_step: Callable[[int, float], None] | None = None,
    on_line: Callable[[Line], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> Result | None:
    """Train a model on the documents of files, or go on, in `folder`; write and return its result.

    `tokenizer` is an opened one, `end` its token that ends a document (None: see `END_TOKENS`).
    `told(stage, unit, done, total)`, `on_step(step, loss)` and `on_line(metrics)` tell how far it
    is. Under torchrun each process takes its share of every step; all but the first are silent
    and return None. `about` goes into each checkpoint's config.json.

    Raises ConfigError for settings that are none or are not those of the run in `folder`,
    InputError for text that cannot be read, ArtifactError for files of the run that are cut or
    altered, OutputError where the folder cannot be written or another process writes it,
    DivergedError when the run diverged, and KeyboardInterrupt, with the state saved, when a
    signal (SIGINT, SIGTERM) asks for the end.
    """
    started = time.monotonic()
    if config.model.vocab_size != tokenizer.vocab_size:
        raise ConfigError(
            f"the model has {config.model.vocab_size} rows, but the tokenizer "
            f"{tokenizer.vocab_size} ids: make them equal"
        )
    written = tokenizer_json(tokenizer)
    with joined(device) as processes, contextlib.ExitStack() as held:
        config.check_processes(processes.count)
        place = ensure_folder(folder)
        ending = end_token(tokenizer, end)
        if processes.first:
            held.enter_context(locked(place))
            clean(place)
            encode_corpus(
                tokenizer,
                corpus,
                place / CORPUS_FOLDER,
                end=None if ending is None else ending[0],
                text_field=text_field,
                errors=errors,
                jobs=jobs,
                told=told,
            )
        processes.wait()
        encoded = open_corpus(place / CORPUS_FOLDER, None if ending is None else ending[1])
        settings = _settings(config, tokenizer, encoded, ending)
        data = text_data(encoded, config, tokenizer)
        if processes.first:
            claim(place, settings)
            _record_split(place, data, config)
        prepared = time.monotonic()
        model = Transformer(config.model, seed=config.seed).to(processes.device)
        # With the seed the initial values can be made again, for comparison.
        keeper = Keeper(place, config.keep, model, written, {**(about or {}), "seed": config.seed})
        _train(place, config, data, model, processes, settings, keeper,
               compiled=compiled, on_step=on_step, on_line=on_line)  # fmt: skip
        if not processes.first:
            return None
        keeper.save(place / MODEL, read_metrics(place / TRAINING_FOLDER)[-1])
        seconds = {"prepare": prepared - started, "train": time.monotonic() - prepared}
        parameters = sum(parameter.numel() for parameter in model.parameters())
        result = text_result(place, config, data, parameters, processes, settings, seconds)
        write_result(result, place)
        return result


def _train(
    place: Path,
    config: TextConfig,
    data: TextData,
    model: Transformer,
    processes: Processes,
    settings: Mapping[str, Any],
    keeper: Keeper,
    *,
    compiled: bool,
    on_step: Callable[[int, float], None] | None,
    on_line: Callable[[Line], None] | None,
) -> None:
    def batches(step: int) -> Any:
        batch = data.training.batch_at(step, config.sequences, config.seed)
        return parts_of(batch, parts=config.accumulate, rank=processes.rank, count=processes.count)

    def evaluate(present: Transformer) -> dict[str, float]:
        if data.validation is None:
            return {}
        return evaluate_rows(
            present,
            data.validation,
            data.validation_bytes,
            batch=max(1, config.sequences // (config.accumulate * processes.count)),
            precision=config.training.precision,
            processes=processes,
        )

    def line_done(line: Line) -> None:
        keeper.keep(line)
        if on_line is not None:
            on_line(line)

    with _signals(repeated=processes.count > 1) as stop:
        try:
            train(
                model,
                batches,
                config.training,
                place / TRAINING_FOLDER,
                evaluate=evaluate,
                identity=json.dumps(settings, sort_keys=True),
                processes=processes,
                compiled=compiled,
                stop=stop,
                on_step=on_step,
                on_line=line_done,
            )
        except DivergedError as error:
            good = keeper.best_named()
            raise DivergedError(f"{error}{good}") from error


def _settings(
    config: TextConfig, tokenizer: Any, corpus: EncodedCorpus, ending: tuple[str, int] | None
) -> dict[str, Any]:
    """All that the numbers depend on; not how the work is cut up, nor what is kept of it."""
    training = asdict(config.training)
    training.pop("save_seconds")
    return {
        "model": config.model.to_dict(),
        "training": training,
        "sequences": config.sequences,
        "validation_share": config.validation_share,
        "seed": config.seed,
        "end": None if ending is None else ending[0],
        "tokenizer_sha256": tokenizer.digest,
        "corpus_sha256": corpus.digest,
    }


def _record_split(place: Path, data: TextData, config: TextConfig) -> None:
    held_out = [] if data.validation is None else data.validation.documents.tolist()
    record = {
        "rule": "splitmix64(document xor splitmix64(seed)) / 2^64 < share",
        "share": config.validation_share,
        "seed": config.seed,
        "documents": len(data.corpus.text_bytes),
        "validation": held_out,
    }
    write_json(place / SPLIT_FILE, record)


@contextlib.contextmanager
def _signals(*, repeated: bool) -> Iterator[Callable[[], bool]]:
    """Yield what says whether SIGINT or SIGTERM came; a second one interrupts at once.

    `repeated`: a launcher passes signals on again, and a second one means no more than the first.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen and not repeated:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
