"""Files at a URL, through fsspec; only a path with a scheme comes here."""

from __future__ import annotations

import re
from typing import IO, Any, cast
from urllib.parse import urlsplit

from tokkit.errors import InputError, TokkitError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: str) -> bool:
    """Whether `path` starts with a scheme, such as "https://" or "s3://"."""
    return _SCHEME.match(path) is not None


def name_of(url: str) -> str:
    """Host and path of a URL, without scheme, query and fragment."""
    parts = urlsplit(url)
    if parts.scheme.lower() in ("http", "https"):
        return parts.netloc + parts.path
    return url.partition("://")[2].lstrip("/")


def list_files(url: str) -> list[str]:
    """The URLs of the files that a URL with "*", or one that ends in "/", stands for, sorted.

    Files of zero bytes are left out, as they are from a local folder.
    """
    try:
        system, path = _system(url)
        find = system.glob if "*" in url else system.find
        urls = [
            system.unstrip_protocol(name)
            for name, info in find(path, detail=True).items()
            if info["type"] == "file" and info["size"] != 0
        ]
        return sorted(urls, key=lambda url: name_of(url).split("/"))
    except Exception as error:
        raise failure(url, error) from error


def open_url(url: str) -> IO[bytes]:
    """Open the file at `url` for reading bytes, in blocks; InputError when that fails."""
    try:
        system, path = _system(url)
        return cast("IO[bytes]", system.open(path, "rb"))
    except Exception as error:
        raise failure(url, error) from error


def _system(url: str) -> tuple[Any, str]:
    # fsspec costs a tenth of a second to import.
    import fsspec

    return cast("tuple[Any, str]", fsspec.core.url_to_fs(url))


def failure(url: str, error: Exception) -> TokkitError:
    """What to raise for anything that a file system behind fsspec raised on `url`."""
    if isinstance(error, TokkitError):
        return error
    if isinstance(error, ImportError):
        return InputError(
            f"{url} needs a package that is not installed: {error}; install it with pip"
        )
    if isinstance(error, FileNotFoundError):
        return InputError(f"{url} does not exist: check the address")
    said = " ".join(str(error).split()) or "no reason given"
    return InputError(f"cannot read {url}: {type(error).__name__}: {said}; check the address")
