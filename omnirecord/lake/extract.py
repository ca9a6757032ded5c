"""Reads a cassette into the tables of a lake: one `Extract` for each recording in it.

`_Content` makes the tables with the content of the text form, so that `get` can write it again, byte for byte. Then it
makes those with the results of the analyses. The recordings of a cassette are analysed together.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from ..analysis.doctor.model import ModelChecks
from ..analysis.listing import Row
from ..analysis.model_calls.values import linked_to
from ..analysis.query import Whole
from ..cassette.sqlite import Store, is_coded
from ..cassette.sqlite.stream_reads import FrameTable
from ..model import Exchange, Headers, Recording, TimedFrame, children_of
from ..text import dumps
from .event_rows import EventColumns, is_text, underived
from .files import Encoder
from .layout import CHILDREN, COMPUTED, EPOCH, LINKED, SCHEMAS, TURN_RECORDING, conversation_ids, start_of

_US = datetime.resolution
_HELD = 128 << 20
"""Bytes of streams that are held for the analyses; further ones are read a second time."""
_MANY = 50_000
"""Rows in a batch of a table other than `events`."""


@dataclass(slots=True)
class Extract:
    """One recording as Parquet files, by the name of the table. A table without rows has no file."""

    recording_id: str
    day: str
    """UTC day of its start, `YYYY-MM-DD`."""
    files: dict[str, bytes] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def events(self) -> int:
        """The number of frames."""
        return self.rows.get("events", 0)

    @property
    def bytes(self) -> int:
        """The size of all files, in bytes."""
        return sum(map(len, self.files.values()))


def extracted(
    store: Store,
    recording: Recording,
    labels: Mapping[str, str] | None = None,
    *,
    shipper: str = "",
    redact: str | None = None,
    ids: Mapping[int, str] | None = None,
    model: ModelChecks | None = None,
) -> Extract:
    """Return a recording in a closed cassette, encoded. Raises `CassetteError`.

    `labels` are added to its own. `redact`: what was masked on the way. `ids`: those of all recordings of the cassette
    by number, by default its own. `model`: the checks of the model calls of the cassette, if they are known. It takes
    the memory of the files and of one batch of events.
    """
    ids = ids or {one.recording: one.recording_id for one in store.recordings()}
    content = _Content(store, recording, ids, model or ModelChecks(store))
    return content.read({**recording.labels, **(labels or {})}, shipper, redact)


def nothing_of(recording: Recording) -> Extract:
    """Return the extract of a recording of which everything is forgotten."""
    return Extract(recording.recording_id, start_of(recording.started_at).date().isoformat())


class _Content:
    """The tables that hold a recording itself."""

    def __init__(self, store: Store, recording: Recording, ids: Mapping[int, str], model: ModelChecks) -> None:
        started = start_of(recording.started_at)
        self._store = store
        self._ids = ids
        self._model = model
        self._recording = recording
        self._made = Extract(recording.recording_id, started.date().isoformat())
        self._day = started.date()
        self._started_us = (started - EPOCH) // _US
        self._events = EventColumns(self._started_us)
        self._tables: dict[int, FrameTable] = {}
        self._held = 0
        self._rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        self._encoders = {name: Encoder(name) for name in SCHEMAS}

    def read(self, labels: Mapping[str, str], shipper: str, redact: str | None) -> Extract:
        for x in self._store.exchanges(recording=self._recording.recording):
            self._exchange(x)
        for one in self._store.incidents():
            if one.recording == self._recording.recording:
                self._row("incidents", self._us(one.at_ns), one.at_ns, one.message)
        self._flush(0)
        for name, columns in self._facts():
            self._add(name, columns)
        self._recording_row(labels, shipper, redact)
        for name, encoder in self._encoders.items():
            if (data := encoder.close()) is not None:
                self._made.files[name] = data
                self._made.rows[name] = encoder.rows
        return self._made

    def _facts(self) -> Iterator[tuple[str, dict[str, list[Any]]]]:
        """Yield the tables of the analyses that have rows, each with its columns. Raises `CassetteError`."""
        analysis = Whole(self._store, self._recording.recording, self._frames, model=self._model)
        children = children_of(analysis.parents)
        names = conversation_ids(self._model.calls, self._ids)
        for name in COMPUTED:
            rows: list[Row] = list(getattr(analysis, name)())
            rows = [row | {"session_id": names.get(row["session_id"], row["session_id"])} for row in rows]
            if name == "sessions":
                rows = [{**row, CHILDREN: children.get(row["session_id"] or "")} for row in rows]
            if name == "model_calls":
                rows = [{**row, TURN_RECORDING: self._ids.get(row["turn_recording"])} for row in rows]
            if rows:
                yield name, columns_of(name, rows)
        if problems := [{**problem.row, **problem.row["first"]} for problem in analysis.problems()]:
            yield "problems", columns_of("problems", problems)

    def _frames(self, x: Exchange) -> Iterable[TimedFrame]:
        """Return the frames of a stream, those of the last read streams without reading them again."""
        table = self._tables.pop(x.exchange, None)
        return self._store.frames(x) if table is None else table.frames(x.stream or 0)

    def _recording_row(self, labels: Mapping[str, str], shipper: str, redact: str | None) -> None:
        one = self._recording
        exchanges = self._store.exchanges(recording=one.recording)
        now_us = (datetime.now(UTC) - EPOCH) // _US
        row = {
            "recording": one.recording,
            "run_id": one.run_id,
            "started_at": self._started_us,
            "started_at_text": one.started_at,
            "version": one.version,
            "contract": one.contract,
            "upstream": one.upstream,
            "server_version": one.server_version,
            "labels": sorted(labels.items()),
            "exchanges": len(exchanges),
            "streams": sum(x.stream is not None for x in exchanges),
            "events": self._encoders["events"].rows,
            "sessions": len({x.session_id for x in exchanges} - {None}),
            "redact": redact,
            "shipped_at": now_us,
            "shipped_by": shipper,
            "hop": one.hop,
            "contract_given": one.contract_given,
            LINKED: sorted(self._ids[number] for number in linked_to(one.recording, self._model.calls)),
        }
        self._add("recordings", {name: [value] for name, value in row.items()})

    def _us(self, at_ns: int) -> int:
        return self._started_us + at_ns // 1000

    def _exchange(self, x: Exchange) -> None:
        derives_reads = self._stream(x) if x.stream is not None else None
        if x.kind == "websocket":
            for one in self._store.messages(x.exchange):
                at = self._us(one.at_ns), one.at_ns, one.sent_ns
                self._row("messages", x.session_id, x.exchange, one.message, *at, one.dir, one.opcode, one.data)
        request = x.request
        response = x.response
        body, stopped_at = self._response_body(x)
        self._row(
            "exchanges",
            x.session_id,
            x.exchange,
            x.stream,
            x.kind,
            x.party,
            self._us(request.at_ns),
            request.at_ns,
            request.method,
            request.target,
            headers_text(request.headers),
            self._store.body(x.exchange, "request"),
            *(
                (None,) * 4
                if response is None
                else (response.at_ns, response.status, response.reason, headers_text(response.headers))
            ),
            body,
            x.end_ns,
            x.ending,
            x.request_bytes,
            x.response_bytes,
            stopped_at,
            derives_reads,
            x.request_is_cut,
            x.answered_from,
            x.is_replaced,
        )
        self._flush(_MANY)

    def _response_body(self, x: Exchange) -> tuple[bytes | None, int | None]:
        """Return the response body as in the text form, and the limit at which decoding stopped."""
        if x.response is None or x.kind == "websocket":
            return None, None
        if x.stream is None:
            return self._store.body(x.exchange, "response"), None
        return (self._store.wire(x), self._store.stopped_at(x) or None) if is_coded(x) else (None, None)

    def _stream(self, x: Exchange) -> bool:
        """Add the events and reads of a stream; return whether its other reads follow from the events."""
        table = self._store.frame_table(x)
        if table is not None and is_text(table):
            self._events.add_table(x, table)
        else:
            for _ in self._events.add_frames(x, self._store):
                self._flush(_MANY)
        if table is not None:
            self._held += len(table.body)
            if self._held <= _HELD:
                self._tables[x.exchange] = table
            for n in underived(table):
                self._row("reads", x.session_id, x.exchange, n, table.came[n], table.sent[n], table.sizes[n], False)
            return True
        lost = frozenset(self._store.lost(x.exchange)) if is_coded(x) else ()
        for n, one in enumerate(self._store.reads(x.exchange)):
            self._row("reads", x.session_id, x.exchange, n, one.offset_ns, one.sent_ns, one.size, n in lost)
        return False

    def _row(self, name: str, *values: Any) -> None:
        rows = self._rows[name]
        rows.append(values)
        if len(rows) > _MANY:
            self._flush(_MANY)

    def _flush(self, least: int) -> None:
        """Encode the batches of at least that many rows."""
        if self._events.is_full or (len(self._events) and not least):
            self._add("events", self._events.take())
        for name, rows in self._rows.items():
            if len(rows) > least:
                names = SCHEMAS[name].names[2:]
                self._add(name, dict(zip(names, zip(*rows, strict=True), strict=True)))
                rows.clear()

    def _add(self, name: str, columns: Mapping[str, Any]) -> None:
        """Encode rows of a table from its columns: arrays, or sequences of values. Times are in us since 1970."""
        count = len(next(iter(columns.values())))
        own = {"day": pa.repeat(self._day, count), "recording_id": pa.repeat(self._made.recording_id, count)}
        self._encoders[name].add(pa.Table.from_pydict({**columns, **own}, schema=SCHEMAS[name]))


@functools.lru_cache(maxsize=1024)  # a client repeats its headers with each request
def headers_text(headers: Headers) -> str:
    return dumps([list(pair) for pair in headers])


def columns_of(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the columns of a table, without those that every table has."""

    def value(row: Mapping[str, Any], column: str) -> Any:
        found = row.get(column)
        return datetime.fromisoformat(found) if found is not None and column.endswith("_at") else found

    return {column: [value(row, column) for row in rows] for column in SCHEMAS[name].names[2:]}
