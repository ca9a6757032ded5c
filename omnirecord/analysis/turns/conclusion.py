"""How a session ended, for all commands, the page and the Python API. Pure.

    conclusion = concluded(session, others)
    print(conclusion.verdict)  # Unfinished: waiting for approval since 11:28:19 UTC

`stopped` finds the code and the sentence. This module adds the verdict in one line, its time, the duration of the
session, the connected parties, and the first question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ...model import Ending, wall_clock
from ...text import clip, one_line
from .patience import LONG_QUIET, PATIENCE
from .values import Child, Listening, Session, Turn
from .why_stopped import AT_WORK, Code, because, last_stream, quiet_ns, stopped

Outcome = Literal["finished", "failed", "unfinished", "recording", "unknown"]
"""`finished`: nothing is left to do; `failed`: an error ended the session; `unfinished`: the last turn has no end;
`recording`: a client still listens; `unknown`: the recording has no stream, or not its end."""
MOST_ASKED = 200
"""Length of `asked`, in characters."""
_MOST_WHY = 80
"""Length of an error's text in a verdict, in characters."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How one session ended, its duration, the connected parties, and the first question."""

    code: Code
    outcome: Outcome
    verdict: str
    """One line: outcome and reason, with the time of day."""
    sentence: str
    """The reason in full, the last line of `show`."""
    since_ns: int | None
    """The beginning of that state, on the recording's clock; None if unknown."""
    since: str | None
    """The same in UTC, ISO 8601."""
    ending: Ending | None
    """The ending of the stream that lasted longest; None without a stream."""
    duration_s: float | None
    """From the first request of a client to the end of the last exchange; None if the recording has no times."""
    connected: tuple[str, ...]
    """The names of the parties that listened to a stream of the session, in order of connection."""
    asked: str | None
    """The first question, its first 200 characters; None if it is not recorded."""

    def row(self) -> dict[str, Any]:
        """Return the object `conclusion` of every `--json`. Keys are fixed."""
        return {
            "code": self.code, "outcome": self.outcome, "verdict": self.verdict, "since": self.since,
            "duration_s": self.duration_s, "connected": list(self.connected), "asked": self.asked,
        }  # fmt: skip


class _Verdict(NamedTuple):
    outcome: Outcome
    said: str
    word: str = ""
    """`since` or `at`; empty without a time."""
    at_ns: int | None = None


def concluded(session: Session, sessions: Mapping[str, Session] | None = None) -> Conclusion:
    """Return how a session ended. `sessions`: others of its recording by id, for the ends of its sub-agents."""
    why, last = stopped(session, sessions), last_stream(session.streams)
    found = _verdict(session, why.code, last)
    timed = session.duration_ns is not None and found.at_ns is not None and session.started_at is not None
    since = wall_clock(session.started_at or "", (found.at_ns or 0) - session.begun_ns) if timed else None
    when = f" {found.word} {since[11:19]} UTC" if since is not None and found.word else ""
    return Conclusion(
        why.code, found.outcome, found.said + when, why.sentence, found.at_ns if timed else None, since,
        None if last is None else last.ending, None if session.duration_ns is None else session.duration_ns / 1e9,
        tuple(dict.fromkeys(one.party_name for one in session.streams)), _asked(session),
    )  # fmt: skip


def children_of(session: Session, by_id: Mapping[tuple[int, Any], Session]) -> dict[str, Session]:
    """Return the sessions of its sub-agents that are in `by_id`, by their ids."""
    children = (child.session_id for turn in session.turns for child in turn.children)
    return {id_: by_id[session.recording, id_] for id_ in children if (session.recording, id_) in by_id}


def _asked(session: Session) -> str | None:
    if session.request is not None:
        return session.request[:MOST_ASKED]
    asked = [one for turn in session.turns for one in turn.asked if one.text]
    first = next((one for one in asked if one.by != "system"), None) or next(iter(asked), None)
    return None if first is None else first.text[:MOST_ASKED]


def _verdict(session: Session, code: Code, last: Listening | None) -> _Verdict:
    turn = session.turns[-1] if session.turns else None
    if code == "unknown" and session.unreadable is not None:
        return _Verdict("unknown", "Unknown: the stream cannot be decoded")
    if session.request is not None and last is not None:  # a stream of an unknown API
        if session.failures:
            return _Verdict("failed", f"Failed: {_named(session.failures[-1].why, _MOST_WHY)}", "at", last.from_ns)
        if session.last_error is not None:
            said = f"Failed: {_named(session.last_error, _MOST_WHY)}"
            return _Verdict("failed", said, "at", _until(session, last))
        outcome, said, word = _OF_STREAMS.get(last.ending, _OF_STREAMS["unknown"])
        at_ns = last.from_ns if word == "since" else _until(session, last) if word else None
        return _Verdict(outcome, said, word, at_ns)
    if code == "still_recording":
        return _recording(turn, last)
    if turn is None:
        return _nothing(session, code)
    if (code in _CUT or code == "end_missed") and (lost := _without_effect(turn)):
        return lost
    if code in _CUT:
        return _waiting(turn, last) or _Verdict("unfinished", f"Unfinished: {_CUT[code]}", "at", _until(session, last))
    return _TOLD[code](session, turn)


def _nothing(session: Session, code: Code) -> _Verdict:
    """Return the verdict on a session without a turn."""
    if code == "refused":
        worst = next(one for one in reversed(session.failures) if one.severity == "error")
        said = f"Failed: {one_line(worst.method)} was refused: {_named(worst.why, _MOST_WHY)}"
        return _Verdict("failed", said, "at", worst.at_ns)
    if code == "deleted":
        return _Verdict("finished", "Finished: a client deleted the session", "at", session.deleted_ns)
    if session.streams:
        return _Verdict("finished", "Nothing asked")
    return _Verdict("unknown", "Unknown: no event stream recorded")


def _recording(turn: Turn | None, last: Listening | None) -> _Verdict:
    if turn is None:
        return _Verdict("recording", "Recording: nothing asked yet")
    if turn.ended != "unfinished":
        return _Verdict("recording", "Recording: at rest", "since", turn.ended_ns)
    found = _approval(turn) or _waiting(turn, last, patience=0)
    if found is not None:
        return found._replace(outcome="recording", said=found.said.replace("Unfinished", "Recording", 1))
    return _Verdict("recording", "Recording: the agent works", "since", turn.begin_ns)


def _until(session: Session, last: Listening | None) -> int:
    """Return the end of the last stream, or of the recording."""
    return session.until_ns if last is None or last.until_ns is None else last.until_ns


def _approval(turn: Turn) -> _Verdict | None:
    open_ = [one for one in turn.approvals if one.resolved_ns is None and one.answered_ns is None]
    return _Verdict("unfinished", "Unfinished: waiting for approval", "since", open_[-1].asked_ns) if open_ else None


def _unanswered(_session: Session, turn: Turn) -> _Verdict:
    if turn.ended == "unfinished" and (found := _approval(turn)):
        return found
    end_ns = turn.last_event_ns if turn.ended_ns is None else turn.ended_ns
    late = [one.answered_ns for one in turn.approvals if one.answered_ns is not None and one.answered_ns > end_ns]
    if late:
        return _Verdict("failed", "Failed: the answer to the approval came too late", "at", late[-1])
    asked = [one.asked_ns for one in turn.approvals if one.answered_ns is None]
    return _Verdict("failed", "Failed: no answer to the approval asked", "at", max(asked, default=None))


def _without_effect(turn: Turn) -> _Verdict | None:
    """Return the verdict on an answer to an approval without a later event: the server had lost the question."""
    given = [one.answered_ns for one in turn.approvals if one.answered_ns is not None and one.resolved_ns is None]
    if turn.ended != "unfinished" or not given or given[-1] < turn.last_event_ns:
        return None
    return _Verdict("unfinished", "Unfinished: the answer to the approval had no effect,", "at", given[-1])


def _waiting(turn: Turn, last: Listening | None, patience: int = PATIENCE) -> _Verdict | None:
    """Return a verdict with what the turn waited for, if it waited for `patience` ns or more."""
    quiet = quiet_ns(turn, last)
    tools = [tool for tool in turn.tools if tool.returned_ns is None]
    if tools and quiet >= patience:
        said = f"Unfinished: waiting for the tool {_named(tools[-1].name)}"
        return _Verdict("unfinished", said, "since", tools[-1].called_ns)
    if quiet >= patience and (found := _child(turn.children)):
        return found
    if quiet >= LONG_QUIET:
        return _Verdict("unfinished", "Unfinished: no sign of the agent", "since", turn.last_event_ns)
    return None


def _child(children: Iterable[Child]) -> _Verdict | None:
    """Return the verdict on a wait for the last of these sub-agents that works; None if none works."""
    waited_for = [child for child in children if child.status in AT_WORK]
    if not waited_for:
        return None
    name = _named(waited_for[-1].title or waited_for[-1].session_id)
    return _Verdict("unfinished", f"Unfinished: waiting for the sub-agent {name}", "since", waited_for[-1].spawned_ns)


def _child_unfinished(session: Session, turn: Turn) -> _Verdict:
    found = _child(child for one in session.turns for child in one.children)
    return found or _Verdict("unfinished", "Unfinished: a sub-agent was at work", "since", turn.ended_ns)


def _named(text: str, most: int = 60) -> str:
    return clip(one_line(text), most) or "(no name)"


def _ended(said: str, outcome: Outcome = "finished") -> Callable[[Session, Turn], _Verdict]:
    """Return a function for the verdict on a turn with an end, and its error."""
    return lambda _, turn: _Verdict(outcome, f"{said}{because(turn.error, _MOST_WHY)}", "at", turn.ended_ns)


def _runner_lost(_session: Session, turn: Turn) -> _Verdict:
    """The last sign is the turn's last event before the server ended the turn."""
    quiet = turn.silences[-1] if turn.ended != "unfinished" and turn.silences else None
    since = turn.last_event_ns if quiet is None else quiet.from_ns
    return _Verdict("failed", "Failed: the runner was lost, no sign of it", "since", since)


_OF_STREAMS: Mapping[Ending, tuple[Outcome, str, str]] = {
    "done": ("finished", "Finished: the server ended the stream", "at"),
    "eof": ("finished", "Finished: the server ended the stream", "at"),
    "client_left": ("finished", "Finished: the client left", "at"),
    "upstream_lost": ("failed", "Failed: the connection to the server broke", "at"),
    "recorder_stopped": ("unfinished", "Unfinished: the recorder was stopped", "at"),
    "recorder_killed": ("unfinished", "Unfinished: the recorder was killed", "at"),
    "open": ("recording", "Recording: the stream is open", "since"),
    "unknown": ("unknown", "Unknown: the recording does not tell how the stream ended", ""),
}
"""The verdicts on streams of unknown APIs, which have no turns."""
_CUT: Mapping[Code, str] = {
    "client_left": "the client left in the middle of the turn",
    "server_stopped": "the server stopped in the middle of the turn",
    "connection_lost": "the connection to the server broke",
    "reader_dropped": "the server dropped the client, which read too slowly",
    "stream_ended": "the stream ended in the middle of the turn",
    "recorder_stopped": "the recorder was stopped",
    "recorder_killed": "the recorder was killed",
}
"""The ends of the last stream in the middle of a turn."""
_TOLD: Mapping[Code, Callable[[Session, Turn], _Verdict]] = {
    "deleted": lambda s, _: _Verdict("failed", "Failed: a client deleted the session", "at", s.deleted_ns),
    "finished": lambda _, turn: _Verdict("finished", "Finished", "at" if turn.events else "by", turn.ended_ns),
    "denied": lambda _, turn: _Verdict("finished", "Finished: the message was denied", "at", turn.ended_ns),
    "interrupted": lambda _, turn: _Verdict("finished", "Finished: interrupted by a user", "at", turn.ended_ns),
    "incomplete": _ended("Finished: incomplete"),
    "cancelled": _ended("Finished: cancelled"),
    "failed": _ended("Failed", "failed"),
    "refused": _ended("Failed: the server refused the message", "failed"),
    "runner_lost": _runner_lost,
    "approval_unanswered": _unanswered,
    "child_unfinished": _child_unfinished,
    "unknown": lambda _s, _t: _Verdict("unknown", "Unknown: the recording does not tell how the turn ended"),
    "nobody_listened": lambda _s, _t: _Verdict("unknown", "Unknown: no event stream recorded"),
    "not_taken_up": lambda _, turn: _Verdict(
        "unfinished", "Unfinished: the agent did not take up the message", "since", turn.begin_ns
    ),
    "end_missed": lambda _, turn: _Verdict(
        "unfinished", "Unfinished: no client heard the end of the turn, last event", "at", turn.last_event_ns
    ),
    "end_missing": lambda s, _: _Verdict(
        "unfinished", "Unfinished: the session is at rest, the turn has no end", "since", s.status_ns
    ),
}
