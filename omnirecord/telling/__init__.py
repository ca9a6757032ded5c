"""Turns as plain text, for somebody who has never seen Omnigent. Sessions in, lines out; no I/O and no clock.

1. A turn is told in the order of its times. Its first line says when in the recording it began, the others how long
   after that they came.
2. Everything that was recorded is made harmless first: no line holds a control character, whatever a session holds.
3. No line is wider than asked for, unless that is too narrow for anything. What is long is cut, and said to be.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ..gist import clip, one_line, seconds
from ..story import Approval, Asked, Child, Listening, Passage, Session, Silence, Tool, Trouble, Turn, TurnUsage
from .wrapping import wrap

WIDTH = 100
MAX_TEXT = 4_000
"""How much of one message is told, in characters."""
MAX_DETAIL = 240
"""How much of a tool's arguments, of its output, of an error…"""
_COLUMN = 15
"""Where the text begins: behind a turn's number and the time."""


class Line(NamedTuple):
    """Something that happened, and when; what came at one time is ordered by its place."""

    at_ns: int
    place: int
    text: str


_LAST = 1 << 60


def tell(sessions: Iterable[Session], *, width: int = WIDTH) -> Iterator[str]:
    """All sessions, each with its turns, an empty line between them."""
    empty = True
    for session in sessions:
        if not empty:
            yield ""
        empty = False
        yield from tell_session(session, width=width)
    if empty:
        yield "no sessions"


def tell_session(session: Session, *, width: int = WIDTH) -> Iterator[str]:
    """One session: what it is, then its turns."""
    yield from wrap(_head(session), width, "", "  ")
    if not session.turns:
        heard = "nothing happened while somebody listened" if session.streams else "nobody listened to its stream"
        yield f"  (empty: {heard})"
    for turn in session.turns:
        yield from tell_turn(turn, width=width, timed=session.begun_ns != session.ended_ns)


def tell_turn(turn: Turn, *, width: int = WIDTH, timed: bool = True) -> Iterator[str]:
    """One turn: what was asked, what happened, how it ended. `timed`: whether its times were recorded."""
    begin, number = turn.begin_ns, f"{turn.turn:>3}"
    for line in sorted(_lines(turn), key=lambda line: line[:2]):
        since = "" if not timed else seconds(begin) if number else f"+{seconds(line.at_ns - begin)}"
        head = f"{number or '':>3}  {since:>7}"
        yield from wrap(line.text, width, f"{head:<{_COLUMN - 1}} ", " " * _COLUMN)
        number = ""
    yield from wrap(_end(turn), width, " " * (_COLUMN - 2) + "= ", " " * _COLUMN)


def _head(session: Session) -> str:
    name = f"Session {one_line(session.session_id)}" if session.session_id else "A stream of no session"
    parts = [name, f"recording {session.recording}", _count(len(session.turns), "turn")]
    if session.parent_id:
        parts.insert(1, f"sub-agent of {one_line(session.parent_id)}")
    if session.ended_ns is not None:
        took = session.ended_ns - session.begun_ns
        parts.append(seconds(took) if took else "no times recorded")
    return " · ".join([*parts, *_listened(session)])


def _listened(session: Session) -> Iterator[str]:
    """How the streams ended; of several, how each one did."""
    for stream in session.streams:
        which = f"stream {stream.stream}: " if len(session.streams) > 1 else ""
        yield which + _ending(stream, session.turns)


def _ending(stream: Listening, turns: Sequence[Turn]) -> str:
    if stream.until_ns is None:
        return stream.ending
    until = stream.until_ns
    over = all(turn.ended_ns is not None and turn.ended_ns <= until for turn in turns if turn.begin_ns <= until)
    where = "" if not turns else " after the last turn was over" if over else " in the middle of a turn"
    return stream.ending + where


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lines(turn: Turn) -> Iterator[Line]:
    """What happened in a turn, in no order."""
    if not turn.asked:
        yield Line(turn.begin_ns, 0, "(what was asked is not in this recording)")
    yield from (Line(asked.at_ns, asked.place, _asked(asked)) for asked in turn.asked)
    yield from (Line(thought.first_ns, thought.place, _thought(thought)) for thought in turn.thoughts)
    yield from (Line(said.first_ns, said.place, _said(said)) for said in turn.messages)
    yield from (Line(tool.called_ns, tool.place, _tool(tool)) for tool in turn.tools)
    yield from (Line(approval.asked_ns, approval.place, _approval(approval)) for approval in turn.approvals)
    for child in turn.children:
        yield from _child(child)
    yield from (Line(trouble.at_ns, trouble.place, _trouble(trouble)) for trouble in turn.troubles)
    yield from (Line(note.at_ns, note.place, f"-- {_short(note.text)}") for note in turn.notes)
    yield from (Line(silence.from_ns, _LAST, _silence(silence)) for silence in turn.silences)


_ASKERS = {"user": "You", "agent": "Parent agent", "system": "System"}


def _asked(asked: Asked) -> str:
    text = asked.text.removeprefix("[System: ").removesuffix("]") if asked.by == "system" else asked.text
    return f"{_ASKERS[asked.by]}: {_long(text)}"


def _thought(thought: Passage) -> str:
    return f"thought{_took(' for ', thought.first_ns, thought.last_ns)}: {_long(thought.text)}"


def _said(said: Passage) -> str:
    differs = "\n(the server stored another text than it streamed)" if said.as_stored is False else ""
    return f"Assistant: {_long(said.text)}{differs}"


def _tool(tool: Tool) -> str:
    call = f"tool {_short(tool.name)} {_short(tool.arguments)}".rstrip()
    if tool.returned_ns is None:
        printed = f" (so far: {_output(tool.output)})" if tool.output else ""
        return f"{call} -> no answer was seen{printed}"
    return f"{call} -> {_output(tool.output)}{_took(' (', tool.called_ns, tool.returned_ns, ')')}"


def _output(output: str | None) -> str:
    """A tool's output, the way a terminal would have it where it is what a shell tool answers."""
    shell = _shell(output or "")
    if shell is None:
        return _short(output or "") or "(nothing)"
    printed = "".join(text for text in (shell.get("stdout"), shell.get("stderr")) if isinstance(text, str))
    code = shell.get("exit_code")
    odd = [f"exit code {code}"] if code not in (0, None) else []
    odd += ["timed out"] if shell.get("timed_out") is True else []
    return (_short(printed) or "(nothing)") + (f" [{', '.join(odd)}]" if odd else "")


def _shell(output: str) -> dict[str, Any] | None:
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and "stdout" in value else None


def _approval(approval: Approval) -> str:
    """The question, and what became of it."""
    question = f"asked for approval: {_short(approval.message)}"
    done = approval.answered_ns if approval.resolved_ns is None else approval.resolved_ns
    if done is None:
        return f"{question} -> nobody answered"
    by = f" by {one_line(approval.answered_by)}" if approval.answered_by else ""
    return f"{question} -> {_short(approval.action or 'settled')}{_took(' after ', approval.asked_ns, done)}{by}"


def _child(child: Child) -> Iterator[Line]:
    name = f"sub-agent {_short(child.title or child.session_id)}"
    yield Line(child.spawned_ns, child.place, f"started {name} (session {one_line(child.session_id)})")
    if child.updated_ns is not None and child.status not in (None, "launching", "in_progress", "queued"):
        said = f": {_short(child.last_message)}" if child.last_message else ""
        yield Line(child.updated_ns, _LAST, f"{name} {_short(child.status or '')}{said}")


def _trouble(trouble: Trouble) -> str:
    where = _short(" ".join(part for part in (trouble.source, trouble.tool_name) if part))
    why = _short(": ".join(part for part in (trouble.code, trouble.message) if part)) or "no reason given"
    if trouble.kind == "error":
        return f"!! error{f' ({where})' if where else ''}: {why}"
    attempt = f"{trouble.attempt} of {trouble.max_attempts}" if trouble.max_attempts else str(trouble.attempt)
    wait = f" in {trouble.delay_s:g} s" if trouble.delay_s is not None else ""
    return f"!! failed{f' ({where})' if where else ''}, tried again{wait} (attempt {attempt}): {why}"


def _silence(silence: Silence) -> str:
    if silence.during == "approval":
        why = ", waiting for approval"
    else:
        why = f", waiting for {_short(silence.during)}" if silence.during else ""
    return f".. silence for {seconds(silence.length_ns)}{why}"


def _end(turn: Turn) -> str:
    parts = [_how(turn)]
    parts += [_usage(turn.usage)] if turn.usage else []
    parts += [f"agent {one_line(turn.agent)}"] if turn.agent else []
    parts += [f"model {one_line(turn.model)}"] if turn.model and turn.model != turn.agent else []
    if turn.odd_events:
        parts.append(f"{_count(turn.odd_events, 'event')} against the contract")
    return " · ".join(part for part in parts if part)


def _how(turn: Turn) -> str:
    if turn.ended == "unfinished" and not turn.events:
        return "unfinished: the agent never took it up"
    if turn.ended == "unfinished":
        since = _took(", last event after ", turn.begin_ns, turn.last_event_ns)
        return f"unfinished: its end was not recorded{since}" + (
            f" · {_count(turn.heartbeats, 'heartbeat')}" if turn.heartbeats else ""
        )
    error = turn.error
    why = _short(": ".join(part for part in (error.code, error.message) if part)) if error else ""
    return f"{turn.ended}{_took(' after ', turn.begin_ns, turn.ended_ns)}{': ' + why if why else ''}"


def _took(word: str, from_ns: int, until_ns: int | None, end: str = "") -> str:
    """How long something took; nothing where that is unknown: a raw body that was imported has no times."""
    if until_ns is None or until_ns <= from_ns:
        return ""
    return f"{word}{seconds(until_ns - from_ns)}{end}"


def _usage(usage: TurnUsage) -> str:
    counts = ((usage.input_tokens, "in"), (usage.output_tokens, "out"))
    told = [f"{count:,} {way}" for count, way in counts if count is not None]
    cost = f" · ${usage.cost_usd:.4f}" if usage.cost_usd is not None else ""
    return (f"{', '.join(told)} tokens" if told else "") + cost


def _short(text: str) -> str:
    return clip(one_line(text[: 4 * MAX_DETAIL] + ("…" if len(text) > 4 * MAX_DETAIL else "")), MAX_DETAIL)


def _long(text: str) -> str:
    """A text in full, its line ends kept, up to `MAX_TEXT`."""
    rest = len(text) - MAX_TEXT
    return text.strip() if rest <= 0 else f"{text[:MAX_TEXT].strip()}… ({rest:,} more characters)"
