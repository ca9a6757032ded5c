"""The tables of a lake: their columns, in the order in which a recording is committed to them.

The columns of `events` are made as Arrow arrays, without an object for each frame.

`events`, `reads`, `exchanges`, `messages` and `incidents` hold a recording; the text form can be made of them, byte for
byte. The tables of `COMPUTED` have the columns of `omnirecord query`, `problems` those of `validate --json`. All times
with the suffix `_ns` are ns since the start of the recording.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from itertools import accumulate, groupby, islice
from operator import itemgetter, lt
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.compute as pc

from ..analysis import tables as computed
from ..wire.sse import is_utf8

if TYPE_CHECKING:
    from ..analysis.model_calls.values import ModelCalls
    from ..cassette.sqlite import Store
    from ..cassette.sqlite.stream_reads import FrameTable
    from ..model import Exchange

FORMAT_VERSION = 2
"""Version of a lake's layout. A new column does not raise it: older rows have null there. Version 1 has no `ids`."""
PARTITION = "day"
CHILDREN = "child_session_ids"
"""The column of `sessions` with the sub-agents that a session started, as its own streams in this recording tell."""
LINKED = "linked_recording_ids"
"""The column of `recordings` with the others of its cassette that have turns of its model calls, or calls of its
turns."""
TURN_RECORDING = "turn_recording_id"
"""The column of `model_calls` with the id of the recording of the turn."""

_AT = pa.timestamp("us", tz="UTC")
_TYPES: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64()}
_KEY = [pa.field(PARTITION, pa.date32()), pa.field("recording_id", pa.string())]
"""The first columns of every table: the UTC day on which the recording began, and its id."""
_ISSUES = pa.list_(pa.struct([("path", pa.string()), ("message", pa.string())]))
_LABELS = pa.map_(pa.string(), pa.string())


COMPUTED = tuple(computed.TABLES)
"""The tables of `query`."""
ADDED = ("model_calls",)
"""The tables that lakes of older versions lack."""


def _table(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([*_KEY, *(pa.field(name, type_) for name, type_ in columns)])


def _computed(name: str) -> pa.Schema:
    """Return the columns of a table of `query`. Those with the suffix `_at` are timestamps here."""
    columns = computed.TABLES[name].types.items()
    more = {"sessions": [(CHILDREN, pa.list_(pa.string()))], "model_calls": [(TURN_RECORDING, pa.string())]}
    return _table(
        *((column, _AT if column.endswith("_at") else _TYPES[type_]) for column, type_ in columns), *more.get(name, ())
    )


SCHEMAS: dict[str, pa.Schema] = {
    "events": _table(
        ("session_id", pa.string()),
        ("exchange", pa.int32()),
        ("stream", pa.int32()),
        ("seq", pa.int32()),
        ("at", _AT),
        ("offset_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("type", pa.string()),
        ("verdict", pa.string()),
        ("length", pa.int32()),
        ("raw", pa.string()),
        ("raw_bytes", pa.binary()),
        ("issues", _ISSUES),
    ),
    "reads": _table(
        ("session_id", pa.string()),
        ("exchange", pa.int32()),
        ("n", pa.int32()),
        ("offset_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("size", pa.int32()),
        ("is_lost", pa.bool_()),
    ),
    "exchanges": _table(
        ("session_id", pa.string()),
        ("exchange", pa.int32()),
        ("stream", pa.int32()),
        ("kind", pa.string()),
        ("party", pa.string()),
        ("at", _AT),
        ("request_at_ns", pa.int64()),
        ("method", pa.string()),
        ("target", pa.string()),
        ("request_headers", pa.string()),
        ("request_body", pa.binary()),
        ("response_at_ns", pa.int64()),
        ("status", pa.int32()),
        ("reason", pa.string()),
        ("response_headers", pa.string()),
        ("response_body", pa.binary()),
        ("end_ns", pa.int64()),
        ("ending", pa.string()),
        ("request_bytes", pa.int64()),
        ("response_bytes", pa.int64()),
        ("max_decoded", pa.int64()),
        ("derives_reads", pa.bool_()),
        ("request_cut", pa.bool_()),
        ("answered_from", pa.int32()),
        ("replaced", pa.bool_()),
    ),
    "messages": _table(
        ("session_id", pa.string()),
        ("exchange", pa.int32()),
        ("message", pa.int32()),
        ("at", _AT),
        ("at_ns", pa.int64()),
        ("sent_ns", pa.int64()),
        ("dir", pa.string()),
        ("opcode", pa.int32()),
        ("data", pa.binary()),
    ),
    "incidents": _table(("at", _AT), ("at_ns", pa.int64()), ("message", pa.string())),
    **{name: _computed(name) for name in COMPUTED},
    "problems": _table(
        ("type", pa.string()),
        ("path", pa.string()),
        ("problem", pa.string()),
        ("count", pa.int64()),
        ("stream", pa.int32()),
        ("seq", pa.int32()),
    ),
    "recordings": _table(
        ("recording", pa.int32()),
        ("run_id", pa.string()),
        ("started_at", _AT),
        ("started_at_text", pa.string()),
        ("version", pa.string()),
        ("contract", pa.string()),
        ("upstream", pa.string()),
        ("server_version", pa.string()),
        ("labels", _LABELS),
        ("exchanges", pa.int64()),
        ("streams", pa.int64()),
        ("events", pa.int64()),
        ("sessions", pa.int64()),
        ("redact", pa.string()),
        ("shipped_at", _AT),
        ("shipped_by", pa.string()),
        ("hop", pa.string()),
        ("contract_given", pa.bool_()),
        (LINKED, pa.list_(pa.string())),
    ),
}
"""The columns of each table. `recordings` is last: its row says that the recording is complete.

`events.raw` has the frame if it is UTF-8, else `raw_bytes`; both are null if its bytes were dropped. Of an exchange
with `derives_reads`, `reads` has only the reads that do not follow from the events (`derived_reads`).
`response_body` of a stream is null unless it has a content coding. Headers are JSON pairs. `max_decoded` is the limit
in bytes at which the recorder stopped decoding. `request_cut`: the body of the request was not read to its end.
`answered_from`: the number of the exchange of another cassette that is the answer.
`replaced`: a later exchange took its place, in record mode `new_episodes`.
"""

TABLES = tuple(SCHEMAS)
_OF_ALL = {PARTITION: "UTC day on which the recording began", "recording_id": "Id of the recording, a UUID"}


def comments_of(table: str) -> dict[str, str]:
    """Return the comments of the columns of a table in its Delta schema, by column. Only the tables of `query` have one
    for each."""
    own = computed.TABLES[table].columns if table in COMPUTED else ()
    return {**{one.name: one.about for one in own}, **_OF_ALL}


MEASURED = ("recording_id", "session_id", "code", "at", "asked_at", "started_at")
"""Columns whose least and greatest values are in the Delta log, so that an engine skips files."""


def conversation_ids(calls: ModelCalls, ids: Mapping[int, str]) -> dict[str, str]:
    """Return the session ids of conversations of model calls in a lake, by their names in the cassette.

    `RECORDING#2` is the second conversation that began in that recording. `ids`: those of the recordings by number.
    """
    counts = Counter[int]()
    found = {}
    for talk in calls.talks:
        recording = talk.links[0].call.recording
        counts[recording] += 1
        found[talk.session_id] = f"{ids[recording]}#{counts[recording]}"
    return found


def recording_of(session_id: str) -> str | None:
    """Return the id of the recording in which a conversation of model calls began; None for a session."""
    recording_id, mark, number = session_id.rpartition("#")
    return recording_id if mark and number.isascii() and number.isdecimal() else None


_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OWN = re.compile(rf"{PARTITION}=\d{{4}}-\d\d-\d\d/({_UUID}(-[0-9a-f]{{8}})?|merged-{_UUID})\.parquet")


def is_own(path: str) -> bool:
    """Whether the path of an object, below its table, is one that omnirecord chooses."""
    return _OWN.fullmatch(path) is not None


def path_of(table: str, day: str, name: str) -> tuple[str, str]:
    """Return the path of an object in the lake, and the path in its Delta log. `day`: `YYYY-MM-DD`.

    `name` is the id of its recording. If another object has that name, `-` and random digits follow. That of an object
    with several recordings is a `merged_name`.
    """
    within = f"{PARTITION}={day}/{name}.parquet"
    return f"{table}/{within}", within


def merged_name(recordings: Iterable[str] = ()) -> str:
    """Return the name of an object with several recordings: the same for the same ids, random without ids."""
    ids = " ".join(recordings)
    return f"merged-{UUID(bytes=sha256(ids.encode()).digest()[:16]) if ids else uuid4()}"


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FLUSH_BYTES = 64 << 20
"""Bytes of frames in one batch of events, about: a row group of the Parquet file."""
FLUSH_ROWS = 1 << 20


Times = tuple[int, int | None, int]
"""Arrival and sending time in ns, and a size in bytes."""


class EventColumns:
    """The events of one recording. `started_us`: its start, in microseconds since 1970."""

    def __init__(self, started_us: int) -> None:
        self._started_us = started_us
        self._begin()

    def _begin(self) -> None:
        self._streams: list[tuple[int, str | None, int, int | None]] = []  # up to which row: session, exchange, stream
        self._seq = array("i")
        self._offset_ns = array("q")
        self._ends = array("i", [0])
        self._sent_ns: list[int | None] = []
        self._types: list[str | None] = []
        self._verdicts: list[str] = []
        self._lengths = array("q")
        self._body: list[bytes] = []
        self._size = 0
        self._no_text: set[int] = set()
        self._binary: dict[int, bytes] = {}
        self._issues: dict[int, list[dict[str, str]]] = {}

    def __len__(self) -> int:
        return len(self._seq)

    @property
    def is_full(self) -> bool:
        """Whether the rows should be taken before others follow."""
        return self._size >= FLUSH_BYTES or len(self) >= FLUSH_ROWS

    def add_table(self, x: Exchange, table: FrameTable) -> None:
        """Add a whole stream whose body is text."""
        begin = len(self)
        size = self._size
        came = table.came
        sent = table.sent
        self._seq.extend(range(1, len(table.ends) + 1))
        self._offset_ns.extend([came[read] for read in table.reads])
        self._sent_ns += [sent[read] for read in table.reads]
        self._ends.extend([size + end for end in table.ends])
        self._lengths.extend([end - start for start, end in zip([0, *table.ends], table.ends, strict=False)])
        self._types += table.types
        self._verdicts += table.verdicts
        self._body.append(table.body)
        self._size += len(table.body)
        for place, issues in table.issues.items():
            self._issues[begin + place] = _issues(issues)
        self._span(x)

    def add_frames(self, x: Exchange, store: Store) -> Iterator[None]:
        """Add a stream frame by frame. Yields when the rows should be taken."""
        for frame in store.frames(x, unfinished=True):
            place = len(self)
            self._seq.append(frame.seq)
            self._offset_ns.append(frame.offset_ns)
            self._sent_ns.append(frame.sent_ns)
            self._types.append(frame.type)
            self._verdicts.append(frame.verdict)
            self._lengths.append(frame.length)
            if frame.raw is not None and is_utf8(frame.raw):
                self._body.append(frame.raw)
                self._size += len(frame.raw)
            else:
                self._no_text.add(place)
                if frame.raw is not None:
                    self._binary[place] = frame.raw
            self._ends.append(self._size)
            if frame.issues:
                self._issues[place] = _issues(frame.issues)
            if self.is_full:
                self._span(x)
                yield
        self._span(x)

    def _span(self, x: Exchange) -> None:
        if len(self) > (self._streams[-1][0] if self._streams else 0):
            self._streams.append((len(self), x.session_id, x.exchange, x.stream))

    def take(self) -> dict[str, pa.Array]:
        """Return the rows so far as columns, and begin again."""
        count = len(self)
        offset_ns = integers(self._offset_ns, pa.int64())
        schema = SCHEMAS["events"]
        names = ("session_id", "exchange", "stream")
        ends, *values = zip(*self._streams, strict=True)
        ends = pa.array(ends, pa.int32())
        of_streams = {
            name: pc.run_end_decode(pa.RunEndEncodedArray.from_arrays(ends, pa.array(one, schema.field(name).type)))
            for name, one in zip(names, values, strict=True)
        }
        raw = pa.StringArray.from_buffers(count, pa.py_buffer(self._ends), pa.py_buffer(b"".join(self._body)))
        if self._no_text:
            raw = pc.if_else([place in self._no_text for place in range(count)], pa.scalar(None, pa.string()), raw)
        made = {
            **of_streams,
            "seq": integers(self._seq, pa.int32()),
            "at": pc.add(pc.divide(offset_ns, 1000), self._started_us).cast(_AT),
            "offset_ns": offset_ns,
            "sent_ns": pa.array(self._sent_ns, pa.int64()),
            "type": pa.array(self._types, pa.string()),
            "verdict": pa.array(self._verdicts, pa.string()),
            "length": integers(self._lengths, pa.int64()).cast(pa.int32()),
            "raw": raw,
            "raw_bytes": _sparse(self._binary, count, schema.field("raw_bytes").type),
            "issues": _sparse(self._issues, count, schema.field("issues").type),
        }
        self._begin()
        return made


def integers(values: array[int], type_: pa.DataType) -> pa.Array:
    """Return a column of integers without a copy."""
    return pa.Array.from_buffers(type_, len(values), [None, pa.py_buffer(values)])


def start_of(started_at: str) -> datetime:
    """Return the start of a recording, in UTC. A time without a zone is UTC."""
    at = datetime.fromisoformat(started_at)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def is_text(table: FrameTable) -> bool:
    """Whether every frame of a stream is UTF-8."""
    body = table.body
    if body.isascii():
        return True
    return is_utf8(body) and all(body[end] & 0xC0 != 0x80 for end in table.ends if end < len(body))


def underived(table: FrameTable) -> list[int]:
    """Return the numbers of the reads that `derived_reads` does not find without them."""
    came = table.came
    sent = table.sent
    ends = table.ends
    last_ends = dict(zip(table.reads, ends, strict=True))  # of the frames that a read completed
    is_usual = all(table.sizes) and [*last_ends.values()] == [*accumulate(table.sizes)]
    if is_usual and all(map(lt, came, islice(came, 1, None))):
        return []
    found = []
    pos = 0
    at = 0
    for n, size in enumerate(table.sizes):
        until = at
        while until < len(ends) and (came[table.reads[until]], sent[table.reads[until]]) == (came[n], sent[n]):
            until += 1
        pos += size
        if until == at or not size or ends[until - 1] != pos:
            found.append(n)
        while at < len(ends) and ends[at] <= pos:
            at += 1
    return found


def derived_reads(events: Iterable[Times], stored: Mapping[int, Times]) -> Iterator[Times]:
    """Yield all reads of a stream, from its events and from the reads that are stored, by number.

    Consecutive events with the same times came in one read. A read is an offset and a sending time in ns, and a size in
    bytes, an event the same with its length.
    """
    runs = ((key, sum(length for *_, length in some)) for key, some in groupby(events, key=itemgetter(0, 1)))
    n = pos = end = 0
    key, size = next(runs, ((0, None), None))  # type: tuple[int, int | None], int | None
    while size is not None or n in stored:
        if n in stored:
            yield stored[n]
            pos += stored[n][2]
        else:
            yield *key, end + (size or 0) - pos
            pos = end + (size or 0)
        while size is not None and end + size <= pos:
            end += size
            key, size = next(runs, ((0, None), None))
        n += 1


def _issues(issues: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "message": message} for path, message in issues]


def _sparse(values: dict[int, Any], count: int, type_: pa.DataType) -> pa.Array:
    if not values:
        return pa.nulls(count, type_)
    return pa.array([values.get(place) for place in range(count)], type_)
