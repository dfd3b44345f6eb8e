"""Tokenizers: count text, learn merges, encode, convert, audit and compare.

The text is read once, by `count`; what follows works on the table that it gives. Kernels are
imported where they are used, so that importing this package compiles and loads none.
"""

from tokkit.tokenizer.artifact import TOKENIZER_FILE, Piece, Tokenizer
from tokkit.tokenizer.bulk import decode_file, encode_files
from tokkit.tokenizer.counting import count, count_in_processes, count_texts
from tokkit.tokenizer.encoding import Encoder
from tokkit.tokenizer.formats import export_tokenizer, load_tokenizer
from tokkit.tokenizer.from_files import TrainingOptions, train_from_files, train_on_table
from tokkit.tokenizer.learning import LearnedMerges, LearningOptions, learn
from tokkit.tokenizer.letters import LETTERS, letter_counts, swapped_letters
from tokkit.tokenizer.library import LibraryTokenizer
from tokkit.tokenizer.opaque import OpaqueIds
from tokkit.tokenizer.presets import PRETOKENIZERS, Pretokenizer
from tokkit.tokenizer.table import PretokenTable, merge_tables
from tokkit.tokenizer.train import Progress, assemble, merges_of, minimum_vocab_size, train

__all__ = [
    "LETTERS",
    "PRETOKENIZERS",
    "TOKENIZER_FILE",
    "Encoder",
    "LearnedMerges",
    "LearningOptions",
    "LibraryTokenizer",
    "OpaqueIds",
    "Piece",
    "PretokenTable",
    "Pretokenizer",
    "Progress",
    "Tokenizer",
    "TrainingOptions",
    "assemble",
    "count",
    "count_in_processes",
    "count_texts",
    "decode_file",
    "encode_files",
    "export_tokenizer",
    "learn",
    "letter_counts",
    "load_tokenizer",
    "merge_tables",
    "merges_of",
    "minimum_vocab_size",
    "swapped_letters",
    "train",
    "train_from_files",
    "train_on_table",
]
