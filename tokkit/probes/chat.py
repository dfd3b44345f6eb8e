"""A user's message as the ids that a chat model was trained to answer: its template, filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokkit.errors import InputError
from tokkit.tokenizer.chat import render_chat
from tokkit.tokenizer.streaming import Codec


def chat_ids(
    codec: Codec, template: str, message: str, *, special_tokens: Mapping[str, str] | None = None
) -> list[int]:
    """The ids of one user message in its template, ready for the model's answer.

    What the template writes may become special tokens; a message that spells one stays text: then
    the text around it and it are tokenized apart, and InputError is raised where the template
    changes the message, so that it cannot be found. Other errors are those of `render_chat`.
    """
    messages = [{"role": "user", "content": message}]
    names: dict[str, Any] = dict(special_tokens or {})
    whole = render_chat(template, messages, **names)
    if codec.encode(message, allow_special=True) == codec.encode(message):
        return codec.encode(whole, allow_special=True)
    before, found, after = whole.partition(message)
    if not found:
        raise InputError(
            "the message spells a special token and the chat template changes it: reword it"
        )
    around = [codec.encode(part, allow_special=True) for part in (before, after)]
    return around[0] + codec.encode(message) + around[1]
