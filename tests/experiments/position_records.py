"""A tiny run of the positions experiment, and answers planted in its folder."""

from dataclasses import replace

import numpy as np

from tokkit.experiments.position_asking import PLACES
from tokkit.experiments.position_schemes import BLIND, LENGTHS, SCALINGS, SCHEMES
from tokkit.experiments.position_tasks import CONTROL_TASK, ORDER_TASKS, TASKS
from tokkit.experiments.position_text import prepare_text
from tokkit.experiments.positions import measured_path, profile
from tokkit.files import write_json

TINY = replace(
    profile("quick"),
    text="english",
    megabytes=0.5,
    vocab_size=300,
    text_length=16,
    text_rows=2,
    text_steps=8,
    windows=5,
    order_steps=8,
    order_rows=10,
    questions=6,
    curve_points=2,
    curve_questions=10,
    width=16,
    hidden_width=16,
)
PLANTED = replace(TINY, seeds=8, questions=60, windows=12)


def prepare_tiny(folder, config):
    prepare_text(
        folder,
        source=config.text,
        megabytes=config.megabytes,
        vocab_size=config.vocab_size,
        trained=config.text_length,
        windows=config.windows,
    )


def plant(folder, config, *, order, control=None, change=None, nats=60.0, unchanged=1.0):
    """Answers of models that are right as often as told.

    `order` and `control` map schemes to accuracies (0.97 where not named), `change` to the nats a
    window that each trained length more costs (0 where not named).
    """
    chance = np.random.default_rng(5)
    for scheme in (*SCHEMES, BLIND):
        arms = [scheme, *(SCALINGS if scheme == "rotary" else ())]
        for seed in range(config.seeds):
            rates = dict.fromkeys(ORDER_TASKS, order.get(scheme, 0.97))
            rates[CONTROL_TASK] = (control or {}).get(scheme, 0.97)
            found = {arm: _order_answers(config, scheme, rates, chance) for arm in arms}
            record = {"arms": found, "unchanged": unchanged, "training_seconds": 1.0}
            write_json(measured_path(folder, "order", scheme, seed), record)
            if scheme != BLIND:
                slope = (change or {}).get(scheme, 0.0)
                arms_of = {arm: _text_answers(config, scheme, slope, nats, chance) for arm in arms}
                record = {"arms": arms_of, "training_seconds": 1.0}
                write_json(measured_path(folder, "text", scheme, seed), record)


def _asked(scheme, length):
    return length == 1 or scheme == BLIND or SCHEMES[scheme].beyond


def _order_answers(config, scheme, rates, chance):
    def marks(task):
        return "".join("01"[int(x)] for x in chance.random(config.questions) < rates[task])

    return {
        str(length): {task: marks(task) for task in TASKS} if _asked(scheme, length) else None
        for length in LENGTHS
    }


def _text_answers(config, scheme, slope, nats, chance):
    base = nats / 8 + chance.normal(0, 0.05, config.windows)
    matched = {
        str(length): {
            "nats": (base + slope * (length - 1)).tolist(),
            "right": [2.0] * config.windows,
        }
        if _asked(scheme, length)
        else None
        for length in LENGTHS
    }
    of_window = (nats + chance.normal(0, 0.05, config.windows)).tolist()
    return {
        "matched": matched,
        "by_place": [nats / 4 if SCHEMES[scheme].beyond or p < 8 else None for p in range(PLACES)],
        "trained": {"nats": of_window, "right": [20.0] * config.windows},
    }
