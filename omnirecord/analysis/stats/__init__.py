"""The numbers of sessions: latency, rates, counts, waits. Linear in the number of frames.

    for numbers in measured(store): ...

Here sessions are read and the numbers combined; `tally` counts frames, `values` divides and holds the results. An event
that two clients received counts once, except in the numbers of each stream.

To add a number: a field in `values`, measured here or beside it; then a column in `cli/stats`.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from operator import attrgetter
from typing import Any, cast

from ...cassette.model_calls import ModelHops
from ...cassette.select import Source
from ...model import Exchange, TimedFrame, by_key, total, wall_clock
from ...omnigent import protocol
from ...omnigent.line import MergedFrame
from ..conversations import ConcludedTalk, conversations_in
from ..gather import Gathered, conclusions, model_calls
from ..model_calls.values import FirstToken, Link, ModelCalls, first_token, requests_of
from ..turns import Around
from ..turns.builder import Span, union
from ..turns.conclusion import Conclusion
from ..turns.draft import AT_ONCE
from ..turns.values import Approval, Session, Turn
from .tally import LineTally, SessionTally, StreamTally, delays_of, end_of
from .values import (
    ApprovalStats,
    FirstTokenStats,
    Gaps,
    ModelStats,
    SessionStats,
    StreamStats,
    ToolStats,
    TurnStats,
    count,
    per_second,
    reported_usage,
    seconds,
    spread,
    usage_of,
)

Frames = Callable[[Exchange], Iterable[TimedFrame]]
"""Returns the frames of a stream."""
_OF_CALLS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def measured(
    store: Source, session: str | None = None, calls: ModelCalls | None = None, sessions: list[Session] | None = None
) -> Iterator[SessionStats]:
    """The numbers of each session of each recording, or of one session; each stream without a session has its own. Then
    those of each conversation of model calls without a session. `calls`: the model calls of the store, if they are
    known. `sessions`: the session of each of these numbers is appended there."""
    started = {recording.recording: recording.started_at for recording in store.recordings()}
    calls = model_calls(store) if calls is None else calls
    tally = SessionTally()

    def read(x: Exchange) -> Iterator[list[TimedFrame]]:
        for frames in store.frame_lists(x):
            tally.brought(frames)
            yield frames

    def tell(one: Gathered, around: Around) -> Session:
        nonlocal tally
        tally = SessionTally()
        line = tally.heard(one.line(read=read))
        told, _ = one.told(around, line=line)
        deque(line, maxlen=0)  # a session without turns was not read
        return told

    for one, told, conclusion in conclusions(store, session, tell=tell):
        if sessions is not None:
            sessions.append(told)
        yield measure(one, conclusion, started[told.recording], told=told, tally=tally, calls=calls)
    if session is None:
        yield from measured_talks(store, conversations_in(calls, store.recordings()))


def measure(
    one: Gathered, conclusion: Conclusion, started_at: str, *, told: Session, tally: SessionTally, calls: ModelCalls
) -> SessionStats:
    """The numbers of one session in one recording, or of a stream that belongs to none.

    `conclusion`: how it ended. `started_at`: the start of the recording. `told`: the session with its turns; `tally`:
    its frames. `calls`: the model calls.
    """
    exchanges = one.exchanges
    begun = min(x.request.at_ns for x in exchanges)
    streams = [tally.streams.get(x.stream or 0, StreamTally()).measured(x) for x in one.streams]
    until = max([*map(end_of, exchanges), *(end_ns for (_, end_ns), _ in streams)])
    spans = union(span for span, _ in streams)
    numbers = tuple(numbers for _, numbers in streams)
    posts = {act.at_ns for act in one.acts if act.kind == "message"}
    found = SessionStats(
        recording=told.recording,
        session_id=told.session_id,
        parent_session_id=one.parent_id,
        started_at=wall_clock(started_at, begun),
        duration_s=conclusion.duration_s,
        conclusion=conclusion,
        exchanges=len(exchanges),
        request_bytes=sum(x.request_bytes for x in exchanges),
        response_bytes=sum(x.response_bytes for x in exchanges),
        streams=numbers,
        endings=_counted(stats.ending for stats in numbers),
        **_of_events(tally.line, spans),
        **_of_turns(told.turns, posts, tally.line.joined, spans[-1][1] if spans else until, calls),
        proxy_delay_ms=delays_of(tally.streams.values()),
        never_sent=sum(stream.unsent for stream in tally.streams.values()),
    )
    return found if until > begun else replace(cast("SessionStats", without_times(found)), started_at=None)


def measured_talks(
    store: Source, talks: Iterable[ConcludedTalk], frames: Frames | None = None
) -> Iterator[SessionStats]:
    """The numbers of conversations of model calls. `frames` returns those of a stream, by default the store's."""
    of_calls = {x.exchange: x for x in ModelHops(store).exchanges()}
    for one in talks:
        links = [(of_calls[link.call.exchange], link.shift_ns) for link in one.calls.links]
        yield _measured_talk(one, links, frames or store.frames)


def _measured_talk(one: ConcludedTalk, calls: Sequence[tuple[Exchange, int]], frames: Frames) -> SessionStats:
    """`calls`: the exchanges, each with the ns from the clock of its recording to that of the conversation."""
    told = one.session
    line = list[MergedFrame]()
    spans = list[Span]()
    tallies = list[StreamTally]()
    streams = list[StreamStats]()
    for x, shift_ns in calls:
        if x.stream is not None:
            own = list(frames(x))
            tally = StreamTally()
            tally.add(own)
            (begin, end), numbers = tally.measured(x)
            spans.append((begin + shift_ns, end + shift_ns))
            tallies.append(tally)
            streams.append(numbers)
            line += (MergedFrame(_shifted(frame, shift_ns), in_snapshot=False) for frame in own)
    line.sort(key=attrgetter("at_ns"))
    events = LineTally()
    events.add(line)
    found = SessionStats(
        recording=told.recording,
        session_id=told.session_id,
        parent_session_id=None,
        started_at=told.started_at,
        duration_s=one.conclusion.duration_s,
        conclusion=one.conclusion,
        exchanges=len(calls),
        request_bytes=sum(x.request_bytes for x, _ in calls),
        response_bytes=sum(x.response_bytes for x, _ in calls),
        streams=tuple(streams),
        endings=_counted(stream.ending for stream in streams),
        **_of_events(events, union(spans)),
        **_of_turns(
            told.turns, {turn.begin_ns for turn in told.turns}, set(), told.until_ns, one.calls, only_deltas=True
        ),
        proxy_delay_ms=delays_of(tallies),
        never_sent=sum(tally.unsent for tally in tallies),
    )
    return found if streams else replace(found, events_per_s=None, never_sent=None)


def _shifted(frame: TimedFrame, ns: int) -> TimedFrame:
    sent_ns = None if frame.sent_ns is None else frame.sent_ns + ns
    return frame._replace(offset_ns=frame.offset_ns + ns, sent_ns=sent_ns) if ns else frame


def without_times(value: Any) -> Any:
    """A copy for a recording without times: each field whose name ends in a unit of time is None."""
    changes: dict[str, Any] = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if field.name.endswith(("_s", "_ms")) or field.name == "never_sent" or isinstance(one, Gaps):
            changes[field.name] = None
        elif isinstance(one, tuple):
            changes[field.name] = tuple(without_times(each) for each in one)
    return replace(value, **changes)


def _of_events(line: LineTally, spans: Sequence[Span]) -> dict[str, Any]:
    """The fields of `SessionStats` that come from events. An event that two clients received counts once."""
    events = len(line.at_ns)
    data = line.places(without=protocol.HEARTBEATS)
    heartbeats = events - len(data)
    return {
        "events": events,
        "events_by_type": _counted(line.by_type()),
        "verdicts": _counted(line.verdicts),
        "heartbeats": heartbeats,
        "heartbeat_share": round(heartbeats / events, 4) if events else None,
        "gaps": line.gaps(spans),
        "gaps_without_heartbeats": line.gaps(spans, without=protocol.HEARTBEATS),
        "silent_at_end_s": seconds(max(0, spans[-1][1] - line.at_ns[data[-1]])) if data else None,
        "reported_usage": reported_usage(line.usage),
    }


def _of_turns(
    turns: Sequence[Turn],
    posts: set[int],
    joined: set[int],
    until_ns: int,
    calls: ModelCalls,
    *,
    only_deltas: bool = False,
) -> dict[str, Any]:
    """The fields of `SessionStats` that come from turns. A rate is total count by total time."""
    measures = [TurnMeasures(turn, posts, joined, until_ns, calls.of(turn), only_deltas=only_deltas) for turn in turns]
    timed = [turn_measures for turn_measures in measures if turn_measures.streamed_tokens is not None]
    streamed = total(turn_measures.streamed_tokens for turn_measures in timed)
    streaming = total(turn_measures.streaming for turn_measures in measures)
    return {
        "turns": tuple(turn_measures.stats() for turn_measures in measures),
        "turns_ended": _counted(turn.ended for turn in turns),
        "first_event_s": spread(turn_measures.first_event for turn_measures in measures),
        "first_token_s": spread(turn_measures.first_token for turn_measures in measures),
        "first_text_s": spread(turn_measures.first_text for turn_measures in measures),
        "events_per_s": per_second(
            sum(turn_measures.turn.events for turn_measures in measures),
            total(turn_measures.spent for turn_measures in measures),
        ),
        "streaming_s": seconds(streaming),
        "deltas": sum(turn_measures.deltas for turn_measures in measures),
        "deltas_per_s": per_second(sum(turn_measures.later_deltas for turn_measures in measures), streaming),
        "output_tokens": total(turn_measures.output_tokens for turn_measures in measures),
        "output_tokens_per_s": per_second(streamed, total(turn_measures.streaming for turn_measures in timed)),
        "tools": tools_of(turns),
        "tool_s": seconds(total(turn_measures.tools for turn_measures in measures)),
        "approvals": approvals_of(turns, until_ns),
        "approval_s": seconds(total(turn_measures.approvals for turn_measures in measures)),
        "usage": usage_of(turns),
        "first_token_parts": first_token_stats(turn_measures.parts for turn_measures in measures),
        "model_calls": model_stats([link for turn_measures in measures for link in turn_measures.links]),
    }


def tools_of(turns: Iterable[Turn]) -> tuple[ToolStats, ...]:
    """The calls of each tool, by total time, longest first."""
    found = []
    for name, calls in by_key((tool for turn in turns for tool in turn.tools), attrgetter("name")).items():
        took = [call.returned_ns - call.called_ns for call in calls if call.returned_ns is not None]
        longest = max(took, default=None)
        found.append(ToolStats(name, len(calls), len(took), seconds(total(took)), seconds(longest)))
    return tuple(sorted(found, key=lambda tool: -(tool.total_s or 0)))


def approvals_of(turns: Iterable[Turn], until_ns: int) -> tuple[ApprovalStats, ...]:
    """The approvals by the party that answered, longest wait first."""
    by: dict[str | None, list[int]] = defaultdict(list)
    for turn in turns:
        for approval in turn.approvals:
            by[approval.answered_by].append(waited(turn, approval, until_ns))
    ordered = sorted(by.items(), key=lambda item: -sum(item[1]))
    return tuple(ApprovalStats(who, len(ns), seconds(sum(ns)), seconds(max(ns))) for who, ns in ordered)


def waited(turn: Turn, approval: Approval, until_ns: int) -> int:
    """How long a turn waited for an approval, in ns. `until_ns`: when the last client left."""
    until = approval.answered_ns if approval.answered_ns is not None else approval.resolved_ns
    if until is None:
        until = until_ns if turn.ended_ns is None else turn.ended_ns
    return max(0, until - approval.asked_ns)


class TurnMeasures:
    """The measures of one turn, in ns; None for what was not recorded.

    `posts`: times of the clients' message POSTs, or of the first calls; latencies count from no other time.
    `joined`: times at which a connect snapshot repeated the text so far, so that its first delta is unknown.
    `until_ns`: when the last client left. `links`: its model calls. `only_deltas`: whether a text without deltas has
    no first token, as that of a plain JSON answer.
    """

    def __init__(
        self,
        turn: Turn,
        posts: set[int],
        joined: set[int],
        until_ns: int,
        links: Sequence[Link],
        *,
        only_deltas: bool = False,
    ) -> None:
        self.turn = turn
        self.links = links
        self._posted = turn.asked_ns if turn.asked_ns in posts else None
        passages = [*turn.messages, *turn.thoughts]
        has_all = turn.events > 0 and not only_deltas
        first = min((passage.first_ns for passage in passages if passage.pieces or has_all), default=None)
        self._is_whole = first not in joined
        self.first_event = self._since_post(turn.started_ns if turn.events else None)
        self.first_token = self._since_post(first if self._is_whole else None)
        is_known = self._posted is not None and first is not None and self.first_token is not None
        self.parts = first_token(links, self._posted or 0, first or 0) if is_known else None
        self.first_text = self._since_post(turn.first_text_ns if turn.first_text_ns not in joined else None)
        self.deltas = sum(passage.pieces for passage in passages)
        again = max(turn.restarts_ns, default=0)  # usage and rate are those of the last attempt
        passages = [passage for passage in passages if passage.first_ns >= again]
        self.later_deltas = sum(max(0, passage.pieces - 1) for passage in passages)
        self.streaming = total(one.last_ns - one.first_ns for one in passages if one.pieces > 1) or None
        self.spent = turn.last_event_ns - turn.started_ns or None
        self.tools = total(tool.returned_ns - tool.called_ns for tool in turn.tools if tool.returned_ns is not None)
        self.approvals = total(waited(turn, approval, until_ns) for approval in turn.approvals)

    @property
    def output_tokens(self) -> int | None:
        return count(self.turn.usage.output_tokens) if self.turn.usage else None

    @property
    def streamed_tokens(self) -> int | None:
        """Output tokens that arrived in deltas; None if unknown, as with tools, whose arguments have no deltas, or if
        the text arrived at once."""
        if self.output_tokens is None or not self._is_whole or self.turn.tools or (self.streaming or 0) < AT_ONCE:
            return None
        if self.turn.usage is None or any(passage.pieces for passage in self.turn.thoughts):
            return self.output_tokens
        return max(0, self.output_tokens - (count(self.turn.usage.reasoning_tokens) or 0))

    def _since_post(self, at_ns: int | None) -> int | None:
        return None if at_ns is None or self._posted is None or at_ns < self._posted else at_ns - self._posted

    def stats(self) -> TurnStats:
        turn = self.turn
        begun = turn.started_ns if self._posted is None else self._posted
        silence = turn.longest_silence
        before_s, model_s, after_s = map(seconds, self.parts or (None, None, None))
        return TurnStats(
            turn=turn.turn,
            ended=turn.ended,
            duration_s=seconds(None if turn.ended_ns is None else turn.ended_ns - begun),
            first_event_s=seconds(self.first_event),
            first_token_s=seconds(self.first_token),
            first_text_s=seconds(self.first_text),
            events=turn.events,
            events_per_s=per_second(turn.events, self.spent),
            deltas=self.deltas,
            streaming_s=seconds(self.streaming),
            deltas_per_s=per_second(self.later_deltas, self.streaming),
            output_tokens=self.output_tokens,
            output_tokens_per_s=per_second(self.streamed_tokens, self.streaming),
            tool_s=seconds(self.tools),
            approval_s=seconds(self.approvals),
            longest_silence_s=seconds(silence.length_ns if silence else None),
            first_token_before_s=before_s,
            first_token_model_s=model_s,
            first_token_after_s=after_s,
            model_calls=model_stats(self.links),
        )


def model_stats(links: Sequence[Link]) -> ModelStats | None:
    """Return the numbers of these calls; None without any."""
    if not links:
        return None
    calls = [link.call for link in links]
    requests = len(requests_of(links))
    used = [call.usage for call in calls if call.usage is not None]
    tokens = {name: total(count(getattr(one, name)) for one in used) for name in _OF_CALLS}
    firsts = (None if one.first_token_ns is None else one.first_token_ns - one.started_ns for one in calls)
    return ModelStats(
        calls=len(calls),
        requests=requests,
        retried=len(calls) - requests,
        failed=sum(one.has_failed for one in calls),
        rate_limited=sum(one.is_rate_limited for one in calls),
        model_s=seconds(total(None if one.ended_ns is None else one.ended_ns - one.started_ns for one in calls)),
        first_token_s=spread(firsts),
        **tokens,
        counted=len(used),
        uncounted=sum(one.usage is None and one.ending not in ("refused", "open") for one in calls),
    )


def first_token_stats(parts: Iterable[FirstToken | None]) -> FirstTokenStats | None:
    """Return the parts over several turns; None if no turn has them."""
    known = [part for part in parts if part is not None]
    return FirstTokenStats(*map(spread, zip(*known, strict=True))) if known else None


def astray_rows(calls: ModelCalls) -> Iterator[tuple[int, ModelStats]]:
    """Return the numbers of the calls without a turn and without a conversation, by recording."""
    for recording, links in by_key(calls.astray, lambda link: link.call.recording).items():
        found = model_stats(links)
        if found is not None:
            yield recording, found


def astray_row(recording: int, found: ModelStats) -> dict[str, Any]:
    """Return the calls without a turn in the form of `stats_row`: the fields of a session are None."""
    empty = dict.fromkeys(field.name for field in fields(SessionStats))
    return {**empty, "recording": recording, "model_calls": asdict(found)}


def _counted(values: Iterable[str] | Mapping[str, int]) -> dict[str, int]:
    """Count by value, most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
