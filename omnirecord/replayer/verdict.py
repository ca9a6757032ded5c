"""The result of a replay: counts, and lines about the differences between the client and the recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..model import Exchange
from ..omnigent.routes import path_of
from ..text import counted, visible
from .beyond import Served, Source
from .control import differences, listed
from .server import Replay

_RETRIED = (408, 409, 425, 429)
"""Statuses below 500 after which clients send the request again."""
_SHOWN = 200
"""Most requests that are listed one by one."""
_SHARES: dict[Source, str] = {
    "recorded": "answered from the recording",
    "live": "live",
    "again": "sent more often than recorded",
    "fault": "answered by a fault",
    "made up": "answered by omnirecord",
    "none": "matching nothing",
}
_ALWAYS: tuple[Source, ...] = ("recorded", "live")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a replay. `counts`: one sentence with all counts. `requests`: lines that say for each request where
    its answer is from, if some are live. `problems`: lines about what differs; if there are none, the replay has
    passed."""

    counts: str
    requests: Sequence[str]
    problems: Sequence[str]


def verdict_of(
    replay: Replay,
    name: str,
    *,
    into: str = "",
    done: str = "replayed",
    nothing: str = "the client sent no request",
    is_expected: Callable[[Exchange], bool] = lambda _: True,
) -> Verdict:
    """Return the result of a replay of the cassette `name`. `into`: the name of the cassette that gets live answers;
    empty without an upstream. `done`: the first word of the result. `nothing`: why no request may have come.
    `is_expected`: whether the client has to send a recorded request."""
    served = [one for _, one in replay.served]
    expected = sum(is_expected(x) for hop in replay.hops for x in hop.due)
    missing, replaced = _unsent(replay, is_expected)
    counts = (
        f"{done} {name}{f', recorded into {into}' if into else ''}: {counted(expected, 'request')} expected,"
        f" {len(served):,} made, {_shares(served)}, {len(missing):,} missing"
    )
    problems = [
        *([] if served else [f"This is an error: {nothing if expected or into else f'{name} has no requests'}"]),
        *listed("live, and failed", [_told(one) for one in _failed(replay)]),
        *listed("sent more often than recorded", [_told(one) for one in served if one.source == "again"]),
        *(line for hop in replay.hops for line in differences(hop.unmatched, hop.mismatches, ())),
        *listed("recorded, but not sent", missing),
    ]
    requests = [*_requests(served), *listed("recorded, and replaced by a live one", replaced)] if into else []
    return Verdict(counts, requests, problems)


def _shares(served: Sequence[Served]) -> str:
    """Return how many requests got which answer, as words."""
    found = Counter(one.source for one in served)
    return ", ".join(f"{found[one]:,} {told}" for one, told in _SHARES.items() if found[one] or one in _ALWAYS)


def _told(served: Served) -> str:
    answer = "no answer" if not served.status else str(served.status)
    return visible(f"{served.method} {served.target} -> {answer}")


def _requests(served: Sequence[Served]) -> Iterator[str]:
    """Yield lines that say for each request where its answer is from, and why it is live."""
    yield f"{counted(len(served), 'request')}:"
    for one in served[:_SHOWN]:
        yield f"  {told_source(one)}"
    if len(served) > _SHOWN:
        yield f"  and {len(served) - _SHOWN} more"


def told_source(served: Served) -> str:
    """Return where the answer of a request is from, as in `live: POST /v1/responses -> 200 (exchange 3)`. A live one
    has further lines that say why."""
    number = served.exchange if served.new is None else served.new
    exchange = "" if number is None else f" ({'new ' if served.new else ''}exchange {number})"
    why = [f"    {visible(line)}" for line in served.why.split("\n")] if served.why and served.source == "live" else []
    return "\n".join([f"{_NAMES.get(served.source, served.source)}: {_told(served)}{exchange}", *why])


_NAMES: dict[Source, str] = {"again": "recorded, again", "made up": "by omnirecord", "none": "matched nothing"}


def _failed(replay: Replay) -> list[Served]:
    """Return the live requests without a good answer, if no later request of this kind got one."""
    failed = []
    good = set[tuple[str | None, str, str]]()
    lost = set(map(id, replay.lost))
    for hop, one in reversed(replay.served):
        key = hop, one.method, path_of(one.target)
        is_whole = one.status and id(one) not in lost
        if is_whole and one.status < 400:
            good.add(key)
        elif one.source == "live":
            is_retried = not is_whole or one.status >= 500 or one.status in _RETRIED
            if not (is_retried and key in good):
                failed.append(one)
    return failed[::-1]


def _unsent(replay: Replay, is_expected: Callable[[Exchange], bool]) -> tuple[list[str], list[str]]:
    """Return the expected requests that no client has sent: those without, and those with a live request in their
    place."""
    live = Counter((hop, one.method, path_of(one.target)) for hop, one in replay.served if one.source == "live")
    missing: list[str] = []
    replaced: list[str] = []
    for hop in replay.hops:
        for x in filter(is_expected, hop.unplayed):
            key = hop.only, x.request.method, path_of(x.request.target)
            is_replaced = live[key] > 0
            live[key] -= is_replaced
            (replaced if is_replaced else missing).append(visible(hop.told(x)))
    return missing, replaced
