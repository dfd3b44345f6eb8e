"""The page of experiment.ladder."""

from __future__ import annotations

from tokkit.report.generic import build

KIND = "experiment.ladder"

__all__ = ["KIND", "build"]
