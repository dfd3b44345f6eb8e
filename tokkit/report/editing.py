"""The page of analysis.editing."""

from __future__ import annotations

from tokkit.report.generic import build

KIND = "analysis.editing"

__all__ = ["KIND", "build"]
