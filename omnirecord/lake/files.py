"""The Parquet files of a lake's tables: as the newest commits name them, and how they are encoded.

Before its footer, a file of `sessions` has the CRC-32 of each session id, sorted, 4 bytes each; then their number, 4
bytes; then `_MARK`. All are little-endian. Readers of Parquet ignore these bytes. They tell which file has no part of a
session, in a tenth of the time of reading the ids.
"""

from __future__ import annotations

import io
import struct
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from zlib import crc32

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction

from ..text import dumps
from .layout import ADDED, MEASURED, PARTITION, SCHEMAS
from .location import Lake, MissingTable

_COLUMNS = (
    "path",
    f"partition.{PARTITION}",
    "size_bytes",
    "num_records",
    "min.recording_id",
    "max.recording_id",
    "min.session_id",
    "max.session_id",
    "max.started_at",
    "null_count.started_at",
)
_MS = 1000
"""Microseconds in a millisecond."""


class File(NamedTuple):
    path: str
    """Relative to the table, as in its log."""
    day: str
    """`YYYY-MM-DD`, in UTC."""
    size: int
    """In bytes."""
    rows: int | None
    recording_id: str | None
    """The recording that it holds; None for several recordings, as `compact` merges them."""
    least: str
    most: str
    """The least and the greatest recording id in it."""
    sessions: tuple[str, str] | None
    """The least and the greatest session id in it; None if that is unknown."""
    newest: int | None
    """The greatest `started_at` in it, or up to a millisecond more, in µs since 1970; None if a row may lack it."""

    def may_hold(self, recordings: Collection[str]) -> bool:
        """Whether it may have rows of one of these recordings."""
        if self.recording_id is not None:
            return self.recording_id in recordings
        return any(self.least <= one <= self.most for one in recordings)


def has_between(values: Sequence[Any], least: Any, most: Any) -> bool:
    """Whether one of the values, which are sorted, is in this range. Both ends belong to it."""
    at = bisect_left(values, least)
    return at < len(values) and bool(values[at] <= most)


Files = tuple[list[File], pa.Schema]
"""The files of a table by day and path, and its columns."""


def files_of(lake: Lake, name: str) -> Files:
    """Return the files of a table; none if a lake of an older version lacks it. Raises `LakeError`."""
    try:
        table = lake.table(name)
    except MissingTable:
        if name not in ADDED:
            raise
        return [], SCHEMAS[name]
    with lake.failures():
        files = files_in(table)
        lake.refuse_foreign(name, (one.path for one in files))
        return files, pa.schema(table.schema().to_arrow())


def files_in(table: DeltaTable) -> list[File]:
    """Return the files of a version of a table by day and path. Raises what deltalake raises."""
    found = pa.table(table.get_add_actions(flatten=True))
    columns = [_values(found, one) for one in _COLUMNS]
    files = [_file(path, str(day), *of) for path, day, *of in zip(*columns, strict=True)]
    return sorted((one for one in files if one.rows != 0), key=lambda one: (one.day, one.path))


def _values(found: pa.Table, name: str) -> list[Any]:
    if name not in found.column_names:
        return [None] * found.num_rows
    column = found[name]
    values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def _file(
    path: str,
    day: str,
    size: int,
    rows: int | None,
    least: str | None,
    most: str | None,
    first: str | None,
    last: str | None,
    newest: int | None,
    without: int | None,
) -> File:
    name = path.rpartition("/")[2].removesuffix(".parquet")
    is_single = least is not None and least == most and (name == least or name.startswith(f"{least}-"))
    return File(
        path,
        day,
        size,
        rows,
        least if is_single else None,
        least or "",
        most or "\U0010ffff",
        None if first is None or last is None else (first, last),
        None if newest is None or without != 0 else newest // _MS * _MS + _MS - 1,  # a log has milliseconds
    )


LEVEL = 9
"""Level of zstd: of the levels up to 12, the last one that saves more than a percent."""
_OF_IDS = 1
"""Level of zstd that finds no matches of less than 7 bytes. In random ids, references to them exceed their bytes."""
_SKIPPING = frozenset({*MEASURED, "exchange", "stream", "type", "verdict"})
"""Columns with statistics in the file, by which an engine skips row groups. Those of all columns are a quarter of a
small file."""
_UNIQUE = frozenset({("sessions", "session_id")})
"""Columns that are plain, by table: a look for few of their values is faster."""
_FEW = 32
"""Rows up to which a column is plain: a dictionary is a page of its own, and differences need a header."""
_TRIED = 4096
_PLACES = 5
"""Rows with which the encodings of a column are compared: that many at each of some places of the first batch."""
_LARGEST_DICTIONARY = 16 << 20
"""Size of a dictionary in bytes, at most. Bodies repeat, and a body that does not fit is stored each time."""
_SMALL = 4096
"""Rows in the first batch up to which a file has no statistics. They are a tenth of a small file, and skip none of its
rows: it is one row group. The Delta log has the statistics that skip the file."""
_PAGE = 8 << 20
"""Size of a page in bytes, before compression: a larger one repeats more."""
_MARK = b"OMNISID1"
_COUNTED = 4 + len(_MARK)
"""Bytes between the checksums and the footer."""


class Encoder:
    """Writes one Parquet file batch by batch. The partition column is in its path, as in every Delta table."""

    def __init__(self, table: str) -> None:
        self._table = table
        full = SCHEMAS[table]
        self._schema = full.remove(full.get_field_index(PARTITION))
        self._sink = io.BytesIO()
        self._writer: pq.ParquetWriter | None = None
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        if not rows.num_rows:
            return
        if self._writer is None:
            given = options(self._table, rows.select(self._schema.names), is_small=is_small(rows.num_rows))
            self._writer = pq.ParquetWriter(self._sink, self._schema, **given)
        self.rows += rows.num_rows
        self._writer.write_table(rows.select(self._schema.names), row_group_size=1 << 22)

    def close(self) -> bytes | None:
        """Return the file; None without rows."""
        if self._writer is None:
            return None
        self._writer.close()
        return indexed(self._table, self._sink.getvalue())


def joined(table: str, files: Iterable[bytes]) -> bytes:
    """Return the rows of Parquet files of a table as one file."""
    encoder = Encoder(table)
    encoder.add(pa.concat_tables(pq.read_table(pa.BufferReader(data)) for data in files))
    data = encoder.close()
    assert data is not None
    return data


def indexed(table: str, data: bytes) -> bytes:
    """Return a Parquet file of a table, in `sessions` with the checksums of its session ids."""
    if table != "sessions":
        return data
    ids = pq.ParquetFile(pa.BufferReader(data)).read(["session_id"], use_threads=False)["session_id"].unique()
    sums = sorted(checksums(one for one in ids.to_pylist() if one is not None))
    at = _footer_of(data)
    return data[:at] + struct.pack(f"<{len(sums)}II", *sums, len(sums)) + _MARK + data[at:]


def checksums(ids: Iterable[str]) -> set[int]:
    """Return the CRC-32 of session ids."""
    return {crc32(one.encode()) for one in ids}


class Checksums(NamedTuple):
    """The checksums in the last bytes of a file of `sessions`."""

    sums: pa.Array | None
    """None if the file has none, or if these bytes are too few."""
    needed: int
    """The number of bytes that are needed to know more, at least."""


def checksums_in(end: bytes) -> Checksums:
    """Return the checksums in the last bytes of a file."""
    at = _footer_of(end) - _COUNTED
    if at < 0:
        return Checksums(None, len(end) - at)
    if not end.startswith(_MARK, at + _COUNTED - len(_MARK)):
        return Checksums(None, 0)
    count = int.from_bytes(end[at : at + 4], "little")
    begun = at - 4 * count
    if begun < 0:
        return Checksums(None, len(end) - begun)
    sums = pa.Array.from_buffers(pa.uint32(), count, [None, pa.py_buffer(end[begun:at])])
    return Checksums(sums, len(end) - begun)


def _footer_of(end: bytes) -> int:
    """Return where the footer begins in the last bytes of a file: below 0 if it begins before them."""
    return len(end) - 8 - int.from_bytes(end[-8:-4], "little")  # behind it are its size in 4 bytes, and `PAR1`


def options(table: str, rows: pa.Table, *, is_small: bool) -> dict[str, Any]:
    """Return the options of pyarrow for a file of a table.

    `rows`: its first rows, by which each column gets its smallest encoding. `is_small`: whether it has one row group of
    few rows.
    """
    forms = dict.fromkeys(rows.column_names, _PLAIN) | _smallest(table, rows)
    return {
        **_written(forms),
        "write_statistics": not is_small and [name for name in rows.column_names if name in _SKIPPING],
        "data_page_version": "2.0" if is_small else "1.0",
    }


def is_small(rows: int) -> bool:
    """Whether a file whose first batch has that many rows gets no statistics."""
    return rows <= _SMALL


class _Form(NamedTuple):
    """How a column is written."""

    encoding: str
    level: int


_DICTIONARY, _DIFFERENCES, _PREFIXES = "DICTIONARY", "DELTA_BINARY_PACKED", "DELTA_BYTE_ARRAY"
_PLAIN = _Form("PLAIN", LEVEL)
_OF_NUMBERS = [_PLAIN, _Form(_DICTIONARY, LEVEL), _Form(_DIFFERENCES, LEVEL)]
_OF_TEXTS = [_Form(encoding, level) for encoding in ("PLAIN", _DICTIONARY, _PREFIXES) for level in (LEVEL, _OF_IDS)]


def _smallest(table: str, rows: pa.Table) -> dict[str, _Form]:
    """Return the form in which each column is smallest, of those that all engines of `docs/lake-engines.md` read.

    No rule finds it. Times that many events share are smallest when plain, others as differences.
    """
    if rows.num_rows <= _FEW:
        return {}
    step = max(_TRIED, rows.num_rows // _PLACES)
    some = pa.concat_tables([rows.slice(at, _TRIED) for at in range(0, rows.num_rows, step)])
    tried = [
        (name, form)
        for name in rows.column_names
        if (table, name) not in _UNIQUE and some[name].null_count < some.num_rows
        for form in _forms(rows.schema.field(name).type)
    ]
    made = pa.table([some[name] for name, _ in tried], [str(number) for number in range(len(tried))])
    sink = io.BytesIO()
    options = _written({str(number): form for number, (_, form) in enumerate(tried)})
    with pq.ParquetWriter(sink, made.schema, write_statistics=False, **options) as writer:
        writer.write_table(made)
    group = pq.read_metadata(pa.BufferReader(sink.getvalue())).row_group(0)
    best: dict[str, tuple[int, int]] = {}
    for number, (name, _) in enumerate(tried):
        size = group.column(number).total_compressed_size, number
        best[name] = min(best.get(name, size), size)
    return {name: tried[number][1] for name, (_, number) in best.items()}


def _forms(type_: pa.DataType) -> Sequence[_Form]:
    if pa.types.is_integer(type_) or pa.types.is_timestamp(type_):
        return _OF_NUMBERS
    if pa.types.is_string(type_) or pa.types.is_binary(type_):
        return _OF_TEXTS
    return _OF_NUMBERS[:2] if pa.types.is_floating(type_) else ()


def _written(forms: Mapping[str, _Form]) -> dict[str, Any]:
    """Return the options of pyarrow for columns in these forms."""
    others = {_DICTIONARY, "PLAIN"}
    return {
        "compression": "ZSTD",
        "compression_level": {name: form.level for name, form in forms.items()},
        "use_dictionary": [name for name, form in forms.items() if form.encoding == _DICTIONARY] or False,
        "column_encoding": {name: form.encoding for name, form in forms.items() if form.encoding not in others},
        "store_schema": False,
        "dictionary_pagesize_limit": _LARGEST_DICTIONARY,
        "data_page_size": _PAGE,
    }


def same_rows(one: bytes, other: bytes, but: Sequence[str]) -> bool:
    """Return whether two Parquet files hold the same rows, apart from the columns in `but`. A damaged file has none."""
    try:
        left, right = (pq.read_table(pa.BufferReader(data)).drop_columns([*but]) for data in (one, other))
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError):
        return False
    return bool(left.equals(right))


def add_action(within: str, day: str, data: bytes | pa.Buffer) -> AddAction:
    """Return the entry of the Delta log for a Parquet file at path `within`, with the statistics of its columns."""
    file = pq.ParquetFile(pa.BufferReader(data))
    rows = file.metadata.num_rows
    stats: dict[str, Any] = {"numRecords": rows, "minValues": {}, "maxValues": {}, "nullCount": {}}
    for name in (one for one in MEASURED if one in file.schema_arrow.names):
        parts = [batch.column(0) for batch in file.iter_batches(columns=[name], use_threads=False)]
        stats["nullCount"][name] = nulls = sum(one.null_count for one in parts)
        if nulls < rows:
            ends = [pc.min_max(one).as_py() for one in parts if one.null_count < len(one)]
            stats["minValues"][name] = _plain(min(one["min"] for one in ends))
            stats["maxValues"][name] = _plain(max(one["max"] for one in ends), up=True)
    ms = int(datetime.now(UTC).timestamp() * 1000)
    return AddAction(within, len(data), {PARTITION: day}, ms, True, dumps(stats))


def _plain(value: Any, *, up: bool = False) -> Any:
    """Return a value as JSON of the Delta log, whose times have milliseconds."""
    if not isinstance(value, datetime):
        return value
    micro = value.microsecond // 1000 * 1000 + (999 if up else 0)
    return value.replace(microsecond=micro).isoformat(timespec="microseconds").replace("+00:00", "Z")
