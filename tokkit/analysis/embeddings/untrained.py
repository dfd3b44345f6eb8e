"""Tokens that a model never learned: found from its weights, asked by prompts, judged by counts.

The question: do tokens that no training text held stand out in the embedding? What is looked at
first, the threshold and the rule of the verdict are constants of these modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokkit.analysis.embeddings.subject import Subject
from tokkit.analysis.embeddings.untrained_indicators import (
    COSINE,
    LABELS,
    PRIMARY_RULE,
    Indicators,
    measure_indicators,
)
from tokkit.analysis.embeddings.untrained_reach import WORDS, Reached, reach_of
from tokkit.analysis.embeddings.untrained_reference import (
    Reference,
    find_reference,
    given_reference,
)
from tokkit.analysis.embeddings.untrained_truth import Judged, judge
from tokkit.analysis.embeddings.untrained_verification import Verification, verify_tokens
from tokkit.analysis.matrix import Matrix, matrix_of, row_faults
from tokkit.analysis.section import Section
from tokkit.results import Claim, Control, Evidence

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

CANDIDATE_SHARE = 0.02
"""Of the ordinary tokens, those with the lowest indicator: Land and Bartolo (2024, section 3.3)."""
WANTED_AREA = 0.95
_LARGEST_NULL = 0.1
BASELINES = {"token_id": "Id of the token", "token_bytes": "Length of the token"}


@dataclass(frozen=True, slots=True)
class Untrained:
    """Everything that was found: what the tables and values are made of.

    `ordinary` (V,) marks rows that are measured, have a token and are not special; `candidates`
    are ids of these, outside of the reference, in order of the indicator; `judged` is by indicator
    or baseline, where counts are known; `asked` what prompts said, where there is a model;
    `measured_on` is the name of the matrix whose distances were taken.
    """

    ordinary: Flags
    reached: Reached
    reference: Reference
    indicators: Indicators
    candidates: Ints
    threshold: float
    judged: dict[str, Judged]
    asked: Verification | None
    measured_on: str

    @property
    def primary(self) -> Floats:
        """The indicator that counts: (V,)."""
        return self.indicators.values[self.indicators.primary]


def untrained_section(
    subject: Subject,
    *,
    seed: int,
    reference: Sequence[int] | None = None,
    verify: bool = True,
    start_ids: Sequence[int] = (),
) -> Section | None:
    """Tokens that look untrained, checked as far as can be; None where no tokens are known.

    `reference` names rows known to be untrained, else they are found (`find_reference`);
    `verify` prompts the model, where there is one, each prompt beginning with `start_ids`.
    Raises ConfigError for a reference that is none.
    """
    if subject.tokens is None:
        return None
    from tokkit.analysis.embeddings.untrained_tables import untrained_tables, untrained_values

    found = find_untrained(
        subject, seed=seed, reference=reference, verify=verify, start_ids=start_ids
    )
    return Section(
        untrained_values(found),
        untrained_tables(subject, found),
        _claims(subject, found),
        _left_out(subject, found),
    )


def find_untrained(
    subject: Subject,
    *,
    seed: int,
    reference: Sequence[int] | None = None,
    verify: bool = True,
    start_ids: Sequence[int] = (),
) -> Untrained:
    """As `untrained_section`, of a subject whose tokens are known."""
    assert subject.tokens is not None
    output = subject.output or subject.rows
    usable = subject.usable if subject.output is None else subject.usable & row_faults(output)[0]
    met = None if subject.counts is None else subject.counts > 0
    reached = reach_of(subject.tokenizer, len(subject.rows), met)
    known = (
        find_reference(subject, reached, usable)
        if reference is None
        else given_reference(reference, usable)
    )
    chosen = known.ids if known.is_usable else known.ids[:0]
    drawing = np.random.default_rng([seed, 0])
    indicators = measure_indicators(subject.rows, output, usable, chosen, drawing)
    ordinary = usable & np.array([bool(token) for token in subject.tokens], dtype=bool)
    ordinary[sorted(subject.special)] = False
    primary = indicators.values[indicators.primary]
    open_rows = ordinary.copy()
    open_rows[known.ids] = False
    candidates, threshold = lowest(primary, open_rows, CANDIDATE_SHARE)
    asked = None
    if verify and subject.model is not None and len(candidates):
        asked = verify_tokens(
            subject, candidates, known.ids, open_rows, np.random.default_rng([seed, 1]), start_ids
        )
    judged = _judged(subject, indicators, chosen, ordinary, usable, seed)
    return Untrained(
        ordinary, reached, known, indicators, candidates, threshold, judged, asked, output.name
    )


def lowest(values: Floats, among: Flags, share: float) -> tuple[Ints, float]:
    """The ids of the lowest `share` of the rows marked, lowest first, and the value they end at.

    At least one; of equal values the lower id comes first.
    """
    ids = np.flatnonzero(among)
    if not len(ids):
        return ids, float("nan")
    count = max(1, int(share * len(ids)))
    chosen = ids[np.argsort(values[ids], kind="stable")[:count]]
    return chosen, float(values[chosen[-1]])


def _judged(
    subject: Subject,
    indicators: Indicators,
    reference: Ints,
    ordinary: Flags,
    usable: Flags,
    seed: int,
) -> dict[str, Judged]:
    """What each indicator and baseline is worth, where counts are known.

    Rows of the reference are not judged: they define the indicator.
    """
    if subject.counts is None or subject.tokens is None:
        return {}
    asked = ordinary.copy()
    asked[reference] = False
    ids, generator = np.flatnonzero(asked), np.random.default_rng([seed, 2])
    nulls = _initial_indicators(subject, reference, usable)
    lengths = np.array([len(token) for token in subject.tokens], dtype=np.float64)
    scores = {
        **indicators.values,
        # Late and long tokens are the rarer ones: a lower value is more suspicious here too.
        "token_id": -np.arange(len(subject.rows), dtype=np.float64),
        "token_bytes": -lengths,
    }
    found = {}
    for name, values in scores.items():
        shuffled = generator.permutation(values[ids])
        null = nulls[name][ids] if name in nulls else shuffled
        judged = judge(values[ids], null, subject.counts[ids], lengths[ids] > 1)
        if judged is not None:
            found[name] = judged
    return found


def _initial_indicators(subject: Subject, reference: Ints, usable: Flags) -> dict[str, Floats]:
    """The same indicators of the weights before training; {} where these are not known."""
    if subject.initial is None:
        return {}
    output = subject.initial if subject.output is None else initial_output(subject)
    if output is None:
        return {}
    there = usable & row_faults(subject.initial)[0] & row_faults(output)[0]
    generator = np.random.default_rng(0)
    return dict(measure_indicators(subject.initial, output, there, reference, generator).values)


def initial_output(subject: Subject) -> Matrix | None:
    """The unembedding before training, (V, D), made again from the seed of the run; or None."""
    seed = subject.about.get("seed")
    if subject.model is None or type(seed) is not int or not 0 <= seed < 1 << 63:
        return None
    import torch

    from tokkit.model.transformer import seeded_generator

    config = subject.model.config
    table = torch.empty(config.vocab_size, config.width)
    table.normal_(0.0, config.width**-0.5, generator=seeded_generator(seed, "unembedding"))
    return matrix_of(table, "initial unembedding")


def _left_out(subject: Subject, found: Untrained) -> dict[str, int]:
    assert subject.tokens is not None
    without = sum(not token for token in subject.tokens)
    left = {
        "rows without a token": without,
        "special tokens, no candidates": len(subject.special),
        "rows that cannot be measured": int((~np.isfinite(found.primary)).sum()),
    }
    if found.judged:
        left["rows of the reference, not judged by counts"] = int(
            found.ordinary[found.reference.ids].sum()
        )
    return {reason: count for reason, count in left.items() if count}


def _claims(subject: Subject, found: Untrained) -> tuple[Claim, ...]:
    name = found.indicators.primary
    judged = found.judged.get(name)
    if judged is None:
        return ()
    area, null = judged.never, judged.null
    off = abs(null.value - 0.5)
    controls = (
        Control(
            "rows known to be untrained lie closer together than random ones",
            found.indicators.agreement,
            found.indicators.random_agreement or 0.0,
            name == COSINE,
        ),
        Control(
            "before training the same indicator tells nothing (0.5 less the area's distance to it)",
            0.5 - off,
            0.5 - _LARGEST_NULL,
            off <= _LARGEST_NULL,
        ),
    )
    verdict: Any = "inconclusive"
    if all(control.holds for control in controls):
        if area.low >= WANTED_AREA:
            verdict = "supported"
        elif area.high < WANTED_AREA:
            verdict = "contradicted"
    return (
        Claim(
            id="unseen-tokens-found",
            statement="Tokens that no training text held can be told by the weights alone",
            verdict=verdict,
            rule=(
                f"Supported where the whole 95% interval of the area under the curve, never-seen "
                f"against seen tokens by the indicator that the rule names, is at least "
                f"{WANTED_AREA}; contradicted where it is all below; inconclusive else, or where "
                f"a control fails. The rule of the indicator: {PRIMARY_RULE}."
            ),
            evidence=_evidence(found, judged, name),
            controls=controls,
            limits=(
                "The interval takes tokens for independent draws; it knows of one model.",
                "The indicator was chosen on two small models trained here; the paper's own first "
                "choice, with the first component removed, stands beside it.",
                "A token of a document is counted as seen even if the run ended before it came.",
            ),
        ),
    )


def _evidence(found: Untrained, judged: Judged, name: str) -> tuple[Evidence, ...]:
    area, null = judged.never, judged.null
    n = area.positives + area.negatives
    others = [
        Evidence(f"area by {BASELINES[other].lower()}", one.never.value, "area",
                 one.never.low, one.never.high, n)
        for other, one in found.judged.items()
        if other in BASELINES
    ]  # fmt: skip
    return (
        Evidence(f"area by: {LABELS[name]}", area.value, "area", area.low, area.high, n),
        Evidence("the same before training", null.value, "area", null.low, null.high, n),
        *(
            [
                Evidence(
                    "area for tokens of two bytes or more",
                    judged.longer.value,
                    "area",
                    judged.longer.low,
                    judged.longer.high,
                    judged.longer.positives + judged.longer.negatives,
                )
            ]
            if judged.longer
            else []
        ),
        *others,
    )


__all__ = ["WORDS", "Untrained", "find_untrained", "initial_output", "lowest", "untrained_section"]
