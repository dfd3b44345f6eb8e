"""Which files a list of paths names, and what each name says of its content.

A path is a file, a folder, a glob ("data/**/*.txt"), a remote URL, or "-" for standard input.

- A folder is searched through, in the order of its sorted paths. Hidden files and folders, links to
  folders, and what is no regular file are left out, and so is every file whose name does not end in
  one of TEXT_SUFFIXES, with or without one of PACKINGS after it. A file named by itself or by a
  glob is taken whatever its suffix. A file of zero bytes is an error where it was named by itself,
  and left out of a folder or glob, for many programs leave such behind.
- A URL has a scheme ("s3://", "https://", "memory://") and is opened through fsspec. One that ends
  in "/" is a folder, one that holds "*" is a glob.
- The name alone tells the form: .jsonl and .ndjson hold one document a line, .parquet one a row,
  and anything else is one document of plain text. Standard input is plain text.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tokkit.corpus import remote
from tokkit.errors import InputError

STDIN = "-"
PLAIN, JSONL, PARQUET = "plain", "jsonl", "parquet"
PACKINGS = (".gz", ".bz2", ".xz", ".zst")
_FORMS = {".jsonl": JSONL, ".ndjson": JSONL, ".parquet": PARQUET}
_PROSE = ".txt .text .md .markdown .rst .adoc .org .tex .htm .html .xml .csv .tsv .srt"
_CODE = (
    ".py .pyi .ipynb .c .h .cc .cpp .cxx .hh .hpp .hxx .cs .java .kt .scala .js .jsx .mjs .ts .tsx "
    ".css .go .rs .swift .rb .pl .php .lua .r .jl .m .hs .ml .mli .clj .ex .exs .erl .el .lisp "
    ".scm .f .f90 .asm .s .sh .bash .sql .yaml .yml .toml .ini .cmake .proto .v .vhd .sv .zig .dart"
)
# Not .json: records of how a corpus was made stand beside it.
TEXT_SUFFIXES = frozenset([*_FORMS, *_PROSE.split(), *_CODE.split()])
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read: its path or URL, what its name says of its content, and its folder's name.

    `folder` is the first folder below the one that was given or that a glob starts from; for a
    file that stands right in it, or was named by itself, the name of the folder it stands in.
    """

    path: str
    form: str
    packing: str
    folder: str

    @property
    def name(self) -> str:
        """What messages and origins call it."""
        return "standard input" if self.path == STDIN else self.path


def find_sources(paths: Iterable[str | os.PathLike[str]]) -> list[Source]:
    """The files that `paths` name, in their order.

    Raises InputError for a path that does not exist, a folder or glob without a file to read, and
    a folder that cannot be searched.
    """
    return [source for path in paths for source in _sources_of(os.fspath(path))]


def _sources_of(path: str) -> Iterator[Source]:
    if path == STDIN:
        yield Source(STDIN, PLAIN, "", "")
    elif remote.is_url(path):
        for url, folder in _remote_files(path):
            yield _source(url, remote.name_of(url), folder)
    elif os.path.isdir(path):
        for file in folder_files(path)[0]:
            yield _source(file, file, _folder_below(Path(path), Path(file)))
    elif os.path.lexists(path) or not _GLOB.search(path):
        if not os.path.exists(path):
            raise InputError(missing(path))
        yield _source(path, path, Path(path).absolute().parent.name)
    else:
        yield from _globbed(path)


def _source(path: str, name: str, folder: str) -> Source:
    suffix, packing = _suffixes(name)
    return Source(path, _FORMS.get(suffix, PLAIN), packing, folder)


def _suffixes(name: str) -> tuple[str, str]:
    """The suffix of a name and that of its packing, both in lower case or empty."""
    stem, last = os.path.splitext(os.path.basename(name).lower())
    if last in PACKINGS:
        return os.path.splitext(stem)[1], last
    return last, ""


def folder_files(path: str) -> tuple[list[str], int]:
    """The files of a folder that are text by their names, and how many others were left out."""

    def refuse(error: OSError) -> None:
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"cannot read the folder {error.filename}: {reason}; check its rights"
        ) from error

    kept: list[Path] = []
    left_out = 0
    for folder, inner, names in os.walk(path, onerror=refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            if name.startswith("."):
                continue
            if _suffixes(name)[0] in TEXT_SUFFIXES and _holds_something(file):
                kept.append(file)
            else:
                left_out += 1
    if not kept:
        raise InputError(
            f"{path} is a folder: name the files in it, for none ends in a suffix of text, as "
            f".txt, .md, .jsonl or .py do"
        )
    return [str(file) for file in sorted(kept)], left_out


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _folder_below(root: Path, file: Path) -> str:
    inner = file.relative_to(root).parts
    return inner[0] if len(inner) > 1 else root.absolute().name


def _globbed(pattern: str) -> Iterator[Source]:
    fixed = Path(pattern[: _GLOB.search(pattern).start()] + "x").parent  # type: ignore[union-attr]
    found = sorted(Path(name) for name in glob.iglob(pattern, recursive=True))
    files = [file for file in found if _holds_something(file)]
    if not files:
        raise InputError(f"no file with text matches {pattern}: check the pattern and quote it")
    for file in files:
        yield _source(str(file), str(file), _folder_below(fixed, file))


def _remote_files(url: str) -> Iterator[tuple[str, str]]:
    """(URL, name of its folder) of each file that `url` names."""
    if not url.endswith("/") and "*" not in url:
        yield url, PurePosixPath(remote.name_of(url)).parent.name
        return
    root = remote.name_of(url[: url.find("*")] if "*" in url else url)
    root = root[: root.rfind("/") + 1]
    is_folder = "*" not in url
    found = 0
    for file in remote.list_files(url):
        name = remote.name_of(file)
        hidden = any(part.startswith(".") for part in name.removeprefix(root).split("/"))
        if hidden or (is_folder and _suffixes(name)[0] not in TEXT_SUFFIXES):
            continue
        found += 1
        inner = name.removeprefix(root).split("/")
        yield file, inner[0] if len(inner) > 1 else PurePosixPath(root).name
    if not found:
        raise InputError(f"no file of text is found at {url}: check the address")


def missing(path: str) -> str:
    """Say that `path` does not exist, and name what is nearest to it in the same folder."""
    if not path:
        return "a path must have at least one character, got an empty one: name a file"
    folder = Path(path).parent
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.is_dir())
    except OSError:
        return f"{path} does not exist: there is no folder {folder}"
    near = difflib.get_close_matches(Path(path).name, names, n=1)
    hint = f"did you mean {folder / near[0]}?" if near else "check the path"
    return f"{path} does not exist: {hint}"


def stored_bytes(sources: Sequence[Source]) -> int | None:
    """The size of the files as they lie on the disk; None where one is a stream or remote."""
    if any(source.path == STDIN or remote.is_url(source.path) for source in sources):
        return None
    try:
        return sum(os.path.getsize(source.path) for source in sources)
    except OSError:
        return None
