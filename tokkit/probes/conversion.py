"""Models from one form into another: foreign ones into tokkit checkpoints, and out again.

The tokenizer, the chat template and what is known of licence and name go along.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.errors import ArtifactError, ConfigError
from tokkit.files import plain_size, sha256
from tokkit.model import anatomy
from tokkit.model.checkpoint import save_checkpoint
from tokkit.probes.models import NAMES, OpenModel, find_smollm2
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.library import LibraryTokenizer

if TYPE_CHECKING:
    from tokkit.model.config import ModelConfig

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_CARD = "README.md"
_LONGEST_CARD = 1 << 16
_LONGEST_WORD = 200


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written, for the person who asked for it."""

    folder: Path
    config: ModelConfig
    about: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "folder": str(self.folder),
            "parameters": anatomy.total(self.config),
            "about": dict(self.about),
            "model": self.config.to_dict(),
        }


def import_model(opened: OpenModel, source: str, out: str | os.PathLike[str]) -> Converted:
    """Write the model `opened` from `source` as a tokkit checkpoint, whole or not at all.

    Its config.json says where it is from: the source and the digests of its files, name, family
    and licence as far as they are given, chat template and the ids that end a text. Raises
    ArtifactError where its tokenizer cannot be written or is larger than its embedding.
    """
    text = _tokenizer_json(opened)
    about = {**described(opened, source), "sha256": digests(source)}
    save_checkpoint(out, opened.model, text, about)
    return Converted(Path(out), opened.model.config, about)


def export_model(
    opened: OpenModel,
    out: str | os.PathLike[str],
    *,
    family: str | None = None,
    max_shard_bytes: int | None = None,
) -> Converted:
    """Write a folder that transformers reads: settings, weights, tokenizer and chat template.

    Raises ConfigError where no family, or not the one asked for, can hold the settings.
    """
    from tokkit.model.families import export_hf

    files = {
        "tokenizer.json": _tokenizer_json(opened),
        "tokenizer_config.json": _json(tokenizer_settings(opened)),
        "generation_config.json": _json(generation_settings(opened)),
    }
    limit = {} if max_shard_bytes is None else {"max_shard_bytes": max_shard_bytes}
    export_hf(opened.model, out, family=family, files=files, **limit)
    return Converted(Path(out), opened.model.config, described(opened, opened.name))


def described(opened: OpenModel, source: str) -> dict[str, Any]:
    """What is known of a model besides its settings, as JSON values."""
    about: dict[str, Any] = {**opened.about, "source": source}
    about |= {word: text for word, text in card(source).items() if not about.get(word)}
    about["name"] = about.get("name") or opened.name
    if opened.chat_template:
        about["chat_template"] = opened.chat_template
    about["end_ids"] = list(opened.end_ids)
    about["special_tokens"] = special_tokens(opened)
    return about


def special_tokens(opened: OpenModel) -> dict[str, str]:
    """Names that templates and transformers know, as {"eos_token": "</s>"}."""
    known = dict(opened.special_tokens)
    if "eos_token" not in known and opened.end_ids:
        text = opened.tokenizer.token_bytes(opened.end_ids[0]).decode("utf-8", "replace")
        known["eos_token"] = text
    return known


def tokenizer_settings(opened: OpenModel) -> dict[str, Any]:
    """What tokenizer_config.json says."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": opened.model.config.context,
        "clean_up_tokenization_spaces": False,
        **special_tokens(opened),
    }
    if opened.chat_template:
        settings["chat_template"] = opened.chat_template
    return settings


def generation_settings(opened: OpenModel) -> dict[str, Any]:
    """What generation_config.json says: the ids that end a text, and nothing that samples."""
    ends = list(opened.end_ids)
    return {"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {}


def card(source: str) -> dict[str, str]:
    """Licence and name from the head of a model card beside the weights, where there is one.

    Only flat lines "key: value" of the block between two lines of dashes are read.
    """
    path = Path(source) / _CARD
    try:
        plain_size(path)
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read(_LONGEST_CARD)
    except OSError:
        return {}
    opening, _, rest = head.partition("---\n")
    block, closing, _ = rest.partition("\n---")
    if opening.strip() or not closing:
        return {}
    found = {}
    words = {"license": "licence", "license_name": "licence", "model_name": "name"}
    for line in block.splitlines():
        key, separator, value = line.partition(":")
        if separator and key in words and value.strip():
            found[words[key]] = value.strip().strip("\"'")[:_LONGEST_WORD]
    return found


def digests(source: str) -> dict[str, str]:
    """SHA-256 of the files that a model is read from, by name; {} where there are none."""
    path = Path(source)
    if source in NAMES and not path.exists():
        path = find_smollm2()
    if path.is_file():
        return {path.name: sha256(path)}
    if not path.is_dir():
        return {}
    names = {"config.json", *_TOKENIZER_FILES}
    files = sorted(
        file
        for file in path.iterdir()
        if file.is_file() and (file.name in names or file.suffix == ".safetensors")
    )
    return {file.name: sha256(file) for file in files}


def _tokenizer_json(opened: OpenModel) -> str:
    """The text of the tokenizer as tokenizer.json; ArtifactError where that cannot hold it."""
    tokenizer = opened.tokenizer
    rows = opened.model.config.vocab_size
    if tokenizer.vocab_size > rows:
        raise ArtifactError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, but the embedding {rows} rows: the "
            "tokenizer is of another model"
        )
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.to_json()
    if not isinstance(tokenizer, LibraryTokenizer) or not tokenizer.is_tokenizer_json:
        raise ArtifactError(
            "the model's tokenizer cannot be written as tokenizer.json: put one beside the model"
        )
    return tokenizer.content().decode("utf-8")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def shard_bytes(text: str) -> int:
    """A size such as 500MB or 5GB in bytes, in steps of 1000, as on the Hugging Face Hub.

    >>> shard_bytes("5GB"), shard_bytes("300")
    (5000000000, 300)
    """
    found = re.fullmatch(r"([1-9][0-9]{0,11}) ?([KMG]?)B?", text.strip().upper())
    if found is None:
        raise ConfigError(f"a size is a number with KB, MB or GB, got {text[:40]!r}: try 5GB")
    return int(found[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[found[2]]
