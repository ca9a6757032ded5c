"""The tables that `query` computes: `sessions`, `turns`, `tools`, `approvals`, `model_calls` and `findings`.

Names and units are those of `sessions --json`, `show --json`, `stats --json` and `doctor --json`; a value inside an
object of theirs has a column of its own. `sessions` has the columns of the view of that name, too.

`Analysis` computes each table by itself. `Whole` computes all of one recording in one pass, which reads each frame once
and parses it once: for a lake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import cache, cached_property
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING

from ..cassette.held import Held
from ..cassette.select import Source
from ..cassette.sql import Result
from ..cassette.sqlite import Store
from ..cassette.sqlite.query import Query, pending
from ..cassette.sqlite.views import ABOUT as VIEWS
from ..columns import TABLES
from ..errors import __version__
from ..model import Exchange, Recording, TimedFrame, total, wall_clock
from ..omnigent.line import MergedFrame, in_order
from ..text import dumps
from ..wire.strict_json import Payload, Payloads, fresh_payload, fresh_payloads
from .conversations import ConcludedTalk, conversations_in
from .doctor.examine import SessionChecks, examine
from .doctor.finding import Finding
from .doctor.model import ModelChecks
from .gather import Concluded, Gathered, all_concluded, conclusions, whole_sessions
from .listing import Row
from .model_calls.values import USAGE, Link, ModelCalls, prompt_sizes, tool_calls_of
from .sessions import summaries
from .stats import Frames, measure, measured, measured_talks, waited
from .stats.tally import SessionTally
from .stats.values import SessionStats, TurnStats, cost, count
from .turns import Around, SessionBuilder
from .turns.conclusion import concluded
from .turns.values import Approval, Session, Tool, Turn
from .validate import Problem, Tally, validation

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["ABOUT", "Query", "Result", "pending", "query_of"]

ABOUT = {
    **{name: table.about for name, table in TABLES.items()},
    **{name: about for name, about in VIEWS.items() if name not in TABLES},
}
"""What each table and view holds, for a person; the other tables are in `docs/cassette-format.md`."""


def query_of(store: Store) -> Query:
    """A `Query` over an open store. Raises `CassetteError`."""
    analysis = Analysis(store)
    return Query(store, {name: table.types for name, table in TABLES.items()}, lambda name: getattr(analysis, name)())


class Analysis:
    """The rows of the computed tables. What two tables need is computed once."""

    def __init__(self, store: Source, model: ModelChecks | None = None) -> None:
        """`model`: the checks of the model calls of the store, if they are known."""
        self._store = store
        if model is not None:
            self._model = model

    @cached_property
    def _model(self) -> ModelChecks:
        return ModelChecks(self._store)

    @cached_property
    def examined(self) -> list[Finding]:
        """The findings of `doctor`."""
        return examine(self._store, model=self._model)

    @cached_property
    def measured(self) -> list[SessionStats]:
        """The numbers of `stats`. The sessions were read for them."""
        self._told: list[Session] = []
        return list(measured(self._store, calls=self._calls, sessions=self._told))

    @cached_property
    def _told(self) -> list[Session]:
        return list(whole_sessions(self._store))

    @cached_property
    def _concluded(self) -> list[Concluded]:
        return list(conclusions(self._store))

    @cached_property
    def _calls(self) -> ModelCalls:
        return self._model.calls

    @cached_property
    def _every_talk(self) -> list[ConcludedTalk]:
        """The conversations of model calls without a session."""
        return conversations_in(self._calls, self._store.recordings())

    @property
    def _talks(self) -> list[ConcludedTalk]:
        """Those that this analysis tells."""
        return self._every_talk

    @cached_property
    def _all(self) -> list[Session]:
        """The sessions, then the conversations."""
        return [*self._told, *(talk.session for talk in self._talks)]

    @cached_property
    def _started(self) -> dict[int, str]:
        return {recording.recording: recording.started_at for recording in self._store.recordings()}

    def sessions(self) -> Iterator[Row]:
        told = summaries(self._store, examined=self.examined, concluded=self._concluded, talks=self._talks)
        for summary, stats in zip(told, self.measured, strict=True):
            yield _stats_row(stats) | summary.columns()

    def turns(self) -> Iterator[Row]:
        numbers = self.measured
        for told, stats in zip(self._all, numbers, strict=True):
            for turn, measures in zip(told.turns, stats.turns, strict=True):
                row = _place(told, turn) | _turn_row(turn, measures)
                # A connect snapshot may have repeated earlier text.
                is_known = (turn.joined_ns is None and turn.events > 0) or measures.first_token_s is not None
                passages = (one for one in (*turn.messages, *turn.thoughts) if one.pieces or told.conversation is None)
                first_ns = min((passage.first_ns for passage in passages), default=None)
                row["first_token_ns"] = first_ns if is_known else None
                yield row | self._times(told, turn, "asked", "started", "ended")

    def tools(self) -> Iterator[Row]:
        for told, turn in self._turns():
            for tool in turn.tools:
                yield _place(told, turn) | {
                    **_fields(tool, "tools"),
                    **self._times(told, tool, "called", "returned"),
                    "duration_s": _between(told, tool.called_ns, tool.returned_ns),
                }

    def approvals(self) -> Iterator[Row]:
        for told, turn in self._turns():
            until_ns = max((stream.until_ns or told.until_ns for stream in told.streams), default=told.until_ns)
            for one in turn.approvals:
                yield _place(told, turn) | {
                    **_fields(one, "approvals"),
                    **self._times(told, one, "asked", "answered", "resolved"),
                    "waited_s": _between(told, 0, waited(turn, one, until_ns)),
                }

    def model_calls(self) -> Iterator[Row]:
        codes = self._model.codes()
        of = {link.call.exchange: link for one in self._every_talk for link in one.calls.links}
        for link in self._calls.links:
            own = of.get(link.call.exchange)
            row = _call_row(own or link, self._started[link.call.recording])
            yield row | {"call": own and own.request, "finding": codes.get(link.call.exchange)}

    def findings(self) -> Iterator[Row]:
        for finding in self.examined:
            row = finding.row()
            seqs = row["seqs"]
            yield row | {"seq": seqs[0] if seqs else None, "seqs": dumps(seqs)}

    def _turns(self) -> Iterator[tuple[Session, Turn]]:
        return ((told, turn) for told in self._all for turn in told.turns)

    def _times(self, told: Session, of: Turn | Tool | Approval, *names: str) -> Row:
        """In UTC what `of` has in ns: `asked_at` of `asked_ns`."""
        start = None if told.started_at is None else self._started[told.recording]
        times = ((name, getattr(of, f"{name}_ns")) for name in names)
        return {f"{name}_at": None if start is None or ns is None else wall_clock(start, ns) for name, ns in times}


def _stats_row(one: SessionStats) -> Row:
    return {
        **_fields(one, "sessions"),
        **{f"{name}_tokens": total(getattr(usage, f"{name}_tokens") for usage in one.usage) for name in _TOKENS},
        "output_tokens": one.output_tokens,
        "cost_usd": total(usage.cost_usd for usage in one.usage),
        "first_token_s": None if one.first_token_s is None else one.first_token_s.p50,
        "streams": len(one.streams),
        "frames": sum(stream.frames for stream in one.streams),
    }


def _call_row(link: Link, started_at: str) -> Row:
    call = link.call
    turn = link.turn
    usage = link.call.usage
    conversation = call.conversation
    ends_ns = {"first_byte_s": call.first_byte_ns, "first_token_s": call.first_token_ns, "duration_s": call.ended_ns}
    return {
        **_fields(call, "model_calls"),
        "attempt": max(call.attempt, link.attempt),
        "started_at": wall_clock(started_at, call.started_ns),
        **{name: None if ns is None else (ns - call.started_ns) / 1e9 for name, ns in ends_ns.items()},
        **{name: usage and count(getattr(usage, name)) for name in USAGE},
        **prompt_sizes(conversation),
        "instructions": conversation and conversation.instructions,
        "asked": conversation and conversation.asked,
        "text": call.text,
        "tool_calls": dumps(tool_calls_of(call)),
        "turn_recording": turn and turn.recording,
        "session_id": turn and turn.session_id,
        "turn": turn and turn.turn,
        "by": link.by,
        "certainty": link.certainty,
    }


def _turn_row(turn: Turn, measures: TurnStats) -> Row:
    usage = turn.usage
    error = turn.error
    return {
        **_fields(measures, "turns"),
        **_fields(turn, "turns"),
        "asked": "\n\n".join(one.text for one in turn.asked) or None,
        "error_code": error and error.code,
        "error_message": error and error.message,
        **{f"{name}_tokens": usage and count(getattr(usage, f"{name}_tokens")) for name in (*_TOKENS, "reasoning")},
        "cost_usd": usage and cost(usage.cost_usd),
        "tools": len(turn.tools),
        "approvals": len(turn.approvals),
        "children": len(turn.children),
    }


_TOKENS = ("input", "output", "total")


def _fields(of: DataclassInstance, table: str) -> Row:
    """The fields of a value that have the name of a column."""
    return {name: getattr(of, name) for name in _names(type(of), table)}


@cache
def _names(of: type[DataclassInstance], table: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(of) if field.name in TABLES[table].types)


def _place(told: Session, turn: Turn) -> Row:
    stream = told.streams[0].stream if told.session_id is None and told.streams else None
    return {"recording": told.recording, "session_id": told.session_id, "stream": stream, "turn": turn.turn}


def _between(told: Session, since_ns: int, until_ns: int | None) -> float | None:
    """Seconds; None for an unknown end, and in a recording without times."""
    return None if until_ns is None or told.started_at is None else (until_ns - since_ns) / 1e9


_LENGTH = attrgetter("length")
_PARSED = 64 << 20
"""Bytes of a session's frames up to which their parsed payloads are kept for the next analysis."""
_ODD = 50_000
"""Frames with problems that are kept; if there are more, the recording is read again."""


class Whole(Analysis):
    """The analyses of one recording. `frames` returns the frames of a stream, by default those of the store.
    `tells_problems`: whether `problems` will be called. A conversation is of the recording in which it began."""

    def __init__(
        self,
        store: Source,
        recording: int,
        frames: Frames | None = None,
        *,
        tells_problems: bool = True,
        model: ModelChecks | None = None,
    ) -> None:
        super().__init__(store, model)
        (self._recording,) = (one for one in store.recordings() if one.recording == recording)
        self._frames = frames or store.frames
        self.parents = store.parents()
        self._read_sessions: list[tuple[Gathered, Session]] = []
        self._stats: list[SessionStats] = []
        """Without their conclusions, which need the sessions of the sub-agents."""
        self._problems = _Problems(store, self._recording) if tells_problems else None

    @cached_property
    def examined(self) -> list[Finding]:
        return examine(self._store, recording=self._recording.recording, read=self._read, model=self._model)

    def model_calls(self) -> Iterator[Row]:
        return (row for row in super().model_calls() if row["recording"] == self._recording.recording)

    def _read(self, checks: SessionChecks, one: Gathered, around: Around) -> None:
        """Read the streams of a session into all analyses."""
        held = Held()
        streams = [(x, held.all(self._frames(x))) for x in one.exchanges if x.stream is not None]
        frames = [*chain.from_iterable(some for _, some in streams)]
        payload: Payload = fresh_payload
        payloads: Payloads = fresh_payloads
        if sum(map(_LENGTH, frames)) <= _PARSED:
            payload, payloads = _parsed_once(frames)
        for x, some in streams:
            checks.read(x, [some], payloads)
            if self._problems is not None:
                self._problems.add(x, some, payload)
        builder = SessionBuilder(one.acts, is_child=one.parent_id is not None, payload=payload, payloads=payloads)
        tally = SessionTally()
        for _, some in streams:
            tally.brought(some)
        line = list[MergedFrame]()
        for heard in builder.line(one.exchanges).add(in_order(some for _, some in streams)):
            line.append(heard)
            if around.request is None:
                builder.add(heard)
        tally.line.add(line)
        told = checks.tell(builder, one, around)
        started_at = self._recording.started_at
        stats = measure(one, concluded(told), started_at, told=told, tally=tally, calls=self._calls)
        self._read_sessions.append((one, told))
        self._stats.append(stats)

    @cached_property
    def _concluded(self) -> list[Concluded]:
        _ = self.examined
        return all_concluded(self._read_sessions)

    @property
    def _talks(self) -> list[ConcludedTalk]:
        return [one for one in self._every_talk if one.session.recording == self._recording.recording]

    @cached_property
    def measured(self) -> list[SessionStats]:
        of_sessions = [
            replace(stats, conclusion=one.conclusion, duration_s=one.conclusion.duration_s)
            for one, stats in zip(self._concluded, self._stats, strict=True)
        ]
        return [*of_sessions, *measured_talks(self._store, self._talks, self._frames)]

    @cached_property
    def _told(self) -> list[Session]:
        return [one.session for one in self._concluded]

    def problems(self) -> list[Problem]:
        """Return the problems of `validate`."""
        _ = self.examined
        return [] if self._problems is None else self._problems.all()


def _parsed_once(frames: Sequence[TimedFrame]) -> tuple[Payload, Payloads]:
    """Return the payloads of frames, parsed once."""
    known = dict(zip(map(id, frames), fresh_payloads(frames), strict=True))
    return lambda frame: known[id(frame)], lambda some: [known[id(frame)] for frame in some]


class _Problems:
    """The problems of a recording. An event that the same version judged as valid is not judged again."""

    def __init__(self, store: Source, recording: Recording) -> None:
        self._store = store
        self._recording = recording.recording
        self._contract = store.contract_of(self._recording)
        self._trusts = recording.version == __version__ and recording.contract == self._contract.name
        self._done: dict[int, list[TimedFrame]] = {}
        """The frames with problems, by stream."""
        self._count = 0

    def add(self, x: Exchange, frames: Sequence[TimedFrame], payload: Payload) -> None:
        if not self._trusts or not frames:
            return
        unheard_of = self._store.judge_of(x).unheard_of
        odd = [
            frame
            for frame in frames
            if frame.verdict not in ("comment", "sentinel")
            and (frame.verdict != "valid" or unheard_of(frame.type or "", payload(frame)))
        ]
        self._count += len(odd)
        self._trusts = self._count <= _ODD
        self._done[frames[0].stream] = odd

    def all(self) -> list[Problem]:
        """Return the problems, as `validation` does."""
        if not self._trusts:
            return list(validation(self._store, recording=self._recording).problems)
        tally = Tally()
        for x in self._store.exchanges(kind="sse", recording=self._recording):
            found = self._done.get(x.stream or 0)
            contract = self._store.judge_of(x)
            for frame in self._store.frames(x) if found is None else found:
                tally.add(frame, contract)
        return list(tally.result([self._contract]).problems)
