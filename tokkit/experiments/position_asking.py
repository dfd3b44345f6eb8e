"""Asking a trained model of the positions experiment everything, at every length.

What a model answers is kept a question, or a window, at a time, so that intervals and tests can
pair the schemes by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tokkit.experiments.position_schemes import (
    BLIND,
    LENGTHS,
    SCALINGS,
    SCHEMES,
    scaled_config,
)
from tokkit.experiments.position_tasks import (
    CONTROL_TASK,
    ORDER_TASKS,
    TASKS,
    Ids,
    Questions,
    draw,
    shuffled,
)
from tokkit.experiments.position_text import (
    Text,
    matched_rows,
    score,
    text_tokens,
    trained_rows,
)

if TYPE_CHECKING:
    from tokkit.experiments.positions import PositionsConfig
    from tokkit.model.transformer import Transformer
    from tokkit.training.objective import Batch

# Seeds of what is drawn once and is the same for every scheme and seed; training draws others.
_ASKED_SEED, _CURVE_SEED, _SHUFFLE_SEED = 10_000_001, 10_000_002, 10_000_003
PLACES = 32
"""Stretches of a window over which the loss by place is averaged."""
_BATCH = 500


def order_batch(config: PositionsConfig, seed: int, step: int) -> Batch:
    """The questions of a step, drawn from seed and step alone."""
    import torch

    from tokkit.training.objective import Batch

    asked = draw(
        config.order_rows,
        np.random.default_rng([seed, step]),
        least=config.order_least,
        most=config.order_length,
    )
    ids, ends, answers = (torch.from_numpy(a) for a in (asked.ids, asked.ends, asked.answers))
    return Batch(ids, torch.arange(len(ids)), ends, answers)


def answers(model: Transformer, asked: Questions) -> Ids:
    """The likeliest token after each question: (N,)."""
    import torch

    found = []
    with torch.no_grad():
        for start in range(0, len(asked.ids), _BATCH):
            ids = torch.from_numpy(asked.ids[start : start + _BATCH])
            ends = torch.from_numpy(asked.ends[start : start + _BATCH])
            logits = model(ids, (torch.arange(len(ids)), ends))
            found.append(logits.argmax(1).numpy())
    return np.concatenate(found)


def asked_at(config: PositionsConfig, length: float) -> Questions:
    """The questions asked of every model, on lists of `length` trained lengths."""
    items = round(length * config.order_length)
    generator = np.random.default_rng([_ASKED_SEED, items])
    return draw(config.questions * len(TASKS), generator, least=items, most=items)


def order_accuracies(model: Transformer, config: PositionsConfig) -> dict[str, float]:
    """Accuracy of each task at the trained length, on a few questions: for the curve."""
    items = config.order_length
    asked = draw(
        config.curve_questions, np.random.default_rng(_CURVE_SEED), least=items, most=items
    )
    right, tasks = answers(model, asked) == asked.answers, np.array(asked.tasks)
    by_task = {task: float(right[tasks == task].mean()) for task in TASKS}
    order = float(np.mean([by_task[task] for task in ORDER_TASKS]))
    return {"order": order, CONTROL_TASK: by_task[CONTROL_TASK]}


def _arms(
    model: Transformer, scheme: str, trained: int
) -> Iterator[tuple[str, dict[float, Transformer | None]]]:
    """What is asked with these weights: the model at each length, None where it cannot be asked.

    A trained rotary model comes with its scaled forms, each scaled for the length at hand.
    """
    beyond = scheme == BLIND or SCHEMES[scheme].beyond
    yield scheme, {length: model if length == 1 or beyond else None for length in LENGTHS}
    if scheme == "rotary":
        for scaling in SCALINGS:
            yield scaling, {n: _scaled(model, scaling, n, trained) for n in LENGTHS}


def _scaled(model: Transformer, scaling: str, factor: float, trained: int) -> Transformer:
    from tokkit.model.transformer import Transformer

    config = scaled_config(model.config, scaling, factor, trained=trained)
    other = Transformer(config, seed=None)
    other.load_state_dict(model.state_dict())
    return other.eval()


def ask_order(model: Transformer, config: PositionsConfig, scheme: str) -> dict[str, Any]:
    """Right (1) and wrong (0) as a word of digits, by arm, length and task; null: cannot be asked.

    "unchanged" is the share of answers to order questions that stay when the lists are shuffled.
    """
    found: dict[str, Any] = {}
    for arm, by_length in _arms(model, scheme, config.order_tokens):
        found[arm] = {}
        for length, of in by_length.items():
            found[arm][str(length)] = None if of is None else _marks(of, asked_at(config, length))
    asked = asked_at(config, 1.0)
    other = shuffled(asked, np.random.default_rng(_SHUFFLE_SEED))
    of_order = np.array([task in ORDER_TASKS for task in asked.tasks])
    same = answers(model, asked) == answers(model, other)
    return {"arms": found, "unchanged": float(same[of_order].mean())}


def _marks(model: Transformer, asked: Questions) -> dict[str, str]:
    right, tasks = answers(model, asked) == asked.answers, np.array(asked.tasks)
    return {task: "".join("01"[int(one)] for one in right[tasks == task]) for task in TASKS}


def ask_text(
    model: Transformer, text: Text, config: PositionsConfig, scheme: str
) -> dict[str, Any]:
    """Nats and right answers of text tokens, summed over each window, by arm and length.

    "trained" scores every token in contexts as trained; "by_place" holds the nats of text tokens,
    summed over all windows, in each of `PLACES` stretches of the windows; null: cannot be asked.
    """
    trained, windows = config.text_length, text.windows
    found: dict[str, Any] = {}
    for arm, by_length in _arms(model, scheme, trained):
        matched: dict[str, Any] = {}
        by_place = None
        for length, of in by_length.items():
            if of is None:
                matched[str(length)] = None
                continue
            rows = matched_rows(windows, length, trained)
            whole = length == LENGTHS[-1]
            scored = rows.shape[1] - 1 if whole else trained // 2
            scores = score(of, rows, scored)
            told = text_tokens(text, rows[:, -scored:])
            last = slice(-(trained // 2), None)
            matched[str(length)] = {
                "nats": (scores.nats * told)[:, last].sum(1).tolist(),
                "right": (scores.right * told)[:, last].sum(1).tolist(),
            }
            if whole:
                by_place = (scores.nats * told).sum(0).reshape(PLACES, -1).sum(1).tolist()
        found[arm] = {"matched": matched, "by_place": by_place}
    rows = trained_rows(windows, trained)
    scores, told = score(model, rows, trained), text_tokens(text, rows[:, 1:])
    of_window = (len(windows), -1)
    own = found[scheme]
    own["trained"] = {
        "nats": (scores.nats * told).sum(1).reshape(of_window).sum(1).tolist(),
        "right": (scores.right * told).sum(1).reshape(of_window).sum(1).tolist(),
    }
    if own["by_place"] is None:  # within what is trained, from the windows' first stretch
        first = (scores.nats * told).reshape(*of_window, trained)[:, 0].sum(0)
        within = first.reshape(int(PLACES / LENGTHS[-1]), -1).sum(1).tolist()
        own["by_place"] = within + [None] * (PLACES - len(within))
    return {"arms": found}
