"""Cassettes made up for a test, in lines that read as what happened. Times are seconds from the recording's start.

tape = Made()
tape.post("/v1/sessions", 0.0, answer={"id": "s"})
tape.stream("s", 1.0, (1.0, heartbeat()), (2.5, delta("Hi")), ending="eof", end=3.0)
tape.post("/v1/sessions/s/events", 2.0, body={"type": "message"})
store = tape.store()
"""

from __future__ import annotations

import gzip
import json
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnirecord.cassette.contracts import load
from omnirecord.cassette.framing import Framer
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.sqlite import Store, Writer, rows, stream_rows
from omnirecord.cassette.sqlite.rows import Row
from omnirecord.model import Ending, Headers, Recording
from omnirecord.omnigent.routes import creates_session, session_of

SHIPPED = Path(__file__).parent.parent.parent / "cassettes"
HEALTHY = {path.stem: path for path in sorted(SHIPPED.glob("*.jsonl"))}
TROUBLED = {path.stem: path for path in sorted((SHIPPED / "troubled").glob("*.jsonl"))}
"""The cassettes that ship with the project, by name: sessions that were fine, and those in which something was not."""

SSE: Headers = (("content-type", "text/event-stream; charset=utf-8"),)
JSON: Headers = (("content-type", "application/json"),)
CONTRACT = load("omnigent")
STARTED_AT = "2026-01-02T03:04:05.000000+00:00"
RUN = "01a22028-0000-7000-8000-000000000000"
"""The run of a recorder with several upstreams."""


def event(type_: str, **fields: Any) -> bytes:
    data = json.dumps({"type": type_, "sequence_number": None, **fields})
    return f"event: {type_}\ndata: {data}\n\n".encode()


def heartbeat() -> bytes:
    return event("session.heartbeat", server_time=None)


def presence() -> bytes:
    return event("session.presence", conversation_id="s", viewers=[])


def status(value: str) -> bytes:
    return event("session.status", conversation_id="s", status=value)


def created(response: str = "r") -> bytes:
    return event("response.created", response={"id": response, "status": "in_progress"})


def delta(text: str, number: int | None = 1) -> bytes:
    return event("response.output_text.delta", delta=text, sequence_number=number)


def completed(response: str = "r") -> bytes:
    return event("response.completed", response={"id": response, "status": "completed"}, sequence_number=9)


def child(name: str, of: str = "s") -> bytes:
    return event("session.created", conversation_id=of, child_session_id=name, agent_id="a", parent_session_id=of)


DONE = b"data: [DONE]\n\n"


def ns(seconds: float) -> int:
    return round(seconds * 1e9)


def lines(store: Store, sessions: Collection[str] | None = None) -> Iterator[str]:
    """The lines of the text form of a cassette, or of these sessions in it."""
    takes = None if sessions is None else lambda x: x.session_id in sessions
    return (line.decode().removesuffix("\n") for line in jsonl_bytes(store, takes))


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body).encode()


@dataclass
class _Made:
    """An exchange and its rows."""

    recording: int
    at: float
    rows: list[Row]


class Made:
    """A cassette in the making. `store()` opens it in memory, `save()` writes it to a file."""

    def __init__(self, contract: str = "omnigent") -> None:
        self._hops: list[str | None] = [None]
        """The hop of each recording."""
        self._contracts = [contract]
        self._exchanges: list[_Made] = []
        self._streams = 0
        self._incidents: list[tuple[float, str]] = []
        self.labels: dict[str, str] = {}
        """Those of each recording."""
        self.wire: dict[int, bytes] = {}
        """What each stream sent, by its number."""

    @property
    def recordings(self) -> int:
        """The number of recordings so far."""
        return len(self._hops)

    def another_recording(self, hop: str | None = None, contract: str | None = None) -> None:
        self._hops.append(hop)
        self._contracts.append(contract or ("omnigent" if hop is None else "auto"))

    def request(
        self, method: str, target: str, at: float, *, until: float | None = None, status: int = 200, body: Any = b"",
        answer: Any = b"", headers: Headers = JSON, sent: Headers = (), party: str = "client",
        ending: Ending = "eof", answered: bool = True, cut: bool = False, answered_from: int | None = None,
        replaced: bool = False,
    ) -> int:  # fmt: skip
        """One request and its answer, which came at `until`; the exchange's number. `cut`: its body is cut.
        `answered_from`: the exchange of another cassette with the answer."""
        body, answer = as_bytes(body) if body else b"", as_bytes(answer) if answer else b""
        session = session_of(target)
        if creates_session(method, target) and answer:
            session = json.loads(answer).get("id")
        number, end = len(self._exchanges) + 1, ns(at if until is None else until)
        made = [self._request_row(number, "http", session, party, at, method, target, sent)]
        made += [rows.chunk(number, "request", 0, body)] if body else []
        made += [rows.cut(number)] if cut else []
        made += [rows.answered_from(number, answered_from)] if answered_from is not None else []
        made += [rows.replaced(number)] if replaced else []
        if answered:
            made.append(rows.response(number, "http", None, end, status, "OK", headers))
            made += [rows.chunk(number, "response", 0, answer)] if answer else []
        made.append(rows.end(number, end, ending, len(body), len(answer)))
        self._exchanges.append(_Made(self.recordings, at, made))
        return number

    def _request_row(self, number: int, kind: Any, session: str | None, party: str, at: float, *rest: Any) -> Row:
        return rows.request(number, self.recordings, kind, session, party, ns(at), *rest)

    def incident(self, at: float, message: str) -> None:
        """Something that went wrong with the recording itself."""
        self._incidents.append((at, message))

    def get(self, target: str, at: float, answer: Any = b"", **more: Any) -> int:
        return self.request("GET", target, at, answer=answer, **more)

    def post(self, target: str, at: float, **more: Any) -> int:
        return self.request("POST", target, at, **more)

    def stream(
        self, session: str, at: float, *reads: tuple[float, bytes], ending: Ending = "client_left",
        end: float | None = None, method: str = "GET", headers: Headers = SSE, party: str = "client",
        asked: float | None = None, body: bytes = b"", lag: float | None = 0.0, sent: Headers = (), status: int = 200,
    ) -> int:  # fmt: skip
        """A stream whose response came at `at`, and what came when; its number. `session`: an id, or a target.
        `lag`: how much later all that was handed to the client; None if it never was."""
        target = session if session.startswith("/") else f"/v1/sessions/{session}/stream"
        number = len(self._exchanges) + 1
        self._streams += 1
        asked = at if asked is None else asked
        made = [self._request_row(number, "sse", session_of(target), party, asked, method, target, sent)]
        made += [rows.chunk(number, "request", 0, body)] if body else []
        made.append(rows.response(number, "sse", self._streams, ns(at), status, "OK", headers))
        made += self._reads(number, list(reads), dict(headers).get("content-encoding"), lag, target)
        last = end if end is not None else max([at, *(read[0] for read in reads)])
        if ending != "open":
            made.append(rows.end(number, ns(last), ending, len(body), sum(len(data) for _, data in reads)))
        self._exchanges.append(_Made(self.recordings, asked, made))
        return self._streams

    def _reads(
        self, number: int, reads: list[tuple[float, bytes]], coding: str | None, lag: float | None, target: str
    ) -> Iterator[Row]:
        self.wire[self._streams] = b"".join(data for _, data in reads)
        pieces = stream_rows.ReadBlocks(number)
        made: list[Row] = []
        for offset, data in reads:
            pieces.add(ns(offset), None if lag is None else ns(offset + lag), len(data), data, made)
        yield from (*made, *pieces.close())
        framer = Framer(coding, load(self._contracts[-1]).of(target))
        framed = [one for n, (_, data) in enumerate(reads) for one in framer.feed(n, data)] + framer.close()
        if coding:
            yield from rows.chunks(number, "content", 0, b"".join(one.frame.raw or b"" for one in framed))
        yield from stream_rows.frame_blocks(self._streams, framed, lambda n: ns(reads[n][0]))

    def websocket(self, target: str, at: float, *messages: tuple[float, str, Any]) -> None:
        """A WebSocket and its messages: when, `up` or `down`, what."""
        number = len(self._exchanges) + 1
        made = [self._request_row(number, "websocket", session_of(target), "client", at, "GET", target, ())]
        made.append(rows.response(number, "websocket", None, ns(at), 101, "Switching Protocols", ()))
        for n, (when, way, value) in enumerate(messages):
            made.append(rows.message(number, n, ns(when), ns(when), way, 1, as_bytes(value)))  # type: ignore[arg-type]
        self._exchanges.append(_Made(self.recordings, at, [*made, rows.end(number, ns(at), "eof", 0, 0)]))

    def rows(self) -> Iterator[Row]:
        run = RUN if len(self._hops) > 1 and any(self._hops) else None
        for number, (hop, contract) in enumerate(zip(self._hops, self._contracts, strict=True), 1):
            yield rows.recording(
                Recording(number, STARTED_AT, "0", contract, None, run_id=run, hop=hop, labels=self.labels)
            )
        for made in self._exchanges:
            yield from made.rows
        yield from (rows.incident(1, ns(at), message) for at, message in self._incidents)

    def store(self) -> Store:
        writer = Writer(None)
        writer.write(self.rows())
        store = Store(writer.connection)
        weakref.finalize(store, writer.connection.close)
        return store

    def save(self, path: Path) -> Path:
        writer = Writer(path)
        writer.write(self.rows())
        writer.close()
        return path


def zipped(reads: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """The same reads in gzip members, which may follow each other."""
    return [(at, gzip.compress(data)) for at, data in reads]


ANSWER = [(3.0, created()), (3.1, delta("Hel", 2)), (3.2, delta("lo", 3)), (4.0, completed()), (4.1, status("idle"))]


def conversation(ending: Ending = "client_left") -> Made:
    """A session is made, listened to from 1 s on, spoken to at 2 s, answers from 3 s on; it is read in between."""
    tape = Made()
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "s"})
    tape.get("/v1/sessions/s", 0.5, {"status": "launching"})
    tape.stream(
        "s", 1.0, (1.0, heartbeat()), (1.1, presence()), (2.5, status("running")), *ANSWER, ending=ending, end=6.0
    )
    tape.get("/v1/sessions/s", 1.5, {"status": "ready"})
    tape.post("/v1/sessions/s/events", 2.0, until=2.2, status=202, body={"type": "message"})
    tape.get("/v1/sessions/s", 3.15, {"status": "running"})
    tape.get("/v1/sessions/s", 5.0, {"status": "idle"})
    return tape
