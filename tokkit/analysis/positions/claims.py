"""The claims that an analysis of positions says something about, with rules fixed beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from tokkit.analysis.positions.exact import CONTROL_FLOOR, Property
from tokkit.results import Claim, Control, Evidence, Verdict
from tokkit.stats import MIN_BLOCKS

_RELATIVE_RULE = (
    "Supported where every check of the scheme holds within its tolerance (1e-10 in float64, 1e-4 "
    "in float32, and 0.01 nats in the log probabilities of the whole model in float32) and every "
    f"control deviates by more than {CONTROL_FLOOR}; contradicted where a check does not hold; "
    "inconclusive where a control does not deviate."
)
_ADDED_RULE = (
    "Supported where a transformer without positions and mask gives the permuted result for every "
    "permuted text (1e-10 in float64) and one with this model's scheme, or without positions but "
    f"with the mask, does not (by more than {CONTROL_FLOOR}), and this model's loss on text "
    "shuffled throughout is above that on the same text in order, its interval of 95% above 0. "
    "Contradicted where the first fails or the interval lies below 0; else inconclusive. Without "
    f"a model, or with fewer than {MIN_BLOCKS} texts, nothing is said of the loss and the verdict "
    "is inconclusive."
)
_NAMES = {
    "rope": "turns queries and keys by their position",
    "alibi": "lowers scores by distance",
    "learned": "adds a learned row for each position",
    "sinusoidal": "adds a fixed table of sines",
    "none": "has the causal mask alone",
}


def relative_claim(scheme: str, properties: Sequence[Property]) -> Claim | None:
    """rope-is-relative, of a rotary or ALiBi scheme; the properties are those of the model."""
    own = [p for p in properties if p.scheme == scheme and p.of_model]
    said = {(p.name, p.dtype): p for p in own}
    if scheme not in ("rope", "alibi") or not own:
        return None
    controls = tuple(_control(p) for p in own)
    verdict: Verdict = "supported" if all(p.holds for p in own) else "contradicted"
    if not all(control.holds for control in controls):
        verdict = "inconclusive"
    word = "Rotary" if scheme == "rope" else "ALiBi"
    return Claim(
        id="rope-is-relative",
        statement=f"{word} scores depend on the offset between two tokens alone, up to rounding.",
        verdict=verdict,
        rule=_RELATIVE_RULE,
        evidence=tuple(
            Evidence(f"{p.name} ({p.dtype}; {p.checked})", p.deviation, f"of {p.relative_to}")
            for p in said.values()
        ),
        controls=controls,
        limits=(
            "That scores depend on the offset does not say how they fall with it, nor that a model "
            "works beyond the length it was trained on.",
            "Scores are compared before the softmax; which keys a query sees is the mask's matter: "
            "a token's absolute position can still be told from how many keys it sees.",
            "With tables in bfloat16, or angles multiplied in few bits, the property is lost: see "
            "the table of rounding.",
        ),
    )


def _control(found: Property) -> Control:
    return Control(
        f"{found.control} ({found.dtype}) deviates",
        found.control_deviation,
        CONTROL_FLOOR,
        found.control_fails,
    )


def added_claim(
    scheme: str,
    properties: Sequence[Property],
    more: tuple[float, float, float] | None,
    p: float | None,
    texts: int,
) -> Claim:
    """position-is-added: `more` is the loss of shuffled text over that in order, with interval.

    NaN bounds, or None for no model, leave the loss unsaid.
    """
    equal = [
        found
        for found in properties
        if "permuted" in found.name
        and found.dtype == "float64"
        and found.control.startswith((scheme + ",", "with the causal"))
    ]
    controls = tuple(_control(found) for found in equal)
    evidence = [Evidence(f"{equal[0].name}: largest deviation", equal[0].deviation,
                         f"of {equal[0].relative_to}")]  # fmt: skip
    known = more is not None and more[1] == more[1]
    if more is not None:
        low, high = (more[1], more[2]) if known else (None, None)
        evidence.append(
            Evidence(
                "loss on text shuffled throughout, over the same in order", more[0],
                "nats a token", low, high, texts, "sign flips of texts", p,
            )
        )  # fmt: skip
    return Claim(
        id="position-is-added",
        statement=(
            "Attention by itself knows no order: without positions and mask a transformer takes a "
            f"text as a set. This model {_NAMES[scheme]}."
        ),
        verdict=_added_verdict(equal, controls, more if known else None),
        rule=_ADDED_RULE,
        evidence=tuple(evidence),
        controls=controls,
        limits=(
            "Equivariance is shown on small random transformers of the same parts, not on this "
            "model without its positions: taken away from a trained model, they leave one that "
            "nobody trained.",
            "Shuffled text is also unlike what the model was trained on: the loss says that order "
            "is used, not how much of language it carries.",
            "The causal mask alone tells of order, from the second layer on.",
        ),
    )


def _added_verdict(
    equal: Sequence[Property],
    controls: Sequence[Control],
    more: tuple[float, float, float] | None,
) -> Verdict:
    if not all(control.holds for control in controls):
        return "inconclusive"
    if not all(found.holds for found in equal):
        return "contradicted"
    if more is None:
        return "inconclusive"
    if more[1] > 0:
        return "supported"
    return "contradicted" if more[2] < 0 else "inconclusive"
