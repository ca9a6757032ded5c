"""Reads whole recordings from the objects of a lake, many at a time and without files."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..model import Exchange, Incident, Side
from .files import File, files_of
from .location import Lake
from .recording import COLUMNS, RecordingRows, exchanges_of, frames_of, recordings_of
from .scan import WHOLE as _WHOLE
from .scan import Ranges, conformed, may_have, naming, scanned
from .tables import CHILDREN, SCHEMAS

_ALWAYS = ("recordings", "exchanges", "events", "incidents")
TABLES_READ = (*_ALWAYS, "messages")
_THREADS = 8
_MOST_OPEN = 8
"""Larger objects that stay open, so that the next batch does not read their metadata again."""
_DAY = attrgetter("day")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recording to read. `sessions`: the ids whose frames are wanted, None for what belongs to no session; all
    sessions by default."""

    day: str
    recording_id: str
    sessions: frozenset[str | None] | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Recordings of one day, and the objects that may have rows of them, by table."""

    wanted: tuple[Wanted, ...]
    objects: dict[str, tuple[File, ...]]


class Snapshot:
    """The objects of the tables that an analysis needs, at one version of each. Raises `LakeError`."""

    def __init__(self, lake: Lake) -> None:
        self._objects: dict[str, dict[str, list[File]]] = {}
        for name in TABLES_READ:
            found, _ = files_of(lake, name)
            self._objects[name] = {day: list(of_day) for day, of_day in groupby(found, key=_DAY)}

    def recordings(self, lake: Lake) -> dict[str, str]:
        """Return the day of each recording, by its id, in the order of both. Raises `LakeError`."""
        found: list[tuple[str, str]] = []
        merged: list[File] = []
        for day, objects in self._objects["recordings"].items():
            found += [(day, one.least) for one in objects if one.least == one.most]
            merged += [one for one in objects if one.least != one.most]
        rows = scanned(lake, "recordings", merged, _schema("recordings", ["day", "recording_id"]))
        found += [(f"{day}", id_) for day, id_ in zip(*(column.to_pylist() for column in rows.columns), strict=True)]
        return {id_: day for day, id_ in sorted(found)}

    def sessions(self, lake: Lake) -> list[dict[str, Any]]:
        """Return the ids of all sessions, of their recordings, parents and children, and their start.

        Raises `LakeError`.
        """
        objects, _ = files_of(lake, "sessions")
        columns = ["recording_id", "session_id", "parent_session_id", CHILDREN, "started_at"]
        rows: list[dict[str, Any]] = scanned(lake, "sessions", objects, _schema("sessions", columns)).to_pylist()
        return rows

    def batches(self, wanted: Sequence[Wanted], most: int) -> Iterator[Batch]:
        """Yield batches of at most `most` recordings, by day and id."""
        ordered = sorted(wanted, key=lambda one: (one.day, one.recording_id))
        for _, of_day in groupby(ordered, key=_DAY):
            found = list(of_day)
            for at in range(0, len(found), most):
                yield self.batch(found[at : at + most])

    def batch(self, some: Sequence[Wanted]) -> Batch:
        """Return the batch of recordings of one day, which are sorted."""
        ids = [one.recording_id for one in some]
        day = some[0].day
        return Batch(
            tuple(some), {name: tuple(_overlapping(days.get(day, ()), ids)) for name, days in self._objects.items()}
        )


def _schema(table: str, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([SCHEMAS[table].field(name) for name in columns])


def _overlapping(objects: Iterable[File], ids: Sequence[str]) -> Iterator[File]:
    """The objects that may have rows of these recordings, which are sorted."""
    for one in objects:
        at = bisect_left(ids, one.least)
        if at < len(ids) and ids[at] <= one.most:
            yield one


class Reader:
    """Reads batches from a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._open: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._threads = ThreadPoolExecutor(_THREADS)

    def recordings(self, batch: Batch) -> Iterator[tuple[Wanted, RecordingRows]]:
        """Yield the recordings of a batch. Raises `LakeError`, or `ValueError` for an invalid row."""
        ids = [one.recording_id for one in batch.wanted]
        rows = dict(zip(_ALWAYS, self._threads.map(lambda name: self.rows(name, batch, ids), _ALWAYS), strict=True))
        recordings = recordings_of(rows["recordings"])
        exchanges: dict[str, list[Exchange]] = defaultdict(list)
        bodies: dict[str, dict[tuple[int, Side], bytes]] = defaultdict(dict)
        numbers = {id_: one.recording for id_, one in recordings.items()}
        for id_, x, both in exchanges_of(rows["exchanges"], numbers):
            exchanges[id_].append(x)
            for side, body in zip(("request", "response"), both, strict=True):
                if body is not None:
                    bodies[id_][x.exchange, side] = body  # type: ignore[index]  # mypy widens the literals
        frames, incidents = frames_of(rows["events"]), self._incidents(rows["incidents"], numbers)
        messages = self._last_messages(batch, exchanges)
        for one in batch.wanted:
            id_ = one.recording_id
            if id_ in recordings:  # else it expired between two versions
                own = sorted(exchanges[id_], key=lambda x: (x.request.at_ns, x.exchange))
                yield one, RecordingRows(
                    recordings[id_], own, bodies[id_], frames.get(id_, {}), incidents[id_], messages.get(id_, 0),
                    one.sessions,
                )  # fmt: skip

    def _incidents(self, rows: pa.Table, numbers: dict[str, int]) -> dict[str, list[Incident]]:
        found: dict[str, list[Incident]] = defaultdict(list)
        for one in rows.to_pylist():
            id_ = one["recording_id"]
            if id_ in numbers:
                found[id_].append(Incident(numbers[id_], one["at_ns"], one["message"]))
        for of in found.values():
            of.sort(key=lambda one: one.at_ns)
        return found

    def _last_messages(self, batch: Batch, exchanges: dict[str, list[Exchange]]) -> dict[str, int]:
        """The time of the last WebSocket message, in ns, of recordings with a WebSocket that has no end."""
        open_ = {
            id_: {x.exchange for x in of if x.kind == "websocket" and x.end_ns is None}
            for id_, of in exchanges.items()
        }  # fmt: skip
        ids = sorted(id_ for id_, of in open_.items() if of)
        last: dict[str, int] = {}
        if ids:
            for one in self.rows("messages", batch, ids).to_pylist():
                id_ = one["recording_id"]
                if one["exchange"] in open_[id_]:
                    last[id_] = max(last.get(id_, 0), one["at_ns"])
        return last

    def rows(self, table: str, batch: Batch, ids: Collection[str]) -> pa.Table:
        """Return the rows of these recordings, which are sorted. Raises `LakeError`."""
        schema = _schema(table, COLUMNS[table])
        found: list[pa.Table] = []
        with self._lake.failures():
            for one in batch.objects[table]:
                with naming(self._lake, f"{table}/{one.path}"):
                    found += self._of_object(table, one, list(ids), schema)
        return pa.concat_tables(found) if found else schema.empty_table()

    def _of_object(self, table: str, one: File, ids: list[str], schema: pa.Schema) -> Iterator[pa.Table]:
        file = self._file(f"{table}/{one.path}", one.size)
        there = set(file.schema_arrow.names)
        columns = [name for name in schema.names if name in there]
        groups = [
            number for number in range(file.metadata.num_row_groups)
            if may_have(file.metadata.row_group(number), ids)
        ]  # fmt: skip
        if not groups:
            return
        is_large = one.size > _WHOLE  # else a thread for each column costs more than it saves
        rows = conformed(file.read_row_groups(groups, columns=columns, use_threads=is_large), schema)
        if one.least != one.most:
            rows = rows.filter(pc.is_in(rows["recording_id"], pa.array(ids, pa.string())))
        yield rows

    def _file(self, path: str, size: int) -> pq.ParquetFile:
        if size <= _WHOLE:
            return pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._lake.objects.get(path).bytes())))
        file = self._open.pop(path, None)
        if file is None:
            file = pq.ParquetFile(Ranges(self._lake, path, size), pre_buffer=True)
        self._open[path] = file
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return file

    def close(self) -> None:
        self._threads.shutdown()
