"""Opens a cassette of either form for reading, and imports files into a cassette.

The text form is loaded into an SQLite database in memory, so that other code reads one kind of cassette.

`open_cassette` is the Python API for reading: recordings, exchanges, streams and typed events. It never writes. Of a
file that is being recorded, it reads one snapshot.

    with open_cassette("run.db") as cassette:
        for stream in cassette.streams():
            for event in stream.events():
                match event:
                    case OutputTextDeltaEvent(delta=text): ...
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import Api
from ..contract.judge import Contract
from ..errors import NotACassette, TooLarge, UsageError, __version__
from ..model import Exchange, Incident, Message, Read, Recording, Side, TimedFrame
from ..omnigent.routes import stream_target
from ..providers.register import REGISTER, model_api
from ..wire.limits import AN_EVENT, max_decoded, shown_size
from ..wire.strict_json import as_dict, as_text, payload_of
from .contracts import AUTO, load
from .conversations import Takes, conversation_named, may_be_conversation, part_named
from .files import unwritable
from .framing import PORTION, Framed, Framer
from .recording_ids import uuid7
from .select import named_session
from .sqlite import Store, Writer, is_database, is_packed, is_sqlite, rows, stream_rows
from .sqlite.connection import clear_errors, closed_on_error, is_usable_path
from .sqlite.opening import content
from .sqlite.rows import Row

if TYPE_CHECKING:
    from ..contract.base import Event
    from .jsonl import Reader

_NO_PATH = "/stream"
"""The path of an imported raw body of no known API."""
_IN_MEMORY = 256 << 20
"""Limit of decompressed bytes for a small text file; the whole text is held in memory."""


def open_store(path: str | Path, session: str | None = None, *, follows: bool = False, judges: bool = True) -> Store:
    """Open an SQLite or a .jsonl cassette for reading, compressed or not. Raises `UsageError` or `CassetteError`.

    With a `session`, or for `CASSETTE#SESSION`, the store has only the current content of that session and of its
    sub-agents; for `CASSETTE#2`, that of a conversation. `follows`: see `Store.open`. `judges`: whether to judge the
    events of a .jsonl; the contract's models take time to import.
    """
    path, named = named_session(path)
    if (wanted := session or named) is None:
        return _open(path, follows=follows, judges=judges)
    with closing(_open(path, judges=judges)) as store:
        takes, places = part_named(store, wanted)
        part = _in_memory(_rows_of(store, takes), path, judges=judges)
    part.places = places
    return part


def named_part(source: str | Path, session: str | None = None) -> tuple[Path, str | None]:
    """Split `CASSETTE#SESSION` as `named_session` does, but return `CASSETTE#2` as it is if that is a conversation: for
    `open_store`, it is a cassette. `session`: the name, if `source` has none. Raises `UsageError` or
    `CassetteError`."""
    path, name = named_session(source)
    given = None if session is None else session.removeprefix("#")
    if name is not None and given is not None and name != given:
        raise UsageError(f"{source} names a session, and so does {session!r}: name it once")
    name = given if name is None else name
    if name is None or not may_be_conversation(name):
        return path, name
    with closing(_open(path, judges=False)) as store:
        return (path, name) if conversation_named(store, name) is None else (Path(f"{path}#{name}"), None)


def _open(path: Path, *, follows: bool = False, judges: bool = True) -> Store:
    path = _existing(path)
    with clear_errors(path):
        if is_database(path):
            return Store.open(path, follows=follows)
    return _in_memory(lambda reader: _jsonl_rows(reader, path), path, judges=judges)


def _in_memory(rows_by: Callable[[Reader], Iterator[Row]], path: Path, *, judges: bool = True) -> Store:
    from .jsonl import Reader  # here and below, since a .db needs no model of a line

    writer = Writer(None)
    with closed_on_error(writer.connection):
        writer.write(rows_by(Reader(str(path), judges=judges)))
    store = Store(writer.connection)
    store.is_judged_now = True
    return store


def held(lines: Iterable[dict[str, Any]]) -> Store:
    """Return a cassette in memory from the values of its text form. Raises `CassetteError`."""
    from .jsonl import encoded

    return _in_memory(lambda reader: reader.rows(encoded(lines)), Path("the session"))


def judged_now(store: Store) -> Store:
    """Return the store itself if its verdicts are those of the contracts that judge now, else a copy in memory with
    these verdicts. SQL needs it: a query reads what is stored."""
    return _in_memory(_rows_of(store), Path("the cassette")) if store.has_other_judges() else store


def import_file(path: str | Path, db: str | Path) -> tuple[int, int]:
    """Append a .jsonl cassette, a compressed cassette or a raw `.sse` body to a cassette.

    Returns the number of imported exchanges and frames. The file is read once before the cassette is opened, and is
    written in one transaction: after an error, the cassette is unchanged or not created. `CASSETTE#SESSION` imports
    only that session and its sub-agents. Raises `UsageError` or `CassetteError`.
    """
    from .jsonl import Reader, jsonl_bytes

    path, session = named_session(path)
    target = Path(db)
    is_usable_path(target)
    if session is not None:
        with closing(open_store(path, session)) as store:
            return _append(_rows_of(store), path, target)
    path = _existing(path)
    with clear_errors(path):
        if is_sqlite(path):
            raise UsageError(f"{path} is a .db cassette: export it first (omnirecord export {path} --format jsonl)")
        if is_packed(path) and is_database(path):
            with closing(open_store(path)) as store:  # no recorder writes it: it stays the same after the check
                for _ in Reader(str(path)).rows(jsonl_bytes(store)):
                    pass
                return _append(_rows_of(store), path, target, store.pseudonyms_of())
        if is_sse(path):
            return _import_sse(path, target)
    for _ in _jsonl_rows(Reader(str(path)), path):
        pass
    return _append(lambda reader: _jsonl_rows(reader, path), path, target)


def brought_together(paths: Sequence[Path], db: Path) -> dict[int, int]:
    """Write cassettes of any form into a new one, in order; return for each recording its index in `paths`. Of a
    cassette that is being recorded, the current content is written. Raises `UsageError` or `CassetteError`."""
    of: dict[int, int] = {}
    for place, path in enumerate(paths):
        with closing(open_store(path)) as store:
            _append(_rows_of(store), path, db)
        with closing(open_store(db)) as both:
            of = {one.recording: of.get(one.recording, place) for one in both.recordings()}
    return of


def _rows_of(store: Store, takes: Takes | None = None) -> Callable[[Reader], Iterator[Row]]:
    from .jsonl import jsonl_bytes

    return lambda reader: reader.rows(jsonl_bytes(store, takes))


def _append(
    rows_by: Callable[[Reader], Iterator[Row]], path: Path, target: Path, pseudonyms: tuple[bytes, bytes] | None = None
) -> tuple[int, int]:
    """Append the rows of a reader in one transaction, with numbers after the existing ones. `pseudonyms`: salt and mark
    for a target without its own."""
    from .jsonl import Offsets, Reader

    with appending(target) as writer:
        offsets = Offsets(*(writer.last_number(what) for what in ("recording", "exchange", "stream")))
        reader = Reader(str(path), offsets)
        writer.write(rows_by(reader))
        if pseudonyms is not None and writer.salt(pseudonyms[0]) == pseudonyms[0]:
            writer.has_key(pseudonyms[1])
    return reader.exchanges, reader.frames


@contextmanager
def appending(target: Path) -> Iterator[Writer]:
    """Open a cassette to append to. A new cassette is removed after an error."""
    writer = Writer(target)
    try:
        with writer.taking_over():
            yield writer
    except BaseException:
        writer.discard()
        raise
    finally:
        writer.close()


def _jsonl_rows(reader: Reader, path: Path) -> Iterator[Row]:
    with clear_errors(path):
        if is_packed(path):
            with closing(content(path, _IN_MEMORY)) as pieces:
                yield from reader.rows(lines(pieces))
            return
        if is_sse(path):
            command = f"omnirecord import {shlex.quote(str(path))} --db {shlex.quote(str(path.with_suffix('.db')))}"
            why = "is the body of an event stream and no cassette"
            raise NotACassette(f"{path} {why}: import it first, with `{command}`")
        with path.open("rb") as text:
            yield from reader.rows(text)


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a text, each with its line end."""
    begun: list[bytes] = []
    for piece in pieces:
        *ended, rest = piece.split(b"\n")
        for line in ended:
            yield b"".join([*begun, line, b"\n"])
            begun = []
        if rest:
            begun.append(rest)
    if begun:
        yield b"".join(begun)


def refuse_to_overwrite(output: Path, cassette: Path) -> None:
    """Raise `UsageError` if `output` is the input cassette or any database, so that no recording is lost by mistake."""
    try:
        if not output.is_file():
            return
        is_input = output.samefile(named_session(cassette)[0])
        is_recording = is_database(output)
    except OSError as error:
        raise UsageError(unwritable(output, error)) from error
    if is_input:
        raise UsageError(f"{output} is the cassette itself: choose another --output")
    if is_recording:
        raise UsageError(f"{output} is an SQLite database, perhaps a cassette: choose another --output, or remove it")


def is_sse(path: Path) -> bool:
    """Whether a file is the body of one stream, by its name or its first bytes."""
    with path.open("rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    return path.suffix == ".sse" or head.startswith((b"event:", b"data:", b"id:", b"retry:", b":"))


def _existing(path: Path) -> Path:
    is_usable_path(path)
    if not path.exists():
        raise NotACassette(f"{path} does not exist: name a .db or .jsonl cassette, compressed (.zst) or not")
    return path


def _import_sse(path: Path, target: Path) -> tuple[int, int]:
    """Import a raw body as a recording of one stream. All times are 0, since the file has no times. It has no path
    either: it gets one of the API whose contract fits the most of its events."""
    framed = _sse_framed(path)
    fits = _valid(framed)
    known = [one for one in framed if one.judgement.verdict in ("valid", "invalid")]
    others = {api: _judged_by(load(api), framed) for api in REGISTER}
    counts = {api: _valid(some) for api, some in others.items()}
    best = max(counts, key=lambda api: counts[api])
    session = None
    contract = AUTO
    is_given = False
    if counts[best] > fits:
        framed = others[best]
        asked = "POST", model_api(best).path
    elif known:
        payloads = (as_dict(one.judgement.data) for one in known)
        ids = (as_text(data.get("conversation_id") or data.get("session_id")) for data in payloads)
        session = next(filter(None, ids), None)
        contract, is_given = ("omnigent", True) if session is None else (AUTO, False)
        asked = "GET", _NO_PATH if session is None else stream_target(session)
    else:
        framed = _judged_by(load("none"), framed)
        asked = "GET", _NO_PATH
    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="microseconds")
    with appending(target) as writer:
        recording, exchange, stream = (writer.last_number(what) + 1 for what in ("recording", "exchange", "stream"))
        made = Recording(recording, modified, __version__, contract, None, uuid7(), uuid7(), contract_given=is_given)
        api = load(contract).of(asked[1]).api
        writer.write(
            [
                rows.recording(made),
                *rows.given(made),
                *_sse_rows(recording, exchange, stream, session, framed, asked, api),
            ]
        )
    return 1, len(framed)


def _valid(framed: Iterable[Framed]) -> int:
    return sum(one.judgement.verdict == "valid" for one in framed)


def _judged_by(contract: Contract, framed: list[Framed]) -> list[Framed]:
    return [one._replace(judgement=contract.judge(one.frame)) for one in framed]


def _sse_framed(path: Path) -> list[Framed]:
    """Return all frames of a file. Raises `TooLarge`."""
    framer = Framer(None, load("omnigent"))
    found: list[Framed] = []
    left = max_decoded()
    with path.open("rb") as file:
        for data in iter(lambda: file.read(PORTION), b""):
            some = framer.feed(0, data)
            left -= AN_EVENT * len(some) + len(data)
            if left < 0:
                limit = shown_size(max_decoded())
                raise TooLarge(f"{path} holds more than {limit} of events (--max-decoded): give a larger limit")
            found += some
    return found + framer.close()


def _sse_rows(
    recording: int,
    exchange: int,
    stream: int,
    session: str | None,
    framed: list[Framed],
    asked: tuple[str, str],
    api: Api,
) -> Iterator[Row]:
    accept = (("Accept", "text/event-stream"),)
    yield rows.request(exchange, recording, "sse", session, "client", 0, *asked, accept)
    headers = (("content-type", "text/event-stream; charset=utf-8"),)
    yield rows.response(exchange, "sse", stream, 0, 200, "OK", headers)
    frames = [one.frame for one in framed]
    yield from stream_rows.read_blocks(exchange, [(0, None, one.length) for one in frames], [one.raw for one in frames])
    yield from stream_rows.frame_blocks(stream, (one._replace(read=n) for n, one in enumerate(framed)), lambda _: 0)
    done = any(api.is_end(one.judgement.verdict, one.judgement.type) for one in framed)
    yield rows.end(exchange, 0, "done" if done else "unknown", 0, sum(one.length for one in frames))


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
        """Return the events as typed models, discriminated on `type`; an `UntypedEvent` if no model fits. Comments and
        `[DONE]` are left out; `frames` has them too. Raises `CassetteError`."""
        return (event for _, event in self.timed_events())

    def timed_events(self) -> Iterator[tuple[TimedFrame, Event]]:
        """Return the events, each with its frame. Raises `CassetteError`."""
        contract = self._store.judge_of(self.exchange)
        for frame in self.frames():
            if frame.verdict not in ("comment", "sentinel"):
                yield frame, event_of(frame, contract)

    def frames(self) -> Iterator[TimedFrame]:
        """Return all frames: bytes, times in ns since the start of the recording, verdicts. Raises `CassetteError`."""
        return self._store.frames(self.exchange)

    def reads(self) -> list[Read]:
        """Return the reads of the response: when each arrived and when the proxy sent it on, in ns, and its bytes.
        Raises `CassetteError`."""
        return self._store.reads(self.exchange.exchange)

    def body(self) -> bytes:
        """Return the decoded bytes, as far as they were recorded. Raises `CassetteError`."""
        return b"".join(self._store.content(self.exchange))


class Cassette(AbstractContextManager["Cassette"]):
    """An open cassette. Use it with `with`, or call `close`."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
        """Return a body that is no event stream, as it was on the wire, with secrets redacted. Raises `CassetteError`,
        and `TooLarge` if the body exceeds `max_decoded`."""
        return self._store.body(exchange.exchange, side)


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette, compressed or not. Raises `UsageError` or `CassetteError`."""
    return Cassette(open_store(path))


def event_of(frame: TimedFrame, contract: Contract) -> Event:
    """Return the payload of a frame as a model of the contract; an empty `UntypedEvent` if it is no JSON object."""
    from ..contract.base import UntypedEvent

    data = payload_of(frame)
    return contract.event(data, frame.type) if isinstance(data, dict) else UntypedEvent.of({})
