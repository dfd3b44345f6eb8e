"""The result record of a run on text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tokkit.results import Column, Result, Table, collect_provenance
from tokkit.training.loop import Line, read_metrics
from tokkit.training.processes import Processes
from tokkit.training.run_folder import TRAINING_FOLDER, best_line
from tokkit.training.text_data import TextConfig, TextData

KIND = "model.train"


def text_result(
    place: Path,
    config: TextConfig,
    data: TextData,
    parameters: int,
    processes: Processes,
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> Result:
    """What the run found; `seconds` are the wall seconds of this start, stage by stage."""
    lines = read_metrics(place / TRAINING_FOLDER)
    evaluated = [line for line in lines if line.get("evaluation")]
    last = evaluated[-1]["evaluation"] if evaluated else {}
    best = best_line(lines) if evaluated else None
    tokens_a_step = config.sequences * config.model.context
    values = {
        "parameters": parameters,
        "steps": config.training.steps,
        "tokens_a_step": tokens_a_step,
        "epochs": config.training.steps * config.sequences / len(data.training),
        "training_loss": lines[-1]["loss"],
        "validation_loss": last.get("loss"),
        "bits_per_byte": last.get("bits_per_byte"),
        "unigram_bits_per_byte": data.unigram_bits_per_byte,
        "best_step": None if best is None else best["step"],
        "best_bits_per_byte": None if best is None else best["evaluation"]["bits_per_byte"],
        "documents": len(data.corpus.text_bytes),
        "validation_documents": 0 if data.validation is None else len(data.validation.documents),
        "validation_bytes": data.validation_bytes,
        "training_tokens": data.training.tokens,
        "validation_tokens": 0 if data.validation is None else data.validation.tokens,
        "processes": processes.count,
        "threads": torch.get_num_threads(),
    }
    inputs = {"tokenizer.json": settings["tokenizer_sha256"], "corpus": data.corpus.digest}
    return Result(
        kind=KIND,
        title="Training on text",
        settings=settings,
        values=values,
        tables=_tables(lines, evaluated),
        claims=(),
        provenance=collect_provenance(
            seeds=[config.seed],
            inputs=inputs,
            wall_seconds=seconds,
            device=str(processes.device),
        ),
    )


def _tables(lines: Sequence[Line], evaluated: Sequence[Line]) -> dict[str, Table]:
    """The loss of every line of metrics, and what each evaluation found."""
    step = Column("step", "Step", "steps")
    curve = tuple((line["step"], line["loss"], line["learning_rate"]) for line in lines)
    points = tuple(
        (line["step"], line["evaluation"]["loss"], line["evaluation"]["bits_per_byte"])
        for line in evaluated
    )
    return {
        "curve": Table(
            "Loss while training",
            (step, Column("loss", "Loss", "nats"), Column("learning_rate", "Learning rate")),
            curve,
        ),
        "evaluations": Table(
            "Validation",
            (step, Column("loss", "Loss", "nats"), Column("bits_per_byte", "Bits per byte")),
            points,
        ),
    }
