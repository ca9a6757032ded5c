"""Reads whole recordings from the objects of a lake, many at a time and without files.

The analyses read such recordings as they read an open cassette (`RecordingRows`). The hops of one cassette, which are
recordings with turns and model calls of each other, are read together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ..analysis.gather import model_calls
from ..cassette.contracts import judge_again, judge_of, of_recording
from ..cassette.judged import judged
from ..cassette.select import grouped, strays
from ..cassette.sqlite.checked import exchange_of, family_of, headers_of
from ..contract.judge import Contract
from ..model import Exchange, Incident, Recording, Side, TimedFrame, by_key
from ..omnigent.protocol import SESSION_CREATED
from ..wire.content_coding import decoded as decoded_content
from ..wire.headers import header
from .files import File, files_of, has_between
from .layout import CHILDREN, SCHEMAS
from .location import Lake
from .query import LakeQuery
from .scan import TOGETHER, recordings_in, runs, scanned, together, tuples

if TYPE_CHECKING:
    from ..providers.grouping import Place

_ALWAYS = ("recordings", "exchanges", "events", "incidents")
_THREADS = 8
_DAY = attrgetter("day")
_ID = attrgetter("recording_id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recording to read, or a session tree in several recordings. `sessions`: the ids that are wanted, None for what
    belongs to no session; all by default. No session: it is only read, for another one of its cassette."""

    day: str
    recording_id: str
    sessions: frozenset[str | None] | None = None
    group: str = ""
    """The least id of the recordings that are read together; empty for a recording that is read alone."""
    elsewhere: frozenset[str] = frozenset()
    """The sessions of trees in several recordings: `doctor` and `stats` of the recording leave them out."""
    tree: frozenset[str] = frozenset()
    """The sessions of a tree in several recordings, which began on days from `day` to `last_day`. Then `recording_id`
    is the id of one of them."""
    last_day: str = ""

    @property
    def together(self) -> str:
        return self.group or self.recording_id

    @property
    def is_wanted(self) -> bool:
        return self.sessions is None or bool(self.sessions)


@dataclass(frozen=True, slots=True)
class Batch:
    """Recordings, of one day but for those that are read together, and the objects that may have rows of them, by
    table."""

    wanted: tuple[Wanted, ...]
    objects: dict[str, tuple[File, ...]]

    def each(self) -> list[Batch]:
        """Return a batch for each group of recordings that are read together."""
        groups = groupby(self.wanted, key=attrgetter("together"))
        return [Batch(tuple(some), self.objects) for _, some in groups]

    def left(self, done: Collection[str]) -> list[Batch]:
        """Return a batch for each group with a recording that is wanted and not done."""
        wanted = (replace(one, sessions=frozenset()) if one.recording_id in done else one for one in self.wanted)
        return [one for one in Batch(tuple(wanted), self.objects).each() if any(of.is_wanted for of in one.wanted)]


class Snapshot:
    """The objects of the tables that an analysis needs, at one version of each. Raises `LakeError`."""

    def __init__(self, lake: Lake) -> None:
        self._objects: dict[str, dict[str, list[File]]] = {}
        for name in (*_ALWAYS, "messages"):
            found, _ = files_of(lake, name)
            self._objects[name] = {day: list(of_day) for day, of_day in groupby(found, key=_DAY)}

    def recordings(self, lake: Lake) -> dict[str, str]:
        """Return the day of each recording, by its id, in the order of both. Raises `LakeError`."""
        files = list(chain.from_iterable(self._objects["recordings"].values()))
        return dict(sorted(recordings_in(lake, files).items(), key=lambda one: one[::-1]))

    def groups(self, lake: Lake) -> dict[str, list[str]]:
        """Return the recordings that are analysed together, by the least of their ids. Raises `LakeError`."""
        files = list(chain.from_iterable(self._objects["recordings"].values()))
        return {ids[0]: ids for ids in together(scanned(lake, "recordings", files, _schema("recordings", TOGETHER)))}

    def sessions(self, lake: Lake) -> list[dict[str, Any]]:
        """Return the ids of all sessions, of their recordings, parents and children, and their start.

        Raises `LakeError`.
        """
        objects, _ = files_of(lake, "sessions")
        columns = ["recording_id", "session_id", "parent_session_id", CHILDREN, "started_at"]
        rows: list[dict[str, Any]] = scanned(lake, "sessions", objects, _schema("sessions", columns)).to_pylist()
        return rows

    def batches(self, wanted: Sequence[Wanted], most: int) -> Iterator[Batch]:
        """Yield batches of about `most` recordings, by day and id. Those that are read together are in one batch."""
        groups = by_key(sorted(wanted, key=_ID), attrgetter("together")).values()
        ordered = sorted(groups, key=lambda group: (min(map(_DAY, group)), group[0].together))
        for _, of_day in groupby(ordered, key=lambda group: min(map(_DAY, group))):
            some: list[Wanted] = []
            for group in of_day:
                if len(some) >= most:
                    yield self._batch(some)
                    some = []
                some += group
            yield self._batch(some)

    def _batch(self, wanted: Sequence[Wanted]) -> Batch:
        ids = sorted(map(_ID, wanted))
        days = sorted(set(map(_DAY, wanted)))
        objects = {
            name: tuple(one for day in days for one in of.get(day, ()) if has_between(ids, one.least, one.most))
            for name, of in self._objects.items()
        }
        return Batch(tuple(wanted), objects)


def calls_of(lake: Lake, group: Sequence[str]) -> list[tuple[str, int, str | None, str | None]]:
    """Return recording, exchange, session and answer's id of each model call of a cassette. Raises `LakeError`.

    They are computed from the recordings: an older version has shipped them without `model_calls`.
    """
    snapshot = Snapshot(lake)
    days = snapshot.recordings(lake)
    wanted = [Wanted(days[id_], id_, None, group[0]) for id_ in group if id_ in days]
    found = []
    with closing(Reader(lake)) as reader:
        for batch in snapshot.batches(wanted, len(wanted)):
            for _, rows in reader.recordings(batch):
                ids = {one.recording: one.recording_id for one in rows.recordings()}
                links = model_calls(rows).links
                for link in links:
                    call = link.call
                    session_id = None if link.turn is None else link.turn.session_id
                    found.append((ids[call.recording], call.exchange, session_id, call.response_id))
    return found


def _schema(table: str, columns: Iterable[str]) -> pa.Schema:
    return pa.schema([SCHEMAS[table].field(name) for name in columns])


class Reader:
    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self._threads = ThreadPoolExecutor(_THREADS)
        self._open = ExitStack()
        self.tree_lake = Lake(lake.url)
        """The lake for `query`: its files that are missing are those of one session tree."""

    def recordings(self, batch: Batch) -> Iterator[tuple[list[Wanted], RecordingRows]]:
        """Yield the recordings of a batch, those of a group together. Raises `LakeError`, or `ValueError` for an
        invalid row."""
        ids = [one.recording_id for one in batch.wanted]
        rows = dict(zip(_ALWAYS, self._threads.map(lambda name: self.rows(name, batch, ids), _ALWAYS), strict=True))
        told = tuples(rows["recordings"], *COLUMNS["recordings"])
        recordings = {
            id_: Recording(
                number, started_at, version, contract, upstream, id_, run_id, labels, hop=hop, contract_given=given
            )
            for id_, number, started_at, version, contract, upstream, run_id, hop, given, labels in (
                (*row[:-1], dict(row[-1] or ())) for row in told
            )
        }
        exchanges: dict[str, list[Exchange]] = defaultdict(list)
        bodies: dict[str, dict[tuple[int, Side], bytes]] = defaultdict(dict)
        numbers = {id_: one.recording for id_, one in recordings.items()}
        for id_, number, *values, is_cut, answered_from, is_replaced, request, response in tuples(
            rows["exchanges"], *COLUMNS["exchanges"]
        ):
            row = number, numbers[id_], *values, True, False, is_cut, answered_from, is_replaced
            exchanges[id_].append(exchange_of(row, alive=False, headers=headers_of)[0])
            if request is not None:
                bodies[id_][number, "request"] = request
            if response is not None:
                bodies[id_][number, "response"] = response
        incidents: dict[str, list[Incident]] = defaultdict(list)
        for one in sorted(rows["incidents"].to_pylist(), key=itemgetter("at_ns")):
            if (id_ := one["recording_id"]) in numbers:
                incidents[id_].append(Incident(numbers[id_], one["at_ns"], one["message"]))
        frames = frames_of(rows["events"])
        messages = self._last_messages(batch, exchanges)
        for one in batch.each():
            there = [wanted for wanted in one.wanted if wanted.recording_id in recordings]  # else it expired meanwhile
            parts = [
                RecordingRows(
                    recordings[id_],
                    sorted(exchanges[id_], key=lambda x: (x.request.at_ns, x.exchange)),
                    bodies[id_],
                    frames.get(id_, {}),
                    incidents[id_],
                    messages.get(id_, 0),
                    wanted.sessions if len(there) == 1 else None,
                )
                for wanted in there
                if (id_ := wanted.recording_id)
            ]
            if parts:
                yield there, RecordingRows.joined(parts)

    def _last_messages(self, batch: Batch, exchanges: dict[str, list[Exchange]]) -> dict[str, int]:
        """The time of the last WebSocket message, in ns, of recordings with a WebSocket that has no end."""
        open_ = {
            id_: {x.exchange for x in of if x.kind == "websocket" and x.end_ns is None} for id_, of in exchanges.items()
        }
        ids = sorted(id_ for id_, of in open_.items() if of)
        last: dict[str, int] = {}
        if ids:
            for one in self.rows("messages", batch, ids).to_pylist():
                id_ = one["recording_id"]
                if one["exchange"] in open_[id_]:
                    last[id_] = max(last.get(id_, 0), one["at_ns"])
        return last

    def rows(self, table: str, batch: Batch, ids: Collection[str]) -> pa.Table:
        """Return the rows of these recordings. Raises `LakeError`."""
        schema = _schema(table, COLUMNS[table])
        files = batch.objects[table]
        return scanned(self.lake, table, files, schema, among={"recording_id": ids}, skips=())

    @cached_property
    def query(self) -> LakeQuery:
        """A query for sessions that have parts in several recordings."""
        return self._open.enter_context(LakeQuery(self.tree_lake))

    def close(self) -> None:
        self._open.close()
        self._threads.shutdown()


COLUMNS: dict[str, list[str]] = {
    "recordings": [
        "recording_id",
        "recording",
        "started_at_text",
        "version",
        "contract",
        "upstream",
        "run_id",
        "hop",
        "contract_given",
        "labels",
    ],
    "exchanges": [
        "recording_id",
        "exchange",
        "kind",
        "stream",
        "session_id",
        "party",
        "request_at_ns",
        "method",
        "target",
        "request_headers",
        "response_at_ns",
        "end_ns",
        "status",
        "reason",
        "response_headers",
        "ending",
        "request_bytes",
        "response_bytes",
        "request_cut",
        "answered_from",
        "replaced",
        "request_body",
        "response_body",
    ],
    "events": [
        "recording_id",
        "exchange",
        "stream",
        "seq",
        "offset_ns",
        "sent_ns",
        "raw",
        "raw_bytes",
        "length",
        "type",
        "verdict",
        "issues",
    ],
    "messages": ["recording_id", "exchange", "at_ns"],
    "incidents": ["recording_id", "at_ns", "message"],
}
"""The columns that an analysis needs, by table."""

Frames = dict[int, list[TimedFrame]]
"""The frames of each stream, by the number of its exchange."""


class RecordingRows:
    """A recording, or several of one cassette. `sessions`: the ids of those whose frames are wanted, None for streams
    without a session; all sessions by default."""

    places: Mapping[int, Place] = {}

    def __init__(
        self,
        recording: Recording,
        exchanges: list[Exchange],
        bodies: Mapping[tuple[int, Side], bytes],
        frames: Frames,
        incidents: list[Incident],
        messages_ns: int,
        sessions: Collection[str | None] | None,
    ) -> None:
        self._recordings = {recording.recording: recording}
        self._bodies = bodies
        self._exchanges, self._frames = _judged(recording, exchanges, frames)
        self._incidents = incidents
        self._messages_ns = {recording.recording: messages_ns}
        self._sessions = sessions

    @classmethod
    def joined(cls, parts: Sequence[RecordingRows]) -> RecordingRows:
        """Return recordings of one cassette as one. Their exchanges have different numbers."""
        made = copy(parts[0])
        for one in parts[1:]:
            made._recordings = made._recordings | one._recordings
            made._bodies = {**made._bodies, **one._bodies}
            made._exchanges = made._exchanges + one._exchanges
            made._frames = made._frames | one._frames
            made._incidents = made._incidents + one._incidents
            made._messages_ns = made._messages_ns | one._messages_ns
        return made

    def of_session(self, recording: int, session_id: str | None) -> RecordingRows:
        """Return the part of one session in a recording; None for the exchanges without one."""
        made = copy(self)
        made._exchanges = [x for x in self.exchanges(recording=recording) if x.session_id == session_id]
        made._recordings = {recording: self._recordings[recording]}
        return made

    def sessions(self, recording: int) -> list[str | None]:
        """Return the ids of the sessions of a recording by their beginning, None for streams without a session."""
        own = self.exchanges(recording=recording)
        found = (x.session_id for x in own if x.session_id is not None or x.stream is not None)
        return list(dict.fromkeys(found))

    def recordings(self) -> list[Recording]:
        return sorted(self._recordings.values(), key=attrgetter("recording"))

    def contract_of(self, recording: int, /) -> Contract:
        return of_recording(self._recordings[recording])

    def judge_of(self, x: Exchange, /) -> Contract:
        return judge_of(self._recordings[x.recording], x)

    def exchanges(
        self,
        *,
        recording: int | None = None,
        session_id: str | None = None,
        kind: str | None = None,
        method: str | None = None,
        ending: str | None = None,
        by_clients: bool = False,
        in_session: bool | None = None,
    ) -> list[Exchange]:
        return [
            x
            for x in self._exchanges
            if recording in (None, x.recording)
            and session_id in (None, x.session_id)
            and kind in (None, x.kind)
            and method in (None, x.request.method)
            and ending in (None, x.ending)
            and not (by_clients and x.party == "runner")
            and in_session in (None, x.session_id is not None)
        ]

    def each(self, recording: int, /) -> Iterator[Exchange]:
        return iter(self.exchanges(recording=recording))

    def groups(
        self, *, recording: int | None = None, sessions: Collection[str] | None = None
    ) -> Iterator[list[Exchange]]:
        groups = grouped(self.exchanges(recording=recording, by_clients=True))
        return (group for group in groups if sessions is None or group[0].session_id in sessions)

    def strays(self, *, recording: int | None = None) -> list[Exchange]:
        return strays(self.exchanges(recording=recording, by_clients=True))

    def streams(self, session_id: str | None = None, /) -> list[Exchange]:
        return [x for x in self.exchanges(session_id=session_id) if x.kind == "sse"]

    def frames(self, exchange: Exchange, /) -> Iterator[TimedFrame]:
        return chain.from_iterable(self.frame_lists(exchange))

    def frame_lists(self, exchange: Exchange, /) -> Iterator[list[TimedFrame]]:
        is_wanted = self._sessions is None or exchange.session_id in self._sessions
        if is_wanted and exchange.exchange in self._frames:
            yield self._frames[exchange.exchange]

    def outline(self, exchange: Exchange, /) -> Iterator[TimedFrame]:
        return self.frames(exchange)  # they are in memory already

    def decoded_body(self, x: Exchange, side: Side, /) -> bytes:
        if side == "response" and (x.stream is not None or x.response is None):
            return b""
        headers = x.request.headers if side == "request" or x.response is None else x.response.headers
        body = self._bodies.get((x.exchange, side), b"")
        return decoded_content(body, header(headers, "content-encoding")) if body else b""

    def incidents(self) -> list[Incident]:
        return self._incidents

    def last_exchange_ns(self, recording: int, /) -> int:
        own = self.exchanges(recording=recording)
        return max([0, *(max(x.request.at_ns, x.response.at_ns if x.response else 0, x.end_ns or 0) for x in own)])

    def last_known_ns(self, recording: int, /) -> int:
        own = self.exchanges(recording=recording)
        read = [self._frames[x.exchange][-1].offset_ns for x in own if x.exchange in self._frames]
        return max([self._messages_ns[recording], self.last_exchange_ns(recording), *read])

    def parents(self) -> dict[str, str]:
        created = (
            family_of(frame.raw)
            for frames in self._frames.values()
            for frame in frames
            if frame.type == SESSION_CREATED and frame.verdict == "valid"
        )
        return dict(filter(None, created))


def _judged(one: Recording, exchanges: list[Exchange], frames: Frames) -> tuple[list[Exchange], Frames]:
    """Return the exchanges and frames of a recording by the contracts that judge now."""
    made = list(exchanges)
    verdicts = dict(frames)
    for place, x in enumerate(exchanges):
        own = frames.get(x.exchange, [])
        if x.kind == "sse" and own and (judge := judge_again(one, x)) is not None:
            verdicts[x.exchange] = own = [judged(frame, judge) for frame in own]
            if any(judge.api.is_end(frame.verdict, frame.type) for frame in own):
                made[place] = replace(x, ending="done")
    return made, verdicts


def frames_of(rows: pa.Table) -> dict[str, Frames]:
    found: dict[str, Frames] = defaultdict(dict)
    raw = rows["raw"].cast(pa.binary())
    if rows["raw_bytes"].null_count < rows.num_rows:
        raw = pc.coalesce(raw, rows["raw_bytes"])
    given = rows["issues"]
    issues: Any = [()] * rows.num_rows if given.null_count == rows.num_rows else map(_issues, given.to_pylist())
    middle = [rows[name].to_pylist() for name in ("stream", "seq", "offset_ns", "sent_ns")]
    end = [rows[name].to_pylist() for name in ("length", "type", "verdict")]
    exchanges = rows["exchange"].to_pylist()
    made = list(map(TimedFrame, *middle, raw.to_pylist(), *end, issues))
    at = 0
    for recording_id, end_of in runs(rows["recording_id"]):
        frames = found[recording_id]
        for place in range(at, end_of):
            frames.setdefault(exchanges[place], []).append(made[place])
        at = end_of
    for frames in found.values():
        for of_stream in frames.values():
            of_stream.sort(key=attrgetter("seq"))
    return found


def _issues(value: list[dict[str, str]] | None) -> tuple[tuple[str, str], ...]:
    return () if value is None else tuple((one["path"], one["message"]) for one in value)
