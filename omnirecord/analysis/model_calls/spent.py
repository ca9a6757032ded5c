"""Where the time of a turn went: model, tools, approvals, and the rest, which is the harness. Pure.

Each moment counts once, for the first of these: an approval, a model call, the wait before a retry, a tool, the
harness. What ends after its turn counts up to the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from ..turns.values import Turn
from .values import Link, ModelCalls, requests_of

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time of one turn in ns, from its question to its end. Its five parts add up to `total_ns`."""

    total_ns: int
    model_ns: int
    retry_wait_ns: int
    """Between the attempts of a request: the caller of the model waits before it tries again."""
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
    approvals = [(one.asked_ns, _first(one.answered_ns, one.resolved_ns, end)) for one in turn.approvals]
    models = [(one.started_ns, _first(one.ended_ns, end)) for one in links]
    requests = requests_of(links)
    waits = [
        (_first(before.ended_ns, end), after.started_ns) for tries in requests for before, after in pairwise(tries)
    ]
    tools = [(one.called_ns, _first(one.returned_ns, end)) for one in turn.tools]
    lengths, spans = [0], list[Span]()
    for some in (approvals, models, waits, tools):
        spans = union([*spans, *_covered(some, begin, end)])
        lengths.append(sum(b - a for a, b in spans))
    approval_ns, model_ns, wait_ns, tool_ns = (b - a for a, b in pairwise(lengths))
    return TimeSpent(
        end - begin, model_ns, wait_ns, tool_ns, approval_ns, end - begin - lengths[-1], len(links),
        len(links) - len(requests), ambiguous,
    )  # fmt: skip


def spent_in(turn: Turn, calls: ModelCalls) -> TimeSpent | None:
    """Return where the time of a turn went, with the model calls of its cassette; None without a model hop."""
    return time_spent(turn, calls.of(turn), len(calls.maybe(turn))) if calls.is_recorded else None


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


def union(spans: Iterable[Span]) -> list[Span]:
    """Return the times in at least one of the spans: sorted and disjoint."""
    joined: list[Span] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined
