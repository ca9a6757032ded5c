"""Reads some columns of many objects of a table with Arrow, which opens a small object in half the time of DuckDB."""

from __future__ import annotations

import io
import os
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import accumulate, groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .damage import naming
from .files import File
from .location import Lake
from .tables import PARTITION

WHOLE = 8 << 20
"""Size in bytes up to which an object is read in one request."""
_REQUESTS = 32
"""Objects of a store that are read at a time."""
_CPUS = 4
"""Files of a folder that are read at a time, at most."""
_AT_ONCE = 256
"""Objects whose rows are filtered together."""
_SMALL = 64 << 10
"""Size in bytes up to which a file of a folder is read at once."""
_RECORDING, _EXCHANGE = "recording_id", "exchange"
_AT_ONCE = 10_000
"""Rows that are values of Python at a time."""
_TOGETHER = 16
"""Files of a folder that a thread reads before it takes the next ones: to hand over one costs a part of its reading."""


def scanned(
    lake: Lake, name: str, files: Sequence[File], schema: pa.Schema, *, where: pc.Expression | None = None,
    recordings: Collection[str] | None = None, exchanges: Collection[int] | None = None,
) -> pa.Table:  # fmt: skip
    """Return the columns of `schema` of the rows of these files. Raises `LakeError`.

    `where`: which rows. `recordings`: the ids of the recordings whose rows are wanted, all by default. `exchanges`: the
    numbers of their exchanges.
    """
    wanted = _Wanted(
        schema, where, None if recordings is None else sorted(recordings),
        None if exchanges is None else sorted(exchanges),
    )  # fmt: skip

    def read(some: Sequence[File]) -> pa.Table:
        return pa.concat_tables([
            _with_own(of, [_rows(lake, name, one, wanted) for one in of], schema)
            for of in (list(alike) for _, alike in groupby(some, key=lambda one: one.recording_id is None))
        ])  # fmt: skip

    found, left = [schema.empty_table()], iter(files)
    many, each = (min(_CPUS, os.cpu_count() or 1), _TOGETHER) if lake.is_local else (_REQUESTS, 1)
    with lake.failures(), ThreadPoolExecutor(many) as threads:
        while some := list(islice(left, _AT_ONCE)):
            rows = pa.concat_tables(threads.map(read, (some[at : at + each] for at in range(0, len(some), each))))
            found.append(rows if where is None else rows.filter(where))
    return pa.concat_tables(found)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The rows and columns that are read. Ids and numbers are sorted; None for all."""

    schema: pa.Schema
    where: pc.Expression | None
    recordings: list[str] | None
    exchanges: list[int] | None


def _rows(lake: Lake, name: str, one: File, wanted: _Wanted) -> pa.Table:
    """Return the wanted rows of a file, without the columns that have one value in all of them."""
    path, own = f"{name}/{one.path}", _own(one)
    stored = pa.schema([field for field in wanted.schema if field.name not in own] or [wanted.schema.field(_RECORDING)])
    with naming(lake, path):
        file = opened(lake, path, one.size)
        filters = {_RECORDING: None if _RECORDING in own else wanted.recordings, _EXCHANGE: wanted.exchanges}
        of = {column: values for column, values in filters.items() if values is not None}
        if not of:
            rows = file.read(stored.names, use_threads=False)  # without the columns that it lacks
            return _conformed(rows, stored, file.metadata.num_rows)
        found = [stored.empty_table()]
        for number in range(file.num_row_groups):  # one at a time: all of them may not fit into memory
            if all(may_have(file.metadata.row_group(number), values, column) for column, values in of.items()):
                rows = file.read_row_group(number, [*dict.fromkeys([*of, *stored.names])], use_threads=False)
                for column, values in of.items():
                    rows = rows.filter(pc.is_in(rows[column], pa.array(values, rows.schema.field(column).type)))
                found.append(_conformed(rows, stored, rows.num_rows))
        return pa.concat_tables(found)


def _own(one: File) -> dict[str, Any]:
    """Return the columns that have one value in all rows of a file."""
    day = {PARTITION: date.fromisoformat(one.day)}
    return day if one.recording_id is None else {**day, _RECORDING: one.recording_id}


def _with_own(files: Sequence[File], found: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of files with all columns of a schema. Either all files have one recording, or none."""
    rows, columns = pa.concat_tables(found), []
    own, ends = list(map(_own, files)), pa.array(accumulate(one.num_rows for one in found), pa.int32())
    for field in schema:
        if field.name in own[0] and field.name not in rows.column_names:
            values = pa.array([one[field.name] for one in own], field.type)
            columns.append(pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, values)))
        else:
            columns.append(rows[field.name])
    return pa.table(columns, schema=schema)


def opened(lake: Lake, path: str, size: int) -> pq.ParquetFile:
    """Return an object as a Parquet file. Raises what obstore and Arrow raise."""
    if lake.is_local and size > _SMALL:
        return pq.ParquetFile(pa.OSFile(f"{lake.url}/{path}"), pre_buffer=False)
    if size > WHOLE:
        return pq.ParquetFile(Ranges(lake, path, size), pre_buffer=True)
    return _in_memory(Path(f"{lake.url}/{path}").read_bytes() if lake.is_local else lake.objects.get(path).bytes())


def _in_memory(data: Any) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), pre_buffer=False)  # there is nothing to read ahead


def _conformed(rows: pa.Table, schema: pa.Schema, count: int) -> pa.Table:
    """Return the columns of a schema for `count` rows; a column that the rows lack is null."""
    if rows.schema.equals(schema):
        return rows
    there, made = set(rows.column_names), []
    for field in schema:
        if field.name in there:
            column = rows[field.name]
            made.append(column if column.type.equals(field.type) else column.cast(field.type))
        else:
            made.append(pa.nulls(count, field.type))
    return pa.table(made, schema=schema)


def tuples(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield the values of these columns, row by row."""
    for at in range(0, rows.num_rows, _AT_ONCE):
        some = rows.slice(at, _AT_ONCE)
        yield from zip(*(some[name].to_pylist() for name in names), strict=True)


def may_have(group: pq.RowGroupMetaData, values: Sequence[Any], name: str = _RECORDING) -> bool:
    """Whether a row group may have rows with one of these values, which are sorted."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == name:
            told = column.statistics
            if told is None or not told.has_min_max:
                return True
            at = bisect_left(values, told.min)
            return at < len(values) and values[at] <= told.max
    return True


class Ranges(io.RawIOBase):
    """An object as a file. Each read is a request of its range."""

    def __init__(self, lake: Lake, path: str, size: int) -> None:
        self._lake, self._path, self._size, self._at = lake, path, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        end = self._size if size is None or size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        data = bytes(self._lake.objects.get_range(self._path, start=self._at, end=end))
        self._at += len(data)
        return data
