"""The result of a replay: counts, and lines about the differences between the client and the recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    unanswered = sum(is_expected(x) for hop in replay.hops for x in hop.unanswered)
    replaced = replay.taken_over()
    unsent = [(hop, x) for hop in replay.hops for x in hop.unsent if is_expected(x)]
    missing = [visible(hop.told(x)) for hop, x in unsent if x.exchange not in replaced]
    told = [visible(hop.told(x)) for hop, x in unsent if x.exchange in replaced]
    is_checked = expected or replay.records_into is not None
    without = f" ({unanswered:,} more never got an answer in the recording)" if unanswered else ""
    counts = (
        f"{done} {name}{f', recorded into {into}' if into else ''}: {counted(expected, 'request')} expected{without},"
        f" {len(served):,} made, {_shares(replay, served, is_expected)}, {len(missing):,} missing"
    )
    problems = [
        *([] if served or not is_checked else [f"This is an error: {nothing}"]),
        *([] if is_checked else [f"This is an error: {name} has no answered requests that a client has to send"]),
        *listed("live, and failed", [_told(one) for one in _failed(replay)]),
        *listed("sent more often than recorded", [_told(one) for one in served if one.source == "again"]),
        *(line for hop in replay.hops for line in differences(hop.unmatched, hop.mismatches, ())),
        *listed("recorded, but not sent", missing),
    ]
    failures = [f"{_told(one)} (exchange {one.exchange})" for one in recorded_failures(replay)]
    requests = [
        *_requests(served),
        *listed("recorded, and replaced by a live one", told),
        *listed("answered with a recorded failure", failures),
    ]
    return Verdict(counts, requests if into else [], problems)


def _shares(replay: Replay, served: Sequence[Served], is_expected: Callable[[Exchange], bool]) -> str:
    """Return how many requests got which answer, as words."""
    found = Counter(one.source for one in served)
    recorded = [one.exchange for one in served if one.source == "recorded"]
    replaced = replaced_before(replay)
    old = sum(exchange in replaced for exchange in recorded)
    others = {x.exchange for hop in replay.hops for x in hop.due if not is_expected(x)}
    beside = sum(exchange in others for exchange in recorded)
    more = [f"{old:,} of them from {'a replaced call' if old == 1 else 'replaced calls'}"] if old else []
    more += [f"{beside:,} of them beside the expected ones"] if beside else []
    of_them = {"recorded": f" ({', '.join(more)})" if more else ""}
    return ", ".join(
        f"{found[one]:,} {told}{of_them.get(one, '')}" for one, told in _SHARES.items() if found[one] or one in _ALWAYS
    )


def _told(served: Served) -> str:
    answer = "no answer" if not served.status else str(served.status)
    return visible(f"{served.method} {served.target} -> {answer}")


def _requests(served: Sequence[Served]) -> Iterator[str]:
    """Yield lines that say for each request where its answer is from, and why it is live."""
    yield f"{counted(len(served), 'request')}:"
    shown = served[:_SHOWN]
    for one in shown:
        yield from f"  {told_source(one, advises=False)}".split("\n")
    if len(served) > _SHOWN:
        yield f"  and {len(served) - _SHOWN} more"
    yield from dict.fromkeys(visible(one.advice) for one in shown if one.advice and one.source == "live")


def told_source(served: Served, *, advises: bool = True) -> str:
    """Return where the answer of a request is from, as in `live: POST /v1/responses -> 200 (exchange 3)`. A live one
    has further lines that say why, and what to do about it if `advises`."""
    number = served.exchange if served.new is None else served.new
    exchange = "" if number is None else f" ({'new ' if served.new else ''}exchange {number})"
    if served.source == "live" and served.status and served.new is None:
        exchange = " (not recorded)"
    reasons = served.reasons if advises else served.why.split("\n")
    why = [f"    {visible(line)}" for line in reasons if line and served.source == "live"]
    return "\n".join([f"{_NAMES.get(served.source, served.source)}: {_told(served)}{exchange}", *why])


_NAMES: dict[Source, str] = {"again": "recorded, again", "made up": "by omnirecord", "none": "matched nothing"}


def _failed(replay: Replay) -> list[Served]:
    """Return the live requests without a good answer, if no later request of this kind got one."""
    return [one for one in _without_good_answer(replay, set(map(id, replay.lost))) if one.source == "live"]


def recorded_failures(replay: Replay) -> list[Served]:
    """Return the requests that got an error or a cut answer from the recording, if no later request of this kind got a
    good answer."""
    cut = {x.exchange for hop in replay.hops for x in hop.due if x.ending == "upstream_lost"}
    lost = {id(one) for _, one in replay.served if one.exchange in cut}
    return [one for one in _without_good_answer(replay, lost) if one.source == "recorded"]


def _without_good_answer(replay: Replay, lost: set[int]) -> list[Served]:
    """Return the failed requests, if no later request of this kind got a good answer. `lost`: the ids of the requests
    whose answer is not whole."""
    failed = []
    good = set[tuple[str | None, str, str]]()
    for hop, one in reversed(replay.served):
        key = hop, one.method, path_of(one.target)
        is_whole = one.status and id(one) not in lost
        if is_whole and one.status < 400:
            good.add(key)
            continue
        is_retried = not is_whole or one.status >= 500 or one.status in _RETRIED
        if not (is_retried and key in good):
            failed.append(one)
    return failed[::-1]


def replaced_before(replay: Replay) -> set[int]:
    """Return the recorded exchanges, of all hops, that later ones replaced before this replay."""
    return set().union(*(hop.replaced for hop in replay.hops))


def replaced_in(replay: Replay, talks: Mapping[int, int]) -> list[Exchange]:
    """Return the recorded requests that no client has sent, and in whose place other requests came.

    These are live ones with a good answer that is recorded, or recorded ones that had been replaced before. Each takes
    the place of one to the same path. If a model call is replaced, so is the rest of its conversation, which may have
    another length now. `talks`: the conversations by exchange."""
    lost = set(map(id, replay.lost))
    before = replaced_before(replay)
    came = Counter(
        (hop, one.method, path_of(one.target))
        for hop, one in replay.served
        if (one.new is not None and 0 < one.status < 400 and id(one) not in lost) or one.exchange in before
    )
    unsent = [(hop.only, x) for hop in replay.hops for x in hop.unsent]
    replaced = []
    for hop, x in unsent:
        key = hop, x.request.method, path_of(x.request.target)
        if came[key] > 0:
            came[key] -= 1
            replaced.append(x)
    changed = {talks[x.exchange] for x in replaced if x.exchange in talks}
    known = {x.exchange for x in replaced}
    return replaced + [x for _, x in unsent if x.exchange not in known and talks.get(x.exchange) in changed]
