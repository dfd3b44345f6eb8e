"""Text comes in here: files of every supported form, and the built-in sources."""

from tokkit.corpus.document import CorpusDigest, Document
from tokkit.corpus.pieces import Cut
from tokkit.corpus.readers import read_documents
from tokkit.corpus.shards import Shard, ShardReader, shards_of_documents
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
    "Cut",
    "Document",
    "Shard",
    "ShardReader",
    "code_documents",
    "english_documents",
    "make_source",
    "manifest",
    "read_documents",
    "shards_of_documents",
    "word_counts",
]
