"""The text that an analysis reads: files of the user's, or the built-in English."""

from __future__ import annotations

from collections.abc import Iterator

import click

texts_option = click.option(
    "--text",
    "texts",
    multiple=True,
    metavar="FILE",
    help="Text to read: a file, a folder or a glob; repeatable. [default: built-in English]",
)


def documents_of(paths: tuple[str, ...]) -> Iterator[str]:
    """The documents of the files, or the built-in English ones."""
    if not paths:
        from tokkit.corpus.sources import english_documents

        return (document.text for document in english_documents())
    from tokkit.corpus.readers import read_documents

    return (document.text for document in read_documents(paths))
