"""The sessions of a cassette: the objects of `sessions --json`, and the values of the table `sessions`.

`columns` declares the columns of that table. Pure, apart from reading the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..cassette.select import Source
from ..model import by_key, wall_clock
from ..text import dumps
from .conversations import ConcludedTalk, conversations_in
from .gather import Concluded, Concluding, Gathered
from .listing import Row
from .turns.conclusion import Conclusion
from .turns.values import Session

if TYPE_CHECKING:
    from .doctor.examine import SessionChecks
    from .doctor.finding import Finding
    from .turns import Around


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

    def _own(self) -> Row:
        """Return the values that `sessions --json` and the table `sessions` share."""
        return {
            "recording": self.recording,
            "session_id": self.session_id,
            "stream": self.stream,
            "parent_session_id": self.parent_session_id,
            "started_at": self.started_at,
            "asked": self.conclusion.asked,
            "model": self.model,
            "turns": self.turns,
            "duration_s": self.conclusion.duration_s,
        }

    def row(self, cassette: str) -> Row:
        """Return the object of `sessions --json`. Keys are fixed."""
        columns = self.columns()
        finding = {name: columns[f"finding_{name}"] for name in ("code", "severity", "message")}
        return {
            "cassette": cassette,
            **self._own(),
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
            **self._own(),
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
    if examined is None:
        examined, found = examined_sessions(store, session)
    else:
        found = [*map(_summary, concluded or ()), *map(_talk_summary, talks or ())]
    of = by_key(examined, lambda one: (one.recording, one.session_id or one.stream))
    return [replace(one, findings=tuple(of.get((one.recording, one.session_id or one.stream), ()))) for one in found]


def examined_sessions(store: Source, session: str | None = None) -> tuple[list[Finding], list[Summary]]:
    """Return the findings of a store, worst first, and what `summaries` returns without findings. Each event is read
    once. Raises as `summaries` does."""
    from .doctor.examine import examine, read_streams
    from .doctor.model import ModelChecks

    found: list[Summary] = []
    concluding = Concluding(store)

    def read(checks: SessionChecks, one: Gathered, around: Around) -> None:
        read_streams(store, checks, one, around)
        assert checks.told is not None
        found.append(_summary(concluding.concluded(one, checks.told.session)))

    model = ModelChecks(store)
    examined = examine(store, session, read=read, model=model)
    if session is None:
        found += map(_talk_summary, conversations_in(model.calls, store.recordings()))
    return examined, found


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
