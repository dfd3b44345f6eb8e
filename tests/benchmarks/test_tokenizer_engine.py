"""The tokenizer engine beside its peers: seconds, memory, ratios with spread. Nothing is asserted
but that the work was done.

make bench ARGS=tests/benchmarks/test_tokenizer_engine.py; the peers come with the extra `bench`.
Every measurement runs in a process of its own, the libraries in turn within each round, so that a
slow minute of the machine hits all of them; ratios are taken within a round. The table is written
to reports/benchmarks/tokenizer.{json,md}. Sizes are set by TOKKIT_BENCH_MB (default 100) and
TOKKIT_BENCH_LARGE_MB (default 1000, 0 leaves the large run out).
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np
import pytest

from tokkit.results import _cpu_model, package_versions

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
PEERS = Path(__file__).with_name("peers.py")
MEGABYTES = int(os.environ.get("TOKKIT_BENCH_MB", "100"))
LARGE_MEGABYTES = int(os.environ.get("TOKKIT_BENCH_LARGE_MB", "1000"))
MERGES = 32_000
ROUNDS = int(os.environ.get("TOKKIT_BENCH_ROUNDS", "3"))
FILES = 16


@pytest.fixture(scope="module")
def source() -> bytes:
    """Source code of the standard library and of what is installed, each file once."""
    roots = [sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["purelib"]]
    seen: set[int] = set()
    parts, size = [], 0
    for root in roots:
        for path in sorted(Path(root).rglob("*.py")):
            data = path.read_bytes()
            if hash(data) in seen:
                continue
            try:
                data.decode()
            except UnicodeDecodeError:
                continue
            seen.add(hash(data))
            parts.append(data)
            size += len(data)
            if size >= MEGABYTES * 1_000_000:
                return b"".join(parts)[: MEGABYTES * 1_000_000].rsplit(b"\n", 1)[0]
    return b"".join(parts)


def written(folder: Path, text: bytes) -> list[str]:
    """The text in files of about equal size, cut at line ends."""
    files, start = [], 0
    for number in range(FILES):
        end = text.find(b"\n", len(text) * (number + 1) // FILES)
        end = len(text) if number == FILES - 1 or end < 0 else end + 1
        path = folder / f"{number:02d}.txt"
        path.write_bytes(text[start:end] or b" ")
        files.append(str(path))
        start = end
    return files


def measured(*words: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, str(PEERS), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
        return {"error": lines[-1][:200]}
    return json.loads(done.stdout.strip().splitlines()[-1])


def side_by_side(task: str, names: list[str], argument: str, files: list[str], megabytes: float):
    """Rows of a table: each library's seconds, rate, memory, and its time as a multiple of ours."""
    present = [name for name in names if importlib.util.find_spec(name)]
    rounds = [
        {name: measured(task, name, argument, *files) for name in present} for _ in range(ROUNDS)
    ]
    rows = []
    for name in names:
        runs = [turn[name] for turn in rounds if name in turn]
        faults = [run["error"] for run in runs if "error" in run] or (
            [] if runs else ["not installed"]
        )
        if faults:
            rows.append({"library": name, "reason": faults[0]})
            continue
        ratios = [turn[name]["seconds"] / turn["tokkit"]["seconds"] for turn in rounds]
        rows.append(
            {
                "library": name,
                "seconds": statistics.median(run["seconds"] for run in runs),
                "megabytes_a_second": megabytes / statistics.median(run["seconds"] for run in runs),
                "times_tokkit": statistics.median(ratios),
                "times_tokkit_lowest": min(ratios),
                "times_tokkit_highest": max(ratios),
                "peak_mib": statistics.median(run["peak_kib"] for run in runs) / 1024,
                "made": {k: v for k, v in runs[0].items() if k in ("merges", "tokens", "distinct")},
            }
        )
    return rows


def keep(section: str, value: object) -> None:
    """Put a section into the report, and write it as JSON and as Markdown."""
    REPORT.mkdir(parents=True, exist_ok=True)
    path = REPORT / "tokenizer.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    report["machine"] = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "date": time.strftime("%Y-%m-%d"),
    }
    report[section] = value
    path.write_text(json.dumps(report, indent=2) + "\n")
    (REPORT / "tokenizer.md").write_text(as_markdown(report))
    print(f"\n{section}\n{json.dumps(value, indent=1)}")


def as_markdown(report: dict) -> str:
    machine = report["machine"]
    lines = [
        "# The tokenizer engine, measured",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"{machine['date']}. Medians; ratios are taken within each round, with the lowest and the "
        f"highest.",
    ]
    for section, value in report.items():
        if section == "machine":
            continue
        lines += ["", f"## {section}", ""]
        rows = value["rows"] if isinstance(value, dict) else value
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines += ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        for row in rows:
            cells = [row.get(name, "") for name in names]
            shown = [f"{cell:,.2f}" if isinstance(cell, float) else str(cell) for cell in cells]
            lines.append("| " + " | ".join(shown) + " |")
        if isinstance(value, dict):
            lines += ["", value["note"]]
    return "\n".join(lines) + "\n"


def test_training(source, tmp_path):
    files = written(tmp_path, source)
    names = ["tokkit", "gigabpe", "gigatoken", "rustbpe", "bpeasy", "tokenizers"]
    rows = side_by_side("train", names, str(MERGES), files, len(source) / 1e6)
    keep(f"training {MEGABYTES} MB to {MERGES:,} tokens (gpt2)", rows)
    assert "seconds" in rows[0]


def test_encoding(source, tmp_path):
    from tokkit.tokenizer.from_files import TrainingOptions, train_from_files

    files = written(tmp_path, source)
    tokenizer = tmp_path / "t" / "tokenizer.json"
    train_from_files(files, tokenizer, TrainingOptions(MERGES))
    names = ["tokkit", "gigatoken", "tokie", "kitoken", "tiktoken", "tokenizers"]
    rows = side_by_side("encode", names, str(tokenizer), files, len(source) / 1e6)
    keep(f"encoding {MEGABYTES} MB to disk ({MERGES:,} tokens, gpt2)", rows)
    assert "seconds" in rows[0]


def test_sweep_costs_little_more(source, tmp_path):
    from tokkit.tokenizer.counting import count
    from tokkit.tokenizer.learning import LearningOptions, learn

    files = written(tmp_path, source)
    sizes = [1000, 2000, 4000, 6000, 8000, 12000, 16000, 24000]
    rows = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        table = count(files, "gpt2", by_blocks=False)
        learned = learn(table.data, table.offsets, table.totals, LearningOptions(MERGES))
        merges = learned.merges
        trained = time.perf_counter()
        smaller = [learned.merges_at(size) for size in sizes]
        swept = time.perf_counter()
        rows.append(
            {
                "train_seconds": trained - started,
                "sweep_seconds": swept - trained,
                "share": (swept - trained) / (trained - started),
            }
        )
        assert [len(merges) for merges in smaller] == [size - 256 for size in sizes]
        assert all(merges[: len(part)] == part for part in smaller[:1])
    keep("eight smaller sizes from the same training", rows[1:])


def test_audit_of_five(source, tmp_path):
    from tokkit.tokenizer.audit import audit
    from tokkit.tokenizer.counting import count
    from tokkit.tokenizer.learning import LearningOptions, learn
    from tokkit.tokenizer.train import assemble

    files = written(tmp_path, source)
    table = count(files)
    tokenizers = {}
    for name in ("gpt2", "cl100k", "o200k", "qwen2", "deepseek-v3"):
        own = table.split(name)
        learned = learn(own.data, own.offsets, own.totals, LearningOptions(MERGES))
        tokenizers[name] = assemble(learned.merges, pretokenizer=name)
    audit(tokenizers, count(files[:1]))
    rows = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        table = count(files)
        counted = time.perf_counter()
        audit(tokenizers, table)
        audited = time.perf_counter()
        rows.append(
            {
                "count_seconds": counted - started,
                "audit_seconds": audited - counted,
                "audit_over_count": (audited - counted) / (counted - started),
                "all_over_count": (audited - started) / (counted - started),
            }
        )
    keep(f"audit of five tokenizers on {MEGABYTES} MB, 1,000 resamples", rows)
    assert len(rows) == ROUNDS


def test_cost_against_size(source, tmp_path):
    rows = []
    for megabytes in (1, 10, 100, *([LARGE_MEGABYTES] if LARGE_MEGABYTES else [])):
        folder = tmp_path / str(megabytes)
        folder.mkdir()
        wanted = megabytes * 1_000_000
        # Past the text at hand, copies whose words differ, so that distinct pretokens grow on.
        text = source[:wanted]
        copies = [text]
        while sum(map(len, copies)) < wanted:
            copies.append(source.translate(shifted(len(copies))))
        files = written(folder, b"".join(copies)[:wanted])
        del copies
        run = measured("train", "tokkit", str(MERGES), *files)
        rows.append({"megabytes": megabytes, **run})
        for file in files:
            Path(file).unlink()
    done = [row for row in rows if "seconds" in row]
    slope = np.polyfit(
        np.log([row["megabytes"] for row in done]), np.log([row["seconds"] for row in done]), 1
    )[0]
    keep("cost against size", {"rows": rows, "note": f"Fitted exponent: seconds ~ MB^{slope:.2f}."})
    assert len(done) == len(rows)


def shifted(by: int) -> bytes:
    """A table that moves the small letters on by so many, so that other words come out."""
    table = bytearray(range(256))
    for letter in range(26):
        table[97 + letter] = 97 + (letter + by) % 26
    return bytes(table)
