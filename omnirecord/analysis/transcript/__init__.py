"""Sessions as plain text, for readers without knowledge of Omnigent: sessions in, lines out. No I/O, no clock.

1. A turn is in the order of its times. Its first line has the time since the beginning of the session, the others since
   the beginning of the turn.
2. No line has a control character, whatever a session contains.
3. No line is wider than `width`, unless that is too narrow. A long text is cut, and the line says so.
4. The first line of a session is its verdict, the last one says why there is no more of it.

`sentences` has the layout and the words, `turn` has one turn, also an open one, `calls` the model calls. `tree` has the
sessions and their sub-agents, `show` has the output of the command.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...model import Recording
from ..model_calls.values import ModelCalls
from ..turns.requests import FailedRequest
from ..turns.values import Session
from .calls import astray_lines
from .sentences import WIDTH, Line, Page
from .tree import NO_CALLS, Tree, failures, told_failures, total
from .turn import UnfoldingTurn, turn_lines

__all__ = ["WIDTH", "Line", "Page", "UnfoldingTurn", "total", "transcript", "turn_lines"]


def transcript(
    sessions: Iterable[Session],
    *,
    width: int = WIDTH,
    full: bool = False,
    absolute: bool = False,
    astray: Sequence[FailedRequest] = (),
    calls: ModelCalls = NO_CALLS,
    recordings: Sequence[Recording] = (),
    with_astray_calls: bool = True,
) -> Iterator[Line]:
    """Return the lines of all sessions, sub-agents inside their parents, an empty line between sessions.

    `full`: nothing is cut. `absolute`: times count from the beginning of the recording, not of the session. `astray`:
    failed requests without a session. `calls`: the model calls; those without a turn come last, if
    `with_astray_calls`. `recordings`: of the cassette.
    """
    page = Page(width, full, zero_ns=0 if absolute else None)
    empty = True
    for line in Tree(sessions, page, calls).lines():
        empty = False
        yield line
    if with_astray_calls and calls.astray:
        yield from astray_lines(page, calls, recordings, alone=empty)
        empty = False
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
