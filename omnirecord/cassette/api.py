"""The Python API for reading a cassette: recordings, exchanges, streams and typed events.

    with open_cassette("run.db") as cassette:
        for stream in cassette.streams():
            for event in stream.events():
                match event:
                    case OutputTextDeltaEvent(delta=text): ...

Reads both forms of a cassette and never writes. Of a file that is being recorded, it reads one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..contract.events import Event, UntypedEvent
from ..contract.judge import Contract
from ..model import Exchange, Incident, Message, Read, Recording, Side, TimedFrame
from ..wire.strict_json import payload_of
from .open import open_store
from .sqlite import Store


class Stream:
    """One recorded event stream. `exchange` is its request and response, `number` its number in the cassette."""

    def __init__(self, store: Store, exchange: Exchange) -> None:
        assert exchange.stream is not None
        self._store = store
        self.exchange = exchange
        self.number = exchange.stream

    def __repr__(self) -> str:
        request = self.exchange.request
        return f"<Stream {self.number}: {request.method} {request.target}, {self.exchange.ending}>"

    @property
    def session_id(self) -> str | None:
        """The id of its session; None if the stream belongs to no session."""
        return self.exchange.session_id

    def events(self) -> Iterator[Event]:
        """Return the events as typed models, discriminated on `type`; an `UntypedEvent` if no model fits.

        Comments and `[DONE]` are left out; `frames` has them too. Raises `CassetteError`.
        """
        return (event for _, event in self.timed_events())

    def timed_events(self) -> Iterator[tuple[TimedFrame, Event]]:
        """Return the events, each with its frame. Raises `CassetteError`."""
        contract = self._store.contract_of(self.exchange.recording).of(self.exchange.request.target)
        for frame in self.frames():
            if frame.verdict not in ("comment", "sentinel"):
                yield frame, event_of(frame, contract)

    def frames(self) -> Iterator[TimedFrame]:
        """Return all frames: bytes, times in ns since the start of the recording, verdicts. Raises `CassetteError`."""
        return self._store.frames(self.exchange)

    def reads(self) -> list[Read]:
        """Return the reads of the response: when each arrived and when the proxy sent it on, in ns, and its bytes.

        Raises `CassetteError`.
        """
        return self._store.reads(self.exchange.exchange)

    def body(self) -> bytes:
        """Return the decoded bytes, as far as they were recorded. Raises `CassetteError`."""
        return b"".join(self._store.content(self.exchange))


class Cassette:
    """An open cassette. Use it with `with`, or call `close`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Cassette:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the cassette; later calls raise `UsageError`."""
        self._store.close()

    def recordings(self) -> list[Recording]:
        """Return the recordings, oldest first. Raises `CassetteError`."""
        return self._store.recordings()

    def incidents(self) -> list[Incident]:
        """Return the problems of the recording itself, by time. Raises `CassetteError`."""
        return self._store.incidents()

    def exchanges(self) -> list[Exchange]:
        """Return all exchanges and WebSockets, in the order of their requests. Raises `CassetteError`."""
        return self._store.exchanges()

    def streams(self, session_id: str | None = None) -> list[Stream]:
        """Return the streams of one session, or of all, in the order of their requests. Raises `CassetteError`."""
        return [Stream(self._store, exchange) for exchange in self._store.streams(session_id)]

    def messages(self, exchange: Exchange) -> Iterator[Message]:
        """Return the messages of a WebSocket, in order. Raises `CassetteError`."""
        return self._store.messages(exchange.exchange)

    def body(self, exchange: Exchange, side: Side) -> bytes:
        """Return a body that is no event stream, as it was on the wire, with secrets redacted.

        Raises `CassetteError`, and `TooLarge` if the body exceeds `max_decoded`.
        """
        return self._store.body(exchange.exchange, side)


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette, compressed or not. Raises `UsageError` or `CassetteError`."""
    return Cassette(open_store(path))


def event_of(frame: TimedFrame, contract: Contract) -> Event:
    """Return the payload of a frame as a model of the contract; an empty `UntypedEvent` if it is no JSON object."""
    data = payload_of(frame)
    return contract.event(data, frame.type) if isinstance(data, dict) else UntypedEvent.of({})
