"""The page of analysis.feedforward."""

from __future__ import annotations

from tokkit.report.generic import build

KIND = "analysis.feedforward"

__all__ = ["KIND", "build"]
