"""A cassette as rows: the objects of `ls --json`, `sessions --json` and `events --json`. Keys are fixed.

Names that end in `_s` are seconds, names that end in `_ns` are ns. Pure, apart from reading the store.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cassette.open import named_part
from ..cassette.select import Moment, Source, span
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import Exchange, Message, Side, Streaming, TimedFrame, by_key, losses, wall_clock
from ..omnigent.routes import party_name
from ..text import dumps, one_line
from ..wire.json_bytes import bytes_to_json
from ..wire.sse import read_fields
from ..wire.strict_json import parsed
from .conversations import ConcludedTalk, conversations_in
from .gather import Concluded, Concluding, Gathered, briefs, conclusions, model_calls
from .turns.conclusion import Conclusion, last_stream
from .turns.values import Session

if TYPE_CHECKING:
    from .doctor.examine import Read, SessionChecks
    from .doctor.finding import Finding
    from .turns import Around

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


@dataclass(frozen=True, slots=True)
class Summary:
    """One session in one recording, or one stream without a session."""

    recording: int
    session_id: str | None
    stream: int | None
    """The number of its stream, if that has no session."""
    parent_session_id: str | None
    started_at: str | None
    """The time of its first request in UTC, ISO 8601; None if the recording has no times."""
    until: str | None
    """The end of its last exchange."""
    model: str | None
    """The model of its last turn; without one, the agent's name."""
    turns: int
    conclusion: Conclusion
    findings: tuple[Finding, ...] = ()
    """The findings of `doctor`, worst first."""
    conversation: int | None = None
    """The number of the conversation, if this is one of model calls without Omnigent."""
    calls: int | None = None
    """The number of its model calls, attempts included; None for a session of Omnigent."""
    is_ambiguous: bool = False
    """Whether one of these calls may belong to another conversation."""
    repeated: tuple[int, ...] = ()
    """The numbers of these calls that repeat an earlier one: the program started again, or went back."""

    @property
    def has_failed(self) -> bool:
        """Whether it failed, has no end, or has a finding that is an error."""
        worst = self.findings[0].severity if self.findings else None
        return self.conclusion.outcome in ("failed", "unfinished") or worst == "error"

    def row(self, cassette: str) -> Row:
        """Return the object of `sessions --json`. Keys are fixed."""
        columns = self.columns()
        finding = {name: columns[f"finding_{name}"] for name in ("code", "severity", "message")}
        return {
            "cassette": cassette,
            **{name: columns[name] for name in _OF_ROW},
            "conversation": self.conversation,
            "model_calls": self.calls,
            "is_ambiguous": self.is_ambiguous,
            "repeated_calls": list(self.repeated),
            "conclusion": self.conclusion.row(),
            "finding": finding if self.findings else None,
            "findings": {name: columns[f"{name}s"] for name in ("error", "warning", "note")},
        }

    def columns(self) -> Row:
        """Return its values in the table `sessions`."""
        worst = self.findings[0] if self.findings else None
        severities = Counter(finding.severity for finding in self.findings)
        return {
            "recording": self.recording,
            "session_id": self.session_id,
            "stream": self.stream,
            "parent_session_id": self.parent_session_id,
            "started_at": self.started_at,
            "duration_s": self.conclusion.duration_s,
            "asked": self.conclusion.asked,
            "model": self.model,
            "turns": self.turns,
            "outcome": self.conclusion.outcome,
            "verdict": self.conclusion.verdict,
            "conclusion_code": self.conclusion.code,
            "since": self.conclusion.since,
            "connected": dumps(self.conclusion.connected),
            "finding_code": worst and worst.code,
            "finding_severity": worst and worst.severity,
            "finding_message": worst and worst.message,
            "errors": severities["error"],
            "warnings": severities["warning"],
            "notes": severities["note"],
        }


_OF_ROW = (
    "recording",
    "session_id",
    "stream",
    "parent_session_id",
    "started_at",
    "asked",
    "model",
    "turns",
    "duration_s",
)
"""The columns of `sessions` that `sessions --json` has as they are."""


def incomplete(store: Source) -> list[str]:
    """Return a sentence for each recording that lacks data: the first thing to know about it."""
    return [f"Recording {loss.recording} is incomplete: {one_line(loss.message)}" for loss in losses(store.incidents())]


def summaries(
    store: Source,
    session: str | None = None,
    examined: Sequence[Finding] | None = None,
    concluded: Iterable[Concluded] | None = None,
    talks: Iterable[ConcludedTalk] | None = None,
) -> list[Summary]:
    """Return the sessions of a store by their beginning, then the conversations of model calls without a session; with
    `session`, an id or the beginning of one, only that.

    `examined`: their findings, `concluded` and `talks`: how they ended, if all of these are known. Raises `UsageError`
    if no session, or more than one, has that id.
    """
    from .doctor.examine import examine
    from .doctor.model import ModelChecks

    found: list[Summary] = []
    if examined is None:
        model = ModelChecks(store)
        examined = examine(store, session, read=_reading(store, found), model=model)
        talks = conversations_in(model.calls, store.recordings()) if session is None else ()
    else:
        found += [_summary(one) for one in concluded or ()]
    of = by_key(examined, lambda one: (one.recording, one.session_id or one.stream))
    found += map(_talk_summary, talks or ())
    return [replace(one, findings=tuple(of.get((one.recording, one.session_id or one.stream), ()))) for one in found]


def _reading(store: Source, found: list[Summary]) -> Read:
    """Return what reads a session for its checks. It appends the summary of the session, without findings, to `found`:
    so each event is read once."""
    from .doctor.examine import read_streams

    concluding = Concluding(store)

    def read(checks: SessionChecks, one: Gathered, around: Around) -> None:
        read_streams(store, checks, one, around)
        assert checks.told is not None
        found.append(_summary(concluding.concluded(one, checks.told.session)))

    return read


def _summary(one: Concluded) -> Summary:
    return _of_session(one.session, one.conclusion, stream=one.stream, parent_session_id=one.session.parent_id)


def _talk_summary(one: ConcludedTalk) -> Summary:
    return _of_session(
        one.session,
        one.conclusion,
        conversation=one.session.conversation,
        calls=len(one.talk.calls),
        is_ambiguous=one.talk.is_ambiguous,
        repeated=one.talk.repeated,
    )


def _of_session(
    told: Session,
    conclusion: Conclusion,
    *,
    stream: int | None = None,
    parent_session_id: str | None = None,
    **of_conversation: Any,
) -> Summary:
    return Summary(
        recording=told.recording,
        session_id=told.session_id,
        stream=stream,
        parent_session_id=parent_session_id,
        started_at=told.started_at,
        until=told.started_at and wall_clock(told.started_at, told.until_ns - told.begun_ns),
        model=_model(told),
        turns=len(told.turns),
        conclusion=conclusion,
        **of_conversation,
    )


def _model(told: Session) -> str | None:
    named = [turn.model for turn in reversed(told.turns)] + [told.snapshot.model if told.snapshot else None]
    agents = [turn.agent for turn in reversed(told.turns)] + [told.snapshot.agent if told.snapshot else None]
    return next(filter(None, [*named, *agents]), None)


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
