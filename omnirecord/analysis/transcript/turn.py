"""One turn as lines, in the order of its times."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from ...text import seconds
from ..turns import Tool, Turn
from . import sentences as words
from .lines import COLUMN, LAST, WIDTH, Line, Page, Piece


def tell_turn(
    turn: Turn,
    *,
    width: int = WIDTH,
    timed: bool = True,
    page: Page | None = None,
    inner: Iterable[Piece] = (),
    told: Collection[str] = (),
) -> Iterator[Line]:
    """One turn: what was asked, what happened, how it ended.

    `timed`: whether its times were recorded. `inner`: what happened meanwhile in sessions of sub-agents. `told`: which
    of those are told as well, by their ids.
    """
    page = page or Page(width)
    begin, number = turn.begin_ns, f"{turn.turn:>3}"
    for piece in sorted([*pieces(page, turn, told), *inner], key=lambda piece: piece[:2]):
        if piece.inner:
            yield from piece.inner
            continue
        since = "" if not timed else page.clock(begin) if number else f"+{seconds(piece.at_ns - begin)}"
        head = f"{number or '':>3}  {since:>7}"
        yield from page.wrapped(piece.text, piece.kind, f"{head:<{COLUMN - 1}} ", " " * COLUMN)
        number = ""
    yield from tell_end(page, turn)


def tell_end(page: Page, turn: Turn) -> Iterator[Line]:
    yield from page.wrapped(words.end(page, turn), "end", " " * (COLUMN - 2) + "= ", " " * COLUMN)


def pieces(page: Page, turn: Turn, told: Collection[str] = ()) -> Iterator[Piece]:
    """What happened in a turn, in no order."""
    if not turn.asked:
        yield Piece(turn.begin_ns, -1, "(what was asked is not in this recording)", "note")
    yield from (Piece(one.at_ns, one.place, words.asked(page, one), "asked") for one in turn.asked)
    yield from (Piece(one.first_ns, one.place, words.thought(page, one), "thought") for one in turn.thoughts)
    yield from (Piece(one.first_ns, one.place, words.said(page, one), "said") for one in turn.messages)
    yield from (tool_piece(page, one) for one in turn.tools)
    yield from (
        Piece(one.asked_ns, one.place, words.approval(page, one, turn.ended_ns), "approval") for one in turn.approvals
    )
    for child in turn.children:
        yield from words.child(page, child, is_told=child.session_id in told)
    yield from (Piece(one.at_ns, one.place, words.trouble(page, one), "trouble") for one in turn.troubles)
    yield from (Piece(one.at_ns, one.place, f"-- {page.short(one.text)}", "note") for one in turn.notes)
    yield from (Piece(one.from_ns, LAST, words.silence(page, one), "silence") for one in turn.silences)


def tool_piece(page: Page, one: Tool) -> Piece:
    return Piece(one.called_ns, one.place, words.tool(page, one), "trouble" if words.has_failed(one) else "tool")
