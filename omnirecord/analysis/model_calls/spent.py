"""Where the time of a turn went: model, tools, approvals, and the rest, which is the harness. Pure.

Each moment counts once: for an approval, else for a model call, else for a tool, else for the harness. A tool that ends
after its turn counts up to the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..turns import Turn
from .values import Link, requests_of

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time of one turn in ns, from its question to its end. The four parts add up to `total_ns`."""

    total_ns: int
    model_ns: int
    tool_ns: int
    approval_ns: int
    harness_ns: int
    """The rest: Omnigent, the agent's harness, and their machines."""
    calls: int
    """The number of its model calls, retried ones included."""
    retried: int
    """The number of its calls that are another attempt of a request."""
    ambiguous_calls: int
    """The number of calls that may be of this turn or of another one. They are in no other number."""

    def row(self) -> dict[str, Any]:
        """Return the object `time_spent` of `show --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class FirstToken:
    """The time from the question to the turn's first token, in ns."""

    before_ns: int
    """Until the model was asked: the request that brought the token, in its first attempt."""
    model_ns: int
    """Until the model sent the token."""
    after_ns: int
    """Until the client had it."""


def time_spent(turn: Turn, links: Sequence[Link], ambiguous: int = 0) -> TimeSpent:
    """Return where the time of a turn went. `links`: its model calls; `ambiguous`: the number of possible others."""
    begin, end = turn.begin_ns, turn.ended_ns if turn.ended_ns is not None else turn.last_event_ns
    end = max(begin, end)
    approvals = _covered(
        [(one.asked_ns, _first(one.answered_ns, one.resolved_ns, end)) for one in turn.approvals], begin, end
    )
    models = _covered([(one.started_ns, _first(one.ended_ns, end)) for one in links], begin, end)
    tools = _covered([(one.called_ns, _first(one.returned_ns, end)) for one in turn.tools], begin, end)
    approval_ns = _length(approvals)
    waited = _length(_union([*approvals, *models]))
    busy = _length(_union([*approvals, *models, *tools]))
    retried = len(links) - len(requests_of(links))
    return TimeSpent(
        end - begin,
        waited - approval_ns,
        busy - waited,
        approval_ns,
        end - begin - busy,
        len(links),
        retried,
        ambiguous,
    )


def first_token(links: Sequence[Link], posted_ns: int, token_ns: int) -> FirstToken | None:
    """Return the parts of the time from a question to the first token; None if no call brought that token.

    `posted_ns`, `token_ns`: the times of the question and of the token at the client.
    """
    brought = None
    for request in requests_of(links):
        for link in request:
            first = next((delta.at_ns + link.shift_ns for delta in link.call.deltas), None)
            if first is not None and first <= token_ns and (brought is None or first < brought[1]):
                brought = request[0].started_ns, first
    if brought is None or not posted_ns <= brought[0] <= brought[1]:
        return None
    return FirstToken(brought[0] - posted_ns, brought[1] - brought[0], token_ns - brought[1])


def _first(*times: int | None) -> int:
    return next(one for one in times if one is not None)


def _covered(spans: Iterable[Span], begin: int, end: int) -> list[Span]:
    """Return the spans within a turn."""
    return [(max(begin, a), min(end, b)) for a, b in spans if min(end, b) > max(begin, a)]


def _union(spans: list[Span]) -> list[Span]:
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _length(spans: list[Span]) -> int:
    return sum(end - begin for begin, end in _union(spans))
