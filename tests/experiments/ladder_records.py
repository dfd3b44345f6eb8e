"""A tiny run of the ladder, and measurements planted in its folder."""

import shutil
import tempfile
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from tokkit.experiments import ladder
from tokkit.experiments.ladder_costs import COSTS
from tokkit.experiments.ladder_rungs import BASE
from tokkit.experiments.position_text import load_text
from tokkit.experiments.text_arms import measured_path, prepare_arms_text
from tokkit.files import write_json

TINY = replace(
    ladder.profile("quick"),
    width=16,
    layers=1,
    heads=2,
    text="english",
    megabytes=0.2,
    vocab_size=300,
    length=16,
    rows=2,
    steps=4,
    warmup_steps=2,
    windows=12,
    rates=(1e-3, 4e-3, 1e-2),
    higher_rates=(0.1, 0.4),
    timing_rounds=2,
    timing_steps=1,
)
PLANTED = replace(TINY, seeds=8)
BEST = 4e-3


@lru_cache(maxsize=1)
def _prepared():
    folder = tempfile.TemporaryDirectory()
    prepare_arms_text(Path(folder.name), TINY.text_settings())
    return folder  # kept, so that it is there until the process ends


def prepare_tiny(folder):
    """The text of TINY below a folder, learned once a process."""
    shutil.copytree(Path(_prepared().name) / "text", Path(folder) / "text")
    return Path(folder)


def plant(folder, config=PLANTED, *, bits=None, spread=0.01, diverged=(), lost=(), best=None):
    """Measurements of models that spend as many bits per byte as told (2 where not named).

    `bits` maps rungs to bits per byte; `diverged` and `lost` are (rung, rate) pairs that end
    without a loss, and at one above the unigram's; `best` maps rungs to their best rate.
    """
    chance = np.random.default_rng(5)
    text = load_text(folder)
    size = text.token_bytes[text.windows[:, 1:]].sum(1)

    def write(arm, value, noise=0.0):
        for seed in arm.seeds:
            near = value + chance.normal(0, noise) + chance.normal(0, noise, len(size))
            record = {"diverged": False, "nats": (near * np.log(2) * size).tolist(),
                      "bytes": size.tolist()}  # fmt: skip
            write_json(measured_path(folder, arm.name, seed), record)

    bits = bits or {}
    for rung in config.rungs():
        of_best = (best or {}).get(rung.name, BEST)
        for rate in (*config.rates, *config.higher_rates):
            arm = ladder.tuning_arm(rung, rate, config)
            lost_here = (rung.name, rate) in lost
            write(arm, 99.0 if lost_here else 2.0 + abs(np.log(rate / of_best)) / 100)
            if (rung.name, rate) in diverged:
                for seed in arm.seeds:
                    write_json(measured_path(folder, arm.name, seed), {"diverged": True})
        write(ladder.final_arm(rung, of_best, config), bits.get(rung.name, 2.0), spread)
        if rung.name == BASE:
            write(ladder.null_arm(rung, of_best, config), bits.get("null", 2.0), spread)
    write_json(folder / "measured" / COSTS, {rung.name: _costs(rung) for rung in config.rungs()})


def _costs(rung):
    slow = 2.0 if rung.config.experts else 1.0
    return {
        "seconds": [slow * 0.01, slow * 0.011],
        "parameter_bytes": 400,
        "optimizer_bytes": 800,
        "activation_bytes": 1000,
        "cache_bytes_per_token": 8.0 * rung.config.key_value_heads,
    }
