"""What a benchmark measured, printed as a table and kept where TOKKIT_BENCHMARK_OUT says."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

from tokkit.results import _cpu_model, package_versions


def machine(**more: Any) -> dict[str, Any]:
    """The machine, and what else was the same for every row."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "date": time.strftime("%Y-%m-%d"),
        **more,
    }


def keep(name: str, title: str, text: str, about: dict[str, Any], rows: list[dict]) -> None:
    """Print the table; write NAME.json and NAME.md where TOKKIT_BENCHMARK_OUT says."""
    written = as_markdown(title, text, about, rows)
    print(f"\n{written}")
    if folder := os.environ.get("TOKKIT_BENCHMARK_OUT"):
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        record = {"machine": about, "rows": rows}
        (place / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
        (place / f"{name}.md").write_text(written)


def as_markdown(title: str, text: str, about: dict[str, Any], rows: list[dict]) -> str:
    where = (
        f"{about['cpu']}, {about['threads']} of {about['cores']} cores, Python {about['python']}, "
        f"{about['date']}."
    )
    lines = [f"# {title}", "", f"{where} {text}"]
    if rows:
        lines += ["", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        for row in rows:
            shown = [f"{c:,.2f}" if isinstance(c, float) else str(c) for c in row.values()]
            lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"
