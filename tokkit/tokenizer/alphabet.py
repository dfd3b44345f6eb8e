"""The byte alphabet: how tokenizer.json spells raw bytes with printable characters.

GPT-2's published rule (Radford et al. 2019, released encoder): a byte whose Latin-1 character is
printable and not a space stands for itself; the others, in byte order, take the characters from
U+0100 on.
"""

from __future__ import annotations

from functools import lru_cache


def _is_printable(byte: int) -> bool:
    return 0x21 <= byte <= 0x7E or (0xA1 <= byte <= 0xFF and byte != 0xAD)


@lru_cache(maxsize=1)
def byte_characters() -> tuple[str, ...]:
    """The 256 characters of the alphabet, indexed by byte."""
    others = iter(range(0x100, 0x200))
    return tuple(chr(byte) if _is_printable(byte) else chr(next(others)) for byte in range(256))


@lru_cache(maxsize=1)
def _bytes_of_characters() -> dict[str, int]:
    return {character: byte for byte, character in enumerate(byte_characters())}


def spell(data: bytes) -> str:
    r"""Spell bytes in the alphabet.

    >>> spell(b" caf\xc3\xa9")
    'ĠcafÃ©'
    """
    characters = byte_characters()
    return "".join([characters[byte] for byte in data])


def unspell(spelling: str) -> bytes:
    """The bytes behind a spelling; KeyError for a character that is not of the alphabet."""
    values = _bytes_of_characters()
    return bytes([values[character] for character in spelling])
