"""The output of `show`: lines for people, or one object for each turn; also while a cassette is recorded.

    following = Following(store, None)
    following.look()
    lines = following.news(last=not following.goes_on)

Each look reads the new frames only. The caller waits between two looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...cassette.select import the_session, with_children
from ...cassette.sqlite import Store
from ...model import Exchange
from ...omnigent.routes import is_session
from ...text import one_line
from ..gather import (
    Context,
    Held,
    ModelHops,
    acts_in,
    failures_in,
    grouped,
    model_calls,
    strays,
    without_calls,
)
from ..model_calls import ModelCalls, call_row, time_spent
from ..turns.conclusion import children_of, concluded
from ..turns.draft import Draft
from ..turns.requests import FailedRequest
from ..turns.session_builder import LiveMerge, SessionBuilder, session_with_drafts
from ..turns.values import LONG_SILENCE, Session, Turn, row_without_turn, turn_row
from . import WIDTH, Line, Page, UnfoldingTurn, total, transcript
from .other import LiveOthers, exchanges_of_others, lines_of_others
from .tree import NO_CALLS, failures, told_failures, verdict, why

Key = tuple[int, str | int]
_NAME = 8
"""Length of the session id before a line if there are several sessions, in characters."""


def lines_of(
    store: Store,
    session: str | None,
    width: int = WIDTH,
    *,
    full: bool = False,
    long_silence: int = LONG_SILENCE,
    absolute: bool = False,
) -> Iterator[Line]:
    """Return the lines of `show`. Raises `UsageError` if no session, or more than one, has that id.

    `full`: nothing is cut; `long_silence`: length of a silence with a line, at least, in ns; `absolute`: times count
    from the beginning of the recording.
    """
    told = list(sessions(store, session, long_silence=long_silence, family=True))
    calls = model_calls(store, None if session is not None else lambda: told)
    others = exchanges_of_others(store) if session is None else {}
    listed = {x.exchange for some in others.values() for x in some}
    exchanges = [] if session is not None else without_calls(store, store.exchanges(by_clients=True))
    exchanges = [x for x in exchanges if x.exchange not in listed]
    if exchanges or calls.is_recorded or not others:
        yield from transcript(
            [one for one in told if one.request is None], width=width, full=full, absolute=absolute,
            astray=failures_in(store, strays(exchanges)), calls=calls, recordings=store.recordings(),
            with_astray_calls=session is None,
        )  # fmt: skip
        yield from [Line("", "blank")] if others else ()
    yield from lines_of_others(store, others, Page(width, full), absolute=absolute)
    wanted = None if session is None else the_session(store, session)
    yield from _recordings(store, wanted, Page(width, full))


def _recordings(store: Store, session: str | None, page: Page) -> Iterator[Line]:
    """Yield a line for each recording with labels or with the version of the server. `session`: only of that one."""
    found = [one for one in store.recordings() if one.labels or one.server_version]
    if found and session is not None:
        there = {x.recording for x in store.exchanges() if x.session_id == session}
        found = [one for one in found if one.recording in there]
    if found:
        yield Line("", "blank")
    for one in found:
        server = [] if one.server_version is None else [f"server {one.server_version}"]
        facts = [f"Recording {one.recording}", *server, *(f"{key}={value}" for key, value in one.labels.items())]
        yield from page.wrapped(" · ".join(facts), "note", rest="  ")


def rows_of(store: Store, session: str | None, *, long_silence: int = LONG_SILENCE) -> Iterator[dict[str, Any]]:
    """Return the objects of `show --json`, one for each turn."""
    wanted = None if session is None else the_session(store, session)
    family = list(sessions(store, session, long_silence=long_silence, family=True))
    by_id = {(one.recording, one.session_id): one for one in family}
    calls = model_calls(store, None if session is not None else lambda: family)
    for told in family:
        if wanted in (None, told.session_id):
            yield from turn_rows(told, by_id, calls)
    for link in calls.astray if session is None else ():
        yield row_without_turn(link.call.recording, call_row(link))


def turn_rows(
    told: Session, by_id: dict[tuple[int, str | None], Session], calls: ModelCalls = NO_CALLS
) -> Iterator[dict[str, Any]]:
    """Return the objects of one session's turns. `by_id`: all sessions, by recording and id. `calls`: the model
    calls."""
    others = children_of(told, by_id)
    for turn in told.turns:
        why = concluded(told, others) if turn is told.turns[-1] else None
        stopped = None if why is None else {"code": why.code, "sentence": why.sentence}
        links = calls.of(turn)
        used = time_spent(turn, links, len(calls.maybe(turn))).row() if calls.is_recorded else None
        yield turn_row(
            turn, stopped, None if why is None else why.row(), told.begun_ns, list(map(call_row, links)), used
        )


def sessions(
    store: Store, session: str | None = None, *, long_silence: int = LONG_SILENCE, family: bool = False
) -> Iterator[Session]:
    """Return each session of each recording, and each stream without a session.

    `session`: only that one; with `family`, also those of its sub-agents, and of theirs.
    """
    return (told for told, _ in sessions_with_drafts(store, session, long_silence=long_silence, family=family))


def sessions_with_drafts(
    store: Store,
    session: str | None = None,
    *,
    long_silence: int = LONG_SILENCE,
    family: bool = False,
    recording: int | None = None,
    stream: int | None = None,
) -> Iterator[tuple[Session, list[Draft]]]:
    """Return the sessions as `sessions` does, each with the drafts of its turns. `recording`: only of that one;
    `stream`: only that stream without a session."""
    context, parents = Context(store), store.parents()
    wanted = None if session is None else frozenset({the_session(store, session)})
    if family and wanted is not None:
        wanted = with_children(store, *wanted)
    for exchanges in grouped(without_calls(store, store.exchanges(by_clients=True))):
        first = exchanges[0]
        if recording not in (None, first.recording) or (stream is not None and _stream_of_none(first) != stream):
            continue
        if wanted is None or first.session_id in wanted:
            acts, around = list(acts_in(store, exchanges)), context.of(exchanges)
            streams = [x for x in exchanges if x.stream is not None and around.request is None]
            told, drafts = session_with_drafts(
                exchanges,
                Held().of(frame for x in streams for frame in store.frames(x)),
                acts,
                around,
                parent_id=parents.get(first.session_id or ""),
                long_silence=long_silence,
            )
            yield replace(told, failures=tuple(failures_in(store, exchanges, acts))), drafts


def _stream_of_none(x: Exchange) -> int | None:
    return x.stream if x.session_id is None else None


class _Session:
    """One followed session."""

    def __init__(self, first: Exchange, parent_id: str | None, long_silence: int) -> None:
        self.recording, self.session_id, self.parent_id = first.recording, first.session_id, parent_id
        self.name = one_line(first.session_id or f"stream {first.stream}")
        self.builder = SessionBuilder(is_child=parent_id is not None, long_silence=long_silence)
        self.merge = LiveMerge()
        self.exchanges: dict[int, Exchange] = {}
        self.listening: dict[int, int] = {}  # the last frame of each stream that goes on, by its exchange
        self.turns: list[UnfoldingTurn] = []
        self.is_headed = False
        self.failed: list[FailedRequest] = []
        self.untold: list[FailedRequest] = []
        """The failed requests without a line yet."""
        self._streams: set[int] = set()
        self._taken: set[Draft] = set()
        self._known = 0  # how many drafts the builder had

    @property
    def begun_ns(self) -> int:
        """The time of its first request, in ns."""
        return min(x.request.at_ns for x in self.exchanges.values())

    def take(self, x: Exchange) -> None:
        """Take the current state of an exchange."""
        self.exchanges[x.exchange] = x
        if x.stream is not None and x.exchange not in self._streams:
            self._streams.add(x.exchange)
            self.listening[x.exchange] = 0

    def take_up(self) -> None:
        """Add the turns that began since the last call."""
        drafts = self.builder.turns.drafts
        self.turns = [turn for turn in self.turns if turn.goes_on or turn.draft is self.builder.turns.latest()]
        begin = max(min(self._known, len(drafts)) - 1, 0)  # the last one may have made room for another
        for number, draft in enumerate(drafts[begin:], begin + 1):
            if draft not in self._taken:
                self._taken.add(draft)
                self.turns.append(UnfoldingTurn(draft, number))
        self._known = len(drafts)


class Following:
    """The sessions of a cassette, present and future; with `session`, those whose id begins with it."""

    def __init__(
        self,
        store: Store,
        session: str | None,
        *,
        width: int = WIDTH,
        full: bool = False,
        long_silence: int = LONG_SILENCE,
        absolute: bool = False,
    ) -> None:
        self._store, self._wanted, self._long_silence = store, session, long_silence
        self._page = Page(width, full, zero_ns=0 if absolute else None)
        self._sessions: dict[Key, _Session] = {}
        self._others = LiveOthers(store)
        self._open: set[int] = set()
        self._astray: list[FailedRequest] = []
        """The failed requests without a session, and without a line yet."""
        self._last_exchange = 0
        self._parents: dict[str, str] | None = None  # as this look has them
        self._hops = ModelHops(store)

    @property
    def goes_on(self) -> bool:
        """Whether more may come."""
        return self._store.is_being_recorded

    def look(self) -> None:
        """Read what is new in the file."""
        self._store.refresh()
        self._parents = None
        self._hops = ModelHops(self._store)
        for x in self._store.newer(self._last_exchange, self._open):
            self._last_exchange = max(self._last_exchange, x.exchange)
            (self._open.add if x.end_ns is None and x.ending == "open" else self._open.discard)(x.exchange)
            if self._wanted is None and self._others.takes(x):
                continue
            if (session := self._session_of(x)) is not None:
                session.take(x)
                self._act(session, x)
            elif (
                x.session_id is None and self._wanted is None and x.exchange not in self._open and not self._hops.has(x)
            ):
                self._astray += told_failures(failures_in(self._store, [x]))
        for session in self._sessions.values():
            self._hear(session)
            session.take_up()

    def _session_of(self, x: Exchange) -> _Session | None:
        if x.party == "runner" or (x.session_id is None and x.kind != "sse") or self._hops.has(x):
            return None
        if self._wanted is not None and not (x.session_id or "").startswith(self._wanted):
            return None
        key: Key = (x.recording, x.session_id if x.session_id is not None else x.exchange)
        if key not in self._sessions:
            if self._parents is None:
                self._parents = self._store.parents()
            parent = self._parents.get(x.session_id or "")
            self._sessions[key] = _Session(x, parent, self._long_silence)
        return self._sessions[key]

    def _act(self, session: _Session, x: Exchange) -> None:
        acts = list(acts_in(self._store, [x]))
        for act in acts:
            session.builder.turns.act(x.exchange, act)
        if x.exchange not in self._open:
            is_known = is_session(session.exchanges.values())
            failed = failures_in(self._store, [x], acts if is_known else ())
            session.failed += failed
            session.untold += told_failures(failed)

    def _hear(self, session: _Session) -> None:
        for exchange, after in list(session.listening.items()):
            x = session.exchanges[exchange]
            stream, is_over = x.stream or 0, exchange not in self._open
            behind = self._store.frames(x, after=after) if is_over else self._store.stored_frames(x, after)
            frames = list(Held().of(behind))
            for heard in session.merge.add(stream, frames):
                session.builder.add(heard)
            if is_over:
                del session.listening[exchange]
                for heard in session.merge.end(stream):
                    session.builder.add(heard)
            elif frames:
                session.listening[exchange] = frames[-1].seq

    def news(self, *, last: bool = False) -> Iterator[Line]:
        """Return the lines of what is complete since the last call. `last`: nothing follows: say why."""
        yield from failures(self._page, self._astray)
        self._astray = []
        yield from self._others.news(self._page)
        wholes = self._wholes() if last else {}
        others = {one.session_id or "": one for one in wholes.values()}
        for key, session in self._sessions.items():
            page = self._page_of(session)
            if not is_session(session.exchanges.values()):  # requests of no session, as long as all get a 404
                yield from failures(self._page, session.untold)
                session.untold = []
                continue
            lines = [line for turn in session.turns for line in turn.news(page, session.builder.turns, last=last)]
            lines += failures(page, session.untold)
            session.untold = []
            if (lines or last) and not session.is_headed:
                session.is_headed = True
                lines = [*page.wrapped(_head(session, page), "head", "", "  "), *lines]
            if last:
                lines += _end(page, wholes[key], others)
            yield from self._named(session, lines)

    def growing(self) -> Iterator[Line]:
        """Return the lines of what is not complete."""
        for session in self._sessions.values():
            for turn in session.turns[-1:]:
                yield from self._named(session, list(turn.growing(self._page_of(session))))

    def finished_turns(self, *, last: bool = False) -> Iterator[Turn]:
        """Return the turns that have ended since the last call, for `show --json`."""
        if last:
            self._wholes()
        for session in self._sessions.values():
            for turn in session.turns:
                was_told = turn.is_told
                for _ in turn.news(self._page_of(session), session.builder.turns, last=last):
                    pass
                if turn.is_told and not was_told:
                    yield turn.draft.freeze(session.recording, session.session_id, turn.number)

    def _wholes(self) -> dict[Key, Session]:
        """Return the complete sessions; nothing follows."""
        context = Context(self._store)
        wholes = {key: _whole(session, context) for key, session in self._sessions.items()}
        for session in self._sessions.values():
            session.take_up()
        return wholes

    @property
    def _is_crowded(self) -> bool:
        """Whether lines need the name of their session."""
        return len(self._sessions) > 1

    def _page_of(self, session: _Session) -> Page:
        page = self._page.since(session.begun_ns)
        return page.narrower(_NAME + 3) if self._is_crowded else page

    def _named(self, session: _Session, lines: list[Line]) -> Iterator[Line]:
        """Return the lines, with the session's name before each if there are several sessions."""
        name = f"{session.name[:_NAME]:<{_NAME}} | " if self._is_crowded else ""
        return (Line(f"{name}{line}".rstrip(), line.kind) for line in lines)


def _whole(session: _Session, context: Context) -> Session:
    exchanges = sorted(session.exchanges.values(), key=lambda x: (x.request.at_ns, x.exchange))
    whole = session.builder.session(exchanges, session.parent_id, context.of(exchanges))
    return replace(whole, failures=tuple(session.failed))


def _head(session: _Session, page: Page) -> str:
    of = f" · sub-agent of {one_line(session.parent_id)}" if session.parent_id else ""
    since = f" · since {page.clock(session.begun_ns)}" if page.zero_ns == 0 else ""
    return f"Session {session.name}{of} · recording {session.recording}{since}"


def _end(page: Page, whole: Session, others: dict[str, Session]) -> Iterator[Line]:
    if sums := total(whole):
        yield from page.wrapped(sums, "total", "  ", "  ")
    conclusion = concluded(whole, others)
    yield from verdict(page, conclusion)
    yield from page.wrapped(why(conclusion), "stop", "  ", "  ")
