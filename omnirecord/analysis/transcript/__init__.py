"""Sessions as plain text, for readers without knowledge of Omnigent: sessions in, lines out. No I/O, no clock.

1. A turn is in the order of its times. Its first line has the time since the beginning of the session, the others since
   the beginning of the turn.
2. No line has a control character, whatever a session contains.
3. No line is wider than `width`, unless that is too narrow. A long text is cut, and the line says so.
4. The first line of a session is its verdict, the last one says why there is no more of it.
5. A sub-agent's turns stand in the parent's turns during which they began. Each session comes once: a session in a
   cycle, nested too deep, or unknown to its parent, stands by itself.

Here is the output of `show`: lines for people, or one object for each turn. `follow` has the output of `show --follow`,
`sentences` the layout, the words and one turn, `other_apis` model calls and exchanges of unknown APIs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from ...cassette.forked import NO_FORKS, Fork, fork_of, forks_in
from ...cassette.select import the_session
from ...cassette.sqlite import Store
from ...model import Recording, total
from ...text import clip, counted, joined, one_line, seconds
from ..conversations import conversations_in
from ..gather import SessionsById, failures_in, gathered, model_calls, strays_in, whole_sessions
from ..model_calls.values import Link, ModelCalls, call_row, spent_in
from ..turns.builder import LAST
from ..turns.conclusion import Conclusion, children_of, concluded
from ..turns.draft import LONG_SILENCE
from ..turns.requests import FailedRequest
from ..turns.values import Child, Session, Turn
from . import sentences
from .other_apis import (
    TalkLines,
    astray_lines,
    call_pieces,
    exchanges_of_others,
    lines_of_others,
    spent,
    talk_sums,
)
from .sentences import COLUMN, Line, Page, Piece, turn_lines, why

DEEPEST = 6
"""Depth of nested sessions, at most."""
NO_CALLS = ModelCalls()
_INDENT = "    | "
_STREAMS = 6
"""Number of streams of a session that are named, at most."""


def lines_of(
    store: Store, session: str | None, page: Page | None = None, *, long_silence: int = LONG_SILENCE
) -> Iterator[Line]:
    """Return the lines of `show`. Raises `UsageError` if no session, or more than one, has that id.

    `long_silence`: length of a silence with a line, at least, in ns.
    """
    page = page or Page()
    sessions, by_id, calls = _told(store, session, long_silence)
    others = exchanges_of_others(store) if session is None else {}
    listed = {x.exchange for some in others.values() for x in some}
    astray = [x for x in strays_in(store) if x.exchange not in listed] if session is None else []
    if not others or calls.links or astray or any(one.exchanges[0].exchange not in listed for one in gathered(store)):
        yield from transcript(
            (one for one in sessions if one.request is None),
            page,
            by_id=by_id,
            astray=failures_in(store, astray),
            calls=calls,
            recordings=store.recordings(),
            with_astray_calls=session is None,
        )
        if others:
            yield Line("", "blank")
    yield from lines_of_others(store, others, page)
    yield from _recordings(store, None if session is None else the_session(store, session), page)


ById = Mapping[tuple[int, str | None], Session]
"""Sessions by their recordings and ids."""


def _told(store: Store, session: str | None, long_silence: int) -> tuple[Iterable[Session], ById, ModelCalls]:
    """Return the sessions, the same by their ids, and the model calls. Without a model call, all sessions of a cassette
    are not held at once: each is read when it is asked for."""
    held = list[Session]()

    def told() -> list[Session]:
        held.extend(whole_sessions(store, session, long_silence=long_silence))
        return held

    calls = model_calls(store, None if session is not None else told)
    if session is not None:
        told()
    elif not held:
        return whole_sessions(store, long_silence=long_silence), SessionsById(store, long_silence), calls
    return held, {(one.recording, one.session_id): one for one in held}, calls


def _recordings(store: Store, session: str | None, page: Page) -> Iterator[Line]:
    """Yield a line for each recording with labels or with the version of the server. `session`: only of that one."""
    found = [one for one in store.recordings() if one.labels or one.server_version]
    if found and session is not None:
        there = {x.recording for x in store.exchanges() if x.session_id == session}
        found = [one for one in found if one.recording in there]
    told = [one for one in map(_facts, found) if one]
    if told:
        yield Line("", "blank")
    for facts in told:
        yield from page.wrapped(facts, "note", rest="  ")


def _facts(recording: Recording) -> str:
    """Return the version of the server and the labels of a recording, but for those of a fork, which has a line of its
    own; empty if there are none."""
    fork = fork_of(recording)
    labels = (
        dict(recording.labels)
        if fork is None
        else {key: value for key, value in recording.labels.items() if key not in fork.labels()}
    )
    server = [] if recording.server_version is None else [f"server {recording.server_version}"]
    facts = [*server, *(f"{key}={value}" for key, value in labels.items())]
    return " · ".join([f"Recording {recording.recording}", *facts]) if facts else ""


def rows_of(store: Store, session: str | None, *, long_silence: int = LONG_SILENCE) -> Iterator[dict[str, Any]]:
    """Return the objects of `show --json`, one for each turn."""
    wanted = None if session is None else the_session(store, session)
    sessions, by_id, calls = _told(store, session, long_silence)
    for told in sessions:
        if wanted in (None, told.session_id):
            yield from turn_rows(told, by_id, calls)
    yield from rows_of_calls(calls, store.recordings()) if session is None else ()


def rows_of_calls(calls: ModelCalls, recordings: Sequence[Recording]) -> Iterator[dict[str, Any]]:
    """Return the objects of the turns of conversations, and of the model calls without a turn."""
    for one in conversations_in(calls, recordings):
        for turn in one.session.turns:
            why = one.conclusion if turn is one.session.turns[-1] else None
            yield turn_row(turn, one.calls, why, one.session.begun_ns)
    for link in calls.astray:
        yield row_without_turn(link)


def turn_rows(told: Session, by_id: ById, calls: ModelCalls = NO_CALLS) -> Iterator[dict[str, Any]]:
    """Return the objects of one session's turns. `by_id`: all sessions, by recording and id."""
    others = children_of(told, by_id)
    for turn in told.turns:
        why = concluded(told, others) if turn is told.turns[-1] else None
        yield turn_row(turn, calls, why, told.begun_ns)


def turn_row(
    turn: Turn, calls: ModelCalls = NO_CALLS, why: Conclusion | None = None, begun_ns: int | None = None
) -> dict[str, Any]:
    """Return the object of a turn with its model calls, and where its time went. `why`: for the last turn of a session,
    how the session ended. `begun_ns`: the session's beginning."""
    used = spent_in(turn, calls)
    stopped = None if why is None else {"code": why.code, "sentence": why.sentence}
    return {
        **asdict(turn),
        "session_begun_ns": begun_ns,
        "stopped": stopped,
        "conclusion": why and why.row(),
        "model_calls": list(map(call_row, calls.of(turn))),
        "time_spent": asdict(used) if used else None,
    }


def row_without_turn(link: Link) -> dict[str, Any]:
    """Return a model call without a turn in the form of `turn_row`: the fields of a turn are None."""
    nothing = dict.fromkeys([field.name for field in fields(Turn)] + ["session_begun_ns", "stopped", "conclusion"])
    return {**nothing, "recording": link.call.recording, "model_calls": [call_row(link)], "time_spent": None}


def transcript(
    sessions: Iterable[Session],
    page: Page | None = None,
    *,
    by_id: ById | None = None,
    astray: Sequence[FailedRequest] = (),
    calls: ModelCalls = NO_CALLS,
    recordings: Sequence[Recording] = (),
    with_astray_calls: bool = True,
) -> Iterator[Line]:
    """Return the lines of all sessions, sub-agents inside their parents, an empty line between sessions.

    `by_id`: the same sessions by their ids, if a list of them takes too much memory. `astray`: failed requests without
    a session. `calls`: the model calls; those without a turn come last, if `with_astray_calls`. `recordings`: those of
    the cassette.
    """
    page = page or Page()
    empty = True
    for line in Tree(sessions, page, calls, by_id, forks_in(recordings)).lines():
        empty = False
        yield line
    talks = TalkLines(recordings)
    for one in conversations_in(calls, recordings) if with_astray_calls else ():
        yield from [] if empty else [Line("", "blank")]
        empty = False
        yield from verdict(page, one.conclusion)
        yield from talks.of(page, one, sums=talk_sums(one))
        yield from page.wrapped(why(one.conclusion), "stop", "  ", "  ")
    if with_astray_calls and calls.astray:
        yield from astray_lines(page, calls, recordings, alone=empty)
        empty = False
    if empty:
        yield Line("no sessions", "note")
    if astray := told_failures(astray):
        yield Line("", "blank")
        yield Line("Requests without a session", "head")
        yield from failures(page, astray)
    if page.cuts and not empty:
        yield from page.wrapped("(what is long was cut: --full tells all of it)", "more")


class Tree:
    """All sessions, and those that have been written."""

    def __init__(
        self,
        sessions: Iterable[Session],
        page: Page,
        calls: ModelCalls = NO_CALLS,
        by_id: ById | None = None,
        forks: Mapping[int, Fork] = NO_FORKS,
    ) -> None:
        self._calls = calls
        self._forks = forks
        self._all = list(sessions) if by_id is None else sessions
        if by_id is None:
            by_id = {(one.recording, one.session_id): one for one in self._all if one.session_id is not None}
        self._by_id = by_id
        self._told: set[tuple[int, str | None]] = set()
        self._inside: set[tuple[int, str | None]] = set()
        """Those that were written inside of their parents."""
        self._page = page

    def lines(self) -> Iterator[Line]:
        """Return the lines of all sessions, an empty line between them."""
        for number, session in enumerate(self._outermost()):
            if number:
                yield Line("", "blank")
            yield from self._session(session)

    def _outermost(self) -> Iterator[Session]:
        """Return the sessions that are not written inside of another one: first those without a parent."""
        left = list[tuple[int, str | None]]()
        for session in self._all:
            key = _key(session)
            parent = (session.recording, session.parent_id or "")
            if parent != key and parent in self._by_id:
                left.append(key)
            elif key not in self._inside:
                yield session
        yield from (self._by_id[key] for key in left if key not in self._told)

    def _session(self, session: Session) -> Iterator[Line]:
        self._told.add(_key(session))
        page = self._page.since(session.begun_ns)
        conclusion = concluded(session, children_of(session, self._by_id))
        yield from verdict(page, conclusion)
        yield from page.wrapped(head(session, page), "head", "", "  ")
        failed = told_failures(session.failures)
        yield from failures(page, [one for one in failed if _turn_of(session, one.at_ns) is None])
        if not session.turns and not failed:
            heard = "no event while a client listened" if session.streams else "no client listened to its stream"
            yield Line(f"  (empty: {heard})", "note")
        fork = self._forks.get(session.recording)
        for turn, lines in self._turns(session, page, timed=session.begun_ns != session.ended_ns):
            if fork is not None and turn.turn == fork.turn:
                yield from page.wrapped(f"-- {fork.told()}: live from here on", "stop", "  ", "     ")
            yield from lines
        if sums := sums_of(session):
            yield from page.wrapped(sums, "total", "  ", "  ")
        yield from page.wrapped(why(conclusion), "stop", "  ", "  ")

    def _turns(
        self, session: Session, page: Page, depth: int = 0, *, timed: bool = True
    ) -> Iterator[tuple[Turn, Iterator[Line]]]:
        """Return each turn with its lines, what its sub-agents did included. `timed`: whether it has times."""
        children = self._children(session, depth)
        inner = self._inner(session, children, page, depth)
        ids = {child.session_id for _, child, _ in children}
        for turn, pieces in zip(session.turns, inner, strict=True):
            used = spent(spent_in(turn, self._calls))
            yield turn, turn_lines(turn, page, timed=timed, inner=pieces, told=ids, spent=used)

    def _children(self, session: Session, depth: int) -> list[tuple[int, Child, Session]]:
        """Return the sub-agents to write in it, with the index of the turn that started each. Marks them as written."""
        found = []
        for number, turn in enumerate(session.turns if depth < DEEPEST else ()):
            for child in turn.children:
                key = session.recording, child.session_id
                own = self._by_id.get(key) if key not in self._told else None
                if own is not None:
                    self._told.add(key)
                    self._inside.add(key)
                    found.append((number, child, own))
        return found

    def _inner(
        self, session: Session, children: list[tuple[int, Child, Session]], page: Page, depth: int
    ) -> list[list[Piece]]:
        """Return for each turn what its sub-agents did during it."""
        inner = [list(call_pieces(page, self._calls.of(turn))) for turn in session.turns]
        for one in told_failures(session.failures):
            if (place := _turn_of(session, one.at_ns)) is not None:
                inner[place].append(Piece(one.at_ns, LAST, sentences.failed(page, one), "trouble"))
        begins = [turn.begin_ns for turn in session.turns]
        for number, child, own in children:
            for at_ns, lines in self._blocks(own, child, page, depth + 1, named=len(children) > 1):
                where = max(number, bisect_right(begins, at_ns) - 1)
                indented = tuple(Line((_INDENT + line).rstrip(), line.kind) for line in lines)
                inner[where].append(Piece(at_ns, LAST - 1, "", "child", indented))
        return inner

    def _blocks(
        self, session: Session, child: Child, page: Page, depth: int, *, named: bool
    ) -> Iterator[tuple[int, list[Line]]]:
        """Return the turns of a sub-agent as blocks, each with its beginning in ns; the last says why it ends."""
        page = page.narrower(len(_INDENT))
        name = [*page.wrapped(f"sub-agent {page.short(child.title or child.session_id)}:", "child")] if named else []
        last = [*page.wrapped(why(concluded(session, children_of(session, self._by_id))), "stop")]
        if not session.turns:
            yield child.spawned_ns, [*name, *last]
        for turn, told in self._turns(session, page, depth):
            lines = [*name, *told, *(last if turn is session.turns[-1] else ())]
            yield max(turn.begin_ns, child.spawned_ns), lines


def _key(session: Session) -> tuple[int, str | None]:
    return session.recording, session.session_id


def _turn_of(session: Session, at_ns: int) -> int | None:
    """Return the index of the last turn that began before that time; None before the first one."""
    place = bisect_right([turn.begin_ns for turn in session.turns], at_ns) - 1
    return place if place >= 0 else None


def told_failures(failed: Iterable[FailedRequest]) -> list[FailedRequest]:
    """Return the failed requests with a line. A note has none, as for a terminal that has not started yet."""
    return [one for one in failed if one.severity != "note"]


def failures(page: Page, failed: Iterable[FailedRequest]) -> Iterator[Line]:
    """Return the lines of failed requests in no turn, each with its time."""
    for one in failed:
        when = f"     {page.clock(one.at_ns):<9} "
        yield from page.wrapped(sentences.failed(page, one), "trouble", when, " " * COLUMN)


def verdict(page: Page, conclusion: Conclusion) -> Iterator[Line]:
    """Return how the session ended, the first line of each session."""
    is_bad = conclusion.outcome in ("failed", "unfinished")
    yield from page.wrapped(conclusion.verdict, "bad" if is_bad else "verdict", "", "  ")


def head(session: Session, page: Page) -> str:
    """Return the line with name, recording, turns, duration and streams of a session."""
    name = f"Session {one_line(session.session_id)}" if session.session_id else "A stream without a session"
    parent = f"sub-agent of {one_line(session.parent_id)}" if session.parent_id else ""
    parts = [name, _title(session), parent, f"recording {session.recording}", counted(len(session.turns), "turn")]
    took = "no times recorded" if session.duration_ns is None else seconds(session.duration_ns)
    since = "" if session.started_at is None else f"from {session.started_at[:19].replace('T', ' ')} UTC"
    return joined([*parts, took, since, *_listened(session, page)], " · ")


def _title(session: Session) -> str:
    """Return the title in quotes, unless it repeats the first question."""
    title = one_line(session.snapshot.title or "") if session.snapshot else ""
    first = session.turns[0].asked[0].text if session.turns and session.turns[0].asked else ""
    is_known = one_line(first).startswith(title.removesuffix("…").removesuffix("..."))
    return "" if is_known else f"“{clip(title, 80)}”"


def _listened(session: Session, page: Page) -> Iterator[str]:
    """Return beginning and end of each stream, if there are several; the last line has the end of a single one."""
    if len(session.streams) == 1:
        return
    has_several = len({stream.party_name for stream in session.streams}) > 1
    for stream in session.streams[:_STREAMS]:
        who = f" ({stream.party_name})" if has_several else ""
        yield f"stream {stream.stream}{who}: {sentences.listened(page, stream)}"
    if len(session.streams) > _STREAMS:
        yield f"and {len(session.streams) - _STREAMS:,} more streams"


def sums_of(session: Session) -> str:
    """Return tokens and cost of all turns, if there are several, or only the session has a cost."""
    used = [turn.usage for turn in session.turns if turn.usage is not None]
    turns_cost = total(usage.cost_usd for usage in used)
    only_session_has_cost = turns_cost is None and session.cost_usd is not None
    if not used or (len(used) == 1 and not only_session_has_cost):
        return ""
    tokens = [sum(one.input_tokens or 0 for one in used), sum(one.output_tokens or 0 for one in used)]
    parts = [
        f"All {counted(len(used), 'turn')} together" if len(used) > 1 else "In all",
        f"{tokens[0]:,} in, {tokens[1]:,} out tokens",
        sentences.cost(turns_cost if session.cost_usd is None else session.cost_usd),
    ]
    return joined(parts, " · ")
