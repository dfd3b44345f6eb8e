"""Text comes in here: files of every supported form, and the built-in sources."""

from tokkit.corpus.document import CorpusDigest, Document
from tokkit.corpus.readers import read_documents
from tokkit.corpus.sources import (
    SOURCES,
    code_documents,
    english_documents,
    make_source,
    manifest,
    word_counts,
)

__all__ = [
    "SOURCES",
    "CorpusDigest",
    "Document",
    "code_documents",
    "english_documents",
    "make_source",
    "manifest",
    "read_documents",
    "word_counts",
]
