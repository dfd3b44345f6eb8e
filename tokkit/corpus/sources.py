"""The built-in sources: text that every installation already has, with nothing to download.

english: the help topics of CPython's pydoc and the standard library's docstrings. code: the
standard library's source. words: symspellpy's English words with counts. What each is made of, and
its licence, stands in corpora/manifest.toml.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import os
import platform
import sysconfig
import tokenize
import tomllib
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from tokkit import files
from tokkit.corpus.document import CorpusDigest, Document
from tokkit.errors import ConfigError, InputError, unknown_choice

SOURCES = ("english", "code", "words")
# Third-party packages; tests; byte code; then generated tables, which are neither prose nor code.
SKIPPED_FOLDERS = frozenset(
    [
        *("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "turtledemo"),
        *("__pycache__", "lib-dynload", "encodings", "pydoc_data"),
    ]
)
# Written when the interpreter was built, so different on every machine.
SKIPPED_PREFIXES = ("config-", "_sysconfigdata")
_WORD_PACKAGE = "symspellpy"
_WORD_FILES = "frequency_dictionary_en_*.txt"
_Scope = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SUFFIXES = {"english": (".txt", ".jsonl"), "code": (".txt", ".jsonl"), "words": (".tsv", ".txt")}


def manifest() -> dict[str, dict[str, str]]:
    """What corpora/manifest.toml says about each source: title, from, licence, how collected."""
    text = resources.files("tokkit").joinpath("corpora", "manifest.toml").read_text("utf-8")
    sources: dict[str, dict[str, str]] = tomllib.loads(text)["sources"]
    return sources


def english_documents() -> Iterator[Document]:
    """Yield the help topics by name, then the standard library's docstrings by qualified name."""
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield Document(topics[name], f"pydoc_data.topics:{name}")
    found = [
        docstring for module, path in _library_files() for docstring in _docstrings(module, path)
    ]
    yield from (Document(text, name) for name, text in sorted(found))


def code_documents() -> Iterator[Document]:
    """Yield the standard library's source files by path: those whose docstrings are read."""
    for name, path in _library_files():
        yield Document(_source(path), name)


def word_counts() -> dict[str, int]:
    """The English words with how often each was counted, most frequent first, ties as in the file.

    Raises InputError when the installed symspellpy has no such dictionary or has another format.
    """
    path = _word_file()
    counts: dict[str, int] = {}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        word, _, count = line.partition(" ")
        if not word or not count.isdecimal() or word in counts:
            raise InputError(
                f"{path}, line {number}: a line must be a new word and its count, got {line!r}; "
                f"install another version of {_WORD_PACKAGE}"
            )
        counts[word] = int(count)
    # The file ends in contractions, out of their order; sorting is stable.
    return dict(sorted(counts.items(), key=lambda entry: -entry[1]))


def make_source(name: str, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the built-in source `name` to `out`, and its record beside it; return the record.

    english and code go to .txt (documents apart by a blank line) or .jsonl (objects with text and
    origin); words go to .tsv or .txt (word, tab, count). The record, `out` + ".record.json", holds
    the number of documents, their bytes, the SHA-256 of the documents and of the file.

    Raises ConfigError for an unknown source or format, OutputError when `out` cannot be written.
    """
    if name not in SOURCES:
        raise ConfigError(unknown_choice("source", name, SOURCES))
    target = Path(out)
    if target.suffix not in _SUFFIXES[name]:
        raise ConfigError(
            f"source {name!r} is written as {' or '.join(_SUFFIXES[name])}, got {target.name!r}; "
            f"change the name after --out"
        )
    digest = CorpusDigest()
    with files.atomic_file(target) as temporary, temporary.open("wb") as file:
        for document in digest.watch(_documents(name)):
            file.write(_written(document, name, target.suffix, first=digest.documents == 1))
    record = {
        "source": name,
        "path": str(target),
        "documents": digest.documents,
        "bytes": digest.bytes,
        "documents_sha256": digest.hexdigest(),
        "file_sha256": files.sha256(target),
        **_origin_record(name),
    }
    files.write_json(target.with_name(target.name + ".record.json"), record)
    return record


def _documents(name: str) -> Iterator[Document]:
    if name == "words":
        return (Document(f"{word}\t{count}", word) for word, count in word_counts().items())
    return english_documents() if name == "english" else code_documents()


def _written(document: Document, name: str, suffix: str, *, first: bool) -> bytes:
    if name == "words":
        return f"{document.text}\n".encode()
    if suffix == ".txt":
        return f"{'' if first else chr(10)}{document.text.rstrip(chr(10))}\n".encode()
    record = {"text": document.text, "origin": document.origin}
    return (json.dumps(record, ensure_ascii=False) + "\n").encode()


def _origin_record(name: str) -> dict[str, Any]:
    described = {key: manifest()[name][key] for key in ("from", "licence")}
    if name == "words":
        version = f"{_WORD_PACKAGE} {metadata.version(_WORD_PACKAGE)}"
        return {**described, "version": version, "file": _word_file().name}
    return {
        **described,
        "version": f"{platform.python_implementation()} {platform.python_version()}",
        "skipped_folders": sorted(SKIPPED_FOLDERS),
        "skipped_prefixes": list(SKIPPED_PREFIXES),
    }


@lru_cache(maxsize=1)
def _library_files() -> tuple[tuple[str, Path], ...]:
    """(path inside the library with slashes, path) of each source file, sorted by the former."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = [
            name
            for name in inner
            if name not in SKIPPED_FOLDERS and not name.startswith(SKIPPED_PREFIXES)
        ]
        for name in names:
            if name.endswith(".py") and not name.startswith(SKIPPED_PREFIXES):
                path = Path(folder) / name
                found.append((path.relative_to(root).as_posix(), path))
    if not found:
        raise InputError(
            f"{root} holds no .py file: this Python has no standard library source; "
            f"install a full CPython"
        )
    return tuple(sorted(found))


def _source(path: Path) -> str:
    with tokenize.open(path) as file:
        return file.read()


def _docstrings(name: str, path: Path) -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a file's module, classes and functions."""
    module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    try:
        tree = ast.parse(_source(path))
    except (SyntaxError, ValueError) as error:
        raise InputError(
            f"{path} of the standard library cannot be parsed ({error}); install a whole CPython"
        ) from error
    return _docstrings_under(tree, module)


def _docstrings_under(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Module | _Scope):
        text = ast.get_docstring(node, clean=False)
        if text and (cleaned := inspect.cleandoc(text)):
            yield name, cleaned
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Scope):
            yield from _docstrings_under(child, f"{name}.{child.name}")
        elif isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _docstrings_under(child, name)


def _word_file() -> Path:
    # find_spec does not import the package, which would load all that it needs to spell.
    spec = importlib.util.find_spec(_WORD_PACKAGE)
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = sorted(file for folder in folders for file in Path(folder).glob(_WORD_FILES))
    if not found:
        raise InputError(
            f"the package {_WORD_PACKAGE} has no file {_WORD_FILES}: install it again (pip install "
            f"--force-reinstall {_WORD_PACKAGE})"
        )
    return found[0]
