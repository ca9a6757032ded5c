"""Reading a cassette from Python: recordings, exchanges, streams, and typed events.

    with open_cassette("run.db") as cassette:
        for stream in cassette.streams():
            for event in stream.events():
                match event:
                    case OutputTextDeltaEvent(delta=text): ...

Takes either form of a cassette, never writes, and sees one snapshot of a file that is being recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ..model import Exchange, Incident, Message, Read, Recording, Side, TimedFrame
from ..omnigent.contract import Event, UntypedEvent, load
from ..wire.strict_json import payload_of
from .open import open_store
from .sqlite import Store

_EVENTS = load("omnigent")


class Stream:
    """One recorded stream. `exchange` is its request and response; `number` its number in the cassette."""

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
        return self.exchange.session_id

    def events(self) -> Iterator[Event]:
        """Its events as typed models, discriminated on `type`; an `UntypedEvent` where none fits.

        Comments and `[DONE]` are no events; `frames` has them too, with times and verdicts.
        """
        return (event for _, event in self.timed_events())

    def timed_events(self) -> Iterator[tuple[TimedFrame, Event]]:
        """Its events, each with the frame that brought it."""
        for frame in self.frames():
            if frame.verdict not in ("comment", "sentinel"):
                yield frame, event_of(frame)

    def frames(self) -> Iterator[TimedFrame]:
        """All its frames: bytes, times in ns from the recording's start, verdicts."""
        return self._store.frames(self.exchange)

    def reads(self) -> list[Read]:
        """When its bytes came, and when they went on."""
        return self._store.reads(self.exchange.exchange)

    def body(self) -> bytes:
        """Its decoded bytes, as far as they came."""
        return b"".join(self._store.content(self.exchange))


class Cassette:
    """An open cassette; use it with `with`, or `close` it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Cassette:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._store.close()

    def recordings(self) -> list[Recording]:
        return self._store.recordings()

    def incidents(self) -> list[Incident]:
        """What went wrong with the recording itself."""
        return self._store.incidents()

    def exchanges(self) -> list[Exchange]:
        """Every request with its response, and every WebSocket, in the order of their requests."""
        return self._store.exchanges()

    def streams(self, session_id: str | None = None) -> list[Stream]:
        """The streams, of one session if one is named, in the order of their requests."""
        return [Stream(self._store, exchange) for exchange in self._store.streams(session_id)]

    def messages(self, exchange: Exchange) -> Iterator[Message]:
        """The messages of a WebSocket."""
        return self._store.messages(exchange.exchange)

    def body(self, exchange: Exchange, side: Side) -> bytes:
        """A body that is no stream, as it was on the wire, but for redaction."""
        return self._store.body(exchange.exchange, side)


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette. Raises `UsageError` or `CassetteError`."""
    return Cassette(open_store(path))


def event_of(frame: TimedFrame) -> Event:
    """A frame's payload as a model; an empty `UntypedEvent` where it is no JSON object."""
    data = payload_of(frame)
    return _EVENTS.event(data) if isinstance(data, dict) else UntypedEvent.of({})
