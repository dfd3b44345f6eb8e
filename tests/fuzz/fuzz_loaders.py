"""Coverage-guided fuzzing of `load_tokenizer` (atheris, libFuzzer); not run by pytest.

    pip install atheris
    python tests/fuzz/fuzz_loaders.py CORPUS_FOLDER -max_total_time=300 -max_len=65536 -timeout=20

The first byte of an input chooses the format (tokenizer.json, tiktoken ranks, vocab.json with
merges.txt, SentencePiece model) and whether the rest is the file itself, or edits of a good file of
that format: so the fuzzer gets past the opening lines. Anything but a tokenizer that encodes and
decodes, or a TokkitError in one line, is a finding. `--seed-corpus FOLDER` writes the good files.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tokkit.tokenizer"]):
    from tokkit.errors import TokkitError
    from tokkit.tokenizer.alphabet import byte_characters
    from tokkit.tokenizer.formats import loading
    from tokkit.tokenizer.library import LibraryTokenizer

TEXT = "berry é<|end|> How many\x00 東京\n  r's"
FOLDER = Path(tempfile.mkdtemp(prefix="tokkit-fuzz-"))
_FLAGS = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def _byte_level() -> dict:
    vocab = {character: token for token, character in enumerate(byte_characters(), 1)}
    vocab |= {"rr": 257, "err": 258}
    return {
        "version": "1.0",
        "added_tokens": [{"id": 259, "content": "<|end|>", **_FLAGS, "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
        "model": {"type": "BPE", "vocab": {**vocab, "x!": 0}, "merges": [["r", "r"], ["e", "rr"]]},
    }


def _unigram() -> dict:
    pieces = [["<unk>", 0.0], ["\u2581", -2.0], ["b", -3.5], ["er", -4.0], ["r", -3.0], ["y", -3]]
    return {
        "added_tokens": [{"id": 0, "content": "<unk>", **_FLAGS, "special": True}],
        "normalizer": {"type": "NFKC"},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": pieces},
    }


def _wordpiece() -> dict:
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    vocab = {"[UNK]": 0, "b": 1, "##erry": 2, "how": 3}
    return {
        "added_tokens": [{"id": 0, "content": "[UNK]", **_FLAGS, "special": True}],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {**model, "max_input_chars_per_word": 100, "vocab": vocab},
    }


def _ranks() -> bytes:
    tokens = [*(bytes([byte]) for byte in range(256)), b"rr", b"err"]
    return b"".join(base64.b64encode(t) + b" %d\n" % rank for rank, t in enumerate(tokens))


def _sentencepiece() -> bytes:
    import sentencepiece

    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["how many berries are in a berry", "a berry is a berry"] * 20),
        model_writer=out,
        vocab_size=40,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return out.getvalue()


def _vocab() -> bytes:
    vocab = {character: token for token, character in enumerate(byte_characters())}
    return json.dumps({**vocab, "rr": 256, "err": 257, "<|end|>": 258}).encode()


MERGES = b"#version: 0.2\nr r\ne rr\n"
GOOD: list[tuple[str, bytes]] = [
    ("tokenizer.json", json.dumps(_byte_level()).encode()),
    ("tokenizer.json", json.dumps(_unigram()).encode()),
    ("tokenizer.json", json.dumps(_wordpiece()).encode()),
    ("gpt2.tiktoken", _ranks()),
    ("vocab.json", _vocab()),
    ("merges.txt", MERGES),
    ("tokenizer.model", _sentencepiece()),
]


def edited(good: bytes, edits: bytes) -> bytes:
    """`good` with edits of 4 bytes and more: where (2), how many to drop (1), how many to put."""
    content = bytearray(good)
    while len(edits) >= 4:
        where = int.from_bytes(edits[:2], "big") % (len(content) + 1)
        dropped, put = edits[2], edits[3] % 32
        content[where : where + dropped] = edits[4 : 4 + put]
        edits = edits[4 + put :]
    return bytes(content)


def changed(good: bytes, edits: bytes) -> bytes:
    """A JSON record with one value replaced: the first bytes walk to it, the rest is the value."""
    record = json.loads(good)
    node, position = record, 0
    while position < len(edits) - 1:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[edits[position] % len(keys)]
        position += 1
        if not isinstance(node[key], dict | list) or not node[key] or edits[position] % 4 == 0:
            value = edits[position + 1 :].decode("utf-8", "replace")
            with contextlib.suppress(ValueError, RecursionError):
                value = json.loads(value)
            node[key] = value
            break
        node = node[key]
    return json.dumps(record).encode()


def one_input(data: bytes) -> None:
    """Load what `data` describes, and use it if it loads."""
    if not data:
        return
    name, good = GOOD[data[0] % len(GOOD)]
    mode = data[0] // len(GOOD) % 3
    content = data[1:] if mode == 0 else edited(good, data[1:])
    if mode == 2 and good[:1] == b"{":
        content = changed(good, data[1:])
    for entry in FOLDER.iterdir():
        entry.unlink()
    if name in ("vocab.json", "merges.txt"):
        (FOLDER / "vocab.json").write_bytes(_vocab())
        (FOLDER / "merges.txt").write_bytes(MERGES)
    (FOLDER / name).write_bytes(content)
    try:
        loaded = loading.load_tokenizer(FOLDER / name)
        ids = loaded.encode(TEXT, allow_special=bool(data[0] & 1))
        decoded = loaded.decode_bytes(ids)
        assert isinstance(loaded, LibraryTokenizer) or decoded == TEXT.encode()
        assert len(loaded.digest) == 64
        assert all(0 <= token < loaded.vocab_size for token in ids)
    except TokkitError as error:
        if not str(error).isprintable():
            raise ValueError("an error that is not one line, safe for a terminal") from error


def main() -> None:
    """Write the seeds, or fuzz."""
    if "--seed-corpus" in sys.argv:
        folder = Path(sys.argv[sys.argv.index("--seed-corpus") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        for number, (_, content) in enumerate(GOOD):
            (folder / f"whole-{number}").write_bytes(bytes([number]) + content)
            (folder / f"edits-{number}").write_bytes(bytes([number + len(GOOD)]) + b"\0\1\1\1x")
            (folder / f"value-{number}").write_bytes(bytes([number + 2 * len(GOOD)]) + b"\1\1\1x")
        return
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
