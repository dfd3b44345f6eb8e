"""What a model writes after prompts, as text: to an end token or a stop string, as it comes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from tokkit.model.generation import Step, stream
from tokkit.model.sampling import GREEDY, SamplingConfig
from tokkit.model.transformer import Transformer
from tokkit.tokenizer.streaming import Codec, TextStream

Ended = Literal["end token", "stop string", "length"]
Show = Callable[[int, str], None]
"""Called with the number of a prompt and the next piece of its continuation."""


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model wrote after a prompt, and why it ended.

    `ids` and `steps` are all that was generated: the end token, or the tokens of the stop string,
    among them; `text` ends before these.
    """

    prompt_ids: tuple[int, ...]
    text: str
    ids: tuple[int, ...]
    steps: tuple[Step, ...]
    ended: Ended


def continue_texts(
    model: Transformer,
    codec: Codec,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    end_ids: Collection[int] = (),
    stop: Sequence[str] = (),
    sampling: SamplingConfig = GREEDY,
    seed: int = 0,
    candidates: int = 1,
    show: Show | None = None,
) -> list[Continuation]:
    """Continue prompts (ids) to a token of `end_ids`, a string of `stop`, or `max_new_tokens`.

    `show(n, piece)` gets the text of prompt n as it comes; the pieces joined are its text.
    Otherwise as `tokkit.model.generation.generate`.
    """
    ends = frozenset(end_ids)
    texts = [TextStream(codec, stop=stop) for _ in prompts]
    steps: list[list[Step]] = [[] for _ in prompts]
    pieces: list[list[str]] = [[] for _ in prompts]

    def add(row: int, piece: str) -> None:
        if piece:
            pieces[row].append(piece)
            if show is not None:
                show(row, piece)

    for row, step in stream(
        model,
        prompts,
        max_new_tokens=max_new_tokens,
        stop_ids=ends,
        sampling=sampling,
        seed=seed,
        candidates=candidates,
        stop=lambda row, token: texts[row].stopped is not None,
    ):
        steps[row].append(step)
        if step.id not in ends:
            add(row, texts[row].feed(step.id))
        if len(steps[row]) == max_new_tokens or step.id in ends:
            add(row, texts[row].finish())
    return [
        Continuation(
            tuple(prompt),
            "".join(pieces[row]),
            tuple(step.id for step in steps[row]),
            tuple(steps[row]),
            _ended(steps[row], ends, texts[row]),
        )
        for row, prompt in enumerate(prompts)
    ]


def _ended(steps: Sequence[Step], ends: Collection[int], text: TextStream) -> Ended:
    if text.stopped is not None:
        return "stop string"
    return "end token" if steps[-1].id in ends else "length"
