"""The section on induction: scores of all heads, copying, in-context learning, heads taken away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tokkit.analysis.attention.ablation import (
    entering,
    in_context_scores,
    losses_without,
    mean_outputs,
    other_heads,
)
from tokkit.analysis.attention.corpus import PREVIOUS_SHARE
from tokkit.analysis.attention.induction import (
    Head,
    Repeats,
    Scores,
    adjusted_p,
    chance,
    copy_losses,
    draw_repeats,
    induction_heads,
    scores,
)
from tokkit.analysis.intervals import Resampling, plain, resampling
from tokkit.analysis.section import Section
from tokkit.model.transformer import Transformer
from tokkit.results import Column, Table
from tokkit.stats import MIN_BLOCKS, sign_flip_p

Floats = NDArray[np.float64]
Told = Callable[[str, str, int, int], None]
DRAWS = 8
DRAWS_OF_LARGE = 3
LARGE = 5e7  # parameters
TOKENS_OF_LARGE = 2048  # of text that a large model reads again without each set of heads


@dataclass(frozen=True, slots=True)
class Text:
    """Windows of text: rows (N, T), `given` tokens of each unforetold, losses (N, P) of the rest.

    `documents` (N,) says which text a row is from, `drawn` resamples these.
    """

    rows: Tensor
    given: int
    nats: Floats
    documents: NDArray[np.int64]
    drawn: Resampling

    def part(self, tokens: int, generator: np.random.Generator) -> Text:
        """Windows evenly apart of about as many tokens, or all of them."""
        wanted = max(MIN_BLOCKS, tokens // self.rows.shape[1])
        if wanted >= len(self.rows):
            return self
        kept = np.linspace(0, len(self.rows) - 1, wanted).round().astype(np.int64)
        documents = self.documents[kept]
        return Text(
            self.rows[torch.from_numpy(kept)], self.given, self.nats[kept], documents,
            resampling(documents, generator),
        )  # fmt: skip


def induction_section(
    model: Transformer,
    tokenizer: Any,
    text: Text,
    *,
    seed: int,
    start_ids: Sequence[int] = (),
    told: Told,
) -> Section:
    """Find induction heads and take them away; without room for repeats, the text's score alone."""
    generator = np.random.default_rng([seed, 11])
    context = in_context_scores(text.nats)
    values: dict[str, Any] = _interval("in_context", context, text.drawn)
    repeats = draw_repeats(tokenizer, model.config.context, generator, start_ids)
    if repeats is None:
        return Section({**values, "induction_heads": None}, left_out={
            "induction: the context or vocabulary has no room for repeated tokens": 1})  # fmt: skip
    told("copying", "kinds of rows", 0, 3)
    own = scores(model, repeats.repeated, repeats.given, repeats.copied, losses=True)
    told("copying", "kinds of rows", 1, 3)
    single = scores(model, repeats.single, repeats.given, repeats.copied)
    told("copying", "kinds of rows", 2, 3)
    chosen = repeats.choosing
    found = induction_heads(own.after[chosen], single.after[chosen], generator)
    null = _null_heads(model, repeats, seed, generator)
    told("copying", "kinds of rows", 3, 3)
    values |= {
        "induction_heads": len(found),
        "induction_heads_of_a_fresh_model": null,
        **_copy_values(repeats, own, generator),
    }
    tables = {"induction": _heads_table(own, single, repeats, found, generator)}
    if found and own.nats is not None:
        tables["ablation"] = _ablation(model, repeats, own.nats, text, found, seed, told)
    return Section(values, tables)


def _copy_values(repeats: Repeats, own: Scores, generator: np.random.Generator) -> dict[str, Any]:
    """Losses on first and second copy over all rows; the strongest heads over the testing ones."""
    assert own.nats is not None
    tested = ~repeats.choosing
    rows = resampling(np.arange(len(tested)), generator)
    first, second = copy_losses(own.nats, repeats.given, repeats.copied)
    return {
        "induction_chance": chance(repeats.copied, repeats.given),
        "induction_strongest": float(own.after[tested].mean(0).max()),
        "previous_token_heads": int((own.previous[tested].mean(0) >= PREVIOUS_SHARE).sum()),
        "copied_tokens": repeats.copied,
        "copy_rows": len(tested),
        **_interval("first_copy_nats", first, rows),
        **_interval("second_copy_nats", second, rows),
        **_interval("copying_nats", second - first, rows),
    }


def _interval(name: str, of_rows: Floats, drawn: Resampling) -> dict[str, Any]:
    found = drawn.means(of_rows)
    return {
        name: plain(found.estimate),
        f"{name}_low": plain(found.low),
        f"{name}_high": plain(found.high),
    }


def _null_heads(
    model: Transformer, repeats: Repeats, seed: int, generator: np.random.Generator
) -> int | None:
    """How many heads the rule finds in the same model freshly initialised: it must be none."""
    if model.config.token_features:
        return None
    fresh = Transformer(model.config, seed=seed).eval()
    at = torch.from_numpy(np.flatnonzero(repeats.choosing))
    own, single = (
        scores(fresh, rows[at], repeats.given, repeats.copied)
        for rows in (repeats.repeated, repeats.single)
    )
    return len(induction_heads(own.after, single.after, generator))


def _heads_table(
    own: Scores, single: Scores, repeats: Repeats, found: Sequence[Head],
    generator: np.random.Generator,
) -> Table:  # fmt: skip
    """A row a head: scores on the testing rows, p of the choosing ones, whether it is found."""
    tested = ~repeats.choosing
    drawn = resampling(np.arange(tested.sum()), generator)
    after, null = drawn.means(own.after[tested]), drawn.means(single.after[tested])
    previous = drawn.means(own.previous[tested])
    p = adjusted_p(own.after[repeats.choosing], single.after[repeats.choosing], generator)
    columns = (
        Column("layer", "Layer"),
        Column("head", "Head"),
        Column("induction", "To the token after the first occurrence", "proportion"),
        Column("induction_low", "... low", "proportion"),
        Column("induction_high", "... high", "proportion"),
        Column("induction_null", "... where nothing repeats", "proportion"),
        Column("p_holm", "p (Holm), choosing rows"),
        Column("previous", "To the token before", "proportion"),
        Column("previous_low", "... low", "proportion"),
        Column("previous_high", "... high", "proportion"),
        Column("found", "Induction head"),
    )
    rows = tuple(
        (
            *at, *(plain(side[at]) for side in (after.estimate, after.low, after.high)),
            plain(null.estimate[at]), float(p[at]),
            *(plain(side[at]) for side in (previous.estimate, previous.low, previous.high)),
            at in found,
        )
        for at in np.ndindex(*own.after.shape[1:])
    )  # fmt: skip
    return Table("Heads on repeated random tokens", columns, rows)


def _ablation(
    model: Transformer, repeats: Repeats, own: Floats, text: Text, found: Sequence[Head],
    seed: int, told: Told,
) -> Table:  # fmt: skip
    """Copying loss of the testing rows, and the in-context score, without heads found or drawn."""
    generator = np.random.default_rng([seed, 12])
    large = sum(p.numel() for p in model.parameters()) > LARGE
    sets = [list(found)]
    sets += [other_heads(model.config, found, generator) for _ in range(
        DRAWS_OF_LARGE if large else DRAWS)]  # fmt: skip
    sets = [heads for heads in sets if heads]  # a model may have no others
    layers = sorted({layer for heads in sets for layer, _ in heads})
    first = layers[0]
    told("without heads", "sets of heads", 0, 2 * len(sets))
    tested = torch.from_numpy(np.flatnonzero(~repeats.choosing))
    rows = repeats.repeated[tested]
    means = mean_outputs(model, repeats.single[torch.from_numpy(repeats.choosing)], layers)
    before = copy_losses(own[tested.numpy()], repeats.given, repeats.copied)[1]
    copying, stream = [], entering(model, rows, first)
    for number, heads in enumerate(sets):
        nats = losses_without(model, rows, stream, first, heads, means, given=repeats.given)
        copying.append(copy_losses(nats, repeats.given, repeats.copied)[1] - before)
        told("without heads", "sets of heads", number + 1, 2 * len(sets))
    if large:
        text = text.part(TOKENS_OF_LARGE, generator)
    of_text = mean_outputs(model, text.rows, layers)
    score, learning, whole = in_context_scores(text.nats), [], []
    stream = entering(model, text.rows, first)
    for number, heads in enumerate(sets):
        nats = losses_without(model, text.rows, stream, first, heads, of_text, given=text.given)
        learning.append(in_context_scores(nats) - score)
        whole.append(nats.mean(1) - text.nats.mean(1))
        told("without heads", "sets of heads", len(sets) + number + 1, 2 * len(sets))
    of_rows = resampling(np.arange(len(rows)), generator)
    measured = {
        "loss on the second copy": (copying, of_rows),
        "in-context score": (learning, text.drawn),
        "loss on text": (whole, text.drawn),
    }
    return _ablation_table(measured, len(found), generator)


def _ablation_table(
    measured: Mapping[str, tuple[list[Floats], Resampling]], heads: int,
    generator: np.random.Generator,
) -> Table:  # fmt: skip
    columns = (
        Column("measure", "Change of"),
        Column("heads", "Heads taken away"),
        Column("sets", "Sets"),
        Column("change", "Change", "nats a token"),
        Column("low", "... low", "nats a token"),
        Column("high", "... high", "nats a token"),
        Column("p", "p that it is that of other heads"),
    )
    rows = []
    for name, (changes, drawn) in measured.items():
        others = np.mean(changes[1:], axis=0) if len(changes) > 1 else None
        p = None
        if others is not None and len(drawn) >= MIN_BLOCKS:
            p = float(sign_flip_p(drawn.sums(changes[0] - others)[:, None], generator)[0])
        for what, count, values in (
            (f"{heads} found", 1, changes[0]),
            (f"{heads} others of these layers", len(changes) - 1, others),
        ):
            if values is None:
                continue
            found = drawn.means(values)
            rows.append(
                (name, what, count, plain(found.estimate), plain(found.low), plain(found.high),
                 p if count == 1 else None)
            )  # fmt: skip
    return Table("What is lost without the induction heads", columns, tuple(rows))
