"""A document: a text with the place it came from; and the digest of a stream of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tokkit.errors import InputError


@dataclass(frozen=True, slots=True)
class Document:
    """A text and where it stands: a path, `path:line`, or a qualified name.

    A long file may arrive in several parts; each part after the first has `continued` set.
    """

    text: str
    origin: str
    continued: bool = False


class CorpusDigest:
    """Counts documents and bytes as they stream by, and digests both texts and boundaries.

    The digest is the SHA-256 over the SHA-256 of each document's UTF-8 bytes in turn, so it does
    not depend on how a long document was cut into parts, and does on where documents end.
    """

    def __init__(self) -> None:
        self.documents = 0
        self.bytes = 0
        self._finished = hashlib.sha256()
        self._current = hashlib.sha256()

    def add(self, document: Document) -> None:
        """Take in the next document, or the next part of the one before."""
        self.add_bytes(encode_utf8(document), continued=document.continued)

    def add_bytes(self, data: bytes | bytearray, *, continued: bool) -> None:
        """Take in the next document, or the next part of the one before, as UTF-8."""
        if not continued:
            if self.documents:
                self._finished.update(self._current.digest())
            self._current = hashlib.sha256()
            self.documents += 1
        self.bytes += len(data)
        self._current.update(data)

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """Yield `documents` unchanged, taking each in on its way."""
        for document in documents:
            self.add(document)
            yield document

    def hexdigest(self) -> str:
        """The digest of everything so far, as 64 hexadecimal digits."""
        total = self._finished.copy()
        if self.documents:
            total.update(self._current.digest())
        return total.hexdigest()


def encode_utf8(document: Document) -> bytes:
    """The UTF-8 bytes of a document; InputError names its origin when it has none."""
    try:
        return document.text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{document.origin}: text must be valid Unicode, but character {error.start} is half "
            f"of a surrogate pair (U+{ord(document.text[error.start]):04X}); repair the text"
        ) from error
