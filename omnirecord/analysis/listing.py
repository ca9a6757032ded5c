"""A cassette as rows: the objects of `ls --json` and `events --json`. Keys are fixed.

Names that end in `_s` are seconds, names that end in `_ns` are ns. Pure, apart from reading the store.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ..cassette.open import named_part
from ..cassette.select import Moment, Source, span
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import Exchange, Message, Side, Streaming, TimedFrame, losses, wall_clock
from ..omnigent.routes import party_name
from ..text import one_line
from ..wire.json_bytes import bytes_to_json
from ..wire.sse import read_fields
from ..wire.strict_json import parsed
from .conversations import ConcludedTalk, conversations_in
from .gather import Concluded, briefs, conclusions, model_calls
from .turns.conclusion import last_stream
from .turns.values import Session

Row = dict[str, Any]
NS = 1_000_000_000
_ENDS = (".db", ".jsonl", ".db.zst", ".jsonl.zst")


def recording_rows(store: Store) -> Iterator[Row]:
    """Return the rows of `ls --recordings`."""
    exchanges = Counter(x.recording for x in store.exchanges())
    streams = Counter(x.recording for x in store.streams())
    for one in store.recordings():
        yield {
            "recording": one.recording,
            "recording_id": one.recording_id,
            "run_id": one.run_id,
            "started_at": wall_clock(one.started_at, 0),
            "duration_s": store.last_known_ns(one.recording) / NS,
            "upstream": one.upstream,
            "server_version": one.server_version,
            "labels": dict(one.labels),
            "version": one.version,
            "contract": one.contract,
            "hop": one.hop,
            "exchanges": exchanges[one.recording],
            "streams": streams[one.recording],
        }


def exchange_rows(store: Store) -> Iterator[Row]:
    """Return the rows of `ls --exchanges`."""
    of = _Recordings(store)
    return (_exchange_row(x, of) for x in store.exchanges())


def _exchange_row(x: Exchange, of: _Recordings) -> Row:
    return {
        "recording": x.recording,
        "exchange": x.exchange,
        "kind": x.kind,
        **of.fields(x),
        "request_bytes": x.request_bytes,
        "response_bytes": x.response_bytes,
        "ending": x.ending,
        "request_cut": x.request_is_cut,
        "hop": of.hops[x.recording],
        "answered_from": x.answered_from,
    }


def exchange_row(store: Store, x: Exchange) -> Row:
    """Return the row of `request`: that of `ls --exchanges`, with header fields, content and messages."""
    row = _exchange_row(x, _Recordings(store))
    response: Row | None = None
    if x.response is not None:
        content = None if x.kind != "http" else _content(store, x, "response")
        response = {"reason": x.response.reason, "headers": [[*header] for header in x.response.headers]}
        response |= content or {"data": None, "raw": None}
    first = store.reads(x.exchange)[:1] if x.stream is not None and x.has_times else []
    return {
        **row,
        "stream": x.stream,
        "started_ns": x.request.at_ns if x.has_times else None,
        "first_byte_s": (x.response.at_ns - x.request.at_ns) / NS if x.response and x.has_times else None,
        "first_event_s": (first[0].offset_ns - x.request.at_ns) / NS if first else None,
        "upstream": store.recording(x.recording).upstream,
        "verdicts": store.tally(x)[0] if x.stream is not None else None,
        "request": {"headers": [[*header] for header in x.request.headers], **_content(store, x, "request")},
        "response": response,
        "messages": [_message(message) for message in store.messages(x.exchange)],
    }


def _content(store: Store, x: Exchange, side: Side) -> Row:
    """Return a body without its content coding, in the form of an event's data."""
    raw = bytes_to_json(store.decoded_body(x, side))
    return {"data": parsed(raw) if isinstance(raw, str) and raw else None, "raw": raw}


def _message(one: Message) -> Row:
    raw = bytes_to_json(one.data)
    return {
        "message": one.message,
        "at_ns": one.at_ns,
        "sent_ns": one.sent_ns,
        "dir": one.dir,
        "opcode": one.opcode,
        "data": parsed(raw) if isinstance(raw, str) and one.opcode == 1 else None,
        "raw": raw,
    }


def stream_rows(store: Store) -> Iterator[Row]:
    """Return the rows of `ls --streams`. `bytes` is the size that `export --format sse` writes."""
    of = _Recordings(store)
    for x in store.streams():
        verdicts, size = store.tally(x)
        frames = sum(verdicts.values())
        yield {
            "recording": x.recording,
            "stream": x.stream,
            **of.fields(x),
            "frames": frames,
            "events": frames - verdicts.get("comment", 0),
            "bytes": size,
            "ending": x.ending,
            "verdicts": verdicts,
            "hop": of.hops[x.recording],
        }


def session_rows(store: Store, *, is_brief: bool = False) -> Iterator[Row]:
    """Return the rows of `ls`: one for each session in each recording, and for each stream without a session.
    `is_brief`: without its status and its conclusion, for which its events have to be read. Then come the conversations
    of model calls without a session; if `is_brief`, only in a cassette without sessions, since no session is read."""
    hops = _Recordings(store).hops
    for one in briefs(store) if is_brief else ():
        row = _session_row(one.session, one.streams, verdicts_of(store, one.streams), one.exchanges, one.last)
        yield {**row, "hop": hops[one.session.recording]}
    for concluded in () if is_brief else conclusions(store):
        verdicts = verdicts_of(store, concluded.gathered.exchanges)
        yield {**session_row(concluded, verdicts), "hop": hops[concluded.session.recording]}
    is_listed = not is_brief or next(briefs(store), None) is None
    for talk in conversations_in(model_calls(store), store.recordings()) if is_listed else ():
        row = talk_row(store, talk)
        yield {**(row if is_brief else row | {"conclusion": talk.conclusion.row()}), "hop": hops[row["recording"]]}


def talk_row(store: Store, one: ConcludedTalk) -> Row:
    """Return the row of a conversation without its conclusion."""
    calls = store.numbered([link.call.exchange for link in one.talk.links])
    streams = [x for x in calls if x.stream is not None]
    last = max(calls, key=lambda x: x.request.at_ns)
    return _session_row(one.session, streams, verdicts_of(store, streams), len(calls), last)


def session_row(one: Concluded, verdicts: Counter[str]) -> Row:
    """Return the row of a session without its hop. `verdicts`: the number of its frames by verdict."""
    exchanges = one.gathered.exchanges
    streams = [x for x in exchanges if x.stream is not None]
    row = _session_row(one.session, streams, verdicts, len(exchanges), exchanges[-1])
    return {**row, "conclusion": one.conclusion.row()}


def _session_row(
    told: Session, streams: Sequence[Exchange], verdicts: Counter[str], exchanges: int, last: Exchange
) -> Row:
    """Return the row without the conclusion. `exchanges`: how many it has, `last`: the last one."""
    longest = last_stream(told.streams)
    return {
        "recording": told.recording,
        "session_id": told.session_id,
        "started_at": told.started_at,
        "duration_s": None if told.duration_ns is None else told.duration_ns / 1e9,
        "streams": len(streams),
        "exchanges": exchanges,
        "events": verdicts.total() - verdicts["comment"],
        "last_status": told.status,
        "ending": last.ending if longest is None else longest.ending,
        "parent_session_id": told.parent_id,
    }


def verdicts_of(store: Store, exchanges: Iterable[Exchange]) -> Counter[str]:
    """Return the number of frames of these exchanges by verdict."""
    return sum((Counter(store.tally(x)[0]) for x in exchanges if x.stream is not None), Counter[str]())


def incomplete(store: Source) -> list[str]:
    """Return a sentence for each recording that lacks data: the first thing to know about it."""
    return [f"Recording {loss.recording} is incomplete: {one_line(loss.message)}" for loss in losses(store.incidents())]


@dataclass(frozen=True)
class FrameFilter:
    """A filter of frames: every given condition has to hold."""

    session: str | None = None
    stream: int | None = None
    type: str | None = None
    """A glob."""
    verdict: str | None = None

    def takes_session(self, session_id: str | None) -> bool:
        return self.session in (None, session_id)

    def takes_stream(self, x: Exchange | Streaming) -> bool:
        return self.takes_session(x.session_id) and self.stream in (None, x.stream)

    def takes(self, frame: TimedFrame) -> bool:
        if self.verdict not in (None, frame.verdict):
            return False
        return self.type is None or (frame.type is not None and fnmatchcase(frame.type, self.type))


@dataclass(frozen=True)
class EventFilter(FrameFilter):
    since: Moment = None
    until: Moment = None


def event_rows(store: Store, wanted: EventFilter) -> Iterator[Row]:
    """Return the rows of `events`."""
    recordings = {r.recording: r for r in store.recordings()}
    zero = zeros(store)
    for x in store.streams():
        if wanted.takes_stream(x):
            recording = recordings[x.recording]
            first, last = span(recording, wanted.since, wanted.until, zero(x.recording, x.session_id, x.stream))
            for frame in store.frames(x):
                if first <= frame.offset_ns <= last and wanted.takes(frame):
                    yield event_row(x, frame, recording.started_at, recording.hop)


def zeros(store: Store) -> Callable[[int, str | None, int | None], int]:
    """Return a function from recording, session and stream to the beginning of the session in ns of the recording.

    A stream without a session begins at its request; for neither it is 0.
    """
    begins = store.begins()
    return lambda recording, session, stream: begins.get((recording, session or stream or 0), 0)


def types_of(store: Store, wanted: EventFilter) -> Counter[str]:
    """Return the number of events of each type in the wanted streams."""
    frames = (frame for x in store.streams() if wanted.takes_stream(x) for frame in store.frames(x))
    return Counter(frame.type for frame in frames if frame.type is not None)


def event_row(x: Exchange | Streaming, frame: TimedFrame, started_at: str, hop: str | None = None) -> Row:
    fields = None if frame.raw is None else read_fields(frame.raw, bom=frame.seq == 1)
    data = parsed(fields.data) if fields else None
    number = data.get("sequence_number") if isinstance(data, dict) else None
    return {
        "recording": x.recording,
        "stream": x.stream,
        "session_id": x.session_id,
        "seq": frame.seq,
        "offset_ns": frame.offset_ns,
        "sent_ns": frame.sent_ns,
        "at": wall_clock(started_at, frame.offset_ns) if x.has_times else None,
        "event": fields.event if fields else None,
        "type": frame.type,
        "sequence_number": number if type(number) is int else None,
        "verdict": frame.verdict,
        "issues": [{"path": path, "message": message} for path, message in frame.issues],
        "data": data,
        "raw": None if frame.raw is None else bytes_to_json(frame.raw),
        "hop": hop,
    }


def request_row(x: Exchange, body: bytes, started_at: str, hop: str | None = None, at_ns: int | None = None) -> Row:
    """Return a request with its body in the form of an event row; fields of events alone are None. `at_ns`: the time of
    the answer, if `body` is the answer's."""
    at_ns = x.request.at_ns if at_ns is None else at_ns
    raw = bytes_to_json(body)
    return {
        "recording": x.recording,
        "stream": None,
        "session_id": x.session_id,
        "seq": None,
        "offset_ns": at_ns,
        "sent_ns": None,
        "at": wall_clock(started_at, at_ns),
        "event": None,
        "type": None,
        "sequence_number": None,
        "verdict": None,
        "issues": [],
        "data": parsed(raw) if isinstance(raw, str) else None,
        "raw": raw,
        "hop": hop,
    }


class _Recordings:
    """The fields that the row of an exchange and the row of a stream share."""

    def __init__(self, store: Store) -> None:
        recordings = store.recordings()
        self._started_at = {recording.recording: recording.started_at for recording in recordings}
        self.hops = {recording.recording: recording.hop for recording in recordings}
        self._last_known_ns = functools.cache(store.last_known_ns)

    def fields(self, x: Exchange) -> Row:
        """Return session, party, request, status and times. An exchange without an end lasts up to the last known time
        of its recording. If a killed recorder knew nothing later, the duration is unknown."""
        end = x.end_ns if x.end_ns is not None else self._last_known_ns(x.recording)
        is_known = x.has_times and (x.ending != "recorder_killed" or end > x.request.at_ns)
        return {
            "session_id": x.session_id,
            "party": x.party,
            "party_name": party_name(x),
            "method": x.request.method,
            "path": x.request.target,
            "status": x.response.status if x.response else None,
            "started_at": wall_clock(self._started_at[x.recording], x.request.at_ns) if x.has_times else None,
            "duration_s": max(end - x.request.at_ns, 0) / NS if is_known else None,
        }


def cassettes_in(named: Iterable[str | Path], *, recursive: bool = False) -> Iterator[tuple[Path, str | None]]:
    """Return the named cassettes, each with the session of `CASSETTE#SESSION`; of a folder those in it, by name, and
    with `recursive` those in its subfolders.

    A link to a file in the same folder is left out: `--rotate` makes one. Raises `UsageError` for an empty folder.
    """
    for one in named:
        path, session = named_part(one)
        if not path.is_dir():
            yield path, session
            continue
        files = path.rglob("*") if recursive else path.iterdir()
        found = sorted(file for file in files if file.name.endswith(_ENDS) and file.is_file())
        found = [file for file in found if not (file.is_symlink() and file.resolve().parent == file.parent.resolve())]
        if not found:
            raise UsageError(f"{path} holds no cassette: name a folder with .db or .jsonl files, or a file")
        yield from ((file, session) for file in found)
