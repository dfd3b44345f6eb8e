"""Made-up records of the strawberry experiment: plausible, and hostile where asked."""

import math
import random
from typing import Any

from tokkit.results import Claim, Column, Control, Evidence, Result, Table

ARMS = {
    "bpe": ("hidden", "short", "the word's BPE tokens"),
    "opaque": ("hidden", "long", "each k-letter token becomes k sub-ids of its own"),
    "letters": ("visible", "short", "BPE tokens, plus a learned sum of their letters"),
    "char": ("visible", "long", "one token a letter"),
    "placebo": ("wrong", "short", "as letters, but with the letters of another token"),
}
MEASURES = ("count A", "count R", "count C", "spelled A", "spelled C", "items")
ON_C = {"bpe": 0.517, "opaque": 0.494, "letters": 0.958, "char": 0.995, "placebo": 0.547}
BASELINE = {"count A": 0.41, "count R": 0.42, "count C": 0.403}
SHARE = "proportion"
HOSTILE = "<script>alert(1)</script>|\n**x** [a](javascript:b) \u202eRTL $x^2$ & `c`"


def column(name: str, unit: str = "") -> Column:
    return Column(name, name.replace("_", " ").capitalize(), unit)


def table(title: str, names: str, rows: list[tuple[Any, ...]], **units: str) -> Table:
    columns = tuple(column(name, units.get(name, "")) for name in names.split())
    return Table(title, columns, tuple(rows))


def level(arm: str, measure: str) -> float:
    if measure == "count C":
        return ON_C[arm]
    if measure == "count R":
        return min(0.995, ON_C[arm] + 0.2)
    return {"count A": 0.985, "spelled A": 0.99, "spelled C": 0.975, "items": 0.965}[measure]


def bounds(share: float, n: int) -> tuple[float, float]:
    half = 1.96 * math.sqrt(share * (1 - share) / n) + 0.004
    return max(0.0, share - half), min(1.0, share + half)


def accuracy_table() -> Table:
    rows: list[tuple[Any, ...]] = []
    for arm in ARMS:
        for measure in MEASURES:
            share = level(arm, measure) + 0.0001 * len(arm)
            low, high = bounds(share, 1200)
            base = BASELINE.get(measure, 0.25)
            skill = [(value - base) / (1 - base) for value in (share, low, high)]
            rows.append((arm, measure, 1200, 2, share, low, high, base, *skill))
    names = "arm measure n seeds accuracy low high baseline skill skill_low skill_high"
    shares = dict.fromkeys(
        ["accuracy", "low", "high", "baseline", "skill", "skill_low", "skill_high"], SHARE
    )
    return table("Accuracy by arm and measure", names, rows, **shares)


def curves_table(seeds: int, noise: random.Random) -> Table:
    rows: list[tuple[Any, ...]] = []
    for arm in ARMS:
        for seed in range(seeds):
            for step in range(100, 1700, 100):
                grown = 1 / (1 + math.exp(-(step - 600 - 40 * seed) / 120))
                for measure in ("count A", "count C", "spelled C", "items"):
                    share = 0.3 + (level(arm, measure) - 0.3) * grown + noise.uniform(-0.02, 0.02)
                    rows.append((arm, seed, step, measure, min(1.0, share)))
                rows.append((arm, seed, step, "loss", 2.2 * (1 - grown) + 0.05 * len(arm)))
    return table("Learning curves", "arm seed step measure accuracy", rows)


def confusion_table() -> Table:
    rows = []
    for arm in ARMS:
        right = round(300 * ON_C[arm])
        for truth in range(4):
            near = 1 if truth == 0 else truth - 1
            other = (300 - right) // 20
            rows += [
                (arm, "count C", truth, str(truth), right),
                (arm, "count C", truth, str(near), 300 - right - other),
                (arm, "count C", truth, "other", other),
            ]
    return table("Truth and answer", "arm measure truth answer n", rows)


def by_table(name: str, places: range, slope: float) -> Table:
    rows = []
    for arm in ARMS:
        for place in places:
            drop = slope * (place - places[0]) * (1 - level(arm, "count C"))
            share = max(0.02, min(1.0, level(arm, "count C") + 0.1 * (1 - ON_C[arm]) - drop))
            rows.append((arm, "count C", place, 170, share, *bounds(share, 170)))
    return table(
        f"By {name}", f"arm measure {name} n accuracy low high", rows,
        accuracy=SHARE, low=SHARE, high=SHARE,
    )  # fmt: skip


def rescue_table() -> Table:
    rows: list[tuple[Any, ...]] = []
    for arm in ARMS:
        both = round(1200 * ON_C[arm] * 0.98)
        only_word = round(1200 * ON_C[arm]) - both
        only_spelled = round(1200 * 0.975) - both
        gain = (only_spelled - only_word) / 1200
        neither = 1200 - both - only_word - only_spelled
        p = 1e-12 if gain > 0.05 else 0.0231
        rows.append(
            (arm, 1200, both, only_spelled, only_word, neither, gain, gain - 0.02, gain + 0.02, p)
        )
    names = "arm n both only_spelled only_word neither gain low high p"
    difference = "proportion difference"
    return table("Rescue", names, rows, gain=difference, low=difference, high=difference)


def effects_table() -> Table:
    difference = "proportion difference"
    rows: list[tuple[Any, ...]] = [
        ("visibility", "Letters visible against hidden, on C", 0.471, 0.44, 0.50,
         "permutation over seeds", 0.0004, 0.0016, 12),
        ("length", "Long against short sequences, on C", 0.007, -0.02, 0.03,
         "permutation over seeds", 0.61, 0.61, 12),
        ("placebo", "Placebo against bpe, on C", 0.03, None, None, None, None, None, 6),
    ]  # fmt: skip
    names = "name statement estimate low high test p p_holm n"
    return table("Effects", names, rows, estimate=difference, low=difference, high=difference)


def strawberry_table(seeds: int) -> Table:
    question = "How many r's are in strawberry?"
    rows: list[tuple[Any, ...]] = []
    for arm in ARMS:
        for seed in range(seeds):
            right = ON_C[arm] > 0.9
            answer = "3" if right else ("2" if seed else "1")
            rows.append((arm, seed, question, answer, 3, right, 0.62 + 0.05 * seed))
    return table("The question", "arm seed question answer truth correct probability", rows)


def chips(arm: str) -> list[dict[str, Any]]:
    pieces = {"straw": "plumb", "berry": "thing"}
    letters = ARMS[arm][0]
    if arm == "char":
        return [
            {"text": c, "ids": [ord(c)], "letters": "visible", "shown": c} for c in "strawberry"
        ]
    made = []
    for place, (piece, other) in enumerate(pieces.items()):
        ids = [2100 + 10 * place + k for k in range(5)] if arm == "opaque" else [812 + 90 * place]
        shown = other if letters == "wrong" else piece
        made.append({"text": piece, "ids": ids, "letters": letters, "shown": shown})
    return made


CLAIM = Claim(
    id="counting-is-tokenization",
    statement="Letter-counting failures come from hidden letters, not from an inability to count.",
    verdict="supported",
    rule="supported when the effect of visibility is positive, p_holm < .05, all controls hold",
    evidence=(
        Evidence("visible minus hidden, count C", 0.471, "proportion difference", 0.44, 0.5, 12,
                 "permutation over seeds", 0.0016),
        Evidence("spelled C, bpe", 0.975, SHARE, 0.961, 0.985, 1200),
        Evidence("not computed", None, SHARE),
    ),
    controls=(
        Control("char on count C", 0.995, 0.95, holds=True),
        Control("items, bpe", 0.87, 0.9, holds=False),
    ),
    limits=("It does not show that every miscount of every model comes from tokenization.",),
)  # fmt: skip


def strawberry_result(seeds: int = 2) -> Result:
    """A whole record with five arms."""
    noise = random.Random(7)
    return Result(
        kind="experiment.strawberry",
        title="Why the model cannot count the r's in strawberry",
        settings={
            "profile": "quick",
            "arms": list(ARMS),
            "seeds": list(range(seeds)),
            "vocab_size": 4000,
            "steps": 1600,
            "batch_questions": 192,
            "model": {"width": 64, "layers": 2, "heads": 4, "positions": "rope"},
        },
        values={
            "question": "How many r's are in strawberry?",
            "truth": 3,
            "arms": {
                arm: {"letters": letters, "length": length, "how": how}
                for arm, (letters, length, how) in ARMS.items()
            },
            "chips": {arm: chips(arm) for arm in ARMS},
            "splits": {name: {"words": 900, "questions": 1200} for name in "ARC"},
            "chance": {"majority": 0.25},
        },
        tables={
            "accuracy": accuracy_table(),
            "curves": curves_table(seeds, noise),
            "confusion": confusion_table(),
            "by_length": by_table("letters", range(4, 11), 0.1),
            "by_tokens": by_table("tokens", range(1, 5), 0.15),
            "by_count": by_table("truth", range(4), 0.3),
            "strawberry": strawberry_table(seeds),
            "rescue": rescue_table(),
            "effects": effects_table(),
        },
        claims=(CLAIM,),
        provenance={
            "tokkit_version": "0.1.0",
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "git_dirty": True,
            "command": "tokkit experiment strawberry --quick",
            "packages": {"torch": "2.13.0", "numpy": "2.1.0"},
            "wall_seconds": {"train": 201.5, "evaluate": 12.25},
        },
    )
