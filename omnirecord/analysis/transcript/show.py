"""The output of `show`: lines for people, or one object for each turn. `Following` has that of `show --follow`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...cassette.select import the_session
from ...cassette.sqlite import Store
from ...model import Exchange
from ...omnigent.routes import is_session
from ...text import one_line
from ..follow.sessions import GrowingSession, GrowingSessions
from ..gather import Context, failures_in, model_calls, strays, whole_sessions, without_calls
from ..model_calls.values import Link, ModelCalls, TurnKey, call_row, spent_in
from ..turns.conclusion import children_of, concluded
from ..turns.draft import Draft
from ..turns.requests import Act, FailedRequest
from ..turns.values import LONG_SILENCE, Session, Turn, row_without_turn, turn_row
from .calls import AstrayCalls, name, spent
from .other import LiveOthers, exchanges_of_others, lines_of_others
from .sentences import COLUMN, Line, Page
from .tree import NO_CALLS, failures, told_failures, total, transcript, verdict, why
from .turn import UnfoldingTurn

_NAME = 8
"""Length of the session id before a line if there are several sessions, in characters."""


def lines_of(
    store: Store, session: str | None, page: Page | None = None, *, long_silence: int = LONG_SILENCE
) -> Iterator[Line]:
    """Return the lines of `show`. Raises `UsageError` if no session, or more than one, has that id.

    `long_silence`: length of a silence with a line, at least, in ns.
    """
    page = page or Page()
    told = list(whole_sessions(store, session, long_silence=long_silence, family=True))
    calls = model_calls(store, None if session is not None else lambda: told)
    others = exchanges_of_others(store) if session is None else {}
    listed = {x.exchange for some in others.values() for x in some}
    exchanges = [] if session is not None else without_calls(store, store.exchanges(by_clients=True))
    exchanges = [x for x in exchanges if x.exchange not in listed]
    if exchanges or calls.links or not others:
        yield from transcript(
            [one for one in told if one.request is None], page, astray=failures_in(store, strays(exchanges)),
            calls=calls, recordings=store.recordings(), with_astray_calls=session is None,
        )  # fmt: skip
        yield from [Line("", "blank")] if others else ()
    yield from lines_of_others(store, others, page)
    yield from _recordings(store, None if session is None else the_session(store, session), page)


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
    family = list(whole_sessions(store, session, long_silence=long_silence, family=True))
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
        conclusion = None if why is None else why.row()
        yield _row(turn, calls, stopped=stopped, conclusion=conclusion, begun_ns=told.begun_ns)


def _row(turn: Turn, calls: ModelCalls, **more: Any) -> dict[str, Any]:
    """Return the object of a turn with its model calls, and where its time went."""
    used = spent_in(turn, calls)
    return turn_row(
        turn, model_calls=list(map(call_row, calls.of(turn))), time_spent=used.row() if used else None, **more
    )


class _Session(GrowingSession):
    """One followed session, and how much of it has lines."""

    def __init__(self, first: Exchange, parent_id: str | None, long_silence: int) -> None:
        super().__init__(first, parent_id, long_silence)
        self.name = one_line(first.session_id or f"stream {first.stream}")
        self.turns: list[UnfoldingTurn] = []
        self.by_number: dict[int, UnfoldingTurn] = {}
        self.is_headed = False
        self.failed: list[FailedRequest] = []
        self.untold: list[FailedRequest] = []
        """The failed requests without a line yet."""
        self._taken: set[Draft] = set()
        self._known = 0  # how many drafts the builder had

    def take(self, store: Store, x: Exchange, *, is_open: bool) -> list[Act]:
        acts = super().take(store, x, is_open=is_open)
        if not is_open:
            failed = failures_in(store, [x], acts if is_session(self.exchanges.values()) else ())
            self.failed += failed
            self.untold += told_failures(failed)
        return acts

    def take_up(self) -> None:
        """Add the turns that began since the last call."""
        drafts = self.builder.turns.drafts
        self.turns = [turn for turn in self.turns if turn.goes_on or turn.draft is self.builder.turns.latest()]
        begin = max(min(self._known, len(drafts)) - 1, 0)  # the last one may have made room for another
        for number, draft in enumerate(drafts[begin:], begin + 1):
            if draft not in self._taken:
                self._taken.add(draft)
                self.turns.append(UnfoldingTurn(draft, number))
                self.by_number[number] = self.turns[-1]
        self._known = len(drafts)


class Following:
    """The output of `show --follow`: lines, or one object for each turn, while a cassette is recorded.

        following = Following(store, None)
        following.look()
        lines = following.news(last=not following.goes_on)

    It has the sessions of a cassette, present and future; with `session`, those whose id begins with it. Each look
    reads the new frames only. The caller waits between two looks. The line of a model call comes when the call is over
    and two looks gave it the same turn. Calls without a turn come when no turn is open, or at the end.
    """

    def __init__(
        self, store: Store, session: str | None, page: Page | None = None, *, long_silence: int = LONG_SILENCE
    ) -> None:
        self._store, self._is_whole, self._page = store, session is None, page or Page()
        self._growing = GrowingSessions(_Session, session, long_silence)
        self._others = LiveOthers(store)
        self._astray: list[FailedRequest] = []
        """The failed requests without a session, and without a line yet."""
        self._turn_of: dict[int, TurnKey | None] = {}
        """The calls without a line that are over, and the turn that the look before gave them."""
        self._told_calls: set[int] = set()
        self._astray_calls = AstrayCalls()

    @property
    def goes_on(self) -> bool:
        """Whether more may come."""
        return self._store.is_being_recorded

    @property
    def _sessions(self) -> list[_Session]:
        """The wanted sessions."""
        return [one for one in self._growing.all.values() if self._growing.is_wanted(one.session_id)]

    def look(self) -> None:
        """Read what is new in the file."""
        self._store.refresh()
        for x in self._growing.look(self._store, lambda x: self._is_whole and self._others.takes(x)):
            if x.session_id is None and self._is_whole and x.exchange not in self._growing.open:
                self._astray += told_failures(failures_in(self._store, [x]))
        for session in self._sessions:
            session.take_up()

    def news(self, *, last: bool = False) -> Iterator[Line]:
        """Return the lines of what is complete since the last call. `last`: nothing follows: say why."""
        yield from failures(self._page, self._astray)
        self._astray = []
        yield from self._others.news(self._page)
        wholes = self._wholes() if last else {}
        others = {one.session_id or "": one for one in wholes.values()}
        linked, astray = self._new_calls(last=last)
        for session in self._sessions:
            page = self._page_of(session)
            if not is_session(session.exchanges.values()):  # requests of no session, as long as all get a 404
                yield from failures(self._page, session.untold)
                session.untold = []
                continue
            numbers = {key.turn for key in linked if key[:2] == (session.recording, session.session_id)}
            numbers = numbers & session.by_number.keys() - {turn.number for turn in session.turns}
            late = [session.by_number[number] for number in sorted(numbers)]  # earlier turns with new calls
            turns = [*late, *session.turns]
            lines = [line for turn in turns for line in self._news(session, turn, linked, last=last)]
            lines += failures(page, session.untold)
            session.untold = []
            if (lines or last) and not session.is_headed:
                session.is_headed = True
                lines = [*page.wrapped(_head(session, page), "head", "", "  "), *lines]
            if last:
                lines += _end(page, wholes[session], others)
            if lines:
                self._astray_calls.interrupt()
            yield from self._named(session, lines)
        alone = not self._growing.all
        yield from self._astray_calls.of(self._page, astray, self._store.recordings, alone=alone)

    def _new_calls(self, *, last: bool) -> tuple[dict[TurnKey, list[Link]], list[Link]]:
        """Return the calls that are over and have no line yet: by turn, and those without a turn."""
        linked: dict[TurnKey, list[Link]] = {}
        astray: list[Link] = []
        is_busy = not last and any(one.builder.turns.open is not None for one in self._growing.all.values())
        for link in self._growing.calls.links:
            number = link.call.exchange
            if number in self._told_calls or (link.call.ending == "open" and not last):
                continue
            is_sure = last or (number in self._turn_of and self._turn_of[number] == link.turn)
            self._turn_of[number] = link.turn
            if not is_sure or (link.turn is None and is_busy):
                continue
            self._told_calls.add(number)
            del self._turn_of[number]
            if link.turn is not None:
                linked.setdefault(link.turn, []).append(link)
            elif self._is_whole:
                astray.append(link)
        return linked, astray

    def _news(
        self, session: _Session, turn: UnfoldingTurn, linked: dict[TurnKey, list[Link]], *, last: bool
    ) -> Iterator[Line]:
        key = TurnKey(session.recording, session.session_id, turn.number)
        return turn.news(
            self._page_of(session), session.builder.turns, last=last, calls=linked.get(key, ()),
            spent=lambda: spent(spent_in(session.turn(turn.draft, turn.number), self._growing.calls)),
        )  # fmt: skip

    def growing(self) -> Iterator[Line]:
        """Return the lines of what is not complete."""
        for session in self._sessions:
            for turn in session.turns[-1:]:
                page = self._page_of(session)
                key = TurnKey(session.recording, session.session_id, turn.number)
                open_ = [one for one in self._growing.calls.of_key(key) if one.call.ending == "open"]
                lines = [line for one in open_ for line in page.wrapped(f"{name(one)} -> …", "model", " " * COLUMN)]
                yield from self._named(session, [*turn.growing(page), *lines])

    def rows(self, *, last: bool = False) -> Iterator[dict[str, Any]]:
        """Return the objects of the turns that have ended since the last call, for `show --json`; at the end, those of
        the calls without a turn."""
        if last:
            self._wholes()
        for session in self._sessions:
            for turn in session.turns:
                was_told = turn.is_told
                for _ in turn.news(self._page_of(session), session.builder.turns, last=last):
                    pass
                if turn.is_told and not was_told:
                    yield _row(session.turn(turn.draft, turn.number), self._growing.calls)
        for link in self._growing.calls.astray if last and self._is_whole else ():
            yield row_without_turn(link.call.recording, call_row(link))

    def _wholes(self) -> dict[_Session, Session]:
        """Return the complete sessions; nothing follows."""
        context = Context(self._store)
        wholes = {}
        for session in self._sessions:
            exchanges = sorted(session.exchanges.values(), key=lambda x: (x.request.at_ns, x.exchange))
            whole = session.builder.session(exchanges, session.parent_id, context.of(exchanges))
            wholes[session] = replace(whole, failures=tuple(session.failed))
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
