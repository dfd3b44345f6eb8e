"""From a request to an edit and the record of what it did."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from tokkit.analysis.editing import tables
from tokkit.analysis.editing.asked import asked_of, replies
from tokkit.analysis.editing.moments import TOKENS, WINDOW, Ids, packed_rows, second_moments
from tokkit.analysis.editing.passes import check_layer, feedforward_of
from tokkit.analysis.editing.prefixes import random_prefixes
from tokkit.analysis.editing.present import Present, check_request
from tokkit.analysis.editing.rank_one import Edit, applied
from tokkit.analysis.editing.request import EditRequest, Located, located
from tokkit.analysis.editing.sweep import RULE, best, layers_to_try, sweep
from tokkit.analysis.editing.tracing import TraceSettings, trace_fact
from tokkit.analysis.editing.value import EditSettings
from tokkit.analysis.intervals import resampling
from tokkit.analysis.positions.losses import nats_of
from tokkit.analysis.threads import suited_threads
from tokkit.analysis.windows import Windows, cut_windows
from tokkit.errors import InputError
from tokkit.model.transformer import Transformer
from tokkit.results import Result, collect_provenance

KIND = "analysis.editing"
UNRELATED_WINDOWS = 32
_HELD_OUT = 8  # one in so many texts is not used for the moments
_MOST_TEXTS = 4096
Told = Callable[[str, str, int, int], None]


def _silent(stage: str, unit: str, done: int, total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one fact is edited, and what the model is asked besides.

    `layer` None sweeps: every n-th layer with `every`, else a few evenly apart. `answer` is what
    the model must say now, where that is known. `tokens` are read for the second moments, which
    are kept in `moments_folder`. `trace` None leaves the causal tracing out.
    """

    layer: int | None = None
    every: int | None = None
    answer: str | None = None
    paraphrases: tuple[str, ...] = ()
    neighbours: tuple[str, ...] = ()
    tokens: int = TOKENS
    moments_folder: str | os.PathLike[str] | None = None
    trace: TraceSettings | None = field(default_factory=TraceSettings)
    value: EditSettings = field(default_factory=EditSettings)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Edited:
    """The edit, and the record of what the model says with and without it."""

    edit: Edit
    result: Result


@suited_threads
def edit_fact(
    model: Transformer,
    tokenizer: Any,
    request: EditRequest,
    texts: Iterable[str],
    plan: Plan,
    *,
    unrelated: Iterable[str] | None = None,
    start_ids: Sequence[int] = (),
    end_ids: Sequence[int] = (),
    name: str = "model",
    inputs: Mapping[str, str] | None = None,
    told: Told = _silent,
) -> Edited:
    """Work out the edit of one fact, ask the model with and without it, and leave it as it is.

    `texts` are those of the second moments; of `unrelated` texts (by default every eighth of
    `texts`) the bits per byte are measured. None that names the subject is read for that. All that
    can be refused is refused first: see `located`, `check_request`, `layers_to_try`.
    """
    started = time.monotonic()
    context = model.config.context
    place = located(tokenizer, request, start_ids, context=context)
    asked = asked_of(
        tokenizer, request, plan.paraphrases, plan.neighbours, start_ids=start_ids, context=context
    )
    layers = layers_to_try(model, layer=plan.layer, every=plan.every)
    for layer in layers:
        check_layer(model, layer)
    now = check_request(model, tokenizer, request, place, answer=plan.answer, start_ids=start_ids)
    seconds = _Clock()
    rows, others = _windows(tokenizer, request, texts, unrelated, plan, start_ids, context)
    moments = second_moments(
        model, rows, layers, given=len(start_ids), folder=plan.moments_folder,
        told=told,
    )  # fmt: skip
    seconds.stop("moments")
    prefixes = random_prefixes(model, tokenizer, seed=plan.seed, start_ids=start_ids)
    before = replies(model, tokenizer, asked, end_ids=end_ids)
    swept = sweep(
        model, tokenizer, request, asked, before, moments=moments, prefixes=prefixes,
        start_ids=start_ids, end_ids=end_ids, settings=plan.value, told=told,
    )  # fmt: skip
    chosen = best(swept)
    seconds.stop("edits")
    found = {
        "prompts": tables.prompts(tokenizer, asked, before, chosen.replies),
        "trials": tables.trials(chosen.edit),
    }
    if len(swept) > 1:
        found["sweep"] = tables.sweep(swept, chosen)
    values = {
        **_fact(tokenizer, place, now),
        "moment_tokens": int(rows[:, len(start_ids) :].size),
        "left_out": dict(others.left_out),
        "layer": chosen.edit.layer,
        "layers_tried": len(swept),
        "layer_rule": RULE if len(swept) > 1 else "given",
        **_change(model, chosen.edit),
        **_bits(model, others, chosen.edit, plan.seed),
    }
    seconds.stop("bits_per_byte")
    if plan.trace is not None:
        told("tracing", "tokens", 0, len(place.ids))
        found |= _trace(model, tokenizer, place, now, plan.trace, plan.seed, values, told)
        seconds.stop("trace")
    settings = {
        "model": name, "subject": request.subject, "prompt": request.prompt,
        "target": request.target, "answer": plan.answer, "seed": plan.seed,
        "start_ids": list(start_ids), "prefixes": list(prefixes), "value": asdict(plan.value),
        "trace": None if plan.trace is None else asdict(plan.trace),
    }  # fmt: skip
    provenance = collect_provenance(
        seeds=[plan.seed], inputs=inputs or {},
        wall_seconds={**seconds.stages, "analysis": time.monotonic() - started},
    )  # fmt: skip
    title = f"{request.subject}: {request.target}, in {name}"
    return Edited(chosen.edit, Result(KIND, title, settings, values, found, (), provenance))


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._last = time.monotonic()

    def stop(self, stage: str) -> None:
        """A stage ends here, and the next begins."""
        now = time.monotonic()
        self.stages[stage], self._last = now - self._last, now


def _windows(
    tokenizer: Any, request: EditRequest, texts: Iterable[str], unrelated: Iterable[str] | None,
    plan: Plan, start_ids: Sequence[int], context: int,
) -> tuple[Ids, Windows]:  # fmt: skip
    """Rows for the second moments, and rows of other texts for the bits per byte."""
    known = list(islice(texts, _MOST_TEXTS))
    others = None if unrelated is None else list(islice(unrelated, _MOST_TEXTS))
    if others is None:
        # Of few texts all are read for both: a file of the user's may be one text.
        few = len(known) < 2 * _HELD_OUT
        others = known if few else known[::_HELD_OUT]
        known = known if few else [text for n, text in enumerate(known) if n % _HELD_OUT]
    others = [text for text in others if request.subject not in text]
    if not others:
        raise InputError(
            f"every text names {request.subject!r}: give text that has nothing to do with it"
        )
    length = min(WINDOW, context - len(start_ids))
    rows = packed_rows(tokenizer, known, tokens=plan.tokens, length=length, start_ids=start_ids)
    windows = cut_windows(
        tokenizer, others, length=length, rows=UNRELATED_WINDOWS, start_ids=start_ids,
        generator=np.random.default_rng([plan.seed, 0]),
    )  # fmt: skip
    return rows, windows


def _fact(tokenizer: Any, place: Located, now: Present) -> dict[str, Any]:
    return {
        "present_answer": now.text,
        "present_probability": now.probability,
        "target_probability_before": now.target_probability,
        "target_tokens": len(place.target),
        "subject_tokens": [tokenizer.decode([place.ids[at]]) for at in place.subject],
    }


def _change(model: Transformer, edit: Edit) -> dict[str, Any]:
    """How large the change of the matrix is, beside the matrix (Frobenius norms)."""
    weight = feedforward_of(model, edit.layer).down.weight.detach()
    return {
        "change_norm": float(edit.left.norm() * edit.right.norm()),
        "matrix_norm": float(weight.norm()),
        "updates": len(edit.optimised.trials) - 1,
        "prefixes": len(edit.prefixes),
    }


def _bits(model: Transformer, windows: Windows, edit: Edit, seed: int) -> dict[str, Any]:
    """Bits per byte of unrelated text before and after, and the difference, with intervals."""
    given = max(1, len(windows.start_ids))
    rows, skipped = windows.with_start(), given - len(windows.start_ids)
    sizes = windows.sizes[:, skipped:].sum(1)
    before = nats_of(model, rows, given=given).sum(1) / np.log(2)
    with applied(model, edit):
        after = nats_of(model, rows, given=given).sum(1) / np.log(2)
    drawn = resampling(windows.documents, np.random.default_rng([seed, 1]))
    values: dict[str, Any] = {
        "unrelated_windows": len(rows),
        "unrelated_bytes": int(sizes.sum()),
        "intervals_over": drawn.unit,
        "resampled": len(drawn),
    }
    parts = {"before": before, "after": after, "difference": after - before}
    for part, bits in parts.items():
        ratio = drawn.ratios(bits, sizes)
        ends = {"": ratio.estimate, "_low": ratio.low, "_high": ratio.high}
        for end, value in ends.items():
            values[f"bits_per_byte_{part}{end}"] = None if np.isnan(value) else float(value)
    return values


def _trace(
    model: Transformer, tokenizer: Any, place: Located, now: Present, settings: TraceSettings,
    seed: int, values: dict[str, Any], told: Told,
) -> dict[str, Any]:  # fmt: skip
    answer, other = now.ids[0], place.target[0]
    if answer == other:  # two names that begin alike
        other = now.runner_up
    traced = trace_fact(
        model, place, answer=answer, alternative=other, settings=settings, seed=seed, told=told
    )
    values |= {
        "trace_answer": tokenizer.decode([answer]),
        "trace_alternative": tokenizer.decode([other]),
        "trace_window_layers": len(settings.layers_of("attention", model.config.layers // 2,
                                                      model.config.layers)),
        "trace_draws": settings.draws,
        **tables.trace_values(traced),
    }  # fmt: skip
    return {
        "trace": tables.trace(traced, place),
        "trace_tokens": tables.trace_tokens(tokenizer, place),
    }
