"""Tables from Parquet to CSV and back, piece by piece, on this machine or by Spark, with the same types on both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from claimed_med import spark
from claimed_med.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

WHERE = "convert-table"
_DDL: Mapping[Any, str] = {
    pa.int64(): "bigint",
    pa.int32(): "int",
    pa.float64(): "double",
    pa.float32(): "float",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.null(): "string",
}


def convert(source: Path, target: Path, *, text_columns: Sequence[str], engine: str) -> None:
    """Write the rows of a table in the form that the target's suffix says.

    Args:
        source: `.parquet` or `.csv`.
        target: `.parquet` or `.csv`.
        text_columns: Columns of a CSV file that are text whatever they look like.
        engine: local or spark.

    Raises:
        InputError: The table cannot be read, or has no such column.
    """
    try:
        schema = _schema(source, text_columns)
        if engine == "spark":
            _by_spark(source, target, schema)
        else:
            _write(_batches(source, schema), target, schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError) as error:
        raise InputError(
            WHERE, "the table cannot be read", got=type(error).__name__, allowed="Parquet, or CSV in UTF-8"
        ) from None


def _schema(source: Path, text_columns: Sequence[str]) -> pa.Schema:
    if source.suffix == ".parquet":
        found = pa.parquet.read_schema(source).remove_metadata()
    else:
        with pa.csv.open_csv(source, convert_options=_options(None)) as reader:
            found = reader.schema
    absent = sorted(set(text_columns) - set(found.names))
    if absent:
        raise InputError(WHERE, "the table has no such column", got=", ".join(absent), allowed=", ".join(found.names))
    texts = {name for name in found.names if name in text_columns or found.field(name).type == pa.null()}
    return pa.schema([(one.name, pa.string() if one.name in texts else _plain(one.type)) for one in found])


def _plain(kind: pa.DataType) -> pa.DataType:
    """Times as text: the engines round them differently."""
    return pa.string() if pa.types.is_timestamp(kind) or pa.types.is_time(kind) else kind


def _options(schema: pa.Schema | None) -> Any:
    types = None if schema is None else dict(zip(schema.names, schema.types, strict=True))
    return pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])


def _batches(source: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if source.suffix == ".csv":
        with pa.csv.open_csv(source, convert_options=_options(schema)) as reader:
            yield from reader
        return
    with pa.parquet.ParquetFile(source) as file:
        for batch in file.iter_batches():
            yield from pa.Table.from_batches([batch]).cast(schema).to_batches()


def _write(batches: Iterator[pa.RecordBatch], target: Path, schema: pa.Schema) -> None:
    kind = pa.parquet.ParquetWriter if target.suffix == ".parquet" else pa.csv.CSVWriter
    with kind(target, schema) as writer:
        for batch in batches:
            writer.write(batch)


def _by_spark(source: Path, target: Path, schema: pa.Schema) -> None:
    """Spark reads and writes; its single part becomes the file."""
    unknown = sorted({str(kind) for kind in schema.types} - {str(kind) for kind in _DDL})
    if unknown:
        raise InputError(WHERE, "Spark is given no columns of this type", got=", ".join(unknown), do="--engine local")
    parts = target.with_name("parts")
    with spark.session(f"claimed-med {WHERE}") as session:
        if source.suffix == ".csv":
            ddl = ", ".join(f"`{one.name}` {_DDL[one.type]}" for one in schema)
            frame = session.read.csv(str(source), schema=ddl, header=True, quote='"', escape='"', multiLine=True)
        else:
            frame = session.read.parquet(str(source))
        writer = frame.coalesce(1).write
        if target.suffix == ".csv":
            writer.csv(str(parts), header=True, quote='"', escape='"', emptyValue='""')
        else:
            writer.parquet(str(parts))
    (part,) = parts.glob(f"part-*{target.suffix}")
    part.rename(target)
    shutil.rmtree(parts)
