"""Why the recording of a session ends: a code, and a sentence for readers without knowledge of Omnigent. Pure.

A session has no end event: a client leaves after a finished turn. So the sentence has two parts: the state of the
session (its last turn, and what that waited for), and what ended its last stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from ...model import Ending
from ...omnigent.protocol import RUNNER_DISCONNECTED
from ...text import clip, one_line, seconds
from .builder import absences_of
from .patience import LONG_QUIET, TOGETHER
from .values import SESSION_DELETED, Approval, Fault, Listening, Session, Turn

Code = Literal[
    "finished", "denied", "interrupted", "incomplete", "cancelled", "failed",
    "refused", "not_taken_up", "nothing_asked", "nobody_listened",
    "deleted", "approval_unanswered", "child_unfinished", "runner_lost", "end_missed", "end_missing",
    "client_left", "server_stopped", "connection_lost", "reader_dropped", "stream_ended",
    "recorder_stopped", "recorder_killed", "still_recording", "unknown",
    "model_incomplete", "model_failed", "call_cut", "tool_without_output",
]  # fmt: skip
"""The last four are those of a conversation of model calls without Omnigent."""
AT_REST: frozenset[str] = frozenset({"finished", "denied", "interrupted", "incomplete", "cancelled", "nothing_asked"})
"""The codes after which nothing is left to do: the session can go on with the next message."""
_INSTANT = 5_000_000
"""Duration that is named in a sentence, at least, in ns."""
_NOT_KNOWN = "How its stream ended is not known."
_NOT_KNOWN_CUT = "The events end there; how the stream ended is not known."
AT_WORK = frozenset({None, "launching", "queued", "pending", "in_progress", "running", "waiting"})
"""The statuses of a sub-agent that has no end at its parent."""


class Stopped(NamedTuple):
    """Why the recording has no more of a session."""

    code: Code
    sentence: str
    """The state of the session, and what ended its last stream. May have texts of the recording in it."""


_State = tuple[Code | None, str]
"""The state of a session: its code, or None if the end of the last stream gives the code, and a sentence."""


def stopped(session: Session, sessions: Mapping[str, Session] | None = None) -> Stopped:
    """Return why the recording has no more of a session. `sessions`: others by id, for the ends of its sub-agents."""
    last = last_stream(session.streams)
    if session.request is not None and last is not None:
        return _of_stream(session, last)
    code, said = _state(session, sessions or {}, last)
    if last is None:
        return Stopped(code or "nobody_listened", f"{said} No client listened to its stream.")
    if last.ending == "open":
        return Stopped("still_recording", f"It is still being recorded. {said}")
    if last.ending == "unknown":
        return Stopped(code or "unknown", f"{said} {_NOT_KNOWN if code else _NOT_KNOWN_CUT}")
    return Stopped(code or _cut(last), f"{said} {_end(session, last, code)}".strip())


def _of_stream(session: Session, last: Listening) -> Stopped:
    """Return why the recording has no more of a stream of an unknown API."""
    if session.failures:
        return Stopped(
            "refused", _sentence(f"The server refused the request: {_short(session.failures[-1].why)}", None)
        )
    if session.unreadable is not None:
        return Stopped("unknown", _sentence(f"The stream cannot be decoded: {_short(session.unreadable)}", None))
    if session.last_error is not None:
        return Stopped(
            "failed", _sentence(f"The last event of the stream is an error: {_short(session.last_error)}", None)
        )
    if last.ending == "open":
        return Stopped("still_recording", "It is still being recorded.")
    if last.ending == "unknown":
        return Stopped("unknown", _NOT_KNOWN)
    code, how = _OF_STREAMS.get(last.ending) or (_cut(last), _ENDS.get(last.ending, "the stream ended"))
    return Stopped(code, f"{_capital(how + _after(last.from_ns, last.until_ns))}.")


def last_stream(streams: Iterable[Listening]) -> Listening | None:
    """Return the stream that ended last."""
    return max(streams, key=lambda one: (1 << 62 if one.until_ns is None else one.until_ns, one.from_ns), default=None)


def _state(session: Session, sessions: Mapping[str, Session], last: Listening | None) -> _State:
    if session.unreadable is not None and not (session.turns and session.turns[-1].ended_ns):
        return ("unknown", f"The stream cannot be decoded: {_short(session.unreadable)}.")
    if not session.turns and session.deleted_ns is not None:
        return ("deleted", "A client deleted the session.")
    if not session.turns:
        return _nothing(session)
    turn = session.turns[-1]
    if turn.ended == "unfinished" and turn.error is not None and turn.error.code == SESSION_DELETED:
        return ("deleted", f"A client deleted the session in the middle of its turn{_on(turn)}, so no event says"
                      " how the turn ended.")  # fmt: skip
    if turn.ended == "unfinished":
        return _unfinished(session, turn, last)
    if turn.ended == "completed":
        return _completed(session, sessions)
    return _ended(turn)


def _nothing(session: Session) -> _State:
    """Return the state of a session without a turn: what failed, or that nothing was asked."""
    failed = [one for one in session.failures if one.severity != "note"]
    code: Code | None = "nothing_asked" if session.streams else None
    if not failed:
        return (code, "Nothing was asked, and nothing happened.")
    worst = next((one for one in reversed(failed) if one.severity == "error"), failed[-1])
    what = "A request" if len(failed) == 1 else f"{len(failed):,} requests"
    which = "" if len(failed) == 1 else "; the last refused one was"
    told = f"{which} {worst.method} {clip(one_line(worst.path), 100)}: {clip(one_line(worst.why), 200)}".rstrip(".")
    said = f"Nothing was asked. {what} failed{told if which else ':' + told}."
    return ("refused" if worst.severity == "error" else code), said


def _completed(session: Session, sessions: Mapping[str, Session]) -> _State:
    if session.status == "failed":
        return ("failed", "The last turn was finished, but then the session failed.")
    for child in (child for turn in session.turns for child in turn.children):
        own = sessions.get(child.session_id)
        is_over = own is not None and own.turns and own.turns[-1].ended != "unfinished"
        # By its own turns if it is recorded, else by its status at the parent.
        if child.status in AT_WORK and not is_over:
            name = _quoted(child.title or child.session_id)
            return ("child_unfinished", f"The agent had answered, but its sub-agent {name} was still at work."
                          " The recording does not have its end.")  # fmt: skip
    return ("finished", "Finished: the agent had answered, and nothing more was asked.")


def _ended(turn: Turn) -> _State:
    error = turn.error
    if turn.ended == "failed":
        return _failed(turn, error)
    if turn.ended == "denied":
        unanswered = next((one for one in turn.approvals if is_unanswered(one, turn.ended_ns)), None)
        if unanswered is not None:
            after = _after(unanswered.asked_ns, turn.ended_ns)
            late = "" if unanswered.action is None else " An answer came too late and changed nothing."
            asked = f"No answer came when the agent asked for approval ({_quoted(unanswered.message)})"
            left_ns, ended_ns = unanswered.left_ns, turn.ended_ns
            if left_ns is not None and ended_ns is not None and abs(left_ns - ended_ns) < TOGETHER:
                how = f": the client closed the POST of its message{after}, so the server denied it."
            else:
                how = f", so{after} the server denied it."
            return ("approval_unanswered", f"{asked}{how}{late}")
        return ("denied", "A policy or the user denied the message, so the agent did not act on it.")
    if turn.ended == "interrupted":
        return ("interrupted", "A user interrupted the agent, and nothing more was asked.")
    if turn.ended == "cancelled":
        return ("cancelled", _sentence("The last turn was cancelled", error))
    return ("incomplete", _sentence("The agent stopped before its answer was complete", error))


def is_unanswered(one: Approval, ended_ns: int | None) -> bool:
    """Return whether an approval had no answer, or an accepting one only after the end of its turn."""
    at_ns = one.answered_ns if one.answered_ns is not None else one.resolved_ns if one.action is not None else None
    return at_ns is None or (one.action == "accept" and ended_ns is not None and at_ns > ended_ns)


def _failed(turn: Turn, error: Fault | None) -> _State:
    if error is not None and error.code == RUNNER_DISCONNECTED:
        last = turn.silences[-1] if turn.silences else None
        quiet = f" after {seconds(last.length_ns)} without an event of the agent" if last is not None else ""
        said = "The runner, the process that runs the agent, was lost. The server gave the turn up"
        return ("runner_lost", f"{said}{quiet}.")
    if not turn.events:
        return ("refused", _sentence("The server refused the last message", error))
    return ("failed", _sentence("The last turn failed", error))


def _unfinished(session: Session, turn: Turn, last: Listening | None) -> _State:
    waiting = [one for one in turn.approvals if one.resolved_ns is None and one.answered_ns is None]
    if waiting and last is not None and last.ending == "unknown":
        return (None, f"The agent was waiting for approval: {_quoted(waiting[-1].message)}.")
    if waiting:
        said = f"The agent was waiting for approval, and no answer came: {_quoted(waiting[-1].message)}."
        return ("approval_unanswered", said)
    if is_untouched(turn):
        return ("not_taken_up", "The last message was posted, but the agent never began to work on it.")
    snapshot = session.snapshot
    if snapshot is not None and snapshot.at_ns > turn.last_event_ns and snapshot.runner_online is False:
        return ("runner_lost", "The runner, the process that runs the agent, was lost in the middle of the turn.")
    at_rest = session.status in ("idle", "failed") and (session.status_ns or 0) > turn.begin_ns
    if at_rest and (session.status_ns or 0) <= turn.last_event_ns:
        return ("end_missing", "The session came to rest, but no event said how the last turn ended.")
    if at_rest:
        answer = snapshot.last_said if snapshot is not None and snapshot.at_ns > turn.last_event_ns else None
        unheard = f", with this answer: {_quoted(answer)}" if answer and answer not in turn.text else ""
        return ("end_missed", "The last turn was over, but no client was connected when its end came. Later the"
                      f" server reported the session as {session.status}{unheard}."
                      )  # fmt: skip
    heard_ns = max(turn.last_event_ns, turn.joined_ns or 0)
    away = next((one for one in absences_of(session.streams) if one[0] >= heard_ns), None)
    if away is not None:
        return ("end_missed", f"The client was disconnected for {seconds(away[1] - away[0])} in the"
                      " middle of the last turn. After it reconnected, the stream did not report the end of that turn."
                      )  # fmt: skip
    return (None, f"The agent was in the middle of its turn{_on(turn)}.{_silent(turn, last)}")


def is_untouched(turn: Turn) -> bool:
    """Return whether nothing shows that the agent worked on a turn."""
    return not (turn.events or turn.messages or turn.thoughts or turn.tools)


def _on(turn: Turn) -> str:
    """Return what the turn waited for."""
    tools = [tool.name for tool in turn.tools if tool.returned_ns is None]
    if tools:
        return f", waiting for the tool {_quoted(tools[-1])}"
    children = [child.title or child.session_id for child in turn.children if child.status in AT_WORK]
    return f", waiting for the sub-agent {_quoted(children[-1])}" if children else ""


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


def _cut(last: Listening) -> Code:
    """Return the code of a last stream that ended in the middle of a turn."""
    if last.ending == "eof":
        return "reader_dropped" if last.server_after == "answered" else "server_stopped"
    if last.ending == "upstream_lost":
        return "connection_lost" if last.server_after in (None, "answered") else "server_stopped"
    if last.ending in ("client_left", "recorder_stopped", "recorder_killed"):
        return last.ending
    return "stream_ended"


_OF_STREAMS: Mapping[Ending, tuple[Code, str]] = {
    "eof": ("stream_ended", "the server closed the stream"),
    "upstream_lost": ("connection_lost", "the connection to the server broke"),
}
"""The ends of streams of unknown APIs, where they differ from those of sessions."""
_ENDS: dict[str, str] = {
    "client_left": "the client closed its stream",
    "recorder_stopped": "the recorder was stopped",
    "recorder_killed": "the recorder was killed",
    "done": "the server ended the stream",
    "upstream_unreachable": "the server could not be reached",
}


def _end(session: Session, last: Listening, code: Code | None) -> str:
    """Return what ended the last stream, and when."""
    turn = session.turns[-1] if session.turns else None
    how = _ENDS.get(last.ending) or _server_ended(last, cut=code is None)
    if turn is not None and code is None and quiet_ns(turn, last) >= LONG_QUIET:
        how = f"then {how}"  # how long that took has been told
    else:
        what = re.match(r"[^:,]*", how)  # the time comes before the first colon or comma
        place = what.end() if what else 0
        how = f"{how[:place]}{_when(session, turn, last, code)}{how[place:]}"
    if code is None:
        return f"{_capital(how)}. Later events are not in the recording."
    normal = code in AT_REST and last.ending == "client_left"
    return f"{_capital(how)}{', as clients do after a finished turn' if normal else ''}."


def _when(session: Session, turn: Turn | None, last: Listening, code: Code | None) -> str:
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
    after = {
        "gone": f", and {'it' if last.ending == 'eof' else 'the server'} could not be reached then: it had stopped",
        "restarted": ": it was stopped, and started again later",
        "answered": ", but still answered other requests: it does this to a client that reads too slowly"
        if cut and last.ending == "eof" else "",
        None: ": it had stopped, or it dropped a client that read too slowly" if cut and last.ending == "eof" else "",
    }  # fmt: skip
    return how + after[last.server_after]


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
