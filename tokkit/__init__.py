"""tokkit follows text through a language model, from bytes to an answer, and measures it."""

__version__ = "0.1.0"
