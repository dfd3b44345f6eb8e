"""Records from Parquet files, a batch of rows at a time; pyarrow comes with an extra."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tokkit.corpus import remote
from tokkit.corpus.faults import FaultPolicy
from tokkit.corpus.inputs import Source
from tokkit.corpus.opening import telling
from tokkit.corpus.records import RecordFields, group_of, missing_field
from tokkit.errors import ConfigError, InputError

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20


def read_parquet(
    source: Source, fields: RecordFields, policy: FaultPolicy
) -> Iterator[tuple[bytes, int, str]]:
    """Yield (UTF-8 text, row number from 1, group) of each row.

    The column of the text holds strings; that of the group what `group_of` takes. Raises
    ConfigError where pyarrow is not installed, InputError for a file that is packed as a whole,
    damaged, without the columns, or with a text that is null.
    """
    if source.packing:
        raise InputError(
            f"{source.name}: Parquet is packed inside and read from its end; unpack the file"
        )
    pyarrow, parquet = _pyarrow(source.name)
    number = 0
    with telling(source), _damage_told(source, pyarrow), contextlib.ExitStack() as closing:
        where: Any = source.path
        if remote.is_url(source.path):
            where = closing.enter_context(remote.open_url(source.path))
        file = closing.enter_context(
            parquet.ParquetFile(where, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        )
        columns = _columns(file.schema_arrow, fields, source, pyarrow)
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            # As bytes, for pyarrow takes any bytes for a string and fails on them only later.
            texts = batch.column(fields.text).cast(pyarrow.binary())
            names = batch.column(fields.group).to_pylist() if fields.group else None
            for row, text in enumerate(texts):
                number += 1
                data = _text(text.as_py(), fields.text, source, number, policy)
                group = ""
                if names is not None and fields.group is not None:
                    record = {fields.group: names[row]}
                    group = group_of(record, fields.group, source.name, number, unit="row")
                yield data, number, group


def _pyarrow(name: str) -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(
            f"{name} needs the package pyarrow: install it with pip install 'tokkit[parquet]'"
        ) from error
    return pyarrow, pyarrow.parquet


@contextlib.contextmanager
def _damage_told(source: Source, pyarrow: Any) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"{source.name}: a name of a group is not UTF-8; repair it") from error
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = " ".join(str(error).split())
        raise InputError(
            f"{source.name} is not a whole Parquet file ({said}); copy it again"
        ) from error


def _columns(schema: Any, fields: RecordFields, source: Source, pyarrow: Any) -> list[str]:
    asked = [(fields.text, "--text-field"), (fields.group, "--group-field")]
    columns = [(name, option) for name, option in asked if name is not None]
    for name, option in columns:
        if name not in schema.names:
            raise InputError(missing_field(schema.names, name, f"{source.name}, row 1", option))
    kind = schema.field(fields.text).type
    types = pyarrow.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if not (types.is_string(kind) or types.is_large_string(kind)):
        raise InputError(
            f"{source.name}: column {fields.text!r} must hold strings, got {kind}; name another "
            f"column with --text-field"
        )
    return [name for name, _ in columns]


def _text(
    data: bytes | None, field: str, source: Source, number: int, policy: FaultPolicy
) -> bytes:
    if data is None:
        raise InputError(
            f"{source.name}, row {number}: field {field!r} must be a string, got null; repair the "
            f"row or name another field with --text-field"
        )
    place = f"{source.name}, row {number}"
    return policy.clean(data, final=True, name=place, offset=0, line=1, unpacked=False)[0]
