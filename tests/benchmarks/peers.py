"""One measurement of one tokenizer library in a process of its own: python peers.py TASK NAME ...

Prints one JSON object: seconds, peak memory, and what was made. Libraries are imported, and their
start-up is over, before the clock runs; reading the files is inside it.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Made = dict[str, Any]


def texts(files: list[str]) -> list[str]:
    return [Path(file).read_bytes().decode() for file in files]


def train_tokkit(files: list[str], size: int) -> Callable[[], Made]:
    from tokkit.tokenizer.counting import count
    from tokkit.tokenizer.learning import LearningOptions, learn

    def work(files: list[str] = files, size: int = size) -> Made:
        table = count(files, "gpt2", by_blocks=False)
        learned = learn(table.data, table.offsets, table.totals, LearningOptions(size))
        return {"merges": len(learned.merges), "distinct": len(table)}

    work(files[:1], 300)  # loads the compiled kernels from the disk
    return work


def train_tokenizers(files: list[str], size: int) -> Callable[[], Made]:
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    def work() -> Made:
        learner = tokenizers.Tokenizer(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )
        learner.train_from_iterator(texts(files), trainer)
        return {"merges": learner.get_vocab_size() - 256}

    return work


def train_gigabpe(files: list[str], size: int) -> Callable[[], Made]:
    import gigabpe

    def work() -> Made:
        _, merges = gigabpe.train_bpe(files, size, special_tokens=[], min_frequency=2, threads=2)
        return {"merges": len(merges)}

    return work


def train_gigatoken(files: list[str], size: int) -> Callable[[], Made]:
    import gigatoken

    def work() -> Made:
        made = gigatoken.train_bpe(gigatoken.TextFileSource(files), size, [])
        return {"merges": len(made[1]) if isinstance(made, tuple) else size - 256}

    return work


def train_rustbpe(files: list[str], size: int) -> Callable[[], Made]:
    import rustbpe

    def work() -> Made:
        learner = rustbpe.Tokenizer()
        learner.train_from_iterator(iter(texts(files)), size, pattern=GPT2)
        return {"merges": learner.vocab_size - 256}

    return work


def train_bpeasy(files: list[str], size: int) -> Callable[[], Made]:
    import bpeasy

    def work() -> Made:
        made = bpeasy.train_bpe(iter(texts(files)), GPT2, 128, size)
        return {"merges": len(made) - 256}

    return work


def encode_tokkit(files: list[str], tokenizer: str) -> Callable[[], Made]:
    from tokkit.tokenizer.artifact import Tokenizer
    from tokkit.tokenizer.bulk import encode_files

    encoder = Tokenizer.load(tokenizer)
    out = Path(files[0]).parent / "ids.npy"

    def work(files: list[str] = files) -> Made:
        record = encode_files(encoder, files, out)
        return {"tokens": record["tokens"]}

    work(files[:1])
    return work


def encode_tokenizers(files: list[str], tokenizer: str) -> Callable[[], Made]:
    import numpy as np
    import tokenizers

    encoder = tokenizers.Tokenizer.from_file(tokenizer)

    def work() -> Made:
        encodings = encoder.encode_batch_fast(texts(files), add_special_tokens=False)
        ids = np.concatenate([np.array(encoding.ids, dtype=np.uint16) for encoding in encodings])
        np.save(Path(files[0]).parent / "ids.npy", ids)
        return {"tokens": len(ids)}

    return work


def encode_tiktoken(files: list[str], tokenizer: str) -> Callable[[], Made]:
    import numpy as np
    import tiktoken

    from tokkit.tokenizer.artifact import Tokenizer

    loaded = Tokenizer.load(tokenizer)
    ranks = {
        loaded.token_bytes(token): token
        for token in range(loaded.vocab_size)
        if loaded.kind(token) == "token"
    }
    encoder = tiktoken.Encoding("gpt2", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})

    def work() -> Made:
        batches = encoder.encode_ordinary_batch(texts(files), num_threads=2)
        ids = np.concatenate([np.array(batch, dtype=np.uint16) for batch in batches])
        np.save(Path(files[0]).parent / "ids.npy", ids)
        return {"tokens": len(ids)}

    return work


def encode_gigatoken(files: list[str], tokenizer: str) -> Callable[[], Made]:
    import gigatoken
    import numpy as np

    encoder = gigatoken.Tokenizer(tokenizer)

    def work() -> Made:
        ids = np.asarray(encoder.encode_files(gigatoken.TextFileSource(files)).layout.content.data)
        np.save(Path(files[0]).parent / "ids.npy", ids.astype(np.uint16))
        return {"tokens": len(ids)}

    return work


def encode_tokie(files: list[str], tokenizer: str) -> Callable[[], Made]:
    import numpy as np
    import tokie

    encoder = tokie.Tokenizer.from_json(tokenizer)

    def work() -> Made:
        ids, _ = encoder.encode_files(files)
        np.save(Path(files[0]).parent / "ids.npy", ids.astype(np.uint16))
        return {"tokens": len(ids)}

    return work


def encode_kitoken(files: list[str], tokenizer: str) -> Callable[[], Made]:
    import kitoken
    import numpy as np

    encoder = kitoken.Kitoken.from_tokenizers_file(tokenizer)

    def work() -> Made:
        batches = encoder.encode_all(texts(files))
        ids = np.concatenate([np.array(batch, dtype=np.uint16) for batch in batches])
        np.save(Path(files[0]).parent / "ids.npy", ids)
        return {"tokens": len(ids)}

    return work


def peak_kib() -> int:
    """The most memory this program held; ru_maxrss would count what its parent held at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main(task: str, name: str, argument: str, *files: str) -> None:
    prepare = globals()[f"{task}_{name}"]
    work = prepare(list(files), int(argument) if task == "train" else argument)
    idle = peak_kib()
    started = time.perf_counter()
    made = work()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "peak_kib": peak_kib(), "idle_kib": idle, **made}))


if __name__ == "__main__":
    main(*sys.argv[1:])
