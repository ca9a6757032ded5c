"""Lines about other APIs than Omnigent's: model calls, and other exchanges.

A model call stands below its turn, or by itself. Other requests, with their answers and events, are in one list for
each recording. Its times count from the start of the recording, as in `tail`:

1.20 s  POST /mcp tools/call forecast -> 200, stream 5
1.31 s  5:1     notifications/progress  progressToken=3 progress=1.0
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...cassette.forked import fork_of
from ...cassette.model_calls import ModelHops, without_calls
from ...cassette.sqlite import Store
from ...contract.judge import NONE
from ...model import Exchange, Recording, TimedFrame, by_key
from ...providers.call import ModelCall
from ...providers.grouping import Place
from ...providers.parts import after_answer
from ...text import cells, clip, counted, fitting, joined, one_line, seconds
from ...wire.json_rpc import message_of
from ...wire.sse import read_fields
from ...wire.strict_json import loads, payload_of
from ..apis import is_unknown, request_text, shows_omnigent, summary
from ..conversations import ConcludedTalk, cost_of
from ..follow.sessions import Others
from ..model_calls.values import Link, ModelCalls, TimeSpent, counted_calls, requests_of
from ..turns.builder import LAST
from ..turns.tool_output import failure_in
from .sentences import COLUMN, ENDINGS, Kind, Line, Page, Piece, cost

_CUT_BY = {
    "client": "cut by the client",
    "provider": "cut by the provider",
    "recorder": "cut by the end of the recording",
}
ToldBefore = dict[str, dict[str, None]]
"""The names of the conversations that have a line with these instructions, by the instructions."""
_LONG_INSTRUCTIONS = 100
"""Characters of instructions that are repeated in each conversation, at most."""
_MOST_CANDIDATES = 3
_MOST_NEW = 6
"""Most parts of a request that are printed: the last ones."""


def call_pieces(page: Page, links: Iterable[Link]) -> Iterator[Piece]:
    """Return one piece for each model call of a turn."""
    for link in links:
        call = link.call
        is_bad = call.has_failed or call.ending == "incomplete"
        text = f"{'!! ' if is_bad else ''}{call_name(link)}: {told(page, call)}"
        if link.by == "time":
            text += " (linked by its time alone)"
        yield Piece(link.started_ns, LAST, text, "trouble" if is_bad else "model")


def call_name(link: Link) -> str:
    """Return the model, and the attempt if it is not the first."""
    attempt = max(link.attempt, link.call.attempt)
    return f"model {one_line(link.call.model or 'unknown')}" + (f", attempt {attempt}" if attempt > 1 else "")


def told(page: Page, call: ModelCall) -> str:
    """Return ending, times and tokens of a call in one line."""
    begun = call.started_ns
    byte_ns = call.first_byte_ns
    token_ns = call.first_token_ns
    has_answered = byte_ns is not None and call.ending != "refused" and not call.is_unreached
    byte = f"first byte {seconds(max((byte_ns or 0) - begun, 0))}" if has_answered else ""
    token = "" if token_ns is None else f"first token {seconds(max(token_ns - begun, 0))}"
    tools = ", ".join(one.name or "(no name)" for one in call.tool_calls)
    asks = f"asks for {page.short(tools)}" if tools else ""
    recorded = "" if call.answered_from is None else "from the recording"
    replaced = "replaced by a later call" if call.is_replaced else ""
    return joined([_how(page, call), byte, token, asks, _usage(call), recorded, replaced], " · ")


def _how(page: Page, call: ModelCall) -> str:
    why = page.short(joined([None if call.is_unreached else call.reason, call.error], ": "))
    ended = "" if call.ended_ns is None else f" after {seconds(max(call.ended_ns - call.started_ns, 0))}"
    if call.ending == "cut":
        unanswered = ", without an answer" if call.status is None else ""
        if call.is_killed:
            return f"cut, as the recorder was killed{ended}{unanswered}"
        return f"{_CUT_BY.get(call.cut_by or '', 'cut')}{ended}{unanswered}"
    if call.ending == "open":
        return "still open"
    if call.is_in_background:
        return f"{call.status}, and {call.last_seen}{ended}"
    if call.ending == "unknown":
        return f"{call.status} with an answer of an unknown form{ended}"
    if call.is_unreached:
        return f"the provider could not be reached{f': {why}' if why else ''}"
    status = f"{call.status} " if call.ending in ("completed", "refused") else ""
    return f"{status}{call.ending}{ended}" + (f": {why}" if why and call.ending != "completed" else "")


def _usage(call: ModelCall) -> str | None:
    usage = call.usage
    if usage is None:
        return None
    said = [f"{n:,} {way}" for n, way in ((usage.input_tokens, "in"), (usage.output_tokens, "out")) if n is not None]
    odd = [f"{n:,} {way}" for n, way in ((usage.cached_tokens, "cached"), (usage.reasoning_tokens, "reasoning")) if n]
    return f"{', '.join(said)} tokens" + (f" ({', '.join(odd)})" if odd else "") if said else None


def spent(used: TimeSpent | None) -> str | None:
    """Return where the time of a turn went."""
    if used is None:
        return None
    calls = f" in {counted_calls(used.calls - used.retried, used.calls)}" if used.calls else ""
    waited = f", waiting to retry {seconds(used.retry_wait_ns)}" if used.retry_wait_ns else ""
    text = (
        f"took {seconds(used.total_ns)}: model {_seconds(used.model_ns)}{calls}{waited}, tool"
        f" {_seconds(used.tool_ns)}, approval {_seconds(used.approval_ns)}, harness {_seconds(used.harness_ns)}"
    )
    if used.ambiguous_calls:
        text += f" · {counted(used.ambiguous_calls, 'more model call')} may be of this turn or of another one"
    return text


def _seconds(ns: int) -> str:
    return seconds(ns) if ns else "0 s"


def astray_lines(page: Page, found: ModelCalls, recordings: Sequence[Recording], *, alone: bool) -> Iterator[Line]:
    """Return the calls without a turn. `alone`: the cassette has nothing else."""
    lines = AstrayCalls()
    for number, some in enumerate(by_key(found.astray, lambda link: link.call.recording).values()):
        if number or not alone:
            yield Line("", "blank")
        told = counted_calls(len(requests_of(some)), len(some))
        yield from lines.of(page, some, recordings, alone=alone, count=told)


class TalkLines:
    """The lines of conversations of model calls without Omnigent, also while they are recorded."""

    def __init__(self, recordings: Sequence[Recording] = ()) -> None:
        self.recordings = recordings
        self.headed = dict[int, int]()
        """The conversations that have lines, each with the recording of its last call."""
        self._instructions: ToldBefore = {}
        self._forked = set[int]()
        """The recordings whose fork has a line."""

    def of(
        self, page: Page, one: ConcludedTalk, links: Iterable[Link] | None = None, sums: Sequence[str] = ()
    ) -> Iterator[Line]:
        """Return the lines of calls of a conversation, each with its attempts. `links`: further calls; by default all.
        `sums`: see `talk_sums`."""
        by_number = {recording.recording: recording for recording in self.recordings}
        page = page.since(one.session.begun_ns)
        talk = one.talk
        if talk.number not in self.headed:
            self.headed[talk.number] = one.session.recording
            yield from page.wrapped(_talk_head(one, by_number, sums), "head", "", "  ")
        places = {link.call.exchange: place for link, place in talk.calls}
        shown = one.links
        for exchange in places if links is None else [known.call.exchange for known in links]:
            link = shown[exchange]
            yield from _run_line(page, by_number, self.headed[talk.number], link)
            self.headed[talk.number] = link.call.recording
            yield from _fork_line(page, by_number.get(link.call.recording), link, self._forked)
            yield from _talk_call(page, link, places[exchange], self._instructions)


def _talk_head(one: ConcludedTalk, by_number: Mapping[int, Recording], sums: Sequence[str] = ()) -> str:
    """Return the line that names a conversation. `sums`: see `talk_sums`."""
    session = one.session
    known = by_number.get(session.recording)
    hop = f"hop {known.hop}" if known is not None and known.hop else ""
    since = "" if session.started_at is None else f"from {session.started_at[:19].replace('T', ' ')} UTC"
    return joined([f"Conversation #{one.talk.number}", f"recording {session.recording}", hop, *sums, since], " · ")


def talk_sums(one: ConcludedTalk) -> list[str]:
    """Return calls, duration and tokens of a conversation."""
    usages = [link.call.usage for link in one.talk.links if link.call.usage is not None]
    total = [sum(usage.input_tokens or 0 for usage in usages), sum(usage.output_tokens or 0 for usage in usages)]
    return [
        counted_calls(one.talk.requests, len(one.talk.calls)),
        "" if one.session.duration_ns is None else seconds(one.session.duration_ns),
        f"{total[0]:,} in, {total[1]:,} out tokens" if usages else "",
        cost(cost_of(usages)),
    ]


def _talk_call(page: Page, link: Link, place: Place, told_before: ToldBefore) -> Iterator[Line]:
    """Return one call of a conversation."""
    if place.again and place.attempt == 1:
        why = "the program started again, or went back"
        yield from page.wrapped(f"-- the request of call {place.again} once more: {why}", "note", "", "   ")
    others = [f"#{number}" for number in place.candidates]
    note = f"may be of conversation {' or '.join(others)}" if others else ""
    yield from _call(
        page, replace(link, attempt=place.attempt), place.call, told_before, note, f"#{place.conversation}"
    )


def _run_line(page: Page, recordings: Mapping[int, Recording], before: int, link: Link) -> Iterator[Line]:
    """Yield a line if another run of the recorder recorded a call. `recordings`: by number. `before`: the recording of
    the call before it."""
    known = recordings.get(before)
    own = recordings.get(link.call.recording)
    if known is None or own is None or known is own or (own.run_id is not None and own.run_id == known.run_id):
        return
    since = own.started_at[:19].replace("T", " ")
    text = f"-- continued by another run: recording {own.recording}, from {since} UTC"
    yield from page.wrapped(text, "note", "", "   ")


def _fork_line(page: Page, known: Recording | None, link: Link, forked: set[int]) -> Iterator[Line]:
    """Yield a line before the first live call of a forked recording. `known`: the recording of the call."""
    fork = None if known is None or link.call.answered_from is not None else fork_of(known)
    if fork is not None and fork.turn is None and link.call.recording not in forked:
        forked.add(link.call.recording)
        yield from page.wrapped(f"-- {fork.told()}: live from here on", "stop", "", "   ")


class AstrayCalls:
    """The lines of calls without a turn, also while they are recorded."""

    def __init__(self) -> None:
        self._numbers: dict[int, dict[int, int]] = {}
        self._instructions: dict[int, ToldBefore] = {}
        self._forked: set[int] = set()
        """The recordings whose fork has a line."""
        self._under: int | None = None
        """The recording of the last head, if no other lines came after it."""

    def interrupt(self) -> None:
        """Note that other lines came: the next call needs a head."""
        self._under = None

    def of(
        self,
        page: Page,
        links: Iterable[Link],
        recordings: Sequence[Recording],
        *,
        alone: bool,
        count: str = "",
    ) -> Iterator[Line]:
        """Return the lines of further calls. `alone`: without sessions. `count`: of all calls in words, if they are
        known."""
        for link in links:
            recording = link.call.recording
            known = next((one for one in recordings if one.recording == recording), None)
            if recording != self._under:
                yield from page.wrapped(_head(known, count, alone=alone), "head", "", "  ")
                self._under = recording
            yield from _fork_line(page, known, link, self._forked)
            numbers = self._numbers.setdefault(recording, {})
            number = numbers.setdefault(link.request, len(numbers) + 1)
            yield from _call(page, link, number, self._instructions.setdefault(recording, {}))


def _head(recording: Recording | None, calls: str, *, alone: bool) -> str:
    parts = [f"Model calls{'' if alone else ' without a turn'}"]
    if recording is not None:
        hop = f"hop {recording.hop}" if recording.hop else ""
        parts += [f"recording {recording.recording}", hop, one_line(recording.upstream or "")]
    return joined([*parts, calls], " · ")


def _call(
    page: Page, link: Link, number: int, told_before: ToldBefore, note: str = "", where: str = ""
) -> Iterator[Line]:
    """Return a call: what is new in its request, its answer, its end. `told_before`: instructions of earlier calls.
    `where`: the name of its conversation."""
    call = link.call
    rest = " " * COLUMN
    attempt = max(link.attempt, call.attempt)
    first = f"{number if attempt == 1 else '':>3}  {page.clock(link.started_ns):>7}"
    is_bad = call.has_failed or call.ending == "incomplete"
    head = f"{'!! ' if is_bad else ''}{call_name(link)} ({call.api})"
    yield from page.wrapped(head, "asked", f"{first:<{COLUMN - 1}} ", rest)
    for text, kind in [*(_asked(page, call, told_before, where) if attempt == 1 else ()), *_answered(page, call)]:
        yield from page.wrapped(text, kind, rest, rest)
    if link.candidates:
        some = [f"turn {key.turn} of {one_line(key.session_id or 'a stream')}" for key in link.candidates]
        more = f" or {len(some) - _MOST_CANDIDATES} others" if len(some) > _MOST_CANDIDATES else ""
        note = f"may be of {' or '.join(some[:_MOST_CANDIDATES])}{more}"
    if note:
        yield from page.wrapped(f"-- {note}", "note", rest, rest)
    yield from page.wrapped(told(page, call), "trouble" if is_bad else "end", " " * (COLUMN - 2) + "= ", rest)


def _asked(page: Page, call: ModelCall, told_before: ToldBefore, where: str) -> Iterator[tuple[str, Kind]]:
    """Return the parts of a request after the model's last answer, after instructions that no earlier call of its
    conversation has. Long ones are printed once, in the first conversation that has them."""
    instructions = "" if call.conversation is None else call.conversation.instructions
    before = told_before.setdefault(instructions, {})
    if instructions and where not in before:
        is_long = len(instructions) > _LONG_INSTRUCTIONS
        yield f"System: {f'as in {next(iter(before))}' if before and is_long else page.long(instructions)}", "asked"
        before[where] = None
    items = () if call.conversation is None else call.conversation.items
    begin = after_answer(items)
    new = items[begin:]
    earlier = begin + max(len(new) - _MOST_NEW, 0)
    if earlier:
        yield f"-- {counted(earlier, 'earlier part')} of the conversation", "note"
    for item in new[-_MOST_NEW:]:
        if item.kind == "output":
            output = f"tool output: {page.short(item.text) or '(nothing)'}"
            yield (f"!! {output}", "trouble") if failure_in(item.text) else (output, "tool")
        elif item.kind in ("user", "system"):
            yield f"{'You' if item.kind == 'user' else 'System'}: {page.long(item.text)}", "asked"
        else:
            yield f"{item.label}: {page.short(item.same)}", "note"


def _answered(page: Page, call: ModelCall) -> Iterator[tuple[str, Kind]]:
    if call.reasoning:
        yield f"thought: {page.long(call.reasoning)}", "thought"
    for text in call.texts:
        yield f"Assistant: {page.long(text)}", "said"
    for tool in call.tool_calls:
        yield f"asks for tool {page.short(tool.name) or '(no name)'} {page.short(tool.arguments)}".rstrip(), "tool"


_TIME = 9
_PLACE = 7
_NAME = 28
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
    """Return the exchanges of clients that are in no session and no model call, by recording. With Omnigent, these are
    only the exchanges of unknown APIs, and none if no such stream exists, unless the contract is `none`.
    """
    found = without_calls(store, store.exchanges(by_clients=True, in_session=False))
    exchanges = [x for x in found if x.kind != "websocket"]
    others = {x.exchange for x in exchanges if is_unknown(store, x)}
    with_omnigent = {x.recording for x in exchanges if shows_omnigent(store, x)}
    with_omnigent |= {number for number in {x.recording for x in exchanges} if _has_session(store, number)}
    with_streams = {x.recording for x in exchanges if x.exchange in others and x.kind == "sse"}
    without_verdicts = {one.recording for one in store.recordings() if one.contract == NONE}
    left_out = with_omnigent - with_streams - without_verdicts
    by_recording = by_key(exchanges, lambda x: x.recording)
    return {
        recording: wanted
        for recording, some in by_recording.items()
        if recording not in left_out and (wanted := [x for x in some if _is_other(x, others, with_omnigent)])
    }


def _is_other(x: Exchange, others: Container[int], with_omnigent: Container[int]) -> bool:
    """Return whether an exchange is of an unknown API, or a plain request of a recording without Omnigent."""
    return x.exchange in others or (x.recording not in with_omnigent and x.kind == "http")


def _has_session(store: Store, recording: int) -> bool:
    """Return whether a client sent a request of a session in a recording."""
    is_plain = any(x.kind != "websocket" for group in store.groups(recording=recording) for x in group if x.session_id)
    return is_plain or any(x.session_id and x.kind != "websocket" for x in store.strays(recording=recording))


def lines_of_others(store: Store, others: Mapping[int, list[Exchange]], page: Page) -> Iterator[Line]:
    """Yield the lines about exchanges without a session, an empty line between two recordings. `others`: these."""
    with_calls = ModelHops(store).recordings
    for number, (recording, exchanges) in enumerate(others.items()):
        if number:
            yield Line("", "blank")
        yield from page.wrapped(_head_of_others(store, recording, exchanges, with_calls), "head", "", "  ")
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


def _head_of_others(store: Store, recording: int, exchanges: Sequence[Exchange], with_calls: Container[int]) -> str:
    """`with_calls`: the recordings with model calls, which are listed before."""
    name = "Other requests" if recording in with_calls else "Requests of an unknown API"
    streams = [x for x in exchanges if x.kind == "sse"]
    events = sum(sum(n for verdict, n in store.tally(x)[0].items() if verdict != "comment") for x in streams)
    times = [(x.request.at_ns, x.end_ns or store.last_known_ns(recording)) for x in exchanges]
    until_ns = max(end for _, end in times)
    begun_ns = min(begin for begin, _ in times)
    heard = [counted(len(streams), "stream"), counted(events, "event")] if streams else []
    counts = [counted(len(exchanges), "request"), *heard]
    return " · ".join([name, f"recording {recording}", *counts, seconds(until_ns - begun_ns)])


def request_entry(store: Store, x: Exchange) -> _Entry:
    status = "no answer" if x.response is None else str(x.response.status)
    stream = f", stream {x.stream}" if x.stream is not None else ""
    kind: Kind = "asked" if x.response is None or x.response.status < 400 else "trouble"
    return _Entry(x.request.at_ns, (x.exchange, 0), f"{request_text(store, x)} -> {status}{stream}", kind)


def event_entry(x: Exchange, frame: TimedFrame, *, full: bool = False) -> _Entry:
    """Return the line of one frame. `full`: with all of its data."""
    fields = read_fields(frame.raw or b"", bom=frame.seq == 1)
    is_comment = frame.verdict == "comment"
    is_end = frame.verdict == "sentinel"
    name = one_line(frame.type or fields.event or ("comment" if is_comment else "message"))
    if is_end:
        name = "sentinel"
        said = fields.data
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
    name = "answer" if message is None else one_line(message.method or message.kind)
    return f"{'#' + str(x.exchange):<{_PLACE}} {clip(name, _NAME):<{_NAME}} {summary(None, value)}"


class LiveOthers(Others):
    """The lines of `lines_of_others` while they are recorded. A recording is one with Omnigent from the first exchange
    on that shows it. `full`: with all data of an event."""

    def __init__(self, *, full: bool = False) -> None:
        self._full = full
        self._begun: dict[int, Exchange] = {}
        """The exchanges whose request has a line."""
        self._entries: list[_Entry] = []
        self._with_omnigent: set[int] = set()

    def takes(self, store: Store, x: Exchange) -> bool:
        if x.kind != "sse" and shows_omnigent(store, x):
            self._with_omnigent.add(x.recording)
        if x.exchange not in self._begun and not self._is_other(store, x):
            return False
        if x.response is not None or x.end_ns is not None:
            if x.exchange not in self._begun:
                self._entries.append(request_entry(store, x))
            if x.end_ns is not None:
                self._entries += end_entries(store, x)
            self._begun[x.exchange] = x
        return True

    def _is_other(self, store: Store, x: Exchange) -> bool:
        if x.session_id is not None or x.party == "runner":
            return False
        if x.kind == "sse":
            return is_unknown(store, x)
        return x.kind == "http" and x.recording not in self._with_omnigent

    def hears(self, exchange: int) -> bool:
        return exchange in self._begun

    def hear(self, exchange: int, frames: Iterable[TimedFrame]) -> None:
        x = self._begun[exchange]
        self._entries += [event_entry(x, frame, full=self._full) for frame in frames]

    def news(self, page: Page) -> list[Line]:
        """Return the lines since the last call."""
        entries = sorted(self._entries)
        self._entries = []
        return [line for entry in entries for line in line_of(page, entry)]
