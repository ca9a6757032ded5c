"""The Parquet files of a lake's tables, as the newest commits name them, and the recordings that are complete."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath

import pyarrow as pa
from deltalake import DeltaTable

from .location import Lake
from .tables import PARTITION


@dataclass(frozen=True, slots=True)
class File:
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

    def may_hold(self, recordings: Collection[str]) -> bool:
        """Whether it may have rows of one of these recordings."""
        if self.recording_id is not None:
            return self.recording_id in recordings
        return any(self.least <= one <= self.most for one in recordings)


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
    names = ("path", f"partition.{PARTITION}", "size_bytes", "num_records", "min.recording_id", "max.recording_id")
    columns = [found[one].to_pylist() if one in found.column_names else [None] * found.num_rows for one in names]
    files = [_file(path, str(day), *of) for path, day, *of in zip(*columns, strict=True)]
    return sorted((one for one in files if one.rows != 0), key=lambda one: (one.day, one.path))


def _file(path: str, day: str, size: int, rows: int | None, least: str | None, most: str | None) -> File:
    name = PurePosixPath(path).stem
    is_single = least is not None and least == most and (name == least or name.startswith(f"{least}-"))
    return File(path, day, size, rows, least if is_single else None, least or "", most or "\U0010ffff")
