"""Turns as plain text, for somebody who has never seen Omnigent. Sessions in, lines out; no I/O and no clock.

1. A turn is told in the order of its times. Its first line says when in the session it began, the others how long
   after that they came.
2. Everything that was recorded is made harmless first: no line holds a control character, whatever a session holds.
3. No line is wider than asked for, unless that is too narrow for anything. What is long is cut, and said to be.
4. The first line of a session is its verdict, the last line says why there is no more of it.

`words` has the sentences, `turn` one turn, `tree` the sessions, one inside the other, `unfolding` a turn that goes on;
`lines` what comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..turns import FailedRequest, Session
from .lines import WIDTH, Line, Page
from .tree import Tree, failures, told_failures, total
from .turn import UnfoldingTurn, turn_lines

__all__ = ["WIDTH", "Line", "Page", "UnfoldingTurn", "total", "transcript", "turn_lines"]


def transcript(
    sessions: Iterable[Session],
    *,
    width: int = WIDTH,
    full: bool = False,
    absolute: bool = False,
    astray: Sequence[FailedRequest] = (),
) -> Iterator[Line]:
    """All sessions, those of sub-agents inside their parents', an empty line between them.

    `full`: nothing is cut, however long it is. `absolute`: times count from the recording's start, not the session's.
    `astray`: failed requests that belong to none of the sessions.
    """
    page = Page(width, full, zero_ns=0 if absolute else None)
    empty = True
    for line in Tree(sessions, page).lines():
        empty = False
        yield line
    if empty:
        yield Line("no sessions", "note")
    if astray := told_failures(astray):
        yield Line("", "blank")
        yield Line("Requests without a session", "head")
        yield from failures(page, astray)
    if empty:
        return
    if page.cuts:
        yield from page.wrapped("(what is long was cut: --full tells all of it)", "more")
