"""The state of a lake: its tables with their size, objects that no commit names, and the right to write.

Reads the Delta logs and the list of objects, and no rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable
from obstore import exceptions

from ..errors import LakeError
from ..text import counted
from .location import Lake, MissingTable
from .tables import SCHEMAS

_SMALL = 1 << 20
"""A smaller file of events, in bytes, costs a query more for its opening than for its rows."""
_MANY = 100
"""Most small files before the advice to compact."""


@dataclass(frozen=True, slots=True)
class TableState:
    """One table of a lake, as its newest commit has it."""

    table: str
    version: int | None
    """The number of its newest commit; None if the table is missing."""
    rows: int | None
    """None if a file was committed without its number of rows."""
    files: int
    bytes: int
    small_files: int
    orphans: int
    """Objects that no commit names: a killed `ship` left them, or a running one is about to commit them."""
    missing_columns: tuple[str, ...]
    missing_files: tuple[str, ...]
    """Files that the log names and the store lacks, below the table."""
    failure: str | None = None
    """Why the table cannot be read; then the numbers are 0."""


def table_states(lake: Lake) -> Iterator[TableState]:
    """Yield the state of each table. A table that cannot be read has a `failure`."""
    for name in SCHEMAS:
        try:
            yield _state(lake, name)
        except LakeError as error:
            yield TableState(name, None, None, 0, 0, 0, 0, (), (), str(error).removeprefix(f"{lake.table_url(name)}: "))


def _state(lake: Lake, name: str) -> TableState:
    objects = set(_objects(lake, name))  # before the log, so that a commit in between makes no orphan
    try:
        table = lake.table(name)
    except MissingTable:
        return TableState(name, None, None, 0, 0, 0, len(objects), tuple(SCHEMAS[name].names), ())
    with lake.failures():
        files = pa.table(table.get_add_actions(flatten=True))
        named = set(files["path"].to_pylist())
        unnamed = objects - named
        removed = set(_removed(table)) if unnamed else set()
        known = {field.name for field in table.schema().fields}
    rows = files["num_records"] if "num_records" in files.column_names else pa.nulls(files.num_rows)
    sizes = files["size_bytes"]
    return TableState(
        table=name, version=table.version(), rows=None if rows.null_count else pc.sum(rows).as_py() or 0,
        files=files.num_rows, bytes=pc.sum(sizes).as_py() or 0,
        small_files=pc.sum(pc.less(sizes, _SMALL)).as_py() or 0, orphans=len(unnamed - removed),
        missing_columns=tuple(column for column in SCHEMAS[name].names if column not in known),
        missing_files=tuple(path for path in sorted(named - objects) if not _is_there(lake, f"{name}/{path}")),
    )  # fmt: skip


def _objects(lake: Lake, name: str) -> Iterator[str]:
    """Yield the paths of a table's Parquet objects, as its log has them."""
    prefix = f"{name}/"
    with lake.failures():
        for some in lake.objects.list(prefix=prefix):
            for one in some:
                path = one["path"].removeprefix(prefix)
                if path.endswith(".parquet") and not path.startswith("_"):
                    yield path


def _is_there(lake: Lake, path: str) -> bool:
    try:
        lake.objects.head(path)
    except (exceptions.NotFoundError, FileNotFoundError):
        return False
    return True


def _removed(table: DeltaTable) -> list[str]:
    """Return the paths that a commit removed, and `vacuum` has not deleted yet."""
    return table.vacuum(retention_hours=0, dry_run=True, enforce_retention_duration=False)


def can_write(lake: Lake) -> bool | None:
    """Return whether the store has conditional PUT; None if nothing can be written there."""
    try:
        lake.refuse_overwriting()
    except LakeError as error:
        return False if error.__cause__ is None else None
    return True


def problems(url: str, states: list[TableState], conditional_put: bool | None) -> list[str]:
    """Return a sentence for each defect of a lake that keeps recordings out of it."""
    found = []
    if conditional_put is False:
        found.append("the store has no conditional PUT: two shippers could overwrite each other's commits")
    for one in states:
        if one.failure is not None:
            found.append(f"the table {one.table} cannot be read: {one.failure}")
        elif one.version is None:
            found.append(f"the table {one.table} is missing: omnirecord lake init {url}")
        elif one.missing_columns:
            columns = ", ".join(one.missing_columns)
            found.append(f"the table {one.table} lacks the columns {columns}: omnirecord lake init {url}")
        if one.missing_files:
            count = counted(len(one.missing_files), "file")
            found.append(
                f"the table {one.table} names {count} that the store lacks, the first is {one.missing_files[0]}:"
                " restore the files from a copy of the store"
            )
    return found


def advice(url: str, states: list[TableState]) -> list[str]:
    """Return a sentence for each state that costs time or money, and loses nothing."""
    found = []
    rows = {one.table: one.rows for one in states}
    if rows["recordings"] == 0:
        found.append(f"no recording is in the lake yet: omnirecord ship CASSETTE --lake {url}")
    events = next(one for one in states if one.table == "events")
    if events.small_files > _MANY:
        found.append(
            f"{events.small_files:,} of {events.files:,} files of events are smaller than 1 MiB, which makes queries"
            f" slow: omnirecord lake compact {url}"
        )
    if orphans := sum(one.orphans for one in states):
        found.append(
            f"{orphans:,} objects are in no commit: a killed ship left them, or a running one commits them soon. They"
            " cost room only"
        )
    return found
