"""How a session ended, for all commands, the page and the Python API. Pure.

    conclusion = concluded(session, others)
    print(conclusion.verdict)   # Unfinished: waiting for approval since 11:28:19 UTC
    print(conclusion.sentence)  # The agent was waiting for approval, and no answer came: …

A session has no end event: a client leaves after a finished turn. So the sentence has two parts: the state of the
session (its last turn, and what that waited for), and what ended its last stream. Each case is decided once, and its
code, its sentence and its verdict stand in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from ...model import Ending, wall_clock
from ...omnigent.protocol import RUNNER_DISCONNECTED
from ...text import clip, one_line, seconds
from .builder import absences_of
from .patience import LONG_QUIET, PATIENCE, TOGETHER
from .values import SESSION_DELETED, Approval, Child, Fault, Listening, Session, Turn

Code = Literal[
    "finished",
    "denied",
    "interrupted",
    "incomplete",
    "cancelled",
    "failed",
    "refused",
    "not_taken_up",
    "nothing_asked",
    "nobody_listened",
    "deleted",
    "approval_unanswered",
    "child_unfinished",
    "runner_lost",
    "end_missed",
    "end_missing",
    "client_left",
    "server_stopped",
    "connection_lost",
    "reader_dropped",
    "stream_ended",
    "recorder_stopped",
    "recorder_killed",
    "still_recording",
    "unknown",
    "model_incomplete",
    "model_failed",
    "call_cut",
    "tool_without_output",
]
"""The last four are those of a conversation of model calls without Omnigent."""
AT_REST: frozenset[str] = frozenset({"finished", "denied", "interrupted", "incomplete", "cancelled", "nothing_asked"})
"""The codes after which nothing is left to do: the session can go on with the next message."""
Outcome = Literal["finished", "failed", "unfinished", "recording", "unknown"]
"""`finished`: nothing is left to do; `failed`: an error ended the session; `unfinished`: the last turn has no end;
`recording`: a client still listens; `unknown`: the recording has no stream, or not its end."""
MOST_ASKED = 200
"""Length of `asked`, in characters."""
_MOST_WHY = 80
"""Length of an error's text in a verdict, in characters."""
_INSTANT = 5_000_000
"""Duration that is named in a sentence, at least, in ns."""
_NOT_KNOWN = "How its stream ended is not known."
_NOT_KNOWN_CUT = "The events end there; how the stream ended is not known."
AT_WORK = frozenset({None, "launching", "queued", "pending", "in_progress", "running", "waiting"})
"""The statuses of a sub-agent that has no end at its parent."""


@dataclass(slots=True, unsafe_hash=True)
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
            "code": self.code,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "since": self.since,
            "duration_s": self.duration_s,
            "connected": list(self.connected),
            "asked": self.asked,
        }


class _Answer(NamedTuple):
    """How a session ended."""

    code: Code
    sentence: str
    """The state of the session. May have texts of the recording in it."""
    outcome: Outcome
    said: str
    """The verdict without its time."""
    word: Literal["since", "at", "by", ""] = ""
    """Stands before the time; empty without a time."""
    at_ns: int | None = None


def concluded(session: Session, sessions: Mapping[str, Session] | None = None) -> Conclusion:
    """Return how a session ended. `sessions`: others of its recording by id, for the ends of its sub-agents."""
    last = last_stream(session.streams)
    if session.request is not None and last is not None:
        found = _of_stream(session, last)
    else:
        found = _of_session(session, sessions or {}, last)
    timed = session.duration_ns is not None and found.at_ns is not None and session.started_at is not None
    since = wall_clock(session.started_at or "", (found.at_ns or 0) - session.begun_ns) if timed else None
    when = f" {found.word} {since[11:19]} UTC" if since is not None and found.word else ""
    return Conclusion(
        code=found.code,
        outcome=found.outcome,
        verdict=found.said + when,
        sentence=found.sentence,
        since_ns=found.at_ns if timed else None,
        since=since,
        ending=None if last is None else last.ending,
        duration_s=None if session.duration_ns is None else session.duration_ns / 1e9,
        connected=tuple(dict.fromkeys(one.party_name for one in session.streams)),
        asked=_asked(session),
    )


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


def last_stream(streams: Iterable[Listening]) -> Listening | None:
    """Return the stream that ended last."""
    return max(streams, key=lambda one: (1 << 62 if one.until_ns is None else one.until_ns, one.from_ns), default=None)


# A stream of an unknown API, which has no turns.

_OF_STREAMS: Mapping[Ending, tuple[Code | None, str, Outcome, str]] = {
    "done": (None, "the server ended the stream", "finished", "Finished: the server ended the stream"),
    "eof": ("stream_ended", "the server closed the stream", "finished", "Finished: the server ended the stream"),
    "client_left": (None, "the client closed its stream", "finished", "Finished: the client left"),
    "upstream_lost": (
        "connection_lost",
        "the connection to the server broke",
        "failed",
        "Failed: the connection to the server broke",
    ),
    "recorder_stopped": (None, "the recorder was stopped", "unfinished", "Unfinished: the recorder was stopped"),
    "recorder_killed": (None, "the recorder was killed", "unfinished", "Unfinished: the recorder was killed"),
}
"""Code (None: that of a session's last stream), sentence, outcome and verdict."""


def _of_stream(session: Session, last: Listening) -> _Answer:
    """Return how a stream of an unknown API ended."""
    until_ns = _until(session, last)
    if session.failures:
        why = session.failures[-1].why
        sentence = f"The server refused the request: {_short(why)}."
        return _Answer("refused", sentence, "failed", f"Failed: {_named(why, _MOST_WHY)}", "at", last.from_ns)
    if session.unreadable is not None:
        return _unreadable(session.unreadable)
    if session.last_error is not None:
        sentence = f"The last event of the stream is an error: {_short(session.last_error)}."
        return _Answer("failed", sentence, "failed", f"Failed: {_named(session.last_error, _MOST_WHY)}", "at", until_ns)
    if last.ending == "open":
        verdict = "Recording: the stream is open"
        return _Answer("still_recording", "It is still being recorded.", "recording", verdict, "since", last.from_ns)
    found = _Answer("unknown", _NOT_KNOWN, "unknown", "Unknown: the recording does not tell how the stream ended")
    if last.ending == "unknown":
        return found
    after = _after(last.from_ns, last.until_ns)
    if last.ending not in _OF_STREAMS:
        how = _ENDS.get(last.ending, "the stream ended")
        return found._replace(code=_cut_code(last), sentence=f"{_capital(how + after)}.")
    code, how, outcome, verdict = _OF_STREAMS[last.ending]
    return _Answer(code or _cut_code(last), f"{_capital(how + after)}.", outcome, verdict, "at", until_ns)


def _unreadable(why: str) -> _Answer:
    sentence = f"The stream cannot be decoded: {_short(why)}."
    return _Answer("unknown", sentence, "unknown", "Unknown: the stream cannot be decoded")


# A session.


def _of_session(session: Session, sessions: Mapping[str, Session], last: Listening | None) -> _Answer:
    state = _state(session, sessions, last)
    turn = session.turns[-1] if session.turns else None
    is_cut = state is None
    found = state or _cut(session, session.turns[-1], last)
    if last is None:
        return found._replace(sentence=f"{found.sentence} No client listened to its stream.")
    if last.ending == "open":
        sentence = f"It is still being recorded. {found.sentence}"
        return _recording(turn, last)._replace(sentence=sentence)
    if last.ending == "unknown":
        return found._replace(sentence=f"{found.sentence} {_NOT_KNOWN_CUT if is_cut else _NOT_KNOWN}")
    end = _end(session, last, found.code, is_cut=is_cut)
    return found._replace(sentence=f"{found.sentence} {end}".strip())


def _state(session: Session, sessions: Mapping[str, Session], last: Listening | None) -> _Answer | None:
    """Return how a session ended; None if the end of its last stream tells it."""
    if session.unreadable is not None and not (session.turns and session.turns[-1].ended_ns):
        return _unreadable(session.unreadable)
    if not session.turns:
        return _nothing(session)
    turn = session.turns[-1]
    if turn.ended == "unfinished" and turn.error is not None and turn.error.code == SESSION_DELETED:
        sentence = (
            f"A client deleted the session in the middle of its turn{_on(turn)}, so no event says how the turn ended."
        )
        return _Answer("deleted", sentence, "failed", "Failed: a client deleted the session", "at", session.deleted_ns)
    if turn.ended == "unfinished":
        return _unfinished(session, turn, last)
    if turn.ended == "completed":
        return _completed(session, turn, sessions)
    return _ended(turn)


def _nothing(session: Session) -> _Answer:
    """Return how a session without a turn ended."""
    if session.deleted_ns is not None:
        verdict = "Finished: a client deleted the session"
        return _Answer("deleted", "A client deleted the session.", "finished", verdict, "at", session.deleted_ns)
    failed = [one for one in session.failures if one.severity != "note"]
    sentence = "Nothing was asked, and nothing happened."
    if failed:
        worst = next((one for one in reversed(failed) if one.severity == "error"), failed[-1])
        what = "A request" if len(failed) == 1 else f"{len(failed):,} requests"
        which = "" if len(failed) == 1 else "; the last refused one was"
        told = f"{which} {worst.method} {clip(one_line(worst.path), 100)}: {clip(one_line(worst.why), 200)}".rstrip(".")
        sentence = f"Nothing was asked. {what} failed{told if which else ':' + told}."
        if worst.severity == "error":
            verdict = f"Failed: {one_line(worst.method)} was refused: {_named(worst.why, _MOST_WHY)}"
            return _Answer("refused", sentence, "failed", verdict, "at", worst.at_ns)
    if session.streams:
        return _Answer("nothing_asked", sentence, "finished", "Nothing asked")
    return _Answer("nobody_listened", sentence, "unknown", "Unknown: no event stream recorded")


def _completed(session: Session, turn: Turn, sessions: Mapping[str, Session]) -> _Answer:
    if session.status == "failed":
        sentence = "The last turn was finished, but then the session failed."
        return _turn_ended("failed", sentence, "failed", "Failed", turn)
    for child in (child for one in session.turns for child in one.children):
        own = sessions.get(child.session_id)
        is_over = own is not None and own.turns and own.turns[-1].ended != "unfinished"
        # By its own turns if it is recorded, else by its status at the parent.
        if child.status in AT_WORK and not is_over:
            sentence = (
                f"The agent had answered, but its sub-agent {_quoted(child.title or child.session_id)} was still at"
                " work. The recording does not have its end."
            )
            return _Answer("child_unfinished", sentence, "unfinished", _waits_for(child), "since", child.spawned_ns)
    sentence = "Finished: the agent had answered, and nothing more was asked."
    return _Answer("finished", sentence, "finished", "Finished", "at" if turn.events else "by", turn.ended_ns)


def _ended(turn: Turn) -> _Answer:
    error = turn.error
    if turn.ended == "failed":
        return _failed(turn, error)
    if turn.ended == "denied":
        return _denied(turn)
    if turn.ended == "interrupted":
        sentence = "A user interrupted the agent, and nothing more was asked."
        return _Answer("interrupted", sentence, "finished", "Finished: interrupted by a user", "at", turn.ended_ns)
    if turn.ended == "cancelled":
        sentence = _sentence("The last turn was cancelled", error)
        return _turn_ended("cancelled", sentence, "finished", "Finished: cancelled", turn)
    sentence = _sentence("The agent stopped before its answer was complete", error)
    return _turn_ended("incomplete", sentence, "finished", "Finished: incomplete", turn)


def _turn_ended(code: Code, sentence: str, outcome: Outcome, said: str, turn: Turn) -> _Answer:
    """Return an answer whose verdict has the error of the turn."""
    return _Answer(code, sentence, outcome, f"{said}{because(turn.error, _MOST_WHY)}", "at", turn.ended_ns)


def _denied(turn: Turn) -> _Answer:
    unanswered = next((one for one in turn.approvals if is_unanswered(one, turn.ended_ns)), None)
    if unanswered is None:
        sentence = "A policy or the user denied the message, so the agent did not act on it."
        return _Answer("denied", sentence, "finished", "Finished: the message was denied", "at", turn.ended_ns)
    after = _after(unanswered.asked_ns, turn.ended_ns)
    left_ns, ended_ns = unanswered.left_ns, turn.ended_ns
    if left_ns is not None and ended_ns is not None and abs(left_ns - ended_ns) < TOGETHER:
        how = f": the client closed the POST of its message{after}, so the server denied it."
    else:
        how = f", so{after} the server denied it."
    asked = f"No answer came when the agent asked for approval ({_quoted(unanswered.message)})"
    late = "" if unanswered.action is None else " An answer came too late and changed nothing."
    end_ns = turn.last_event_ns if ended_ns is None else ended_ns
    answered = [one.answered_ns for one in turn.approvals if one.answered_ns is not None and one.answered_ns > end_ns]
    said = "Failed: the answer to the approval came too late"
    at_ns = max(answered[-1:], default=None)
    if not answered:
        said = "Failed: no answer to the approval asked"
        at_ns = max((one.asked_ns for one in turn.approvals if one.answered_ns is None), default=None)
    return _Answer("approval_unanswered", f"{asked}{how}{late}", "failed", said, "at", at_ns)


def is_unanswered(one: Approval, ended_ns: int | None) -> bool:
    """Return whether an approval had no answer, or an accepting one only after the end of its turn."""
    at_ns = one.answered_ns
    if at_ns is None and one.action is not None:
        at_ns = one.resolved_ns
    return at_ns is None or (one.action == "accept" and ended_ns is not None and at_ns > ended_ns)


def _failed(turn: Turn, error: Fault | None) -> _Answer:
    if error is not None and error.code == RUNNER_DISCONNECTED:
        last = turn.silences[-1] if turn.silences else None
        quiet = f" after {seconds(last.length_ns)} without an event of the agent" if last is not None else ""
        said = "The runner, the process that runs the agent, was lost. The server gave the turn up"
        # The last sign is the turn's last event before the server ended the turn.
        return _runner_lost(f"{said}{quiet}.", turn.last_event_ns if last is None else last.from_ns)
    if not turn.events:
        sentence = _sentence("The server refused the last message", error)
        return _turn_ended("refused", sentence, "failed", "Failed: the server refused the message", turn)
    return _turn_ended("failed", _sentence("The last turn failed", error), "failed", "Failed", turn)


def _runner_lost(sentence: str, since_ns: int) -> _Answer:
    return _Answer("runner_lost", sentence, "failed", "Failed: the runner was lost, no sign of it", "since", since_ns)


def _unfinished(session: Session, turn: Turn, last: Listening | None) -> _Answer | None:
    waiting = _open_question(turn)
    if waiting is not None:
        if last is not None and last.ending == "unknown":
            return None
        sentence = f"The agent was waiting for approval, and no answer came: {_quoted(waiting.message)}."
        return _Answer("approval_unanswered", sentence, "unfinished", _FOR_APPROVAL, "since", waiting.asked_ns)
    if is_untouched(turn):
        sentence = "The last message was posted, but the agent never began to work on it."
        verdict = "Unfinished: the agent did not take up the message"
        return _Answer("not_taken_up", sentence, "unfinished", verdict, "since", turn.begin_ns)
    snapshot = session.snapshot
    if snapshot is not None and snapshot.at_ns > turn.last_event_ns and snapshot.runner_online is False:
        sentence = "The runner, the process that runs the agent, was lost in the middle of the turn."
        return _runner_lost(sentence, turn.last_event_ns)
    status_ns = session.status_ns or 0  # equal to the begin if one read brought the whole turn
    at_rest = session.status in ("idle", "failed") and 0 < status_ns >= turn.begin_ns
    if at_rest and status_ns <= turn.last_event_ns:
        sentence = "The session came to rest, but no event said how the last turn ended."
        verdict = "Unfinished: the session is at rest, the turn has no end"
        return _Answer("end_missing", sentence, "unfinished", verdict, "since", session.status_ns)
    if at_rest:
        answer = snapshot.last_said if snapshot is not None and snapshot.at_ns > turn.last_event_ns else None
        unheard = f", with this answer: {_quoted(answer)}" if answer and answer not in turn.text else ""
        return _end_missed(
            turn,
            "The last turn was over, but no client was connected when its end came. Later the server reported the"
            f" session as {session.status}{unheard}.",
        )
    heard_ns = max(turn.last_event_ns, turn.joined_ns or 0)
    away = next((one for one in absences_of(session.streams) if one[0] >= heard_ns), None)
    if away is not None:
        return _end_missed(
            turn,
            f"The client was disconnected for {seconds(away[1] - away[0])} in the middle of the last turn. After it"
            " reconnected, the stream did not report the end of that turn.",
        )
    return None


def _end_missed(turn: Turn, sentence: str) -> _Answer:
    verdict = "Unfinished: no client heard the end of the turn, last event"
    found = _Answer("end_missed", sentence, "unfinished", verdict, "at", turn.last_event_ns)
    return _without_effect(turn, found) or found


def is_untouched(turn: Turn) -> bool:
    """Return whether nothing shows that the agent worked on a turn."""
    return not (turn.events or turn.messages or turn.thoughts or turn.tools)


def _cut(session: Session, turn: Turn, last: Listening | None) -> _Answer:
    """Return how a session ended whose last stream ended in the middle of a turn."""
    waiting = _open_question(turn)
    if waiting is not None:
        sentence = f"The agent was waiting for approval: {_quoted(waiting.message)}."
    else:
        sentence = f"The agent was in the middle of its turn{_on(turn)}.{_silent(turn, last)}"
    if last is None:
        return _Answer("nobody_listened", sentence, "unknown", "Unknown: no event stream recorded")
    code = _cut_code(last)
    if code == "unknown":
        return _Answer(code, sentence, "unknown", "Unknown: the recording does not tell how the turn ended")
    found = _Answer(code, sentence, "unfinished", f"Unfinished: {_CUT[code]}", "at", _until(session, last))
    return _without_effect(turn, found) or _waiting(found, turn, last) or found


def _cut_code(last: Listening) -> Code:
    """Return the code of a last stream that ended in the middle of a turn."""
    if last.ending == "eof":
        return "reader_dropped" if last.server_after == "answered" else "server_stopped"
    if last.ending == "upstream_lost":
        return "connection_lost" if last.server_after in (None, "answered") else "server_stopped"
    if last.ending in ("client_left", "recorder_stopped", "recorder_killed", "unknown"):
        return last.ending
    return "stream_ended"


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


def _recording(turn: Turn | None, last: Listening) -> _Answer:
    found = _Answer("still_recording", "", "recording", "Recording: nothing asked yet")
    if turn is None:
        return found
    if turn.ended != "unfinished":
        return found._replace(said="Recording: at rest", word="since", at_ns=turn.ended_ns)
    waiting = _open_question(turn)
    if waiting is not None:
        now: _Answer | None = found._replace(said=_FOR_APPROVAL, word="since", at_ns=waiting.asked_ns)
    else:
        now = _waiting(found, turn, last, patience=0)
    if now is not None:
        return now._replace(outcome="recording", said=now.said.replace("Unfinished", "Recording", 1))
    return found._replace(said="Recording: the agent works", word="since", at_ns=turn.begin_ns)


def _until(session: Session, last: Listening) -> int:
    """Return the end of the last stream, or of the recording."""
    return session.until_ns if last.until_ns is None else last.until_ns


# What a turn waits for.

_FOR_APPROVAL = "Unfinished: waiting for approval"


def _open_question(turn: Turn) -> Approval | None:
    """Return the last question to the user without an answer."""
    open_ = [one for one in turn.approvals if one.resolved_ns is None and one.answered_ns is None]
    return open_[-1] if open_ else None


def _on(turn: Turn) -> str:
    """Return what the turn waited for."""
    tools = [tool.name for tool in turn.tools if tool.returned_ns is None]
    if tools:
        return f", waiting for the tool {_quoted(tools[-1])}"
    children = [child.title or child.session_id for child in turn.children if child.status in AT_WORK]
    return f", waiting for the sub-agent {_quoted(children[-1])}" if children else ""


def _waiting(found: _Answer, turn: Turn, last: Listening | None, patience: int = PATIENCE) -> _Answer | None:
    """Return the answer with what the turn waited for, if it waited for `patience` ns or more."""
    quiet = quiet_ns(turn, last)
    tools = [tool for tool in turn.tools if tool.returned_ns is None]
    if tools and quiet >= patience:
        said = f"Unfinished: waiting for the tool {_named(tools[-1].name)}"
        return found._replace(said=said, word="since", at_ns=tools[-1].called_ns)
    children = [child for child in turn.children if child.status in AT_WORK]
    if children and quiet >= patience:
        return found._replace(said=_waits_for(children[-1]), word="since", at_ns=children[-1].spawned_ns)
    if quiet >= LONG_QUIET:
        return found._replace(said="Unfinished: no sign of the agent", word="since", at_ns=turn.last_event_ns)
    return None


def _waits_for(child: Child) -> str:
    return f"Unfinished: waiting for the sub-agent {_named(child.title or child.session_id)}"


def _without_effect(turn: Turn, found: _Answer) -> _Answer | None:
    """Return the answer if an approval was answered, and no event came after that: the server had lost the question."""
    given = [one.answered_ns for one in turn.approvals if one.answered_ns is not None and one.resolved_ns is None]
    if not given or given[-1] < turn.last_event_ns:
        return None
    return found._replace(said="Unfinished: the answer to the approval had no effect,", word="at", at_ns=given[-1])


def _silent(turn: Turn, last: Listening | None) -> str:
    """Return the duration without an event, if it was long."""
    quiet = quiet_ns(turn, last)
    if quiet < LONG_QUIET:
        return ""
    if turn.heartbeats:
        return f" For {seconds(quiet)} only heartbeats came: the server was alive, but the agent sent nothing."
    return f" For {seconds(quiet)} no event came, not even a heartbeat."


def quiet_ns(turn: Turn, last: Listening | None) -> int:
    """Return the ns without an event before the end of the last stream."""
    return 0 if last is None or last.until_ns is None else last.until_ns - turn.last_event_ns


# What ended the last stream.

_ENDS: dict[str, str] = {
    "client_left": "the client closed its stream",
    "recorder_stopped": "the recorder was stopped",
    "recorder_killed": "the recorder was killed",
    "done": "the server ended the stream",
    "upstream_unreachable": "the server could not be reached",
}


def _end(session: Session, last: Listening, code: Code, *, is_cut: bool) -> str:
    """Return what ended the last stream, and when."""
    turn = session.turns[-1] if session.turns else None
    how = _ENDS.get(last.ending) or _server_ended(last, cut=is_cut)
    if turn is not None and is_cut and quiet_ns(turn, last) >= LONG_QUIET:
        how = f"then {how}"  # how long that took has been told
    else:
        what = re.match(r"[^:,]*", how)  # the time comes before the first colon or comma
        place = what.end() if what else 0
        how = f"{how[:place]}{_when(session, turn, last, code)}{how[place:]}"
    if is_cut:
        return f"{_capital(how)}. Later events are not in the recording."
    normal = code in AT_REST and last.ending == "client_left"
    return f"{_capital(how)}{', as clients do after a finished turn' if normal else ''}."


def _when(session: Session, turn: Turn | None, last: Listening, code: Code) -> str:
    """Return the time since the fact before it in the sentence."""
    if turn is None:
        return _after(last.from_ns, last.until_ns)
    if code == "approval_unanswered" and turn.ended == "unfinished":
        return _after(max(one.asked_ns for one in turn.approvals), last.until_ns, "{} after it had asked")
    if code == "end_missed" and session.status_ns is not None and session.status_ns > turn.last_event_ns:
        return _after(session.status_ns, last.until_ns, "{} later")
    if turn.ended_ns is None:
        return _after(turn.last_event_ns, last.until_ns, "{} after the last event" if turn.events else "{} later")
    return _after(turn.ended_ns, last.until_ns, "{} later")


def _server_ended(last: Listening, *, cut: bool) -> str:
    if last.ending == "upstream_lost":
        how = "the connection to the server broke"
    else:
        how = "the server closed the stream before the turn ended" if cut else "the server closed the stream"
    if last.server_after == "gone":
        server = "it" if last.ending == "eof" else "the server"
        return f"{how}, and {server} could not be reached then: it had stopped"
    if last.server_after == "restarted":
        return f"{how}: it was stopped, and started again later"
    if not cut or last.ending != "eof":
        return how
    if last.server_after == "answered":
        return f"{how}, but still answered other requests: it does this to a client that reads too slowly"
    return f"{how}: it had stopped, or it dropped a client that read too slowly"


# Words.


def _sentence(text: str, error: Fault | None) -> str:
    return f"{text}{because(error).rstrip('.')}."


def because(error: Fault | None, most: int = 240) -> str:
    """Return an error in at most `most` characters, after a colon; empty without one."""
    return f": {clip(one_line(error.why), most)}" if error and error.why else ""


def _after(from_ns: int, until_ns: int | None, form: str = " after{}") -> str:
    """Return a duration in words; empty if it is unknown, as for an imported body."""
    return "" if until_ns is None or until_ns - from_ns < _INSTANT else form.format(f" {seconds(until_ns - from_ns)}")


def _quoted(text: str) -> str:
    return f"“{clip(one_line(text), 100)}”" if text else "(nothing)"


def _short(text: str) -> str:
    return clip(one_line(text), 200).rstrip(".")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _named(text: str, most: int = 60) -> str:
    return clip(one_line(text), most) or "(no name)"
