"""The record in a tokenizer.json, looked over before anything relies on it.

The file comes from outside. Its types and sizes are checked before the `tokenizers` library sees
it: the library reserves memory for the largest id, and panics where it expects no fault.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import tokenizers

from tokkit.errors import ArtifactError

# Ids are stored in 32 bits; the largest vocabularies in use have some 300,000 tokens.
MAX_TOKENS = 1 << 24
# The library builds one automaton of all added tokens; the largest sets in use have some 1,000.
MAX_ADDED_TOKENS = 1 << 17
# Ids may have gaps: tiktoken's cl100k_base has. A few tokens with huge ids are a fault or a bomb.
MAX_IDS_A_TOKEN = 4
_SPARE_IDS = 256


def parse(text: str | bytes) -> dict[str, Any]:
    """The JSON object in a text, without infinities; ArtifactError says what is wrong with it."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        record = json.loads(decoded, parse_constant=_refuse_number, parse_float=_finite)
    except RecursionError:
        raise ArtifactError("its JSON is nested too deeply") from None
    except ValueError as error:
        raise ArtifactError(f"it is not valid JSON: {one_line(error)}") from None
    if not isinstance(record, dict):
        raise ArtifactError("it is not a JSON object")
    return record


def checked(record: dict[str, Any]) -> dict[str, Any]:
    """The record itself, once types and sizes of vocabulary, merges and added tokens are right.

    The rest is left to the library. ArtifactError says what is wrong.
    """
    if not isinstance(record.get("model"), dict):
        raise ArtifactError("it has no model")
    _check_ids([*_vocabulary_ids(record["model"]), *_added_ids(record)])
    _check_merges(record["model"].get("merges") or [])
    return record


def build(record: dict[str, Any]) -> tokenizers.Tokenizer:
    """The library's tokenizer of a record; ArtifactError says why there is none."""
    try:
        with panics_as_errors():
            return tokenizers.Tokenizer.from_str(json.dumps(record))
    except Exception as error:
        raise ArtifactError(one_line(error)) from error


def backend_of(record: dict[str, Any]) -> tokenizers.Tokenizer:
    """The library's tokenizer of a record, whose ids are those of the record.

    ArtifactError says why there is none.
    """
    _check_prefix(record["model"])
    backend = build(record)
    for token in record.get("added_tokens") or []:
        content, claimed = token["content"], token["id"]
        holder = backend.model.id_to_token(claimed)
        if backend.token_to_id(content) != claimed or holder not in (None, content):
            raise ArtifactError(
                f"added token {shown(repr(content), 60)} claims id {claimed}, which is not free or "
                f"not next in line: the file was altered"
            )
    return backend


@contextlib.contextmanager
def panics_as_errors() -> Iterator[None]:
    """Turn a panic of the library into ArtifactError: it is no Exception, and no wish to stop."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ArtifactError(f"the tokenizers library broke off: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """The text of an error, cut and safe for a terminal, or the name of its type."""
    return shown(str(error)) or type(error).__name__


def shown(text: str, limit: int = 200) -> str:
    """Foreign text for an error: cut at `limit` characters, control characters as escapes."""
    cut = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def components(pre_tokenizer: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The parts of a pre_tokenizer record in order, sequences within sequences laid flat."""
    if pre_tokenizer is None:
        return
    if pre_tokenizer["type"] == "Sequence":
        for part in pre_tokenizer["pretokenizers"]:
            yield from components(part)
    else:
        yield pre_tokenizer


def _refuse_number(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return value


def _vocabulary_ids(model: dict[str, Any]) -> list[int]:
    vocab = model.get("vocab")
    if isinstance(vocab, dict):
        ids = list(vocab.values())
        if any(type(token) is not int for token in ids):
            raise ArtifactError("its vocabulary must give each token a whole number as id")
        if len(set(ids)) < len(ids):
            raise ArtifactError(f"two of its tokens share id {_first_repeated(ids)}")
        return ids
    if isinstance(vocab, list):
        return list(range(len(vocab)))
    raise ArtifactError("it has no vocabulary")


def _added_ids(record: dict[str, Any]) -> list[int]:
    added = record.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise ArtifactError("added_tokens must be a list of records")
    if len(added) > MAX_ADDED_TOKENS:
        raise ArtifactError(
            f"it has {len(added):,} added tokens, and no more than {MAX_ADDED_TOKENS:,} are taken"
        )
    for token in added:
        if not isinstance(token.get("content"), str) or type(token.get("id")) is not int:
            raise ArtifactError("an added token must have a text and a whole number as id")
        if not token["content"]:
            raise ArtifactError("an added token must hold text, and one is empty")
    ids = [token["id"] for token in added]
    if len(set(ids)) < len(ids):
        raise ArtifactError(f"two added tokens share id {_first_repeated(ids)}")
    return ids


def _check_ids(ids: list[int]) -> None:
    count = len(set(ids))
    if count > MAX_TOKENS:
        raise ArtifactError(f"it has {count:,} tokens, and no more than {MAX_TOKENS:,} are taken")
    bound = MAX_IDS_A_TOKEN * count + _SPARE_IDS
    lowest, highest = min(ids, default=0), max(ids, default=0)
    if lowest < 0:
        raise ArtifactError(f"ids must not be negative, got {lowest}")
    if highest >= bound:
        raise ArtifactError(
            f"its {count:,} tokens must have ids below {bound:,}, got {str(highest)[:40]}: too "
            f"many ids would have no token"
        )


def _check_merges(merges: Any) -> None:
    """Shape alone; that the parts are tokens is checked by the library."""
    if not isinstance(merges, list):
        raise ArtifactError("merges must be a list")
    for rank, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(parts, list)
            or len(parts) != 2
            or not all(isinstance(part, str) for part in parts)
        ):
            raise ArtifactError(f"merge {rank} must name two tokens")
        if not all(parts):
            raise ArtifactError(
                f"merge {rank} has an empty part, and would give its other part again"
            )


def _check_prefix(model: dict[str, Any]) -> None:
    """The library cuts this prefix off blindly, and panics where it does not stand."""
    prefix = model.get("continuing_subword_prefix")
    if not prefix or model.get("type", "BPE") != "BPE":
        return
    for rank, merge in enumerate(model.get("merges") or []):
        right = merge.split(" ")[1] if isinstance(merge, str) else merge[1]
        if not isinstance(prefix, str) or not right.startswith(prefix):
            raise ArtifactError(
                f"its tokens carry marks of word parts, {prefix!r}, and merge {rank} has none"
            )


def _first_repeated(ids: Iterable[int]) -> str:
    seen: set[int] = set()
    repeated = (token for token in ids if token in seen or seen.add(token))  # type: ignore[func-returns-value]
    return str(next(islice(repeated, 1)))[:40]
