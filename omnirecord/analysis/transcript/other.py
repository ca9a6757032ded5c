"""The exchanges of unknown APIs for `show`: each request, answer and event with its time, in one list for a recording.

1.20 s  POST /mcp tools/call forecast -> 200, stream 5
1.31 s  5:1     notifications/progress  progressToken=3 progress=1.0
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ...cassette.sqlite import Store
from ...contract.judge import NONE
from ...model import Exchange, TimedFrame, by_key
from ...text import cells, clip, counted, fitting, one_line, seconds
from ...wire.json_rpc import message_of
from ...wire.sse import read_fields
from ...wire.strict_json import loads, payload_of
from ..apis import call_text, is_unknown, request_text, summary
from ..gather import without_calls
from .sentences import ENDINGS, Kind, Line, Page

_TIME, _PLACE, _NAME = 9, 7, 28
"""Columns of the time, of `stream:seq`, and of the name of an event."""
_INDENT = " " * (_TIME + 2)
_BROKEN = frozenset({"upstream_lost", "upstream_unreachable", "recorder_stopped", "recorder_killed"})
_LONGEST_ID = 40
_READ = 1 << 20
"""Bytes of an answer that are read."""


class _Entry(NamedTuple):
    at_ns: int
    place: tuple[int, int]
    """Exchange and frame: the order at equal times."""
    text: str
    kind: Kind = "said"


def exchanges_of_others(store: Store) -> dict[int, list[Exchange]]:
    """Return the exchanges of clients with unknown APIs, by recording. A recording in which no stream is of an unknown
    API has some only if its contract is `none`. All are of an unknown API if all streams are, and there is no session.
    """
    exchanges = [x for x in without_calls(store, store.exchanges(by_clients=True)) if x.kind != "websocket"]
    others = {x.exchange for x in exchanges if is_unknown(store, x)}
    mixed = {x.recording for x in exchanges if x.exchange not in others and (x.session_id or x.kind == "sse")}
    with_streams = {x.recording for x in exchanges if x.exchange in others and x.kind == "sse"}
    wanted = [x for x in exchanges if x.exchange in others or x.recording in with_streams - mixed]
    named = with_streams | {one.recording for one in store.recordings() if one.contract == NONE}
    return {number: some for number, some in by_key(wanted, lambda x: x.recording).items() if number in named}


def lines_of_others(store: Store, others: Mapping[int, list[Exchange]], page: Page) -> Iterator[Line]:
    """Yield the lines about unknown APIs, an empty line between two recordings. `others`: their exchanges."""
    top = page
    for number, (recording, exchanges) in enumerate(others.items()):
        if number:
            yield Line("", "blank")
        page = top.since(min(x.request.at_ns for x in exchanges))
        yield from page.wrapped(_head(store, recording, exchanges), "head", "", "  ")
        entries = []
        for x in exchanges:
            frames = store.frames(x) if x.stream is not None else ()
            told = (event_entry(x, frame, full=page.full) for frame in frames)
            entries += [request_entry(store, x), *told, *end_entries(store, x)]
        for entry in sorted(entries):
            yield from line_of(page, entry)


def line_of(page: Page, entry: _Entry) -> Iterator[Line]:
    """Yield the line of an entry, cut to the width of the page; with the rest of a long text if nothing is cut."""
    text = f"{page.clock(entry.at_ns):>{_TIME}}  {entry.text}"
    if page.full:
        yield from page.wrapped(text, entry.kind, "", _INDENT)
    else:
        yield Line((text if cells(text) <= page.width else f"{fitting(text, page.width - 1)}…").rstrip(), entry.kind)


def _head(store: Store, recording: int, exchanges: Sequence[Exchange]) -> str:
    streams = [x for x in exchanges if x.kind == "sse"]
    events = sum(sum(n for verdict, n in store.tally(x)[0].items() if verdict != "comment") for x in streams)
    times = [(x.request.at_ns, x.end_ns or store.last_known_ns(recording)) for x in exchanges]
    until_ns, begun_ns = max(end for _, end in times), min(begin for begin, _ in times)
    counts = [counted(len(exchanges), "request"), counted(len(streams), "stream"), counted(events, "event")]
    return " · ".join(["Requests of an unknown API", f"recording {recording}", *counts, seconds(until_ns - begun_ns)])


def request_entry(store: Store, x: Exchange) -> _Entry:
    status = "no answer" if x.response is None else str(x.response.status)
    stream = f", stream {x.stream}" if x.stream is not None else ""
    kind: Kind = "asked" if x.response is None or x.response.status < 400 else "trouble"
    return _Entry(x.request.at_ns, (x.exchange, 0), f"{request_text(store, x)} -> {status}{stream}", kind)


def event_entry(x: Exchange, frame: TimedFrame, *, full: bool = False) -> _Entry:
    """Return the line of one frame. `full`: with all of its data."""
    fields = read_fields(frame.raw or b"", bom=frame.seq == 1)
    is_comment, is_end = frame.verdict == "comment", frame.verdict == "sentinel"
    name = one_line(frame.type or fields.event or ("comment" if is_comment else "message"))
    if is_end:
        name, said = "sentinel", fields.data
    elif is_comment or full:
        said = one_line(fields.data or (frame.raw or b"").decode("utf-8", "replace"))
    else:
        data = payload_of(frame)
        said = summary(frame.type, fields.data if data is None else data)
    id_ = f" [id {clip(one_line(fields.id), _LONGEST_ID)}]" if fields.id else ""
    told = f" ({frame.verdict})" if frame.verdict in ("invalid", "truncated") else ""
    text = f"  {f'{frame.stream}:{frame.seq}':<{_PLACE}} {clip(name, _NAME):<{_NAME}} {said}{id_}{told}"
    return _Entry(frame.offset_ns, (x.exchange, frame.seq), text, "note" if is_comment or is_end else "said")


def end_entries(store: Store, x: Exchange) -> Iterator[_Entry]:
    """Yield the answer in words if it is no stream, and how a broken exchange ended."""
    end_ns = x.end_ns if x.end_ns is not None else x.request.at_ns
    if x.kind == "http" and x.response is not None and x.response_bytes and (said := _answer(store, x)):
        yield _Entry(x.response.at_ns, (x.exchange, 1), f"  {said}")
    if x.ending in _BROKEN or (x.ending == "open" and x.response is None):
        which = f"stream {x.stream}" if x.stream is not None else f"exchange {x.exchange}"
        yield _Entry(end_ns, (x.exchange, 1 << 62), f"  !! {which}: {ENDINGS[x.ending]}", "trouble")


def _answer(store: Store, x: Exchange) -> str:
    value = loads(store.decoded_body(x, "response")) if x.response_bytes <= _READ else None
    if value is None:
        return ""
    message = message_of(value)
    name = "answer" if message is None else call_text(message)
    return f"{'#' + str(x.exchange):<{_PLACE}} {clip(name, _NAME):<{_NAME}} {summary(None, value)}"


class LiveOthers:
    """The lines about unknown APIs while they are recorded."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: dict[int, Exchange] = {}
        self._seen: dict[int, int] = {}
        """The last frame with a line, by exchange."""
        self._begun_ns: int | None = None

    def takes(self, x: Exchange) -> bool:
        """Take the current state of an exchange, if it is of an unknown API."""
        may_be = x.session_id is None and x.kind == "sse" and x.party != "runner"
        is_one = x.exchange in self._seen or (may_be and is_unknown(self._store, x))
        if is_one:
            self._open[x.exchange] = x
            self._begun_ns = x.request.at_ns if self._begun_ns is None else self._begun_ns
        return is_one

    def news(self, page: Page) -> Iterator[Line]:
        """Yield the lines since the last call."""
        page = page if self._begun_ns is None else page.since(self._begun_ns)
        for entry in sorted(self._entries(full=page.full)):
            yield from line_of(page, entry)

    def _entries(self, *, full: bool) -> Iterator[_Entry]:
        for number, x in list(self._open.items()):
            if x.response is None and x.end_ns is None:
                continue
            if number not in self._seen:
                self._seen[number] = 0
                yield request_entry(self._store, x)
            after, is_over = self._seen[number], x.end_ns is not None
            for frame in self._store.frames(x, after=after) if is_over else self._store.stored_frames(x, after):
                self._seen[number] = frame.seq
                yield event_entry(x, frame, full=full)
            if is_over:
                yield from end_entries(self._store, x)
                del self._open[number]
