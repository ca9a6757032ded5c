"""Finds the recorded exchange that answers a request: an equal key, an equal body if a rule says so, the next in turn.

An `Asked` holds the exchanges that have answered; each playthrough of a session has its own. `rules` are the rules of
`--match`. `key` is the part of a request that has to be equal, and finds the nearest requests if none matches. `bodies`
compares bodies, `conversations` requests to models. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from functools import lru_cache
from itertools import islice

from ...model import Exchange, Request
from ...omnigent.routes import creates_session, is_bookkeeping, path_of
from .bodies import OF_CALLS, Bodies
from .conversations import Conversations
from .key import (
    NEAREST,
    RECORD_REST,
    Advice,
    Incoming,
    Key,
    Masked,
    Mismatch,
    Miss,
    difference,
    how_to_ignore,
    in_order,
    key_of,
    line,
    named,
    nearest,
)
from .rules import DEFAULT, IGNORE_BODIES, WHOLE_BODY, Order, Rules

READS = frozenset({"GET", "HEAD"})
_REPEATABLE = READS | {"PUT", "DELETE"}  # RFC 9110, section 9.2.2: idempotent
_NOTHING = "nothing: it was "
Asked = set[int]
"""The numbers of the exchanges that have answered a request."""


class Lookup:
    """The index of recorded exchanges by request. `request_body` returns the decoded body of a recorded request.

    Requests of runners and of clients are matched apart.
    """

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        request_body: Callable[[Exchange], bytes],
        rules: Rules = DEFAULT,
        day_of: Callable[[Exchange], date | None] = lambda _: None,
        may_ask_model: Callable[[Exchange], bool] = lambda _: True,
    ) -> None:
        self._rules = rules
        self.key = lru_cache(1)(lambda request: key_of(request.method, request.target, request.headers, rules))
        self._bodies = Bodies(request_body, exchanges, own_ids=rules.maps_sessions)
        self.call = self._bodies.call
        self.calls = self._bodies.calls
        self.conversations = Conversations(request_body, filter(may_ask_model, exchanges), rules, day_of)
        self._index: dict[tuple[bool, Key], list[Exchange]] = defaultdict(list)
        self._relaxed: dict[tuple[bool, Key], Key] = {}
        self._masked: dict[tuple[bool, Key], Masked] = {}
        self._acts: dict[tuple[bool, str], list[Exchange]] = defaultdict(list)
        self.creations: list[Exchange] = []
        """The exchanges that created a session, in order."""
        for x in exchanges:
            self._place(x)
        self._ordered = in_order(key for _, key in self._index)
        self._created: Asked = set()

    def _place(self, x: Exchange) -> None:
        is_runner = x.party == "runner"
        method = x.request.method
        target = x.request.target
        key = self.key(x.request)
        self._index[is_runner, key].append(x)
        if (masked := key.masked) is not None:
            self._masked[is_runner, key] = masked
        self._relaxed.setdefault((is_runner, key.relaxed(self._rules)), key)
        if x.response is None:
            return
        if creates_session(method, target):
            if not is_runner and 200 <= x.response.status < 300:
                self.creations.append(x)
        elif x.session_id is not None and method not in READS and not is_bookkeeping(method, target):
            self._acts[is_runner, x.session_id].append(x)

    def alike(self, request: Incoming) -> list[Exchange]:
        """Return the recorded exchanges of such a request, in order."""
        return self._fitting(request, self._recorded(request.is_runner, self.key(request)))

    def _recorded(self, is_runner: bool, key: Key) -> list[Exchange]:
        """Return the exchanges with this key, else those with this key but for a masked secret in the target."""
        if found := self._index.get((is_runner, key)):
            return found
        spelling = str(key) if self._masked else ""
        fits = (
            other
            for other, masked in self._masked.items()
            if other[0] is is_runner and other[1].headers == key.headers and masked.fits(spelling)
        )
        return next((self._index[other] for other in fits), [])

    def alike_in_other_detail(self, request: Incoming) -> tuple[list[Exchange], Key | None]:
        """Return the recorded reads of the same resource in more or less detail, and their key."""
        other = self._relaxed.get((request.is_runner, self.key(request).relaxed(self._rules)))
        recorded = self._fitting(request, self._index[request.is_runner, other]) if other else []
        return recorded, other if recorded else None

    def next(self, request: Incoming, asked: Asked, *, again: bool) -> Exchange | None:
        """Return the exchange whose turn it is, and add it to `asked`; None if there is none. `again`: after the last
        exchange, start with the first again. A request that was never answered has no turn: its client would wait
        forever."""
        alike = [x for x in self.alike(request) if x.is_answered]
        exchange = self._next_of(alike, request, asked, again=again)
        if exchange is None and alike and request.method in _REPEATABLE:
            return alike[-1]
        if exchange is None or self._comes_too_early(request, exchange, asked):
            return None
        asked.add(exchange.exchange)
        return exchange

    def creation(self, request: Incoming) -> Exchange | None:
        """Return the recorded `POST /v1/sessions` whose turn it is, with any query; after the last, the first."""
        headers = self.key(request).headers
        alike = [x for x in self.creations if self.key(x.request).headers == headers]
        exchange = self._next_of(self._fitting(request, alike), request, self._created, again=True)
        if exchange is not None:
            self._created.add(exchange.exchange)
        return exchange

    def reset(self) -> None:
        """Start again with the first recorded session."""
        self._created.clear()

    def mismatches(self, request: Incoming, exchange: Exchange) -> list[Mismatch]:
        """Return where the body has another `type` or `action` than the matched request."""
        if self.conversations.has(request):
            return []
        what = f"{request.method} {request.target}"
        return [Mismatch(what, *one) for one in self._bodies.mismatches(request, exchange)]

    def miss(self, request: Incoming, asked: Asked | None = None, instead: Sequence[Exchange] = ()) -> Miss:
        """Return the miss of a request that no exchange answers. `instead`: the recorded reads in other detail."""
        key = self.key(request)
        recorded = self._recorded(request.is_runner, key) or list(instead)
        if not recorded:
            near = nearest(key, self._ordered)
            told = [named(other, difference(key, other)) for other in near]
            return Miss(f"{key} was never recorded", told, [line(key, other) for other in near])
        if not (fitting := self._fitting(request, recorded)):
            is_other = not self.conversations.fitting(request, recorded)
            other = self.conversations.miss(request, str(key), recorded) if is_other else None
            return other or self._other_bodies(key, request, recorded, asked)
        answered = [x for x in fitting if x.is_answered]
        return self._no_answer(key, answered) or self._used_up(key, request, answered, asked)

    def _no_answer(self, key: Key, answered: list[Exchange]) -> Miss | None:
        if not answered:
            told = [named(key, f"{_NOTHING}never answered")]
            return Miss(f"{key} was recorded, but never answered", told, advice=RECORD_REST)
        if all(x.response is not None and x.response.status == 304 for x in answered):
            message = f"{key} was recorded only as 304 Not Modified: record it again with a cold cache"
            return Miss(message, [named(key, f"{_NOTHING}recorded only as 304 Not Modified")])
        return None

    def _used_up(self, key: Key, request: Incoming, recorded: list[Exchange], asked: Asked | None) -> Miss:
        unused = [x for x in recorded if asked is not None and x.exchange not in asked]
        if unused and asked is not None and (earlier := self._comes_too_early(request, unused[0], asked)):
            first = f"{earlier.request.method} {earlier.request.target}"
            differs = f"order: it was recorded after {first}, which has not come yet"
            return Miss(f"{key} came too early: it was recorded after {first}", [named(key, differs)])
        times = "once" if len(recorded) == 1 else f"{len(recorded)} times"
        used = {1: "that was", 2: "both were"}.get(len(recorded), "all were")
        message = f"{key} was recorded {times} and answered as often: this is one more than there were"
        return Miss(message, [named(key, f"{_NOTHING}recorded {times}, and {used} used")])

    def _other_bodies(self, key: Key, request: Incoming, recorded: list[Exchange], asked: Asked | None) -> Miss:
        """Return a miss with the differences of bodies; exchanges that have not answered come first."""
        if self._bodies.call(request) is not None:
            near = (self._bodies.fitting(request, recorded, paths) for paths in (OF_CALLS, OF_CALLS[:1]))
            recorded = next(filter(None, near), recorded)
        differ = (
            self._bodies.differences(request, x, self._body_paths(request))
            for x in sorted(recorded, key=lambda x: x.exchange in (asked or ()))
        )
        told = list(islice(dict.fromkeys(differ), NEAREST))
        message = f"{key} was recorded, but not with this body"
        return Miss(message, [named(key, one) for one in told], told, self._advice(request, recorded))

    def _advice(self, request: Incoming, recorded: list[Exchange]) -> Advice | None:
        """Return how to ignore bodies; None if the difference is in a part that counts all the same."""
        paths = self._body_paths(request)
        others = [path for path in paths if path != WHOLE_BODY]
        ignorable = WHOLE_BODY in paths and self._bodies.fitting(request, recorded, others)
        return how_to_ignore("bodies", IGNORE_BODIES) if ignorable else None

    def _fitting(self, request: Incoming, recorded: list[Exchange]) -> list[Exchange]:
        """Return the exchanges whose conversations are equal, and whose bodies are, at the paths of the rules. A body
        that was cut has to be the beginning of the request's body."""
        whole = self.conversations.fitting(request, [x for x in recorded if not x.request_is_cut])
        paths = self._body_paths(request)
        fitting = self._bodies.fitting(request, whole, paths)
        if len(whole) == len(recorded):
            return fitting
        numbers = {x.exchange for x in fitting}
        is_compared = bool(paths) or self.conversations.compares(request)
        cut = (x for x in recorded if x.request_is_cut and (not is_compared or self._bodies.begins(request, x)))
        numbers.update(x.exchange for x in cut)
        return [x for x in recorded if x.exchange in numbers]

    def _body_paths(self, request: Incoming) -> list[str]:
        """Return the paths of the rules, and those of a JSON-RPC call. A conversation is not compared as a whole, and
        neither is a request that only stores a setting."""
        paths = self._rules.body_paths(request.method, path_of(request.target))
        if self.conversations.has(request) or is_bookkeeping(request.method, request.target):
            return [path for path in paths if path != WHOLE_BODY]
        return paths if self._bodies.call(request) is None else list(dict.fromkeys([*OF_CALLS, *paths]))

    def _next_of(self, recorded: list[Exchange], request: Incoming, asked: Asked, *, again: bool) -> Exchange | None:
        recorded = self._bodies.same_call(request, recorded) or recorded
        numbers = {x.exchange for x in recorded}
        if again and asked >= numbers:
            asked -= numbers
        unused = self.conversations.preferred(request, [x for x in recorded if x.exchange not in asked])
        if len(unused) > 1 and self._order(request) == "loose":
            return self._bodies.most_like(request, unused)
        return unused[0] if unused else None

    def _comes_too_early(self, request: Incoming, exchange: Exchange, asked: Asked) -> Exchange | None:
        """Return the earlier exchange of the session that has to come first in strict order; None if there is none."""
        if self._order(request) != "strict":
            return None
        acts = self._acts[request.is_runner, exchange.session_id or ""]
        before = (x for x in acts if x.request.at_ns < exchange.request.at_ns and x.exchange not in asked)
        return next((x for x in before if self._order(x.request) == "strict"), None)

    def _order(self, request: Incoming | Request) -> Order:
        return self._rules.order(request.method, path_of(request.target))


def answers(exchange: Exchange, if_none_match: str | None) -> bool:
    """Whether an exchange has an answer for a request. A 304 answers only the recorded validator."""
    if exchange.response is None or exchange.response.status != 304:
        return exchange.response is not None
    recorded = (value for name, value in exchange.request.headers if name.lower() == "if-none-match")
    return if_none_match is not None and if_none_match in recorded
