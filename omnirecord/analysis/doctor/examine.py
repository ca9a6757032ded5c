"""Runs all checks of a session on an open cassette, and makes findings of their signs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, takewhile
from typing import Any

from ...cassette.contracts import load
from ...cassette.held import Held
from ...cassette.model_calls import ModelHops
from ...cassette.select import Source, the_session
from ...contract import Api
from ...model import (
    RECOVERED,
    UNRECORDED,
    UNWRITTEN,
    Exchange,
    Incident,
    TimedFrame,
    by_key,
    is_of_loss,
    losses,
    tells_of_body,
)
from ...omnigent.line import Line
from ...omnigent.line import in_order as by_time
from ...omnigent.routes import path_of
from ...providers.call import api_of
from ...text import counted, one_line
from ...wire.content_coding import tells_of_coding
from ...wire.sse import Parser
from ...wire.strict_json import Payloads, fresh_payloads
from ..apis import FOREIGN, api_in
from ..gather import (
    Context,
    Gathered,
    Gathering,
    aftermath_in,
    all_but_calls,
    failures_in,
    overlapping,
    strays_in,
    undecoded,
)
from ..turns import Around, SessionBuilder
from ..turns.aftermath import Aftermath
from ..turns.conclusion import AT_WORK
from ..turns.requests import Act, FailedRequest, deleted_at
from ..turns.stored import reads_stored_state
from ..turns.values import Session
from .endings import deletion, ending_signs, failures, reconnects, refusals, unanswered, untaken
from .finding import Finding, Severity, Sign, explained, in_order, is_incomplete, sign_at
from .items import Items, StoredState, stored_state_of
from .model import ModelChecks
from .session import Examined
from .stream import StreamChecks
from .tools import approval_signs, child_signs, tool_signs
from .turns import turn_signs

_MOST = 20
_AFTERWARDS = 2**62


def examine(
    store: Source,
    session: str | None = None,
    *,
    recording: int | None = None,
    read: Read | None = None,
    model: ModelChecks | None = None,
) -> list[Finding]:
    """The findings of an open store, or of one session in it, worst first.

    `recording`: only of that one. `read` reads the streams of a session; by default its checks read them. `model`: the
    checks of the model calls of the store, if they are known.
    """
    wanted = None if session is None else the_session(store, session)
    model = model or ModelChecks(store)
    troubles = list(_of_recordings(store, model.hops, recording))
    at_rest = set[str]()
    foreign = list[StreamChecks]()
    found: dict[int, list[Finding]] = {}
    named: set[tuple[int, str | None]] = set()
    parents = list[tuple[int, int, SessionChecks]]()
    unreadable = {
        stream: (incident.recording, _undecodable(incident, stream, why))
        for incident, stream, why in undecoded(store)
        if recording in (None, incident.recording)
    }

    def explain(place: int, of: int, one: SessionChecks) -> None:
        beside = [sign for number, sign in troubles if number == of]
        undecodable = [unreadable.pop(stream.stream)[1] for stream in one.streams if stream.stream in unreadable]
        signs = [*one.signs(at_rest), *model.of_session(of, one.session_id), *undecodable]
        found[place] = explained(signs, of, one.session_id, beside)
        named.update((of, finding.because) for finding in found[place])

    read = read or partial(read_streams, store)
    for place, (of, one) in enumerate(_examined(store, model.hops, wanted, recording, read)):
        foreign += [stream for stream in one.streams if stream.api is FOREIGN]
        if one.session_id is not None and one.told is not None and one.told.is_at_rest:
            at_rest.add(one.session_id)
        if one.told is not None and any(True for _ in one.told.children):
            parents.append((place, of, one))  # the sub-agents' own streams say whether they are at rest
        else:
            explain(place, of, one)
    if wanted is not None:
        unread = {id_ for _, _, one in parents for id_ in one.unsettled()} - at_rest
        at_rest.update(id_ for id_ in unread if _is_at_rest(store, model.hops, id_, recording))
    for parent in parents:
        explain(*parent)
    own = [finding for place in sorted(found) for finding in found[place]]
    if wanted is None:
        of_calls = unreadable.values()
        own += [finding for number, sign in of_calls for finding in explained([sign], number, None)]
    astray = ((owner, signs) for owner, signs in model.astray(recording) if wanted in (None, owner.name))
    own += [finding for owner, signs in astray for finding in explained(signs, *owner)]
    there = set() if wanted is None else {x.recording for x in store.exchanges(session_id=wanted)}
    shared = [
        (number, sign)
        for number, sign in troubles
        if wanted is None or (number, sign.code) in named or (number in there and is_incomplete(sign))
    ]
    shared += _foreign(foreign)
    return in_order([*(finding for number, sign in shared for finding in explained([sign], number, None)), *own])


def _is_at_rest(store: Source, hops: ModelHops, session: str, recording: int | None) -> bool:
    """Return whether a session is at rest by its own streams, in one of the recordings."""
    read = partial(read_streams, store)
    found = _examined(store, hops, session, recording, read)
    return any(one.told is not None and one.told.is_at_rest for _, one in found)


def _foreign(streams: Sequence[StreamChecks]) -> Iterator[tuple[int, Sign]]:
    """One note for all streams in which no event is Omnigent's, with the recording of the first."""
    seen = [(one, one.activity.last) for one in streams if one.activity.last is not None]
    if seen:
        request = seen[0][0].exchange.request
        count = sum(one.count for one, _ in seen)
        what = f"{request.method} {one_line(path_of(request.target))[:100]}"
        where = f"one stream, {what}" if len(seen) == 1 else f"{len(seen):,} streams, the first of them {what}"
        message = f"none of {counted(count, 'event')} is Omnigent's, in {where}"
        if api_of(request.method, request.target) is not None:
            message += ", which is the path of a model API: record it without --contract"
        yield seen[0][0].exchange.recording, sign_at("other-api", message, [seen[0][1]], since_ns=0)


def _examined(
    store: Source, hops: ModelHops, wanted: str | None, recording: int | None, read: Read
) -> Iterator[tuple[int, SessionChecks]]:
    """Each session with its recording, one at a time; each stream without a session counts as one."""
    gathering = Gathering(store)
    context = Context(store)
    api = partial(api_in, store)
    deleted = _deleted(store)
    astray = by_key(strays_in(store, recording) if wanted is None else (), lambda x: x.recording)
    for number in [one.recording for one in store.recordings()] if recording is None else [recording]:
        upstream = aftermath_in(store, hops, number)
        facts = _excuse(store, number), deleted.get(number, {}), api
        if failed := failures_in(store, astray.get(number, [])):
            yield number, SessionChecks(None, [], [], upstream, failed, *facts)
        for one in gathering.of(None if wanted is None else {wanted}, recording=number):
            group = one.exchanges
            bodies = ((x, store.decoded_body(x, "response")) for x in group if reads_stored_state(x))
            states = [state for x, body in bodies if (state := stored_state_of(x, body)) is not None]
            failed = failures_in(store, group, one.acts)
            checks = SessionChecks(group[0].session_id, one.acts, states, upstream, failed, *facts)
            read(checks, one, context.of(group))
            yield number, checks


def _deleted(store: Source) -> dict[int, dict[str, int]]:
    """The deleted sessions of each recording, with their times in ns."""
    found: dict[int, dict[str, int]] = {}
    for x in store.exchanges(method="DELETE", in_session=True):
        at_ns = deleted_at([x])
        if x.session_id is not None and at_ns is not None:
            found.setdefault(x.recording, {})[x.session_id] = at_ns
    return found


def read_streams(store: Source, checks: SessionChecks, one: Gathered, around: Around) -> None:
    """Read the streams of a session into its checks."""
    parsed = ParsedOnce()
    builder = SessionBuilder(one.acts, is_child=one.parent_id is not None, payloads=parsed)
    line = builder.line(one.streams)
    for group in overlapping(one.streams):
        if around.request is not None:
            for x in group:
                checks.read(x, store.frame_lists(x))
        elif len(group) == 1:
            lists = _added(builder, line, parsed.chunks(store.frame_lists(group[0])))
            checks.read(group[0], lists, parsed)
        else:
            held = Held()
            frames = [held.all(store.frames(x)) for x in group]
            for x, some in zip(group, frames, strict=True):
                checks.read(x, [some])
            for heard in line.add(by_time(frames)):
                builder.add(heard)
    checks.tell(builder, one, around)


def _added(builder: SessionBuilder, line: Line, chunks: Iterable[list[TimedFrame]]) -> Iterator[list[TimedFrame]]:
    """The frames of a stream that was open alone. Each chunk of them is added to the session first."""
    for chunk in chunks:
        builder.add_all(line.add(chunk))
        yield chunk


class ParsedOnce:
    """The payloads of frames that two readers need, parsed once."""

    def __init__(self) -> None:
        self._chunk: list[TimedFrame] = []
        """The last chunk."""
        self._payloads: list[dict[str, Any]] = []
        self._first = 0
        """The number of its first frame."""

    def __call__(self, frames: Sequence[TimedFrame]) -> list[dict[str, Any]]:
        """The payloads of consecutive frames."""
        place = frames[0].seq - self._first
        found = slice(place, place + len(frames))
        is_known = place >= 0 and self._chunk[found] == frames
        return self._payloads[found] if is_known else fresh_payloads(frames)

    def chunks(self, chunks: Iterable[list[TimedFrame]]) -> Iterator[list[TimedFrame]]:
        """The chunks. The payloads of the last one are known."""
        for chunk in chunks:
            self._chunk = chunk
            self._first = chunk[0].seq if chunk else 0
            self._payloads = fresh_payloads(chunk)
            yield chunk


def _excuse(store: Source, recording: int) -> Callable[[TimedFrame], bool]:
    """A test whether a frame that violates the recording's contract is valid for the live server."""
    live = load("omnigent")
    contract = store.contract_of(recording)
    if contract is live or not contract.api.is_omnigent:
        return lambda _: False
    return lambda frame: (
        frame.raw is not None
        and all(live.judge(one).verdict == "valid" for one in Parser(at_start=frame.seq == 1).feed(frame.raw))
    )


def _of_recordings(store: Source, hops: ModelHops, recording: int | None) -> Iterator[tuple[int, Sign]]:
    """The problems of recordings as a whole, each with the recording's number. `recording`: only of that one."""
    incidents = [one for one in store.incidents() if recording in (None, one.recording)]
    lost = losses(incidents)
    for one in lost:
        what = f"recording {one.recording} is incomplete: {one_line(one.message)[:200]}"
        yield one.recording, Sign("recording-degraded", what, one.at_ns, _AFTERWARDS, severity="error")
    lacking = {one.recording for one in lost}
    for incident in incidents[:_MOST]:
        sign = _of_incident(incident, is_counted=incident.recording in lacking)
        if sign is not None:
            yield incident.recording, sign
    lost_requests = store.exchanges(recording=recording, ending="upstream_unreachable")
    requests = [x for x in lost_requests if not hops.has(x)]
    for number, some in by_key(requests, lambda x: x.recording).items():
        yield number, _unreachable(some, all_but_calls(store, hops, number))


def _of_incident(incident: Incident, *, is_counted: bool) -> Sign | None:
    """The sign of an incident; None if another sign has it, or if the server or the user caused it. `is_counted`: a
    sign counts what the recording lacks."""
    told = one_line(incident.message)[:200]
    is_recovery = incident.message.startswith((UNWRITTEN, RECOVERED))
    if is_counted and (is_recovery or is_of_loss(incident) or tells_of_body(incident)):
        return None
    if incident.message.startswith(RECOVERED):
        what = f"nothing is missing here: {told}"
        return Sign("recording-degraded", what, incident.at_ns, incident.at_ns, severity="note")
    if is_recovery or tells_of_coding(incident.message) or incident.message.startswith(UNRECORDED):
        return None
    what = f"the recorder could not write everything from here on: {told}"
    return Sign("recording-degraded", what, incident.at_ns, _AFTERWARDS)


def _undecodable(incident: Incident, stream: int, why: str) -> Sign:
    message = f"the events of stream {stream} cannot be decoded from here on: {why[:200]}"
    return Sign("stream-not-decoded", message, incident.at_ns, _AFTERWARDS, stream)


def _unreachable(lost: list[Exchange], exchanges: Iterable[Exchange]) -> Sign:
    """Requests that did not reach the server: a warning if it had answered before, since its end is reported too."""
    first = lost[0].request
    before = takewhile(lambda x: x.request.at_ns < first.at_ns, exchanges)
    severity: Severity | None = "warning" if any(x.response for x in before) else None
    what = f"{counted(len(lost), 'request')} did not reach the server"
    message = f"{what}, the first of them {first.method} {one_line(first.target)[:100]}"
    return Sign("upstream-unreachable", message, first.at_ns, lost[-1].request.at_ns, severity=severity)


Read = Callable[["SessionChecks", Gathered, Around], None]
"""Reads the streams of a session into its checks."""


@dataclass(eq=False)
class SessionChecks:
    """All checks of one session of one recording: `read` its streams, then take `signs`."""

    session_id: str | None
    acts: list[Act]
    snapshots: list[StoredState]
    upstream: Aftermath
    failed: list[FailedRequest]
    """The requests that the server did not fulfil."""
    excused: Callable[[TimedFrame], bool]
    deleted: Mapping[str, int]
    """The deleted sessions of the recording, with their times in ns."""
    api_of: Callable[[Exchange], Api]
    items: Items = field(default_factory=Items)
    streams: list[StreamChecks] = field(default_factory=list)
    told: Examined | None = None
    """The session with its turns; None for requests without a session."""

    def read(
        self,
        x: Exchange,
        lists: Iterable[Iterable[TimedFrame]],
        payloads: Payloads = fresh_payloads,
    ) -> None:
        """Run the checks of one stream, whose frames come in lists. Streams come in the order of opening."""
        last_known_ns = self.upstream.last_known_ns
        one = StreamChecks(x, [self.items.handlers()], self.excused, self.api_of(x), last_known_ns)
        begun_ns = x.response.at_ns if x.response else x.request.at_ns
        one.statuses.saw_post = any(act.kind == "message" and act.at_ns >= begun_ns for act in self.acts)
        one.read(lists, payloads)
        self.streams.append(one)

    def tell(self, builder: SessionBuilder, one: Gathered, around: Around) -> Session:
        """Take the session from `builder`, which has all events, and return it."""
        session, drafts = builder.session(one.exchanges, one.parent_id, around)
        session = replace(session, failures=tuple(self.failed))
        snapshots = sorted(self.snapshots, key=lambda snapshot: snapshot.at_ns)
        self.told = Examined(
            session,
            drafts,
            builder.turns,
            builder.middles,
            one.exchanges,
            self.streams,
            self.acts,
            snapshots,
            self.upstream,
            self.deleted,
        )
        return session

    def unsettled(self) -> Iterator[str]:
        """Return the ids of its sub-agents that it knows as failed, or at work."""
        children = () if self.told is None else self.told.children
        return (one.session_id for one, _ in children if one.status == "failed" or one.status in AT_WORK)

    def signs(self, at_rest: Collection[str] = ()) -> Iterator[Sign]:
        """The signs. `at_rest`: the sessions that are at rest by their own streams."""
        deleted_ns = self.deleted.get(self.session_id or "")
        yield from chain(refusals(self.acts, deleted_ns), failures(self.failed))
        if (told := self.told) is None:
            return
        yield from (sign for sign in chain.from_iterable(one.signs() for one in self.streams) if not told.knows(sign))
        begun = [one.exchange.response.at_ns for one in self.streams if one.is_session and one.exchange.response]
        posted = {act.item_id for act in self.acts if act.item_id is not None}
        missed = [
            replace(sign, severity="note")
            if sign.code == "items-missed" and told.learned(sign.since_ns, sign.until_ns) is not None
            else sign
            for sign in self.items.signs(told.snapshots, min(begun, default=None), posted)
        ]
        yield from chain(turn_signs(told), ending_signs(told), missed, reconnects(told, missed))
        if deleted_ns is not None:
            yield from deletion(told, deleted_ns)
        yield from unanswered(told)
        yield from chain(untaken(told, self.items), tool_signs(told), approval_signs(told), child_signs(told, at_rest))
