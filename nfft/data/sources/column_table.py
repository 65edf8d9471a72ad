"""Tables in Parquet or Arrow files: read once into the cache, and mapped into memory from there."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import datasets
import pyarrow as pa
import pyarrow.parquet as pq

from nfft.config.data_files import ending
from nfft.data.sources.cached import forget_old, identity
from nfft.errors import UserError
from nfft.files import UNWRITABLE, cache_folder, remove_unfinished, write_with
from nfft.text import shorten

# Rows that are in memory at a time: they may hold pictures.
AT_ONCE = 512


def read_column_table(path: Path, task: str) -> datasets.Dataset:
    """The table in a Parquet or Arrow file, with the features that `datasets` has noted in it.

    Raises:
        UserError: when it is none, or has no rows.
    """
    name = shorten(path.name, 100)
    signature = identity([path])
    try:
        with path.open("rb") as file:
            stored = _stored(file, ending(path.name), signature)
    except (pa.ArrowException, ValueError, KeyError, TypeError, IndexError, OverflowError) as error:
        reason = shorten((str(error) or type(error).__name__).splitlines()[0], 200)
        raise UserError(f"the data of task {task} could not be read: {name}: {reason}") from error
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise
        raise UserError(f"the data of task {task} could not be read: {name}: {shorten(str(error), 200)}") from error
    table = datasets.table.MemoryMappedTable.from_file(str(stored))
    if not len(table):
        raise UserError(f"{name} has no rows. Expected one row an image.")
    return datasets.Dataset(table, fingerprint=signature[:32])


def _stored(file: BinaryIO, kind: str, signature: str) -> Path:
    """The same table in a file of the cache, in Arrow's format, written now if it is not there."""
    stored = cache_folder("tables") / f"{signature}.arrow"
    if stored.is_file():
        with suppress(pa.ArrowException, OSError):
            with pa.memory_map(str(stored)) as source:
                pa.ipc.open_stream(source).schema  # noqa: B018
            os.utime(stored)
            return stored
    stored.parent.mkdir(parents=True, exist_ok=True)
    forget_old(stored.parent)
    remove_unfinished(stored.parent, lambda name: name.endswith(stored.suffix))
    write_with(stored, lambda sink: _write_simply(file, kind, sink), is_to_last=False)
    return stored


def _write_simply(file: BinaryIO, kind: str, sink: BinaryIO) -> None:
    """Write a table as a stream of Arrow's, in types that `datasets` knows."""
    file.seek(0)
    schema, batches = _parquet(file) if kind in (".parquet", ".pq") else _arrow(file)
    simple = pa.schema(
        [kept for field in schema if _is_known(kept := field.with_type(_simple(field.type)))], schema.metadata
    )
    with pa.ipc.new_stream(sink, simple) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).select(simple.names).cast(simple))


def _parquet(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    opened = pq.ParquetFile(file)
    return opened.schema_arrow, opened.iter_batches(batch_size=AT_ONCE, use_threads=False)


def _arrow(file: BinaryIO) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Of either of Arrow's formats: with an index at the end, or a stream."""
    try:
        opened = pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        file.seek(0)
        stream = pa.ipc.open_stream(file)
        return stream.schema, iter(stream)
    return opened.schema, (opened.get_batch(place) for place in range(opened.num_record_batches))


def _is_known(field: pa.Field) -> bool:
    """Whether `datasets` has a type for a column: others, such as maps, hold neither images nor labels."""
    try:
        datasets.Features.from_arrow_schema(pa.schema([field]))
    except (ValueError, NotImplementedError):
        return False
    return True


def _simple(kind: pa.DataType) -> pa.DataType:
    """A type that `datasets` knows, of the same values."""
    if pa.types.is_dictionary(kind):
        return _simple(kind.value_type)
    if kind in (pa.string_view(), pa.binary_view()):
        return pa.large_string() if kind == pa.string_view() else pa.large_binary()
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_simple(field.type)) for field in kind])
    return kind
