"""What shall be changed: a subject, a prompt with a place for it, and the answer to be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokkit.errors import InputError

SLOT = "{}"


@dataclass(frozen=True, slots=True)
class EditRequest:
    """A fact to be: the `prompt`, its one "{}" filled with `subject`, shall go on with `target`.

    Raises InputError where the prompt has no place or several for the subject, where it ends in
    white space (the answer begins with its own), and where subject or target are empty.
    """

    subject: str
    prompt: str
    target: str

    def __post_init__(self) -> None:
        """Check the three texts."""
        if self.prompt.count(SLOT) != 1:
            raise InputError(
                f"the prompt must hold {SLOT} once, where the subject stands, got "
                f"{self.prompt!r}: write it as '{SLOT} is located in the city of'"
            )
        if self.prompt != self.prompt.rstrip():
            raise InputError(
                f"the prompt must not end in white space, got {self.prompt!r}: the answer brings "
                "its own"
            )
        for name, text in (("subject", self.subject), ("target", self.target)):
            if not text.strip():
                raise InputError(f"the {name} must not be empty, got {text!r}: give some text")

    @property
    def filled(self) -> str:
        """The prompt with the subject in its place."""
        return self.prompt.replace(SLOT, self.subject)


@dataclass(frozen=True, slots=True)
class Located:
    """A request as tokens.

    ids         those of the filled prompt, what begins a text first
    subject     the positions among them that hold something of the subject, in order
    target      the ids of the target that follow
    """

    ids: tuple[int, ...]
    subject: tuple[int, ...]
    target: tuple[int, ...]

    @property
    def subject_end(self) -> int:
        """The position of the subject's last token, where the edit is made."""
        return self.subject[-1]


def located(
    tokenizer: Any,
    request: EditRequest,
    start_ids: Sequence[int] = (),
    *,
    context: int | None = None,
    before: str = "",
) -> Located:
    """Find the tokens of a request in its prompt, with the text `before` put in front.

    A token that holds a part of the subject is one of the subject's. Raises InputError where the
    text with the target is longer than `context` tokens, and where the tokenizer does not give
    the text back, so that nothing can be found in it.
    """
    head, _, _ = request.prompt.partition(SLOT)
    text = before + request.filled
    ids, target = answer_ids(tokenizer, text, request.target, start_ids, context=context)
    read = ids[len(start_ids) :]
    pieces = [tokenizer.token_bytes(token) for token in read]
    written, wanted = b"".join(pieces), text.encode()
    # Tokenizers of one old kind put a space before every text.
    if not written.endswith(wanted):
        raise InputError(
            f"the tokenizer does not give back the text of {text!r}: the subject cannot be found "
            "among its tokens; write it in plain letters"
        )
    first = len(written) - len(wanted) + len((before + head).encode())
    last = first + len(request.subject.encode())
    positions, end = [], 0
    for place, piece in enumerate(pieces):
        start, end = end, end + len(piece)
        if start < last and end > first:
            positions.append(len(start_ids) + place)
    return Located(ids, tuple(positions), target)


def answer_ids(
    tokenizer: Any,
    text: str,
    answer: str,
    start_ids: Sequence[int] = (),
    *,
    context: int | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids of a text, `start_ids` first, and those of the answer that goes on after it.

    The answer's leading space is put there where it has none. Raises InputError where the two
    share a token, or are more than `context` tokens.
    """
    spoken = answer if answer[:1].isspace() else f" {answer}"
    alone, whole = (tokenizer.encode(part) for part in (text, text + spoken))
    if whole[: len(alone)] != alone or len(whole) == len(alone):
        raise InputError(
            f"{answer!r} must begin with a token of its own after {text!r}, but the tokenizer "
            "joins the two: word the prompt otherwise"
        )
    ids = (*start_ids, *alone)
    if not ids:
        raise InputError("the prompt has no tokens: give some text")
    if context is not None and len(start_ids) + len(whole) - 1 > context:
        raise InputError(
            f"prompt and target are {len(start_ids) + len(whole)} tokens, but the model's context "
            f"is {context}: shorten them"
        )
    return ids, tuple(whole[len(alone) :])
