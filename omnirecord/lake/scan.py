"""Reads some columns of many objects of a table with Arrow, which opens a small object in half the time of DuckDB.

An error names the object that an engine could not decode.
"""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import cached_property, reduce
from itertools import accumulate, compress, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from obstore.exceptions import NotFoundError

from ..errors import LakeError
from ..model import by_key, reached
from .files import File, checksums, checksums_in, has_between
from .location import Lake
from .tables import LINKED, PARTITION, SCHEMAS

WHOLE = 8 << 20
"""Size in bytes up to which an object is read in one request."""
_REQUESTS = 32
"""Objects of a store that are read at a time."""
_CPUS = 4
"""Files of a folder that are read at a time, at most."""
_IN_MEMORY = 32 << 20
"""Bytes of row groups that are in memory at a time, per file. A larger row group is alone."""
_KEPT = 64 << 20
"""Bytes of objects that a query keeps for its next look."""
_SMALL = 64 << 10
"""Size in bytes up to which a file of a folder is read at once."""
_RECORDING = "recording_id"
_EXCHANGE = "exchange"
_AT_ONCE = 10_000
"""Rows that are values of Python at a time."""
_TOGETHER = 16
"""Files of a folder that a thread reads before it takes the next ones: to hand over one costs a part of its reading."""
Where = Callable[[pa.Table], pa.Array]
"""Returns which rows are wanted. An expression of Arrow would load Arrow's query engine, which takes 20 ms."""


def scanned(
    lake: Lake,
    name: str,
    files: Sequence[File],
    schema: pa.Schema,
    *,
    where: Where | None = None,
    among: Mapping[str, Collection[Any]] | None = None,
    kept: Kept | None = None,
    needs_all: bool = False,
) -> pa.Table:
    """Return the columns of `schema` of the rows of these files. Raises `LakeError`.

    A file that is missing is left out and noted in the lake; with `needs_all`, it is an error. `where`: which rows.
    `among`: the values of columns whose rows are wanted, such as the ids of recordings. Row groups without them are
    skipped. `kept`: files that were opened before; it gets those that are opened now.
    """
    wanted = {column: _Among(column, values) for column, values in (among or {}).items()}
    more = [SCHEMAS[name].field(column) for column in wanted if column not in schema.names]
    read_as = pa.schema([*schema, *more])

    def read(some: Sequence[File]) -> pa.Table:
        rows = pa.concat_tables(
            [
                _rows(lake, name, list(alike), read_as, wanted, kept, needs_all)
                for _, alike in groupby(some, key=lambda one: one.recording_id is None)
            ]
        )
        for one in wanted.values():
            rows = rows.filter(one.mask(rows))
        rows = rows if where is None else rows.filter(where(rows))
        return rows.select(schema.names) if more else rows

    many = min(_CPUS, os.cpu_count() or 1) if lake.is_local else _REQUESTS
    each = max(1, min(_TOGETHER, len(files) // many)) if lake.is_local else 1
    with lake.failures(), ThreadPoolExecutor(many) as threads:
        found = threads.map(read, (files[at : at + each] for at in range(0, len(files), each)))
        return pa.concat_tables([schema.empty_table(), *found])


def recordings_in(lake: Lake, files: Sequence[File]) -> dict[str, str]:
    """Return the UTC days, `YYYY-MM-DD`, of the recordings in files of `recordings`, by their ids. Raises `LakeError`.

    A recording has one day in all tables.
    """
    schema = pa.schema([SCHEMAS["recordings"].field(name) for name in (PARTITION, _RECORDING)])
    rows = scanned(lake, "recordings", [one for one in files if one.recording_id is None], schema)
    found = {one.recording_id: one.day for one in files if one.recording_id is not None}
    return found | {id_: f"{day}" for day, id_ in tuples(rows, *schema.names)}


class Complete(Mapping[str, str]):
    """The UTC days of the complete recordings, by their ids. Raises `LakeError`.

    An object of `recordings` is read when it may have an id that is asked for.
    """

    def __init__(self, lake: Lake, files: Sequence[File]) -> None:
        self._lake = lake
        self._days = {one.recording_id: one.day for one in files if one.recording_id is not None}
        self._left = [one for one in files if one.recording_id is None]

    def __getitem__(self, recording_id: str) -> str:
        if recording_id not in self._days:
            self._read([one for one in self._left if one.least <= recording_id <= one.most])
        return self._days[recording_id]

    def __iter__(self) -> Iterator[str]:
        self._read(self._left)
        return iter(self._days)

    def __len__(self) -> int:
        self._read(self._left)
        return len(self._days)

    def lacking(self, recordings: Iterable[str]) -> set[str]:
        """Return those of these recordings that are not complete."""
        left = set(recordings) - self._days.keys()
        if left:
            least, most = min(left), max(left)
            self._read([one for one in self._left if one.least <= most and least <= one.most])
        return left - self._days.keys()

    def of_days(self, days: Collection[str]) -> set[str]:
        """Return the recordings that began on some days."""
        self._read([one for one in self._left if one.day in days])
        return {one for one, day in self._days.items() if day in days}

    def _read(self, files: Sequence[File]) -> None:
        if files:
            self._left = [one for one in self._left if one not in files]
            schema = pa.schema([SCHEMAS["recordings"].field(_RECORDING)])
            for one in files:
                ids = scanned(self._lake, "recordings", [one], schema)[_RECORDING]
                self._days |= dict.fromkeys(ids.to_pylist(), one.day)


TOGETHER = ("recording_id", "run_id", "started_at_text", "hop", LINKED)
"""The columns of `recordings` that tell which ones are analysed together."""


def together(rows: pa.Table) -> list[list[str]]:
    """Return the sorted ids of the recordings that are analysed together, of these rows of `recordings`.

    They have turns and model calls of each other. An older version has not stored that. Of its recordings, those of one
    run with the same start are together, if one is of a further hop.
    """
    beside: dict[str, list[str]] = defaultdict(list)
    values = list(tuples(rows, *TOGETHER))
    for id_, *_, linked in values:
        for other in linked or ():
            beside[id_].append(other)
            beside[other].append(id_)
    old = (row for row in values if row[4] is None and row[1] is not None)
    for some in by_key(old, itemgetter(1, 2)).values():
        if any(hop is not None for _, _, _, hop, _ in some):
            beside[some[0][0]] += [id_ for id_, *_ in some[1:]]
    found: dict[str, list[str]] = {}
    for id_ in beside:
        if id_ not in found:
            group = sorted(reached([id_], beside))
            found |= dict.fromkeys(group, group)
    return [group for id_, group in found.items() if id_ == group[0] and len(group) > 1]


class Kept:
    """Small files that a query reads again, opened, as many as fit. Objects never change."""

    def __init__(self) -> None:
        self._files: dict[str, pq.ParquetFile] = {}
        self._room = _KEPT

    def opened(self, lake: Lake, path: str, size: int, sessions: pa.Array | None = None) -> pq.ParquetFile | None:
        """Return an object as a Parquet file. Raises what obstore and Arrow raise.

        None if its checksums tell that it has none of these sessions.
        """
        found = self._files.get(path)
        if found is None:
            found = _opened(lake, path, size, sessions)
            if found is not None and size <= min(self._room, _SMALL if lake.is_local else WHOLE):
                self._room -= size
                self._files[path] = found
        return found


class _Among:
    """Values of a column whose rows are wanted."""

    def __init__(self, column: str, values: Collection[Any]) -> None:
        self.column = column
        self.values = sorted(values)
        self._array = pa.array(self.values, pa.string() if column != _EXCHANGE else pa.int32())

    @cached_property
    def checksums(self) -> pa.Array:
        return pa.array(checksums(self.values), pa.uint32())

    def mask(self, rows: pa.Table) -> pa.ChunkedArray:
        column = rows[self.column]
        array = self._array if self._array.type.equals(column.type) else self._array.cast(column.type)
        return pc.is_in(column, array)


def _rows(
    lake: Lake,
    name: str,
    files: Sequence[File],
    schema: pa.Schema,
    among: Mapping[str, _Among],
    kept: Kept | None,
    needs_all: bool,
) -> pa.Table:
    """Return the columns of a schema of files, each of one recording, or each of several.

    A small file gives all rows, since those of many files are filtered faster together.
    """
    own = list[dict[str, Any]]()
    found = list[pa.Table]()
    is_single = files[0].recording_id is not None
    known = {PARTITION, _RECORDING} if is_single else {PARTITION}
    stored = pa.schema([field for field in schema if field.name not in known] or [schema.field(_RECORDING)])
    of = [one for one in among.values() if one.column not in known]
    sessions = among["session_id"].checksums if name == "sessions" and "session_id" in among else None
    for one in files:
        path = f"{name}/{one.path}"
        with naming(lake, path):
            try:
                file = (kept or Kept()).opened(lake, path, one.size, sessions)
            except (NotFoundError, FileNotFoundError) as error:
                lake.missing.add(name, one.path)
                if needs_all:
                    raise LakeError(f"the file {path} is missing in {lake.url}") from error
                continue
            if file is None:
                continue
            own.append({PARTITION: date.fromisoformat(one.day), _RECORDING: one.recording_id})
            if not of or (one.size <= _SMALL and file.num_row_groups == 1):
                rows = file.read(stored.names, use_threads=False)  # without the columns that it lacks
                found.append(conformed(rows, stored, file.metadata.num_rows))
                continue
            is_near = lake.is_local or one.size <= WHOLE  # a second read of a column is no request
            some = [stored.empty_table()]
            for groups in _groups(file.metadata, of):
                if is_near:
                    rows = file.read_row_groups(groups, [of[0].column], use_threads=False)
                    if not pc.any(of[0].mask(rows)).as_py():
                        continue
                rows = file.read_row_groups(groups, stored.names, use_threads=False)
                rows = rows.filter(reduce(pc.and_, (values.mask(rows) for values in of)))
                some.append(conformed(rows, stored))
            found.append(pa.concat_tables(some))
    return _with_own(own, found, schema) if found else schema.empty_table()


def _groups(of: pq.FileMetaData, among: Sequence[_Among]) -> Iterator[list[int]]:
    """Yield the row groups that may have wanted rows, as many together as fit into memory."""
    some = list[int]()
    size = 0
    for number in range(of.num_row_groups):
        group = of.row_group(number)
        if all(may_have(group, one.values, one.column) for one in among):
            if some and size + group.total_byte_size > _IN_MEMORY:
                yield some
                some = []
                size = 0
            some.append(number)
            size += group.total_byte_size
    if some:
        yield some


def _with_own(own: Sequence[Mapping[str, Any]], found: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return the rows of files with all columns of a schema. `own`: the values of columns that the rows may lack."""
    rows = pa.concat_tables(found)
    columns = []
    if not rows.num_rows:
        return schema.empty_table()
    own = [one for one, some in zip(own, found, strict=True) if some.num_rows]
    ends = pa.array(accumulate(some.num_rows for some in found if some.num_rows), pa.int32())
    for field in schema:
        if field.name in own[0] and field.name not in rows.column_names:
            values = pa.array([one[field.name] for one in own], field.type)
            columns.append(pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, values)))
        else:
            columns.append(rows[field.name])
    return pa.table(columns, schema=schema)


def _opened(lake: Lake, path: str, size: int, sessions: pa.Array | None) -> pq.ParquetFile | None:
    """Return an object as a Parquet file. None if its checksums tell that it has none of these sessions."""
    if lake.is_local:
        with Path(f"{lake.url}/{path}").open("rb") as file:
            if size > _SMALL:
                lacks = sessions is not None and _lacks(
                    lambda most: os.pread(file.fileno(), min(most, size), max(0, size - most)), sessions
                )
                return None if lacks else pq.ParquetFile(pa.OSFile(file.name), pre_buffer=False)
            data = file.read()
    elif size > WHOLE:
        return pq.ParquetFile(Ranges(lake, path, size), pre_buffer=True)
    else:
        data = bytes(lake.objects.get(path).bytes())
    if sessions is not None and _lacks(lambda most: bytes(memoryview(data)[-most:]), sessions):
        return None
    return pq.ParquetFile(pa.BufferReader(pa.py_buffer(data)), pre_buffer=False)  # there is nothing to read ahead


def _lacks(end: Callable[[int], bytes], sessions: pa.Array) -> bool:
    """Whether the checksums in the end of a file tell that it has none of these sessions. `end` returns as many
    bytes of it."""
    most = _SMALL
    while (of := checksums_in(end(most))).needed > most:
        most = of.needed
    return of.sums is not None and not pc.any(pc.is_in(of.sums, sessions)).as_py()


def conformed(rows: pa.Table, schema: pa.Schema, count: int | None = None) -> pa.Table:
    """Return rows with the columns of a schema; a column that they lack is null. `count`: their number, if no column
    tells it."""
    if rows.schema.equals(schema):
        return rows
    there = set(rows.column_names)
    made = []
    for field in schema:
        if field.name in there:
            column = rows[field.name]
            made.append(column if column.type.equals(field.type) else column.cast(field.type))
        else:
            made.append(pa.nulls(rows.num_rows if count is None else count, field.type))
    return pa.table(made, schema=schema)


def tuples(rows: pa.Table, *names: str) -> Iterator[tuple[Any, ...]]:
    """Yield the values of these columns, row by row."""
    for at in range(0, rows.num_rows, _AT_ONCE):
        some = rows.slice(at, _AT_ONCE)
        yield from zip(*(some[name].to_pylist() for name in names), strict=True)


def runs(ids: pa.ChunkedArray) -> Iterator[tuple[str, int]]:
    """Yield each value of consecutive equal ones, with the position behind them."""
    at = 0
    for chunk in ids.chunks:
        if not len(chunk):
            continue
        encoded = pc.run_end_encode(chunk)
        for value, end in zip(encoded.values.to_pylist(), encoded.run_ends.to_pylist(), strict=True):
            yield value, at + end
        at += len(chunk)


def may_have(group: pq.RowGroupMetaData, values: Sequence[Any], name: str) -> bool:
    """Whether a row group may have rows with one of these values, which are sorted."""
    for number in range(group.num_columns):
        column = group.column(number)
        if column.path_in_schema == name:
            told = column.statistics
            return told is None or not told.has_min_max or has_between(values, told.min, told.max)
    return True


class Ranges(io.RawIOBase):
    """An object as a file. Each read is a request of its range."""

    def __init__(self, lake: Lake, path: str, size: int) -> None:
        self._lake = lake
        self._path = path
        self._size = size
        self._at = 0

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


_SIGNS = (
    "magic bytes",
    "too small to be",
    "TProtocolException",
    "thrift",
    "decompress",
    "corrupt",
    "string encoding found",
    "Failed to read file",
    "page header",
    "invalid parquet",
    "parquet file size is",
    "out of buffer",
    "end of stream",
)
_DAMAGE = re.compile("|".join(_SIGNS), re.IGNORECASE)
_PATH = re.compile(r"""(?:'[^']*\.parquet'|"[^"]*\.parquet"):? ?""")
_MOST_BYTES = 1 << 30
"""Bytes of objects that are read to find a damaged one, about."""
_CHECKED = 8
"""Objects that are read at a time to find a damaged one."""


def damage_in(lake: Lake, tables: Mapping[str, Iterable[File]], said: str) -> str | None:
    """Return what to say about an error of DuckDB or Arrow that an object cannot be decoded; None for any other error.

    `tables`: the objects that the query reads, by table. They are read until one fails, if the error names none.
    """
    if _DAMAGE.search(said) is None:
        return None
    there = {f"{name}/{one.path}": one for name, of in tables.items() for one in of}
    found = next((path for path in there if path in said), None)
    if found is None:
        named = [path for path, one in there.items() if one.path in said]
        by_size = sorted(named or there, key=lambda path: there[path].size)
        ends = list(accumulate(there[path].size for path in by_size))
        some = by_size[: bisect_right(ends, _MOST_BYTES)]
        found = _unreadable(lake, some)
        if found is None and len(some) == len(there):
            return None
    return _sentence(f"{lake.url}/{found}" if found else f"{lake.url}: an object of {' or '.join(tables)}", said)


@contextmanager
def naming(lake: Lake, path: str) -> Iterator[None]:
    """Convert the errors of Arrow about an object to `LakeError`. `path`: in the lake."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise LakeError(_sentence(f"{lake.url}/{path}", str(error))) from error


def _sentence(what: str, said: str) -> str:
    said = _PATH.sub("", said.rpartition(" failed: ")[2].partition("\n")[0])
    return f"{what} is damaged: restore this object from a copy of the lake ({' '.join(said.split())[:120]})"


def _unreadable(lake: Lake, paths: Iterable[str]) -> str | None:
    """Return the path of the first object that Arrow cannot read."""

    def is_bad(path: str) -> bool:
        try:
            pq.ParquetFile(pa.BufferReader(pa.py_buffer(lake.objects.get(path).bytes()))).read()
        except (pa.ArrowException, OSError):
            return True
        return False

    left = iter(paths)
    with ThreadPoolExecutor(_CHECKED) as threads:
        while some := list(islice(left, 8 * _CHECKED)):
            if bad := list(compress(some, threads.map(is_bad, some))):
                return bad[0]
    return None
