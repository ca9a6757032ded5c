"""Keeps a lake small: merges small objects, removes old days, and objects that no version of a table needs any more.

What leaves a table leaves it in one Delta commit: a reader sees all of a day or none of it. The object itself stays for
a retention time, since a query may still read an older version. App transactions stay for ever, so a recording that
expired does not come back when it is shipped again.

A table is read quickly if its objects are few and large. One recording is found quickly if its rows are together. So
the row groups of a merged object have disjoint ranges of `recording_id`, unless one recording fills several. Each merge
is one Delta commit, which removes the small objects from the table and adds the merged ones.
"""

from __future__ import annotations

import heapq
import io
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction
from obstore.exceptions import NotFoundError

from ..errors import LakeError
from .files import File, add_action, files_in, files_of, indexed, is_small, options
from .layout import PARTITION, is_own, merged_name, path_of
from .location import Damaged, Lake
from .scan import conformed, naming, recordings_in, runs

RETAIN = timedelta(days=7)
"""Least age of an object that is removed from the store: since it left its table, or without a commit since it was
written. It exceeds the longest query, and the time that a shipper needs from an object to its commit."""
ATTEMPTS = 20
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Expired:
    """One day that expires in one table."""

    table: str
    day: str
    objects: int
    bytes: int
    rows: int


_FIRST_DAY = "2025-01-01"
"""No omnirecord recorded before it: an earlier day is of a wrong clock. The same holds for a day in the future."""


def is_impossible(day: str) -> bool:
    """Whether a recorder with a right clock recorded nothing on that UTC day, `YYYY-MM-DD`."""
    return day < _FIRST_DAY or day > f"{(datetime.now(UTC) + timedelta(days=1)).date()}"


def first_day_kept(age: timedelta, now: datetime | None = None) -> date:
    """Return the first UTC day that does not expire: a day expires when all of it is older than `age`."""
    return ((now or datetime.now(UTC)) - age).date()


def expiring(lake: Lake, until: date) -> list[Expired]:
    """Return the days before `until`, by table and day. Of an impossible day, only what arrived before. Raises
    `LakeError`."""
    found = list[Expired]()
    for name in reversed(lake.tables()):
        for day, some in groupby(_before(lake, name, until, files_of(lake, name)[0]), key=lambda one: one.day):
            sizes, rows = zip(*((one.size, one.rows or 0) for one in some), strict=True)
            found.append(Expired(name, day, len(sizes), sum(sizes), sum(rows)))
    return found


def expire(lake: Lake, until: date) -> Iterator[str]:
    """Remove the days before `until` from the tables, one commit for each table. Yields each table's name when it is
    done: `recordings` first, so that no recording is there in part. Raises `LakeError`."""

    def remove_days(change: TableChange) -> None:
        for file in _before(lake, change.name, until, change.files):
            change.remove(file)

    for name in reversed(lake.tables()):
        changed(lake, name, remove_days)
        yield name


def _too_late(lake: Lake, name: str) -> LakeError:
    return LakeError(f"{lake.url}: other commits to {name} came first {ATTEMPTS} times: try again, nothing is lost")


def _before(lake: Lake, name: str, until: date, files: Sequence[File]) -> list[File]:
    """Return those of the files of a table that expire."""
    lake.refuse_foreign(name, (file.path for file in files))
    found = [file for file in files if file.day < f"{until}" and not is_impossible(file.day)]
    odd = [file for file in files if is_impossible(file.day)]
    if odd:
        late = set(arrived_since(lake, until))
        arrived = _arrived(lake, name, odd)
        found += [one for one in odd if arrived[one.path] < until and not one.may_hold(late)]
    return found


def arrived_since(lake: Lake, until: date) -> dict[str, str]:
    """Return the recordings with an impossible day that arrived on the day `until` or later, with that day.

    Their age counts by the clock of the store. Raises `LakeError`.
    """
    files = [one for one in files_of(lake, "recordings")[0] if is_impossible(one.day)]
    arrived = _arrived(lake, "recordings", files)
    return recordings_in(lake, [file for file in files if arrived[file.path] >= until]) if files else {}


def _arrived(lake: Lake, name: str, files: Sequence[File]) -> dict[str, date]:
    """Return the UTC day on which the store got each of these files. A missing file counts as new."""
    found = {file.path: date.max for file in files}
    with lake.failures():
        for day in sorted({file.day for file in files}):
            for some in lake.objects.list(prefix=f"{name}/{PARTITION}={day}/"):
                found |= {one["path"].removeprefix(f"{name}/"): one["last_modified"].date() for one in some}
    return found


def remove(lake: Lake, name: str, retain: timedelta = RETAIN, *, dry_run: bool = False) -> list[str]:
    """Remove the objects that left a table before `retain`, and those without a commit that are older.

    Their age is judged by the clock of the store. Files that omnirecord did not write stay. Returns the paths; with
    `dry_run`, those that would be removed. Raises `LakeError`.
    """
    ahead = timedelta(0)
    with suppress(LakeError) if dry_run else nullcontext():  # a reader may not write there
        ahead = lake.skew()
    hours = math.ceil((retain - ahead) / _HOUR) if ahead else round(retain / _HOUR)
    with lake.failures():
        vacuum = partial(lake.table(name).vacuum, max(0, hours), dry_run=True, enforce_retention_duration=False)
        found = sorted(vacuum(full=True))
        if not all(map(is_own, found)):
            known = set(vacuum())  # the log has named them
            found = [path for path in found if is_own(path) or path in known]
        if found:  # the log names objects that were removed before
            there = {one["path"] for some in lake.objects.list(prefix=f"{name}/") for one in some}
            found = [path for path in found if f"{name}/{path}" in there]
        for path in () if dry_run else found:
            with suppress(NotFoundError, FileNotFoundError):  # another process removed it
                lake.objects.delete(f"{name}/{path}")
        return found


def shorten_log(lake: Lake, names: Sequence[str]) -> Iterator[str]:
    """Write a checkpoint of each table, and remove log files that are older than the log's retention (30 days)."""
    for name in names:
        with lake.failures():
            table = lake.table(name)
            table.create_checkpoint()
            table.cleanup_metadata()
        yield name


TARGET = 128 << 20
"""Size in bytes that a merged object reaches at most by one row group."""
_GROUP_ROWS = 100_000
_GROUP_BYTES = 32 << 20
"""Limits of a row group: rows, and bytes in memory."""
_ENOUGH = 4
"""A row group of `events` ends with a recording if it has this part of the limits: `get` then reads few other rows."""
_FEWEST = 2
"""Files that are worth a merge."""
_REMOVALS = "omnirecord-removals"
"""The app transaction of all commits that remove objects."""


@dataclass(frozen=True, slots=True)
class Merge:
    """The small objects of one day of a table."""

    table: str
    day: str
    files: tuple[File, ...]


@dataclass(slots=True)
class Merged:
    objects: int = 0
    into: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    rows: int = 0

    def add(self, merge: Merge, made: Sequence[AddAction]) -> None:
        """Count a merge; `made`: the objects that it made."""
        self.objects += len(merge.files)
        self.bytes_before += sum(file.size for file in merge.files)
        self.into += len(made)
        self.bytes_after += sum(one.size for one in made)
        self.rows += sum(file.rows or 0 for file in merge.files)


def merges(lake: Lake, name: str, target: int = TARGET) -> list[Merge]:
    """Return the merges that a table needs: the days with several objects below half the target size, in bytes.

    The time of an object of an impossible day tells its age, so it is merged once.
    """
    files, _ = files_of(lake, name)
    small = (file for file in files if file.size < target // 2 and (file.recording_id or not is_impossible(file.day)))
    days = groupby(small, key=lambda one: one.day)
    found = (Merge(name, day, tuple(of_day)) for day, of_day in days)
    return [one for one in found if len(one.files) >= _FEWEST]


def merge(lake: Lake, wanted: Merge, result: Merged, target: int = TARGET) -> Iterator[File]:
    """Merge the objects, and yield each one when its rows are read. Adds what was merged to `result`.

    If another process removed one of them in the meantime, the rest is merged again. Raises `LakeError`.
    """
    for _ in range(ATTEMPTS):
        table = lake.table(wanted.table)
        with lake.failures():
            there = {one.path for one in files_in(table)}
            # The plan may be older than the table: a file that another merge removed would be committed twice.
            files = [file for file in wanted.files if file.path in there]
            for one in [file for file in files if not lake.has(f"{wanted.table}/{file.path}")]:
                lake.missing.add(wanted.table, one.path)
                files.remove(one)
        wanted = replace(wanted, files=tuple(files))
        if len(wanted.files) < _FEWEST:
            return
        made: list[AddAction] = []
        try:
            with lake.failures():
                yield from _written(lake, table, wanted, target, made)
        except Damaged as error:
            discard(lake, wanted.table, made)
            for name, path in error.files:
                lake.missing.add(name, path)
            wanted = replace(
                wanted, files=tuple(file for file in wanted.files if (wanted.table, file.path) not in error.files)
            )
            continue
        except BaseException:  # Ctrl-C too
            discard(lake, wanted.table, made)
            raise
        with lake.failures():
            # If this raises, the commit may have succeeded all the same: then the new objects must stay.
            removed = (removal(lake, file, data_change=False) for file in wanted.files)
            done = is_committed(table, [*made, *removed])
        if done:
            result.add(wanted, made)
            return
        discard(lake, wanted.table, made)
        left = [one for one in merges(lake, wanted.table, target) if one.day == wanted.day]
        if not left:
            return
        wanted = left[0]
    raise _too_late(lake, wanted.table)


def discard(lake: Lake, table: str, made: Sequence[AddAction]) -> None:
    """Remove objects that no commit names."""
    with lake.failures():
        for action in made:
            lake.objects.delete(f"{table}/{action.path}")


def removal(lake: Lake, file: File, *, data_change: bool) -> RemoveAction:
    """Return the action that removes a file from its table. `data_change`: whether its rows leave the table."""
    now_ms = int((datetime.now(UTC) + lake.skew()).timestamp() * 1000)
    return RemoveAction(file.path, data_change, now_ms, file.size, {PARTITION: file.day})


def is_committed(
    table: DeltaTable, actions: Sequence[AddAction | RemoveAction], withdrawn: Iterable[Transaction] = ()
) -> bool:
    """Commit actions that remove objects; return whether no other process removed some since the table was read.

    `withdrawn`: the transactions of recordings of which the table takes rows again.

    deltalake lets two commits remove the same object. So each such commit counts on the same app transaction, of which
    the store accepts one from each version.
    """
    version = (table.transaction_version(_REMOVALS) or 0) + 1
    properties = CommitProperties(app_transactions=[Transaction(_REMOVALS, version), *withdrawn])
    try:
        table.create_write_transaction([*actions], "append", table.schema(), [PARTITION], commit_properties=properties)
    except CommitFailedError:
        return False
    return True


class TableChange:
    """What one commit changes in a table, at its newest version."""

    def __init__(self, lake: Lake, name: str) -> None:
        self.name = name
        self.table = lake.table(name)
        with lake.failures(name):
            self.files = files_in(self.table)
        self.made: list[AddAction] = []
        """The new objects."""
        self.removed: list[RemoveAction] = []
        self.rows = 0
        """The number of rows that leave rewritten files."""
        self.withdrawn: Sequence[Transaction] = ()
        """See `is_committed`."""
        self._lake = lake

    def remove(self, file: File) -> None:
        self.removed.append(removal(self._lake, file, data_change=True))

    def rewrite(self, file: File, change: Callable[[pa.Table], pa.Table]) -> None:
        """Write the rows of a file as `change` returns those of each recording. If it changes nothing, the file stays.
        Raises `LakeError`."""
        columns = pa.schema(self.table.schema().to_arrow())
        schema = columns.remove(columns.get_field_index(PARTITION))
        begin = len(self.made)
        output = _Output(self._lake, Merge(self.name, file.day, (file,)), schema, TARGET, self.made)
        is_changed = False
        gone = 0
        before: str | None = None
        with self._lake.failures(self.name):
            for rows in _parts(self._lake, self.name, file.path, schema):
                recording = rows["recording_id"][0].as_py()
                kept = change(rows)
                is_changed = is_changed or (kept is not rows and not kept.equals(rows))
                gone += rows.num_rows - kept.num_rows
                if kept.num_rows:
                    if before not in (None, recording):
                        output.end_recording()
                    before = recording
                    output.add(kept)
            if is_changed:
                output.close()
        made = self.made[begin:]
        if is_changed:
            self.made[begin:] = [replace(one, data_change=True) for one in made]
            self.rows += gone
            self.remove(file)
        else:
            del self.made[begin:]
            discard(self._lake, self.name, made)


def changed(lake: Lake, name: str, plan: Callable[[TableChange], None]) -> TableChange:
    """Change a table in one commit, as `plan` says. If another process removed an object in the meantime, `plan` is
    called again, with the new version. Raises `LakeError`."""
    for _ in range(ATTEMPTS):
        change = TableChange(lake, name)
        try:
            plan(change)
        except BaseException:  # Ctrl-C too
            discard(lake, name, change.made)
            raise
        actions: list[AddAction | RemoveAction] = [*change.made, *change.removed]
        with lake.failures(name):
            if not (actions or change.withdrawn) or is_committed(change.table, actions, change.withdrawn):
                return change
        discard(lake, name, change.made)
    raise _too_late(lake, name)


def _written(lake: Lake, table: DeltaTable, wanted: Merge, target: int, made: list[AddAction]) -> Iterator[File]:
    """Write the rows of the objects into new ones, whose actions are added to `made`; yield each object read."""
    columns = pa.schema(table.schema().to_arrow())  # of the newest version
    schema = columns.remove(columns.get_field_index(PARTITION))
    output = _Output(lake, wanted, schema, target, made)
    waiting: list[tuple[str, int, pa.Table, Iterator[pa.Table]]] = []

    def read(number: int, source: Iterator[pa.Table]) -> None:
        if (rows := next(source, None)) is not None:
            heapq.heappush(waiting, (rows["recording_id"][0].as_py(), number, rows, source))

    def write(before: str | None = None) -> None:
        while waiting and (before is None or waiting[0][0] < before):
            recording, number, rows, source = heapq.heappop(waiting)
            output.add(rows)
            read(number, source)
            if not waiting or waiting[0][:2] != (recording, number):
                output.end_recording()

    for number, one in enumerate(sorted(wanted.files, key=lambda one: (one.least, one.path))):
        write(one.least)
        read(number, _parts(lake, wanted.table, one.path, schema))
        yield one
    write()
    output.close()


def _parts(lake: Lake, table: str, path: str, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of an object in parts, each of one recording."""
    data = lake.objects.get(f"{table}/{path}").bytes()
    with naming(lake, table, path):
        for batch in pq.ParquetFile(pa.BufferReader(pa.py_buffer(data))).iter_batches():
            rows = conformed(pa.Table.from_batches([batch]), schema)
            at = 0
            for _, end in runs(rows["recording_id"]):
                yield rows.slice(at, end - at)
                at = end


class _Output:
    """The merged objects of a day. Each is written to the store when it is complete."""

    def __init__(self, lake: Lake, wanted: Merge, schema: pa.Schema, target: int, made: list[AddAction]) -> None:
        self._lake = lake
        self._wanted = wanted
        self._schema = schema
        self._target = target
        self._made = made
        self._waiting: list[pa.Table] = []
        self._count = self._bytes = 0
        self._sink: io.BytesIO | None = None

    def add(self, rows: pa.Table) -> None:
        while rows.num_rows:
            room = _GROUP_ROWS - self._count
            part = rows.slice(0, room)
            rows = rows.slice(room)
            self._waiting.append(part)
            self._count += part.num_rows
            self._bytes += part.nbytes
            if self._count >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
                self._flush()

    def end_recording(self) -> None:
        is_enough = self._count >= _GROUP_ROWS // _ENOUGH or self._bytes >= _GROUP_BYTES // _ENOUGH
        if is_enough and self._wanted.table == "events":
            self._flush()

    def _flush(self, *, is_last: bool = False) -> None:
        """Write a row group; end the object if it has its size. An object of one small row group has no statistics."""
        if not self._waiting:
            return
        rows = pa.concat_tables(self._waiting)
        if self._sink is None:
            self._sink = io.BytesIO()
            given = options(self._wanted.table, rows, is_small=is_last and is_small(rows.num_rows))
            self._writer = pq.ParquetWriter(self._sink, self._schema, **given)
        self._writer.write_table(rows, row_group_size=_GROUP_ROWS)
        self._waiting = []
        self._count = 0
        self._bytes = 0
        if self._sink.tell() >= self._target:
            self._end()

    def _end(self) -> None:
        assert self._sink is not None
        self._writer.close()
        data = indexed(self._wanted.table, self._sink.getvalue())
        self._sink = None
        path, within = path_of(self._wanted.table, self._wanted.day, merged_name())
        action = add_action(within, self._wanted.day, data)
        self._lake.objects.put(path, data, mode="create")
        self._made.append(replace(action, data_change=False))

    def close(self) -> None:
        self._flush(is_last=True)
        if self._sink is not None:
            self._end()
