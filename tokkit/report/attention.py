"""The page of analysis.attention."""

from __future__ import annotations

from tokkit.report.generic import build

KIND = "analysis.attention"

__all__ = ["KIND", "build"]
