"""One turn as lines, in the order of its times; also while it is open.

Of an open turn, each piece has its line as soon as it is complete, and is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from typing import Any

from ...text import counted, one_line, seconds
from ..model_calls.values import Link
from ..turns.builder import LAST, TurnBuilder
from ..turns.draft import Block, Draft
from ..turns.values import Note, Silence, Tool, Trouble, Turn
from . import sentences
from .calls import call_pieces
from .sentences import COLUMN, Kind, Line, Page, Piece


def turn_lines(
    turn: Turn, page: Page, *, timed: bool = True, inner: Iterable[Piece] = (), told: Collection[str] = (),
    spent: str | None = None,
) -> Iterator[Line]:  # fmt: skip
    """Return the lines of one turn: question, what happened, end.

    `timed`: whether the recording has times. `inner`: what sub-agents did during it. `told`: the ids of the sub-agents
    that have lines of their own. `spent`: where its time went.
    """
    begin, number = turn.begin_ns, f"{turn.turn:>3}"
    for piece in sorted([*pieces(page, turn, told), *inner], key=lambda piece: piece[:2]):
        if piece.inner:
            yield from piece.inner
            continue
        since = "" if not timed else page.clock(begin) if number else f"+{seconds(piece.at_ns - begin)}"
        yield from _lines(page, piece, number, since)
        number = ""
    yield from end_lines(page, turn)
    if spent is not None:
        yield from page.wrapped(spent, "end", " " * COLUMN, " " * COLUMN)


def _lines(page: Page, piece: Piece, number: str, since: str) -> Iterator[Line]:
    head = f"{number:>3}  {since:>7}"
    return page.wrapped(piece.text, piece.kind, f"{head:<{COLUMN - 1}} ", " " * COLUMN)


def end_lines(page: Page, turn: Turn) -> Iterator[Line]:
    yield from page.wrapped(sentences.end(page, turn), "end", " " * (COLUMN - 2) + "= ", " " * COLUMN)


def pieces(page: Page, turn: Turn, told: Collection[str] = ()) -> Iterator[Piece]:
    """Return what happened in a turn, unsorted."""
    if not turn.asked:
        yield Piece(turn.begin_ns, -1, "(what was asked is not in this recording)", "note")
    yield from (Piece(one.at_ns, one.place, sentences.asked(page, one), "asked") for one in turn.asked)
    yield from (Piece(one.first_ns, one.place, sentences.thought(page, one), "thought") for one in turn.thoughts)
    yield from (Piece(one.first_ns, one.place, sentences.said(page, one), "said") for one in turn.messages)
    yield from (tool_piece(page, one) for one in turn.tools)
    yield from (
        Piece(one.asked_ns, one.place, sentences.approval(page, one, turn.ended_ns), "approval")
        for one in turn.approvals
    )
    for child in turn.children:
        yield from sentences.child(page, child, is_told=child.session_id in told)
    yield from _of_others(page, turn.troubles, turn.notes, turn.silences)


def _of_others(
    page: Page, troubles: Iterable[Trouble], notes: Iterable[Note], silences: Iterable[Silence]
) -> Iterator[Piece]:
    yield from (Piece(one.at_ns, one.place, sentences.trouble(page, one), "trouble") for one in troubles)
    yield from (Piece(one.at_ns, one.place, f"-- {page.short(one.text)}", "note") for one in notes)
    yield from (Piece(one.from_ns, LAST, sentences.silence(page, one), "silence") for one in silences)


def tool_piece(page: Page, one: Tool) -> Piece:
    kind: Kind = "trouble" if sentences.has_failed(one) else "tool"
    return Piece(one.called_ns, one.place, sentences.tool(page, one), kind)


_GROWING = 2_000
"""Length of the end of a growing text that is shown, in characters."""


class UnfoldingTurn:
    """One draft, and how much of it has lines."""

    def __init__(self, draft: Draft, number: int) -> None:
        self.draft, self.number = draft, number
        self._has_begun = self._end_seen = self.is_told = False
        self._at: dict[str, int] = {}
        self._tools: dict[str, None] = {}
        self._asking: dict[str, None] = {}
        self._children: dict[str, str | None] = {}
        self._asked: set[tuple[str, int]] = set()

    @property
    def goes_on(self) -> bool:
        """Whether more lines may come, even after its end."""
        at_work = any(self._said(key) is None for key in self._children)
        return not self.is_told or bool(self._tools or self._asking) or at_work

    def news(
        self, page: Page, builder: TurnBuilder, *, last: bool = False, calls: Iterable[Link] = (),
        spent: Callable[[], str | None] = lambda: None,
    ) -> Iterator[Line]:  # fmt: skip
        """Return the lines of what is complete since the last call. `last`: nothing follows. `calls`: the model calls
        that are complete. `spent`: returns where the time of the turn went."""
        draft, called = self.draft, list(call_pieces(page, calls))
        if draft.is_empty and not called:
            return
        over = draft is not builder.open
        if over:
            builder.settle(draft)
        settled = last or (over and self._end_seen)  # the events that come with an end follow right after it
        pieces = [*self._pieces(page, builder, over=over, settled=settled), *called]
        for piece in sorted(pieces, key=lambda one: one[:2]):
            yield from self._line(page, piece)
        if settled and not self.is_told:
            self.is_told = True
            yield from end_lines(page, draft.freeze(1, None, self.number))
            if (text := spent()) is not None:
                yield from page.wrapped(text, "end", " " * COLUMN, " " * COLUMN)
        self._end_seen = over

    def growing(self, page: Page) -> Iterator[Line]:
        """Return the lines of what is not complete: the text so far, open tool calls and approvals."""
        draft, rest = self.draft, " " * COLUMN
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
        return _lines(page, piece, number, since)

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
        yield from self._tool_pieces(page, settled=settled and not self.is_told)
        yield from self._approvals(page, builder, over=over)
        yield from self._child_pieces(page)
        news = (self._new(name, getattr(draft, name)) for name in ("troubles", "notes", "silences"))
        yield from _of_others(page, *news)

    def _tool_pieces(self, page: Page, *, settled: bool) -> Iterator[Piece]:
        self._tools.update(dict.fromkeys(self._new("tools", self.draft.tools)))
        for key in list(self._tools):
            tool = self.draft.tools[key]
            if tool.returned_ns is not None or settled:
                del self._tools[key]
                yield tool_piece(page, tool)

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
            child = self.draft.children[key]
            yield next(sentences.child(page, child, is_told=True))
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
