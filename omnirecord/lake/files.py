"""The Parquet files of a lake's tables, as the newest commits name them, and the recordings that are complete."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
from deltalake import DeltaTable

from .location import Lake
from .tables import PARTITION

_COLUMNS = (
    "path", f"partition.{PARTITION}", "size_bytes", "num_records", "min.recording_id", "max.recording_id",
    "min.session_id", "max.session_id", "max.started_at", "null_count.started_at",
)  # fmt: skip
_MS = 1000
"""Microseconds in a millisecond."""


class File(NamedTuple):
    """One file of a table."""

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

    def may_hold_session(self, ids: Sequence[str]) -> bool:
        """Whether it may have rows of one of these sessions, which are sorted."""
        if self.sessions is None:
            return True
        least, most = self.sessions
        at = bisect_left(ids, least)
        return at < len(ids) and ids[at] <= most


Files = tuple[list[File], pa.Schema]
"""The files of a table by day and path, and its columns."""


def files_of(lake: Lake, name: str) -> Files:
    """Return the files of a table. Raises `LakeError`."""
    table = lake.table(name)
    with lake.failures():
        return files_in(table), pa.schema(table.schema().to_arrow())


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
    path: str, day: str, size: int, rows: int | None, least: str | None, most: str | None, first: str | None,
    last: str | None, newest: int | None, without: int | None,
) -> File:  # fmt: skip
    name = path.rpartition("/")[2].removesuffix(".parquet")
    is_single = least is not None and least == most and (name == least or name.startswith(f"{least}-"))
    return File(
        path, day, size, rows, least if is_single else None, least or "", most or "\U0010ffff",
        None if first is None or last is None else (first, last),
        None if newest is None or without != 0 else newest // _MS * _MS + _MS - 1,  # a log has milliseconds
    )  # fmt: skip
