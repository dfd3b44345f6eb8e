"""The page of experiment.heads."""

from __future__ import annotations

from tokkit.report.generic import build

KIND = "experiment.heads"

__all__ = ["KIND", "build"]
