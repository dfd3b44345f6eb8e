"""Write a tokenizer in the format of another library, where that can be exact."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from tokkit.errors import ArtifactError, ConfigError, unknown_choice
from tokkit.files import atomic_file, atomic_folder, write_text
from tokkit.tokenizer.alphabet import spell
from tokkit.tokenizer.artifact import TOKENIZER_FILE, Tokenizer
from tokkit.tokenizer.formats.ranks import MAX_TOKEN_BYTES, merges_of_ranks, write_ranks
from tokkit.tokenizer.formats.tiktoken import TIKTOKEN_PATTERNS, description, description_path
from tokkit.tokenizer.formats.vocab_merges import (
    MERGES_FILE,
    VERSION_MARK,
    VOCAB_FILE,
    load_vocab_merges,
    write_merges,
    write_vocab,
)
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.records import parse, shown

_Merge = tuple[bytes, bytes]


def export_tokenizer(
    tokenizer: Tokenizer | LibraryTokenizer,
    format: str,  # noqa: A002 - the name that the field uses
    out: str | os.PathLike[str],
) -> tuple[Path, ...]:
    """Write `tokenizer` to `out` as "tokenizer.json", "tiktoken" or "vocab-merges".

    The first is one file (or a standing folder to put it in). The second is a rank file, with the
    pattern and the special tokens beside it in `<out>.json`, as arguments of `tiktoken.Encoding`.
    The third is a folder with vocab.json and merges.txt. Returns the paths written.

    Other readers of these files give equal ids for every text. Raises ConfigError with the first
    counter-example where they would not, before anything is written, and OutputError where `out`
    cannot be written.
    """
    if format not in EXPORT_FORMATS:
        raise ConfigError(unknown_choice("format", format, EXPORT_FORMATS))
    return EXPORT_FORMATS[format](tokenizer, Path(out))


def _to_tokenizer_json(tokenizer: Tokenizer | LibraryTokenizer, out: Path) -> tuple[Path, ...]:
    if isinstance(tokenizer, LibraryTokenizer) and not tokenizer.is_tokenizer_json:
        raise ConfigError(
            "a SentencePiece model cannot be exported: no other format is known to normalise and "
            "cut text exactly as the package does; keep the .model file"
        )
    target = out / TOKENIZER_FILE if out.is_dir() else out
    tokenizer.save(target)
    return (target,)


def _to_tiktoken(tokenizer: Tokenizer | LibraryTokenizer, out: Path) -> tuple[Path, ...]:
    plain = _byte_level(tokenizer, "tiktoken")
    rule = plain.pretokenizer
    if rule is None or TIKTOKEN_PATTERNS.get(rule.name) is None:
        name = "a rule that is no pattern" if rule is None else f"pre-tokenizer {rule.name!r}"
        raise ConfigError(
            f"tiktoken cuts text by one pattern over characters, and {name} is not known to be "
            f"the same as one; presets that are: {', '.join(TIKTOKEN_PATTERNS)}"
        )
    _require_plain_added(plain, "tiktoken")
    _require_prefix_free(plain)
    ranks = _ordinary(plain)
    _require_same_merges(plain, ranks)
    special = {data.decode(): token for token, data, _ in plain.added}
    beside = description_path(out)
    with atomic_file(out) as ranks_file, atomic_file(beside) as description_file:
        ranks_file.write_bytes(write_ranks(ranks))
        description_file.write_text(description(rule, special, out.stem), encoding="utf-8")
    return out, beside


def _to_vocab_merges(tokenizer: Tokenizer | LibraryTokenizer, out: Path) -> tuple[Path, ...]:
    plain = _byte_level(tokenizer, "vocab-merges")
    rule = plain.pretokenizer
    if rule is None or rule.name != "gpt2":
        raise ConfigError(
            f"vocab.json and merges.txt stand for GPT-2's cuts, and this tokenizer's are "
            f"{'a rule of its own' if rule is None else repr(rule.name)}; export tokenizer.json"
        )
    _require_plain_added(plain, "vocab-merges")
    merges = merges_of_table(plain)
    if plain.ignores_merges:
        _require_reached(plain, merges)
    special = {data.decode(): token for token, data, _ in plain.added}
    spelled = [(spell(left), spell(right)) for left, right in merges]
    for left, right in spelled:
        if left.startswith(VERSION_MARK):
            raise ConfigError(f"the merge {left!r} {right!r} would be read as the version line")
    vocab = {spell(data): token for data, token in _ordinary(plain).items()} | special
    _require_same_special(vocab, spelled, special)
    with atomic_folder(out) as folder:
        write_text(folder / VOCAB_FILE, write_vocab(vocab))
        write_text(folder / MERGES_FILE, write_merges(spelled))
    return out / VOCAB_FILE, out / MERGES_FILE


EXPORT_FORMATS: dict[str, Callable[[Tokenizer | LibraryTokenizer, Path], tuple[Path, ...]]] = {
    "tokenizer.json": _to_tokenizer_json,
    "tiktoken": _to_tiktoken,
    "vocab-merges": _to_vocab_merges,
}


def merges_of_table(tokenizer: Tokenizer) -> list[_Merge]:
    """The merges of a tokenizer in order of rank, each as the bytes of its two parts."""
    return [
        (tokenizer.token_bytes(left), tokenizer.token_bytes(right))
        for left, right, _ in tokenizer.merge_table.tolist()
    ]


def _byte_level(tokenizer: Tokenizer | LibraryTokenizer, target: str) -> Tokenizer:
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    told = "; ".join(tokenizer.notes) or "its vocabulary is of another kind"
    raise ConfigError(f"{target} holds byte-level BPE that keeps text, and this is none: {told}")


def _ordinary(tokenizer: Tokenizer) -> dict[bytes, int]:
    """The id of each ordinary token's bytes; ConfigError where two tokens have the same."""
    ids: dict[bytes, int] = {}
    for token in range(tokenizer.vocab_size):
        if tokenizer.kind(token) != "token":
            continue
        data = tokenizer.token_bytes(token)
        if not data or len(data) > MAX_TOKEN_BYTES:
            raise ConfigError(
                f"tokens of 1 to {MAX_TOKEN_BYTES:,} bytes can be exported, and token {token} has "
                f"{len(data):,}"
            )
        ids[data] = token
    return ids


def _require_plain_added(tokenizer: Tokenizer, target: str) -> None:
    """Formats that only know special tokens, matched wherever they stand."""
    record = parse(tokenizer.to_json())
    for token in record["added_tokens"]:
        name = shown(repr(token["content"]), 60)
        if not token["special"]:
            raise ConfigError(
                f"{target} has special tokens alone, and {name} is added but not special: every "
                f"text that holds it would get other ids"
            )
        flags = [flag for flag in ("single_word", "lstrip", "rstrip") if token[flag]]
        if flags:
            raise ConfigError(
                f"{target} matches special tokens wherever they stand, and {name} has {flags[0]}"
            )


def _require_prefix_free(tokenizer: Tokenizer) -> None:
    """Of several special tokens that fit, tiktoken takes any, and this tokenizer the longest."""
    texts = sorted(data for _, data, _ in tokenizer.added)
    for shorter, longer in itertools.pairwise(texts):
        if longer.startswith(shorter):
            raise ConfigError(
                f"tiktoken does not say which special token it takes where {shorter!r} and "
                f"{longer!r} both fit"
            )


def _require_same_merges(tokenizer: Tokenizer, ranks: dict[bytes, int]) -> None:
    """ConfigError unless merging by ranks, and by this tokenizer's merges, is the same."""
    by_ranks, unreached = merges_of_ranks(ranks)
    own = merges_of_table(tokenizer)
    for rank, (left, right) in enumerate(own):
        wanted = by_ranks[rank] if rank < len(by_ranks) else None
        if (left, right) != wanted:
            raise ConfigError(
                f"tiktoken merges in order of id and knows no parts, so merge {rank} would be "
                f"{_named(wanted)}, and this tokenizer has {_named((left, right))}"
            )
    if len(by_ranks) > len(own):
        raise ConfigError(
            f"tiktoken would merge {_named(by_ranks[len(own)])}, and this tokenizer does not"
        )
    if unreached and not tokenizer.ignores_merges:
        raise ConfigError(
            f"tiktoken takes a pretoken that is the token {unreached[0]!r} as it is, and this "
            f"tokenizer never gives that token"
        )


def _require_reached(tokenizer: Tokenizer, merges: list[_Merge]) -> None:
    """Taking whole pretokens must change nothing, for a format that cannot say so."""
    ranks = {left + right: rank for rank, (left, right) in reversed(list(enumerate(merges)))}
    singles = {bytes([byte]): -1 for byte in range(256)}
    rebuilt, unreached = merges_of_ranks({**singles, **ranks})
    tokens = _ordinary(tokenizer)
    stranger = next((t for t in tokens if len(t) > 1 and t not in ranks), None)
    if stranger is None and not unreached and rebuilt == merges:
        return
    example = stranger or (unreached[0] if unreached else b"".join(merges[0]))
    raise ConfigError(
        f"this tokenizer takes a pretoken that is a token as it is, such as {example!r}, which "
        f"merges.txt cannot say; export tokenizer.json"
    )


def _require_same_special(
    vocab: dict[str, int], merges: list[tuple[str, str]], special: dict[str, int]
) -> None:
    """What is special must be told from the two files alone."""
    try:
        back = load_vocab_merges(vocab, write_merges(merges).encode())
    except ArtifactError as error:
        raise ConfigError(f"the two files would not be read back: {error}") from error
    found = {data.decode(): token for token, data, _ in back.added}
    for text in special.keys() ^ found.keys():
        raise ConfigError(
            f"vocab.json does not mark special tokens, and {shown(repr(text), 60)} would "
            f"{'be' if text in found else 'not be'} taken for one; export tokenizer.json"
        )


def _named(merge: _Merge | None) -> str:
    return "none" if merge is None else f"{merge[0]!r} with {merge[1]!r}"
