"""From a request for text, or for the odds of given text, to a result record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from tokkit.errors import ConfigError, InputError
from tokkit.model.sampling import GREEDY, SamplingConfig
from tokkit.model.scoring import score
from tokkit.model.transformer import Transformer
from tokkit.probes.chat import chat_ids
from tokkit.probes.continuation import Show, continue_texts
from tokkit.probes.models import OpenModel, open_model
from tokkit.probes.one_at_a_time import Recomputed, one_at_a_time, recompute
from tokkit.probes.targets import codec_of
from tokkit.probes.writing_record import (
    score_record,
    scores_table,
    steps_table,
    text_record,
    texts_table,
)
from tokkit.results import Claim, Result, Table, collect_provenance
from tokkit.tokenizer.artifact import Tokenizer
from tokkit.tokenizer.streaming import Codec

USUAL_NEW_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of which model. `max_new_tokens` None: 64, or what the context leaves."""

    source: str
    prompts: tuple[str, ...]
    max_new_tokens: int | None = None
    sampling: SamplingConfig = GREEDY
    stop: tuple[str, ...] = ()
    seed: int = 0
    chat: bool = False
    device: str = "auto"
    candidates: int = 1


@dataclass(frozen=True, slots=True)
class Writer:
    """An open model on its device, with the way from text to its ids and back."""

    codec: Codec
    opened: OpenModel

    @property
    def model(self) -> Transformer:
        """The model itself."""
        return self.opened.model

    def prompt_ids(self, text: str, *, chat: bool) -> list[int]:
        """The ids of a prompt, with what the model's texts begin with."""
        template = self.opened.chat_template
        if not chat or template is None:
            return [*self.opened.start_ids, *self.codec.encode(text)]
        return chat_ids(self.codec, template, text, special_tokens=self.opened.special_tokens)


def open_writer(source: str, *, device: str = "auto", chat: bool = False) -> Writer:
    """Open a model for writing; ConfigError where it has no chat template and one is needed."""
    place = device_of(device)
    opened = open_model(source)
    if chat and opened.chat_template is None:
        raise ConfigError(f"{opened.name} has no chat template: leave out --chat")
    opened.model.to(place).eval()
    codec: Codec = opened.tokenizer
    if isinstance(codec, Tokenizer):
        codec = codec_of(codec, str(opened.about.get("ids", "plain")))
    return Writer(codec=codec, opened=opened)


def device_of(name: str) -> torch.device:
    """The device of a name, "auto" being a GPU where there is one; ConfigError where not there."""
    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        return torch.device("cuda" if available["cuda"] else "cpu")
    if not available.get(name, False):
        there = ", ".join(key for key, value in available.items() if value)
        raise ConfigError(f"device {name!r} is not available here: use one of auto, {there}")
    return torch.device(name)


def write(request: Request, *, show: Show | None = None, check: bool = False) -> Result:
    """Continue the prompts of a request; with `check` the steps are made again for the claim."""
    clock = {"start": time.monotonic()}
    writer = open_writer(request.source, device=request.device, chat=request.chat)
    prompts = [writer.prompt_ids(text, chat=request.chat) for text in request.prompts]
    new = request.max_new_tokens or _room(writer.model, prompts)
    clock["loaded"] = time.monotonic()
    found = continue_texts(
        writer.model,
        writer.codec,
        prompts,
        max_new_tokens=new,
        end_ids=writer.opened.end_ids,
        stop=request.stop,
        sampling=request.sampling,
        seed=request.seed,
        candidates=request.candidates,
        show=show,
    )
    clock["written"] = time.monotonic()
    again: list[list[Recomputed]] = []
    claims: tuple[Claim, ...] = ()
    if check:
        again = [
            recompute(writer.model, one, request.sampling, request.seed + row)
            for row, one in enumerate(found)
        ]
        claims = (one_at_a_time(writer.model, found, again),)
    clock["checked"] = time.monotonic()
    tokens = sum(len(one.ids) for one in found)
    texts = [text_record(*pair) for pair in zip(request.prompts, found, strict=True)]
    return _result(
        request,
        writer,
        title=f"Text of {writer.opened.name}",
        settings={"max_new_tokens": new},
        values={
            "texts": texts,
            "tokens_per_second": tokens / max(clock["written"] - clock["loaded"], 1e-9),
        },
        tables={
            "texts": texts_table(texts),
            "steps": steps_table(writer.codec, found, again),
        },
        claims=claims,
        clock=clock,
    )


def score_texts(request: Request, continuations: Sequence[str]) -> Result:
    """The odds of each continuation after each prompt; each text is tokenized by itself."""
    clock = {"start": time.monotonic()}
    writer = open_writer(request.source, device=request.device, chat=request.chat)
    prompts = [writer.prompt_ids(text, chat=request.chat) for text in request.prompts]
    texts = [writer.codec.encode(text) for text in continuations]
    clock["loaded"] = time.monotonic()
    scores = score(writer.model, [(prompt, ids) for prompt in prompts for ids in texts])
    clock["scored"] = time.monotonic()
    pairs = list(zip(continuations, texts, strict=True))
    asked = [(prompt, *pair) for prompt in request.prompts for pair in pairs]
    records = [
        score_record(writer.codec, *one, found) for one, found in zip(asked, scores, strict=True)
    ]
    return _result(
        request,
        writer,
        title=f"Odds of given text in {writer.opened.name}",
        settings={"continuations": list(continuations)},
        values={"scores": records},
        tables={"scores": scores_table(records)},
        claims=(),
        clock=clock,
    )


def _room(model: Transformer, prompts: Sequence[Sequence[int]]) -> int:
    longest, context = max(map(len, prompts)), model.config.context
    if longest > context:
        raise InputError(
            f"the longest prompt has {longest} tokens, but the model's context is {context}: "
            "shorten the text"
        )
    return min(USUAL_NEW_TOKENS, context - longest + 1)


def _result(
    request: Request,
    writer: Writer,
    *,
    title: str,
    settings: Mapping[str, Any],
    values: Mapping[str, Any],
    tables: Mapping[str, Table],
    claims: tuple[Claim, ...],
    clock: Mapping[str, float],
) -> Result:
    names, times = list(clock), list(clock.values())
    spent = {name: times[n + 1] - times[n] for n, name in enumerate(names[1:])}
    return Result(
        kind="model.generate",
        title=title,
        settings={
            "model": request.source,
            "sampling": asdict(request.sampling),
            "stop": list(request.stop),
            "seed": request.seed,
            "chat": request.chat,
            **settings,
        },
        values=values,
        tables=tables,
        claims=claims,
        provenance=collect_provenance(
            seeds=[request.seed],
            inputs={},
            wall_seconds=spent,
            device=str(writer.model.embedding.device),
        ),
    )
