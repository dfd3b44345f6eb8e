"""The fifteen claims, and where each stands by the results that there are.

Nothing is judged here: each result carries its verdict, from a rule that was fixed before its run.
What is added is the standing of a claim over all of its results.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokkit.errors import ArtifactError
from tokkit.results import (
    RESULT_FILE,
    Claim,
    Column,
    Result,
    Table,
    collect_provenance,
    read_result,
)

KIND = "claims"
NO_RUN = "no run"
MIXED = "mixed"
_DEEPEST = 4  # folders below the one given
_MOST_FOLDERS = 10_000
RULE = (
    "A claim is supported or contradicted where all of its results say so, mixed where one "
    "supports and another contradicts it, and inconclusive otherwise."
)


@dataclass(frozen=True, slots=True)
class KnownClaim:
    """One of the fifteen: what it says in general, and the commands whose results judge it."""

    id: str
    statement: str
    commands: tuple[str, ...]


TINY = "models/tiny-world"
_EMBEDDINGS = f"tokkit analyze embeddings {TINY} --out reports/embeddings"
_POSITIONS = f"tokkit analyze positions {TINY} --out reports/positions"
_ATTENTION = f"tokkit analyze attention {TINY} --out reports/attention"
_FEEDFORWARD = f"tokkit analyze feedforward {TINY} --out reports/feedforward"
_INFO = "tokkit model info --all --out reports/models"
_SCHEMES = "tokkit experiment positions --full --out reports/position-schemes"
_HEADS = "tokkit experiment heads --full --out reports/heads"

CLAIMS = (
    KnownClaim(
        "ids-not-words",
        "A model reads ids from a fixed vocabulary, never letters.",
        (f"tokkit probe ids {TINY} --out reports/ids",),
    ),
    KnownClaim(
        "counting-is-tokenization",
        "Letter-counting failures come from hidden letters, not from an inability to count.",
        ("tokkit experiment strawberry --full --out reports/strawberry",),
    ),
    KnownClaim(
        "lookup",
        "A token becomes a vector by a row lookup, and training puts meaning into the rows.",
        (_EMBEDDINGS,),
    ),
    KnownClaim(
        "position-is-added",
        "Order has to be added separately.",
        (_SCHEMES, _POSITIONS),
    ),
    KnownClaim(
        "rope-is-relative",
        "Rotary scores depend on the offset alone; schemes differ in how they extrapolate.",
        (_SCHEMES, _POSITIONS),
    ),
    KnownClaim(
        "attention-matches",
        'Attention is learned matching: "was" looks back at "cat", not at "yesterday".',
        (_ATTENTION,),
    ),
    KnownClaim("causal-mask", "A token sees only what is left of it.", (_ATTENTION,)),
    KnownClaim(
        "heads-are-projections",
        "Heads are learned projections, not slices of the vector.",
        (_HEADS,),
    ),
    KnownClaim(
        "grouped-queries",
        "Fewer key-value heads shrink the cache at a measured cost.",
        (_HEADS, _INFO),
    ),
    KnownClaim(
        "ffn-holds-parameters",
        "Most parameters of a dense transformer sit in the feed-forward layers.",
        (_INFO,),
    ),
    KnownClaim("ffn-concepts", "Single feed-forward units answer to concepts.", (_FEEDFORWARD,)),
    KnownClaim(
        "facts-can-be-edited",
        "One fact can be changed in the weights: the Eiffel Tower, from Paris to Rome.",
        (
            f"tokkit edit {TINY} --study --out reports/editing-world",
            "tokkit edit smollm2 --study --out reports/editing-smollm2",
        ),
    ),
    KnownClaim(
        "one-skeleton",
        "GPT-2, Llama, Mistral, Gemma, Qwen and Mixtral are one skeleton with other settings.",
        ("python tests/benchmarks/family_parity.py --out reports/families --seeds 3",),
    ),
    KnownClaim(
        "the-modern-stack",
        "Today's stack beats that of 2017, and what each step brings can be measured.",
        ("tokkit experiment ladder --full --out reports/ladder",),
    ),
    KnownClaim(
        "one-token-at-a-time",
        "Text comes out one next-token prediction after another.",
        (f'tokkit model generate {TINY} "The cat" --out reports/generation',),
    ),
)


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim as one result judged it; `source` is the result's file or folder as it was found."""

    claim: Claim
    result: Result
    source: str


def find_results(folder: str | os.PathLike[str]) -> list[Path]:
    """Every result.json in `folder` and below, in the order of their paths; links are not followed.

    Folders that begin with a dot, and those deeper than a run's results lie, are left out.
    Raises ArtifactError where there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ArtifactError(f"{root} is no folder of runs: give one, or the result.json of a run")
    found = []
    for place, folders, files in itertools.islice(os.walk(root), _MOST_FOLDERS):
        depth = len(Path(place).relative_to(root).parts)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and depth < _DEEPEST)
        if RESULT_FILE in files:
            found.append(Path(place) / RESULT_FILE)
    return found


def judged_by(paths: Sequence[Path]) -> tuple[list[Judged], list[str]]:
    """The claims in these results, and what could not be read, in words."""
    found, unread = [], []
    for path in paths:
        try:
            result = read_result(path)
        except ArtifactError as error:
            unread.append(str(error))
            continue
        if result.kind != KIND:
            source = str(path.parent if path.name == RESULT_FILE else path)
            found += [Judged(claim, result, source) for claim in result.claims]
    return found, unread


def standing(judged: Sequence[Judged]) -> str:
    """Where a claim stands by all of its results; see RULE.

    >>> standing([])
    'no run'
    """
    verdicts = {one.claim.verdict for one in judged}
    if not verdicts:
        return NO_RUN
    if len(verdicts) == 1:
        return verdicts.pop()
    return MIXED if {"supported", "contradicted"} <= verdicts else "inconclusive"


def gather(paths: Sequence[Path]) -> Result:
    """The fifteen claims in one record, each with every result among `paths` that judges it.

    `claims` holds them one by one as the results do, in the order of the table "results", whose
    rows say where each is from. Claims of results that are not of the fifteen come last.
    """
    judged, unread = judged_by(paths)
    by_id = {known.id: [one for one in judged if one.claim.id == known.id] for known in CLAIMS}
    others = [one for one in judged if one.claim.id not in by_id]
    ordered = [one for several in by_id.values() for one in several] + others
    counts = [standing(by_id[known.id]) for known in CLAIMS]
    return Result(
        kind=KIND,
        title="Fifteen claims about how language models work",
        settings={"rule": RULE},
        values={
            "claims": len(CLAIMS),
            **{
                name.replace(" ", "_"): counts.count(name)
                for name in ("supported", "contradicted", MIXED, "inconclusive", NO_RUN)
            },
            "results_unread": unread,
        },
        tables={"claims": _claims_table(by_id), "results": _results_table(ordered)},
        claims=tuple(one.claim for one in ordered),
        provenance=collect_provenance(seeds=[], inputs={}, wall_seconds={}),
    )


def _claims_table(by_id: dict[str, list[Judged]]) -> Table:
    columns = (
        Column("id", "Claim"),
        Column("statement", "What it says"),
        Column("standing", "Standing"),
        Column("results", "Results"),
        Column("commands", "Commands that judge it"),
    )
    rows = tuple(
        (
            known.id, known.statement, standing(by_id[known.id]), len(by_id[known.id]),
            "; ".join(known.commands),
        )
        for known in CLAIMS
    )  # fmt: skip
    return Table("The fifteen claims", columns, rows)


def _results_table(judged: Sequence[Judged]) -> Table:
    columns = (
        Column("id", "Claim"),
        Column("verdict", "Verdict"),
        Column("title", "Result"),
        Column("kind", "Kind"),
        Column("source", "Where it lies"),
        Column("commit", "Commit"),
        Column("command", "Command that made it"),
    )
    rows = tuple(
        (
            one.claim.id, one.claim.verdict, one.result.title, one.result.kind, one.source,
            str(one.result.provenance.get("git_commit") or "")[:10],
            str(one.result.provenance.get("command") or ""),
        )
        for one in judged
    )  # fmt: skip
    return Table("Results", columns, rows)
