"""Logits of every family in tokkit and in transformers, side by side; ends in a Result.

    python tests/benchmarks/family_parity.py --out reports/families

Random weights made by transformers, read by tokkit, written again, and read by both. A control
tells one setting after another wrong: that must show far above the limit, or the small differences
would prove nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "model"))
import hf_models
import transformers

from tokkit.model.checkpoint import load_weights
from tokkit.model.families import FAMILIES, export_hf, load_hf
from tokkit.results import (
    Claim,
    Column,
    Control,
    Evidence,
    Result,
    Table,
    Verdict,
    collect_provenance,
    write_result,
)

LIMIT = hf_models.LIMIT
CONTROL = 100 * LIMIT
LEAST_SPREAD = 0.1
UNIT = "share of the logits' spread"
OF_SPREAD = "of spread"  # in the heads of tables
STATEMENT = (
    "GPT-2, Llama, Mistral, Mixtral, Gemma 1 to 3 and Qwen 2 and 3, dense and mixtures, are one "
    "transformer with other settings: it gives the logits of transformers' own classes for the "
    "same weights."
)
RULE = (
    f"Supported if every control holds and in every family the largest absolute difference of "
    f"logits, read from transformers' files and again after export, is at most {LIMIT:g} of their "
    "standard deviation in float32, and the exported weights come back bit for bit. Contradicted "
    "if every control holds and one of these does not. Inconclusive if a control fails."
)
LIMITS = (
    "Random weights at small sizes: that trained weights at full size agree follows from the "
    "same arithmetic, and is shown for SmolLM2 alone.",
    "Float32 on a CPU, without a cache: lower precision and generation are measured elsewhere.",
    "Parity is with one version of transformers, which is recorded; where that version departs "
    "from a model's paper, so does this.",
    "Text models only: of Gemma 3 the text part.",
)

Row = dict[str, Any]


@torch.no_grad()
def measure(case: str, seed: int, folder: Path) -> Row:
    """One model of one case: its differences in and out, and the least of the control's."""
    theirs, ids = hf_models.hf_model(case, seed), hf_models.some_text(seed + 1)
    wanted = hf_models.hf_logits(theirs, ids)
    theirs.save_pretrained(folder / "in")
    ours = load_hf(folder / "in")
    export_hf(ours, folder / "out", family=hf_models.family_name(case))
    weights, again = ours.state_dict(), load_hf(folder / "out").state_dict()
    wrong = {
        name: hf_models.difference(load_weights(config, weights.__getitem__)(ids), wanted)
        for name, config in hf_models.wrong_configs(ours.config).items()
    }
    least = min(wrong, key=lambda name: wrong[name])
    back = hf_models.hf_logits(hf_models.hf_read(folder / "out"), ids)
    return {
        "family": hf_models.family_name(case),
        "model": case,
        "seed": seed,
        "import": hf_models.difference(ours(ids), wanted),
        "export": hf_models.difference(back, wanted),
        "same_bits": all(torch.equal(weights[name], again[name]) for name in weights),
        "spread": float(wanted.std()),
        "settings_told_wrong": len(wrong),
        "least_wrong": wrong[least],
        "least_wrong_setting": least,
    }


def by_family(rows: Sequence[Row]) -> list[Row]:
    """The worst of each family's models."""
    found = []
    for name in FAMILIES:
        own = [row for row in rows if row["family"] == name]
        least = min(own, key=lambda row: row["least_wrong"])
        found.append(
            {
                "family": name,
                "models": len(own),
                "import": max(row["import"] for row in own),
                "export": max(row["export"] for row in own),
                "same_bits": all(row["same_bits"] for row in own),
                "spread": min(row["spread"] for row in own),
                "least_wrong": least["least_wrong"],
                "least_wrong_setting": least["least_wrong_setting"],
            }
        )
    return found


def verdict(controls: Sequence[Control], families: Sequence[Row]) -> Verdict:
    """Apply RULE."""
    if not all(control.holds for control in controls):
        return "inconclusive"
    worst = max(max(row["import"], row["export"]) for row in families)
    held = worst <= LIMIT and all(row["same_bits"] for row in families)
    return "supported" if held else "contradicted"


def claim(families: Sequence[Row]) -> Claim:
    """`one-skeleton`, with its evidence and its controls."""
    evidence, controls = [], []
    for row in families:
        for way, words in (("import", "read from transformers"), ("export", "written, read back")):
            evidence.append(Evidence(f"{row['family']}: {words}", row[way], UNIT, n=row["models"]))
        controls += [
            _control(
                f"{row['family']}: least, one setting told wrong", row["least_wrong"], CONTROL
            ),
            _control(f"{row['family']}: spread of the logits", row["spread"], LEAST_SPREAD),
        ]
    return Claim(
        id="one-skeleton",
        statement=STATEMENT,
        verdict=verdict(controls, families),
        rule=RULE,
        evidence=tuple(evidence),
        controls=tuple(controls),
        limits=LIMITS,
    )


def _control(name: str, value: float, minimum: float) -> Control:
    return Control(name, value, minimum, value >= minimum)


COLUMNS: Mapping[str, tuple[str, str]] = {
    "family": ("Family", ""),
    "model": ("Model", ""),
    "seed": ("Seed", ""),
    "models": ("Models", "models"),
    "import": ("Read from transformers", OF_SPREAD),
    "export": ("Written and read back", OF_SPREAD),
    "same_bits": ("Weights come back bit for bit", ""),
    "spread": ("Spread of the logits", "standard deviation"),
    "settings_told_wrong": ("Settings told wrong", "settings"),
    "least_wrong": ("Least, one setting told wrong", OF_SPREAD),
    "least_wrong_setting": ("Which setting", ""),
}


def _table(title: str, rows: Sequence[Row]) -> Table:
    columns = tuple(Column(name, *COLUMNS[name]) for name in rows[0])
    return Table(title, columns, tuple(tuple(row.values()) for row in rows))


def run(seeds: int, cases: Sequence[str]) -> Result:
    """Measure every case with every seed."""
    started = time.perf_counter()
    rows = []
    for case in cases:
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(case, seed, Path(folder)))
        sys.stderr.write(f"{case}: {max(row['import'] for row in rows[-seeds:]):.1e}\n")
    families = by_family(rows)
    return Result(
        kind="model.families",
        title="One skeleton, many families: logits beside transformers",
        settings={"seeds": seeds, "models": len(cases), "limit": LIMIT, "control": CONTROL},
        values={
            "transformers": transformers.__version__,
            "largest_import": max(row["import"] for row in families),
            "largest_export": max(row["export"] for row in families),
            "least_wrong": min(row["least_wrong"] for row in families),
        },
        tables={
            "families": _table("Largest difference of logits, by family", families),
            "models": _table("Every model", rows),
        },
        claims=(claim(families),),
        provenance=collect_provenance(
            seeds=range(seeds),
            inputs={},
            wall_seconds={"parity": time.perf_counter() - started},
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reports/families"))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)  # models this small are slower on more
    result = run(options.seeds, list(hf_models.MODELS))
    path = write_result(result, options.out)
    sys.stdout.write(f"{result.claims[0].verdict}: {path}\n")


if __name__ == "__main__":
    main()
