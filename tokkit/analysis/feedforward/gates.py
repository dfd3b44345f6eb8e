"""The two parts of a gated hidden, act(gate) x up, at the tokens that excite each unit.

Source of the form: Shazeer 2020. M units, k exciting tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokkit.analysis.feedforward.reading import LayerReading
from tokkit.results import Column, Table


def gate_table(layers: Sequence[LayerReading]) -> Table | None:
    """A row a gated layer; None where no layer is gated."""
    rows = tuple(_row(layer) for layer in layers if layer.gate is not None)
    columns = (
        Column("layer", "Layer"),
        Column("units", "Units"),
        Column("positive", "Units excited by positive products", "proportion"),
        Column("negative", "... by negative products", "proportion"),
        Column("mixed", "... by both alike", "proportion"),
        Column("gate_open", "Exciting tokens with the gate above zero", "proportion"),
        Column("up_negative", "... with up below zero", "proportion"),
        Column("gate_times", "Gate there, times its usual size", "times"),
        Column("up_times", "Up there, times its usual size", "times"),
        Column("gate_larger", "Tokens where the gate is more above its usual size", "proportion"),
    )
    return Table("Gate and up at exciting tokens", columns, rows) if rows else None


def _row(layer: LayerReading) -> tuple[float | int, ...]:
    assert layer.gate is not None
    assert layer.gate_rms is not None
    positive = (layer.hidden > 0).mean(1)
    gate = np.abs(layer.gate) / np.maximum(layer.gate_rms, 1e-30)[:, None]
    up = np.abs(layer.up) / np.maximum(layer.up_rms, 1e-30)[:, None]
    return (
        layer.layer, len(positive), float((positive > 0.5).mean()), float((positive < 0.5).mean()),
        float((positive == 0.5).mean()), float((layer.gate > 0).mean()),
        float((layer.up < 0).mean()), float(np.median(gate)), float(np.median(up)),
        float((gate > up).mean()),
    )  # fmt: skip
