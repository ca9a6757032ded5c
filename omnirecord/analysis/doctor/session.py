"""A session as the checks see it: the turns of `show` with the events that show them, its streams and its requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from ...model import Exchange, TimedFrame
from ...omnigent import protocol
from ..turns.aftermath import ENDED_BY_SERVER, Aftermath
from ..turns.builder import Span, TurnBuilder, absences_of
from ..turns.draft import Draft, Trace
from ..turns.patience import PATIENCE
from ..turns.requests import Act
from ..turns.values import Approval, Child, Session, Tool, Turn
from .finding import WORKING, Sign
from .items import StoredState
from .stream import StreamChecks

_OF_A_TURN = frozenset(
    {
        protocol.RESPONSE_OUTPUT_TEXT_DELTA,
        protocol.RESPONSE_OUTPUT_ITEM_DONE,
        protocol.RESPONSE_FUNCTION_CALL_OUTPUT_DELTA,
    }
)
"""Types that never begin a turn: a stream that starts with one joined in the middle."""


@dataclass(eq=False)
class Examined:
    """One session of one recording."""

    session: Session
    drafts: Sequence[Draft]
    """Those of `session.turns`."""
    facts: TurnBuilder
    """What the events told besides the turns."""
    middles: Mapping[int, Draft | None]
    """The turn in whose middle each stream ended."""
    exchanges: Sequence[Exchange]
    streams: Sequence[StreamChecks]
    acts: Sequence[Act]
    snapshots: Sequence[StoredState]
    """By time."""
    aftermath: Aftermath
    deleted: Mapping[str, int]
    """The deleted sessions of the recording, with their times in ns."""

    def __post_init__(self) -> None:
        lasts = [one.activity.last.at_ns for one in self.streams if one.activity.last]
        self.until_ns = max([0, *(one.end_ns or 0 for one in self.streams), *lasts])
        """Until when a client listened."""
        self.is_open = any(one.exchange.ending == "unknown" for one in self.streams)
        """Whether the end of a stream is unknown, so that nothing is missing."""
        ends = [one.exchange.end_ns for one in self.streams if one.exchange.ending in ENDED_BY_SERVER]
        self.cuts = [end_ns for end_ns in ends if end_ns]
        """When the server ended a stream, in ns."""
        absences = absences_of(self.session.streams)
        self.made_up = [(away, read) for away in absences if (read := self.read_after(away)) is not None]
        """The times in which no client listened, each with the later read that told its end."""
        self.joined = {one.stream for one in self.streams if one.joined}
        """The streams that began in the middle of a turn."""
        firsts: dict[int, TimedFrame] = {}
        for draft in self.drafts:
            for stream, part in draft.parts.items():
                if stream not in firsts or part.first.seq < firsts[stream].seq:
                    firsts[stream] = part.first
        self.joined |= {stream for stream, first in firsts.items() if first.type in _OF_A_TURN}
        self.stops = [draft.until_ns for draft in self.drafts if draft.interrupted]
        """When the turns that a user interrupted were over, in ns."""

    def knows(self, sign: Sign) -> bool:
        """Return whether the client left before the last status of a stream, and then read that the session is at
        rest."""
        is_early = sign.code == "status-left-running" and sign.severity == "note"
        session = self.session
        return is_early and session.status not in WORKING and (session.status_ns or 0) > sign.since_ns

    @property
    def tools(self) -> Iterator[tuple[Tool, Trace]]:
        """The tool calls that a stream carried, and their events."""
        called = ((tool, draft.traces.get(tool.call_id)) for turn, draft in self.turns for tool in turn.tools)
        return ((tool, trace) for tool, trace in called if trace is not None)

    @property
    def approvals(self) -> Iterator[tuple[Approval, Trace]]:
        """The questions to the user, and their events."""
        return ((one, draft.trace(one.elicitation_id)) for turn, draft in self.turns for one in turn.approvals)

    @property
    def children(self) -> Iterator[tuple[Child, Trace]]:
        """The sub-agents, and their events."""
        begun = ((child, draft.trace(child.session_id)) for turn, draft in self.turns for child in turn.children)
        facts = self.facts
        return chain(((child, facts.trace(id_)) for id_, child in facts.children.items()), begun)

    def learned(self, since_ns: int, until_ns: int) -> StoredState | None:
        """Return the read by which a client learned what it had missed since it left, at that time or later."""
        return next((read for away, read in self.made_up if since_ns <= away[0] < until_ns), None)

    def read_after(self, away: Span) -> StoredState | None:
        """Return the first read of the session, while or soon after no client listened, that says that it rests."""
        until_ns = away[1] + PATIENCE
        read = (one for one in self.snapshots if away[0] < one.asked_ns <= until_ns)
        return next((one for one in read if one.status in ("idle", "failed")), None)

    @property
    def is_at_rest(self) -> bool:
        """Whether its last turn that a stream carried has an end."""
        heard = [draft for draft in self.drafts if draft.parts]
        return bool(heard) and heard[-1].ended != "unfinished"

    def middle(self, one: StreamChecks) -> Draft | None:
        """Return the turn in whose middle a stream ended: it has content, and no interrupt has cut it short."""
        draft = self.middles.get(one.stream)
        return None if draft is None or draft.is_empty or draft.interrupted else draft

    def carried(self, one: StreamChecks) -> Iterator[Draft]:
        """Return the turns that a stream carried."""
        return (draft for draft in self.drafts if one.stream in draft.parts)

    @property
    def turns(self) -> Iterator[tuple[Turn, Draft]]:
        return zip(self.session.turns, self.drafts, strict=True)
