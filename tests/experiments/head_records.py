"""A tiny run of the heads experiment, and tables planted as its verdicts read them."""

from dataclasses import replace

from tokkit.experiments.heads import profile
from tokkit.experiments.heads_findings import COSTS
from tokkit.experiments.heads_verdict import Found
from tokkit.results import Column, Table

TINY = replace(
    profile("quick"),
    width=16,
    heads=4,
    hidden_width=16,
    text="english",
    megabytes=0.3,
    vocab_size=300,
    length=16,
    rows=2,
    steps=6,
    windows=6,
)


def table(rows):
    """A table of records, all of the same keys."""
    names = list(rows[0]) if rows else []
    columns = tuple(Column(name, name) for name in names)
    return Table("planted", columns, tuple(tuple(row.values()) for row in rows))


def reading_rows(model, participation, *, width=64, head_width=8):
    null = 51.2
    return [
        {
            "model": model,
            "seed": 0,
            "layer": 0,
            "head": head,
            "map": name,
            "participation": participation,
            "slice": head_width,
            "null_mean": null,
            "width": width,
            "towards_null": (participation - head_width) / (null - head_width),
            "learned": 20.0,
        }
        for head in range(8)
        for name in ("query", "key", "value")
    ]


def rotation_row(model, **changed):
    row = {
        "model": model,
        "seed": 0,
        "rotated": 3e-15,
        "tolerance": 1e-9,
        "holds": True,
        "control": 1.4,
        "control_fails": True,
        "read_before": 45.0,
        "read_after": 50.0,
        "slice": 8,
        "reason": None,
    }
    return row | changed


def planted(
    *,
    free=45.0,
    sliced=8.0,
    given=None,
    costs=(0.1, 0.05, 0.05, 0.08),
    half=0.02,
    kv_costs=(0.01, 0.02, 0.025),
    cache=(4096, 2048, 1024, 512),
    rotation=(),
    bits=2.0,
    **changed,
):
    """What a run would have found: estimates as told, with intervals of `half` to each side."""
    reading = reading_rows("free", free) + reading_rows("slices", sliced)
    if given is not None:
        reading += reading_rows("given", given)
    arms = ("free", "kv-4", "kv-2", "kv-1")
    kept = [
        {
            "arm": arm,
            "key_value_heads": heads,
            "tokens": 128,
            "cache_bytes": held,
            "agree": True,
            "times_less": cache[0] / held,
            "cost": cost,
            "cost_low": None if cost is None else cost - half,
            "cost_high": None if cost is None else cost + half,
            "p_holm": None,
        }
        for arm, heads, held, cost in zip(arms, (8, 4, 2, 1), cache, (None, *kv_costs), strict=True)
    ]
    llama = [
        {"key_value_heads": heads, "bytes_a_token": size, "allocated_bytes_a_token": size}
        for heads, size in ((64, 2_621_440), (8, 327_680))
    ]
    tables = {
        "reading": table(reading),
        "joined": table([{"model": "free", "outside": 0.25, "null_mean": 0.3}]),
        "overlaps": table(
            [
                {
                    "model": "free",
                    "overlap": 0.13,
                    "null_mean": 0.125,
                    "same_coordinates": 0.8,
                    "same_null": 0.8,
                }
            ]
        ),
        "rotation": table([rotation_row("free"), rotation_row("slices"), *rotation]),
        "arms": table([{"arm": "free", "bits_per_byte": bits}]),
        "costs": table(
            [
                {
                    "first": first,
                    "second": second,
                    "cost_of": what,
                    "difference": cost,
                    "low": cost - half,
                    "high": cost + half,
                    "seeds": 6,
                    "p_holm": 0.1,
                }
                for (first, second, what), cost in zip(COSTS, costs, strict=True)
            ]
        ),
        "cache": table(kept),
        "llama": table(llama),
    }
    settings = {"unigram": 4.0, "seeds": 6, "heads": 8, "masks_kept": 1.0, "learned": 1.0}
    return Found(tables=tables, **(settings | changed))
