"""The result record: what an experiment found, in one strict JSON file.

Every experiment and analysis ends in a `Result`; the report and the command line read nothing
else. Numbers carry their unit in their name, intervals stand beside estimates, and what could
not be computed is null with a reason beside it, never 0.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from tokkit import __version__
from tokkit.errors import ArtifactError
from tokkit.files import read_json, write_json

SCHEMA = "tokkit/1"
RESULT_FILE = "result.json"
Verdict = Literal["supported", "contradicted", "inconclusive"]
_Flat = TypeVar("_Flat", "Evidence", "Control", "Column")
_PACKAGES = ("numpy", "scipy", "scikit-learn", "torch", "tokenizers", "safetensors")


@dataclass(frozen=True, slots=True)
class Evidence:
    """One number behind a claim, with its interval, its sample size and its test."""

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    n: int | None = None
    test: str | None = None
    p: float | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """A condition that must hold for the run to mean anything."""

    name: str
    value: float | None
    minimum: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement, the verdict that a rule fixed beforehand gave it, and what it does not show."""

    id: str
    statement: str
    verdict: Verdict
    rule: str
    evidence: tuple[Evidence, ...]
    controls: tuple[Control, ...]
    limits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: `unit` is "" where the values are words."""

    name: str
    label: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of JSON scalars under named columns."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ArtifactError(
                    f"table {self.title!r} has {len(self.columns)} columns, "
                    f"but a row has {len(row)} values"
                )

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries, column name to value."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, slots=True)
class Result:
    """Everything one run found. `values` and `settings` hold JSON values only."""

    kind: str
    title: str
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    tables: Mapping[str, Table]
    claims: tuple[Claim, ...]
    provenance: Mapping[str, Any]
    figures: tuple[str, ...] = ()
    schema: str = field(default=SCHEMA)


def write_result(result: Result, folder: str | os.PathLike[str]) -> Path:
    """Write `result` to `folder`/result.json, atomically, as strict JSON; return its path."""
    path = Path(folder) / RESULT_FILE
    write_json(path, asdict(result))
    return path


def read_result(path: str | os.PathLike[str]) -> Result:
    """Read a result from a result.json or from the folder that holds one.

    Raises ArtifactError when the file is missing, is not strict JSON, or is not such a record.
    """
    source = Path(path)
    if source.is_dir():
        source = source / RESULT_FILE
        if not source.exists():
            raise ArtifactError(
                f"{source.parent} holds no {RESULT_FILE}: give the folder of a finished run"
            )
    record = read_json(source, what="result")
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ArtifactError(
            f"{source} is not a result of schema {SCHEMA!r}: give the result.json of a tokkit run"
        )
    try:
        return _parse_result(record)
    except KeyError as error:
        raise ArtifactError(
            f"{source} is not a whole result record ({error} is missing): run it again"
        ) from error
    except (TypeError, ValueError, ArtifactError) as error:
        raise ArtifactError(
            f"{source} is not a whole result record ({error}): run it again"
        ) from error


def _parse_result(record: Mapping[str, Any]) -> Result:
    tables = _expect(dict, record["tables"], "tables")
    return Result(
        kind=_expect(str, record["kind"], "kind"),
        title=_expect(str, record["title"], "title"),
        settings=_expect(dict, record["settings"], "settings"),
        values=_expect(dict, record["values"], "values"),
        tables={name: _parse_table(table) for name, table in tables.items()},
        claims=tuple(_parse_claim(claim) for claim in _expect(list, record["claims"], "claims")),
        provenance=_expect(dict, record["provenance"], "provenance"),
        figures=tuple(_parse_figure(name) for name in _expect(list, record["figures"], "figures")),
    )


def _parse_claim(raw: Any) -> Claim:
    claim = _expect(dict, raw, "claim")
    if claim["verdict"] not in get_args(Verdict):
        raise ValueError(f"verdict {claim['verdict']!r} is none of {get_args(Verdict)}")
    words = ("id", "statement", "verdict", "rule")
    return Claim(
        **{name: _expect(str, claim[name], name) for name in words},
        evidence=tuple(
            _parse_flat(Evidence, item) for item in _expect(list, claim["evidence"], "evidence")
        ),
        controls=tuple(
            _parse_flat(Control, item) for item in _expect(list, claim["controls"], "controls")
        ),
        limits=tuple(
            _expect(str, limit, "limit") for limit in _expect(list, claim["limits"], "limits")
        ),
    )


def _parse_table(raw: Any) -> Table:
    table = _expect(dict, raw, "table")
    columns = _expect(list, table["columns"], "columns")
    rows = _expect(list, table["rows"], "rows")
    return Table(
        title=_expect(str, table["title"], "title"),
        columns=tuple(_parse_flat(Column, column) for column in columns),
        rows=tuple(tuple(_expect(list, row, "row")) for row in rows),
    )


def _parse_figure(raw: Any) -> str:
    """A figure's file name, which must lie in the run's folder: the page opens what it names."""
    name: str = _expect(str, raw, "figure")
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"figure {name!r} does not lie in the folder of the run")
    return name


def _parse_flat(kind: type[_Flat], raw: Any) -> _Flat:
    """One record of plain fields, each of the type that its class declares."""
    given = _expect(dict, raw, kind.__name__.lower())
    declared = get_type_hints(kind)
    for name, value in given.items():
        if name in declared:
            _expect(declared[name], value, name)
    return kind(**given)


def _expect(kind: Any, value: Any, name: str) -> Any:
    """Return `value` if it is of type `kind`, where an int is also a float but a bool neither."""
    allowed = kind | int if isinstance(0.0, kind) else kind
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", str(kind))
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    return value


def collect_provenance(
    *,
    seeds: Sequence[int],
    inputs: Mapping[str, str],
    wall_seconds: Mapping[str, float],
    device: str = "cpu",
) -> dict[str, Any]:
    """Where a result comes from: versions, commit, command, seeds, input digests, machine, time.

    `inputs` maps the name of an input to its SHA-256; `wall_seconds` maps a stage to seconds.
    """
    commit, dirty = _git_state()
    program = Path(sys.argv[0]).name.replace("__main__.py", "tokkit")
    return {
        "tokkit_version": __version__,
        "git_commit": commit,
        "git_dirty": dirty,
        "command": shlex.join([program, *sys.argv[1:]]),
        "seeds": list(seeds),
        "input_sha256": dict(inputs),
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": platform.platform(),
        "cpu_model": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "device": device,
        "wall_seconds": {stage: round(seconds, 3) for stage, seconds in wall_seconds.items()},
    }


def package_versions() -> dict[str, str]:
    """The installed versions of the packages that numbers can depend on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def _git_state() -> tuple[str | None, bool | None]:
    """The commit that this code runs from, or (None, None) for an installed package."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, None
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(root), *words],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(status)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
