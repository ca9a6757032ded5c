"""The output of `show --follow`: lines, or one object for each turn, while a cassette is recorded.

Of an open turn, each piece has its line as soon as it is complete, and is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice
from typing import Any, TypeVar

from ...cassette.sqlite import Store
from ...model import Exchange, Recording, by_key
from ...omnigent.routes import is_session
from ...text import counted, dumps, joined, one_line, seconds
from ..conversations import ConcludedTalk, Conversations
from ..follow import Reader
from ..follow.growth import Growth
from ..follow.sessions import GrowingSession, GrowingSessions
from ..gather import failures_in
from ..model_calls.values import Link, ModelCalls, TurnKey, spent_in
from ..turns.builder import LAST, TurnBuilder
from ..turns.conclusion import children_of, concluded
from ..turns.draft import LONG_SILENCE, Block, Draft
from ..turns.requests import Act, FailedRequest
from ..turns.values import Ended, Session
from . import ById, failures, rows_of_calls, sentences, sums_of, told_failures, turn_row, turn_rows, verdict
from .other_apis import AstrayCalls, LiveOthers, TalkLines, call_name, call_pieces, spent, talk_sums
from .sentences import COLUMN, Line, Page, Piece, why

T = TypeVar("T")
_NAME = 8
"""Length of the session id before a line if there are several sessions, in characters."""
_GROWING = 2_000
"""Length of the end of a growing text that is shown, in characters."""


class UnfoldingTurn:
    """One draft, and how much of it has lines."""

    def __init__(self, draft: Draft, number: int) -> None:
        self.draft = draft
        self.number = number
        self._has_begun = self._end_seen = False
        self.told_end: Ended | None = None
        """The end that has a line. A later event may tell another one."""
        self._at: dict[str, int] = {}
        self._tools: dict[str, None] = {}
        self._asking: dict[str, None] = {}
        self._children: dict[str, str | None] = {}
        self._asked: set[tuple[str, int]] = set()

    @property
    def goes_on(self) -> bool:
        """Whether more lines may come, even after its end."""
        at_work = any(self._said(key) is None for key in self._children)
        return self.told_end is None or bool(self._tools or self._asking) or at_work

    def news(
        self,
        page: Page,
        builder: TurnBuilder,
        *,
        last: bool = False,
        calls: Iterable[Link] = (),
        spent: Callable[[], str | None] = lambda: None,
    ) -> Iterator[Line]:
        """Return the lines of what is complete since the last call. `last`: nothing follows. `calls`: the model calls
        that are complete. `spent`: returns where the time of the turn went."""
        draft = self.draft
        called = list(call_pieces(page, calls))
        if draft.is_empty and not called:
            return
        over = draft is not builder.open
        if over:
            builder.settle(draft)
        settled = last or (over and self._end_seen)  # the events that come with an end follow right after it
        pieces = [*self._pieces(page, builder, over=over, settled=settled), *called]
        for piece in sorted(pieces, key=lambda one: one[:2]):
            yield from self._line(page, piece)
        if settled and self.told_end != draft.ended:
            self.told_end = draft.ended
            yield from sentences.end_lines(page, draft.freeze(1, None, self.number), spent())
        self._end_seen = over

    def growing(self, page: Page) -> Iterator[Line]:
        """Return the lines of what is not complete: the text so far, open tool calls and approvals."""
        draft = self.draft
        rest = " " * COLUMN
        for blocks, kind, name in ((draft.thoughts, "thought", "thought: "), (draft.messages, "said", "Assistant: ")):
            if len(blocks) > self._at.get(kind, 0):
                yield from page.wrapped(name + _tail(blocks[-1]), kind, rest, rest)  # type: ignore[arg-type]
        for key in self._tools:
            tool = draft.tools[key]
            text = f"tool {page.short(tool.name) or '(no name)'} {page.short(tool.arguments)} -> …"
            yield from page.wrapped(text, "tool", rest, rest)
        for _ in self._asking:
            yield from page.wrapped("waiting for approval …", "approval", rest, rest)
        if beats := draft.heartbeats - draft.beats_told:
            yield from page.wrapped(f"{counted(beats, 'heartbeat')}, nothing else", "heartbeat", rest, rest)

    def _line(self, page: Page, piece: Piece) -> Iterator[Line]:
        begin = min([self.draft.started_ns, *(one.at_ns for one in self.draft.asked[:1])])
        number = "" if self._has_begun else str(self.number)
        since = f"+{seconds(max(piece.at_ns - begin, 0))}" if self._has_begun else page.clock(begin)
        self._has_begun = True
        return sentences.piece_lines(page, piece, number, since)

    def _new(self, name: str, things: Any, upto: int | None = None) -> list[Any]:
        """Return the new elements of a list that only grows."""
        begin = self._at.get(name, 0)
        found = list(islice(things, begin, upto))
        self._at[name] = begin + len(found)
        return found

    def _pieces(self, page: Page, builder: TurnBuilder, *, over: bool, settled: bool) -> Iterator[Piece]:
        draft = self.draft
        for name, things in (("asked", draft.asked), ("midway", draft.midway)):
            for one in self._new(name, things):
                if (one.text, one.at_ns) not in self._asked:  # what was said midway may be asked once more
                    self._asked.add((one.text, one.at_ns))
                    yield Piece(one.at_ns, one.place, sentences.asked(page, one), "asked")
        for block in self._new("thought", draft.thoughts, _closed(draft.thoughts, over=over)):
            one = block.passage()
            yield Piece(one.first_ns, one.place, sentences.thought(page, one), "thought")
        for block in self._new("said", draft.messages, _closed(draft.messages, over=over)):
            one = block.passage()
            if one.text:
                yield Piece(one.first_ns, one.place, sentences.said(page, one), "said")
        yield from self._tool_pieces(page, settled=settled and self.told_end is None)
        yield from self._approvals(page, builder, over=over)
        yield from self._child_pieces(page)
        news = (self._new(name, getattr(draft, name)) for name in ("troubles", "notes", "silences"))
        yield from sentences.other_pieces(page, *news)

    def _tool_pieces(self, page: Page, *, settled: bool) -> Iterator[Piece]:
        self._tools.update(dict.fromkeys(self._new("tools", self.draft.tools)))
        for key in list(self._tools):
            tool = self.draft.tools[key]
            if tool.returned_ns is not None or settled:
                del self._tools[key]
                yield sentences.tool(page, tool)

    def _approvals(self, page: Page, builder: TurnBuilder, *, over: bool) -> Iterator[Piece]:
        for key in self._new("approvals", self.draft.approvals):
            one = self.draft.approvals[key]
            self._asking[key] = None
            yield Piece(one.asked_ns, one.place, f"the agent waits for approval: {page.short(one.message)}", "approval")
        for key in list(self._asking):
            one = builder.answered(self.draft.approvals[key])
            done = one.answered_ns if one.resolved_ns is None else one.resolved_ns
            if done is not None and (one.resolved_ns is not None or over):
                del self._asking[key]
                yield Piece(done, LAST, f"approval {sentences.answer(page, one, done)}", "approval")

    def _child_pieces(self, page: Page) -> Iterator[Piece]:
        for key in self._new("children", self.draft.children):
            self._children[key] = None
            yield next(sentences.child(page, self.draft.children[key], is_told=True))
        for key, told in list(self._children.items()):
            status = self._said(key)
            if status is not None and status != told:
                self._children[key] = status
                yield from islice(sentences.child(page, self.draft.children[key], is_told=False), 1, None)

    def _said(self, key: str) -> str | None:
        """Return how a sub-agent ended; None while it works."""
        status = self.draft.children[key].status
        return None if status in (None, "launching", "in_progress", "queued") else status


def _closed(blocks: list[Block], *, over: bool) -> int:
    """Return the number of complete blocks."""
    return len(blocks) if over or not blocks or blocks[-1].closed else len(blocks) - 1


def _tail(block: Block) -> str:
    """Return the end of a growing text."""
    text = "".join(block.parts[-_GROWING:])
    whole = len(block.parts) <= _GROWING and len(text) <= _GROWING
    return one_line(text if whole else "…" + text[-_GROWING:])


class _Session(GrowingSession):
    """One followed session, and how much of it has lines."""

    def __init__(self, first: Exchange, parent_id: str | None, long_silence: int) -> None:
        super().__init__(first, parent_id, long_silence)
        self.name = one_line(first.session_id or f"stream {first.stream}")
        self.turns: list[UnfoldingTurn] = []
        self.by_number: dict[int, UnfoldingTurn] = {}
        self.is_headed = False
        self.untold: list[FailedRequest] = []
        """The failed requests without a line yet."""

    def take(self, store: Store, x: Exchange, *, is_open: bool) -> list[Act]:
        acts = super().take(store, x, is_open=is_open)
        if not is_open:
            taken = acts if is_session(self.exchanges.values()) else ()
            self.untold += told_failures(failures_in(store, [x], taken))
        return acts

    def take_up(self) -> None:
        """Add the turns that began since the last call."""
        drafts = self.builder.turns.drafts
        self.turns = [turn for turn in self.turns if turn.goes_on or turn.draft is self.builder.turns.latest()]
        begin = max(min(len(self.by_number), len(drafts)) - 1, 0)  # the last one may have made room for another
        for number, draft in enumerate(drafts[begin:], begin + 1):
            if number not in self.by_number or self.by_number[number].draft is not draft:
                self.by_number[number] = UnfoldingTurn(draft, number)
                self.turns.append(self.by_number[number])


class Following:
    """The output of `show --follow` for one cassette: lines, or one object for each turn, while it is recorded.

        following = Following(None)
        following.look(store)
        lines = following.news(last=not store.is_being_recorded)

    It has the sessions of a cassette, present and future; with `session`, those whose id begins with it. Each look
    reads the new frames only. The caller waits between two looks. The line of a model call comes when the call is over
    and two calls of `news` gave it the same turn. Calls without a turn come when no turn is open, or at the end.
    """

    def __init__(self, session: str | None, page: Page | None = None, *, long_silence: int = LONG_SILENCE) -> None:
        self._is_whole = session is None
        self._page = page or Page()
        self._others = LiveOthers(full=self._page.full)
        others = self._others if self._is_whole else None
        self._growing = GrowingSessions(_Session, session, long_silence, others=others)
        self._store: Store
        self._recordings: list[Recording] = []
        """Of the last look, like the store."""
        self._untold: list[Line] = []
        """Lines about failed requests without a session, and about other APIs."""
        self._turn_of: dict[int, TurnKey | None] = {}
        """The calls without a line that are over, and the turn that the look before gave them."""
        self._told_calls: set[int] = set()
        self._told_rows: set[int] = set()
        """The hashes of the objects that were returned."""
        self._astray_calls = AstrayCalls()
        self._conversations = Conversations()
        self._talks = TalkLines()

    @property
    def growth(self) -> Growth:
        return self._growing.growth

    @property
    def _sessions(self) -> list[_Session]:
        return [one for one in self._growing.all.values() if self._growing.is_wanted(one.session_id)]

    def look(self, store: Store) -> None:
        """Read what is new in the cassette."""
        self._store = store
        self._talks.recordings = self._recordings = store.recordings()
        strays = self._growing.look(store)
        if self._is_whole:
            for x in strays:
                if x.session_id is None and x.exchange not in self.growth.open:
                    self._untold += failures(self._page, told_failures(failures_in(store, [x])))
            self._untold += self._others.news(self._page)
        for session in self._sessions:
            session.take_up()

    def news(self, *, last: bool = False) -> Iterator[Line]:
        """Return the lines of what is complete since the last call. `last`: nothing follows: say why."""
        untold = self._untold
        self._untold = []
        yield from untold
        wholes, calls = self._growing.complete(self._store) if last else ({}, self._growing.calls)
        by_id = {(one.recording, one.session_id): one for one in wholes.values()}
        for session in wholes:
            session.take_up()
        linked, astray = self._new_calls(calls, last=last)
        talks, astray = self._new_talks(calls, astray, last=last)
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
                lines += _end(page, wholes[session], by_id)
            if lines:
                self._astray_calls.interrupt()
            yield from self._named(session.name, lines)
        for one, links in talks:
            page = self._narrow(self._names | {f"#{one.talk.number}"})
            lines = list(self._talks.of(page, one, links))
            if last:
                lines += page.wrapped(joined(talk_sums(one), " · "), "total", "  ", "  ")
                lines += verdict(page, one.conclusion)
                lines += page.wrapped(why(one.conclusion), "stop", "  ", "  ")
            self._astray_calls.interrupt()
            yield from self._named(f"#{one.talk.number}", lines)
        yield from self._astray_calls.of(self._page, astray, self._recordings, alone=not self._names)

    def _new_calls(self, calls: ModelCalls, *, last: bool) -> tuple[dict[TurnKey, list[Link]], list[Link]]:
        """Return the calls that are over and have no line yet: by turn, and those without a turn."""
        linked: dict[TurnKey, list[Link]] = {}
        astray: list[Link] = []
        is_busy = not last and any(one.builder.turns.open is not None for one in self._growing.all.values())
        for link in calls.links:
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

    def _new_talks(
        self, calls: ModelCalls, new: list[Link], *, last: bool
    ) -> tuple[list[tuple[ConcludedTalk, list[Link]]], list[Link]]:
        """Return the conversations with these new calls, and the calls that are in none. `last`: all conversations."""
        if not self._is_whole or not (new or last):
            return [], new
        talks = self._conversations.of(calls, self._recordings)
        number_of = {link.call.exchange: one.talk.number for one in talks for link in one.talk.links}
        by_number = by_key(new, lambda link: number_of.get(link.call.exchange))
        found = [(one, by_number.get(one.talk.number, [])) for one in talks if last or one.talk.number in by_number]
        return found, by_number.get(None, [])

    def _news(
        self, session: _Session, turn: UnfoldingTurn, linked: dict[TurnKey, list[Link]], *, last: bool
    ) -> Iterator[Line]:
        key = TurnKey(session.recording, session.session_id, turn.number)
        return turn.news(
            self._page_of(session),
            session.builder.turns,
            last=last,
            calls=linked.get(key, ()),
            spent=lambda: spent(spent_in(session.turn(turn.draft, turn.number), self._growing.calls)),
        )

    def growing(self) -> Iterator[Line]:
        """Return the lines of what is not complete."""
        calls = self._growing.calls
        for session in self._sessions:
            for turn in session.turns[-1:]:
                page = self._page_of(session)
                key = TurnKey(session.recording, session.session_id, turn.number)
                yield from self._named(session.name, [*turn.growing(page), *_open_calls(page, calls.of_key(key))])
        for talk in calls.talks if self._is_whole else ():
            yield from self._named(f"#{talk.number}", _open_calls(self._narrow(self._names), talk.links))

    def rows(self, *, last: bool = False) -> Iterator[dict[str, Any]]:
        """Return the objects of turns that ended since the last call. At the end: those of `show --json` that were not
        returned yet, or have changed."""
        self._untold = []
        for row in self._all_rows() if last else self._ended_rows():
            told = hash(dumps(row))
            if told not in self._told_rows:
                self._told_rows.add(told)
                yield row

    def _ended_rows(self) -> Iterator[dict[str, Any]]:
        for session in self._sessions:
            for turn in session.turns:
                before = turn.told_end
                for _ in turn.news(self._page_of(session), session.builder.turns):
                    pass
                if turn.told_end != before:
                    told = session.turn(turn.draft, turn.number)
                    yield turn_row(told, self._growing.calls, begun_ns=session.begun_ns)
        for one in self._ended_talks():
            yield turn_row(one.session.turns[-1], one.calls, begun_ns=one.session.begun_ns)

    def _ended_talks(self) -> Iterator[ConcludedTalk]:
        """Return the conversations with new calls whose last turn is over: the model answered, and asks for no tool."""
        _, astray = self._new_calls(self._growing.calls, last=False)
        for one, _ in self._new_talks(self._growing.calls, astray, last=False)[0]:
            last = one.talk.links[-1].call
            if last.ending != "open" and not last.tool_calls:
                yield one

    def _all_rows(self) -> Iterator[dict[str, Any]]:
        wholes, calls = self._growing.complete(self._store)
        by_id = {(one.recording, one.session_id): one for one in wholes.values()}
        for session in filter(wholes.__contains__, self._sessions):
            yield from turn_rows(wholes[session], by_id, calls)
        yield from rows_of_calls(calls, self._recordings) if self._is_whole else ()

    @property
    def _names(self) -> set[str]:
        """The names of the sessions, and of the conversations that have lines."""
        return {one.name for one in self._sessions} | {f"#{number}" for number in self._talks.headed}

    def _page_of(self, session: _Session) -> Page:
        return self._narrow(self._names).since(session.begun_ns)

    def _narrow(self, names: set[str]) -> Page:
        """Return the page with room for one of these names, if there are several."""
        return self._page.narrower(_NAME + 3) if len(names) > 1 else self._page

    def _named(self, name: str, lines: Iterable[Line]) -> Iterator[Line]:
        """Return the lines, each with the name of its session or conversation if there are several."""
        before = f"{name[:_NAME]:<{_NAME}} | " if len(self._names) > 1 else ""
        return (Line(f"{before}{line}".rstrip(), line.kind) for line in lines)


class Told(Reader[T]):
    """Reads a cassette for `show --follow`. `tell` returns the news, and with True, that nothing follows."""

    def __init__(
        self,
        following: Following,
        tell: Callable[[bool], Iterable[T]],
        growing: Callable[[], Iterable[T]] = lambda: (),
    ) -> None:
        self.growth = following.growth
        self._following = following
        self._tell = tell
        self._growing = growing
        self._is_over = False

    def read(self, store: Store, waiting: Set[int] = frozenset()) -> tuple[list[T], bool]:
        del waiting  # each file has its own turns
        if not store.is_being_recorded:
            return [] if self._is_over else self.end(store), False
        self._following.look(store)
        return list(self._tell(False)), False

    def rest(self) -> list[T]:
        return [] if self._is_over else list(self._tell(False))

    def growing(self) -> Iterable[T]:
        return self._growing()

    def end(self, store: Store) -> list[T]:
        self._is_over = True
        self._following.look(store)
        return list(self._tell(True))


def told_lines(following: Following) -> Told[Line]:
    return Told(following, lambda last: following.news(last=last), following.growing)


def told_rows(following: Following) -> Told[dict[str, Any]]:
    return Told(following, lambda last: following.rows(last=last))


def _open_calls(page: Page, links: Iterable[Link]) -> Iterator[Line]:
    for link in links:
        if link.call.ending == "open":
            yield from page.wrapped(f"{call_name(link)} -> …", "model", " " * COLUMN)


def _head(session: _Session, page: Page) -> str:
    of = f" · sub-agent of {one_line(session.parent_id)}" if session.parent_id else ""
    since = f" · since {page.clock(session.begun_ns)}" if page.zero_ns == 0 else ""
    return f"Session {session.name}{of} · recording {session.recording}{since}"


def _end(page: Page, whole: Session, by_id: ById) -> Iterator[Line]:
    for turn in whole.turns:
        for note in turn.notes:
            if note.place == LAST:  # about the clients, which is known at the end
                piece = Piece(note.at_ns, note.place, f"-- {page.short(note.text)}", "note")
                since = f"+{seconds(max(note.at_ns - turn.begin_ns, 0))}"
                yield from sentences.piece_lines(page, piece, str(turn.turn), since)
    if sums := sums_of(whole):
        yield from page.wrapped(sums, "total", "  ", "  ")
    conclusion = concluded(whole, children_of(whole, by_id))
    yield from verdict(page, conclusion)
    yield from page.wrapped(why(conclusion), "stop", "  ", "  ")
