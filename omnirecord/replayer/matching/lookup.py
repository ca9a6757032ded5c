"""Finds the recorded exchange that answers a request: an equal key, an equal body if a rule says so, the next in turn.

An `Asked` holds the exchanges that have answered; each playthrough of a session has its own. For a request that matches
none, `nearest` finds the most similar recorded requests, and their differences. Pure.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from difflib import SequenceMatcher
from itertools import islice, takewhile, zip_longest

from ...model import Exchange, Request
from ...omnigent.routes import creates_session, is_bookkeeping, path_of
from ...text import clip
from .bodies import OF_CALLS, Bodies
from .conversations import Conversations
from .key import Incoming, Key, Masked, Mismatch, Miss, Pairs, key_of, short_ids
from .rules import DEFAULT, Order, Rules

READS = frozenset({"GET", "HEAD"})
_REPEATABLE = READS | {"PUT", "DELETE"}  # RFC 9110, section 9.2.2: idempotent
_NOTHING = "nothing: it was "
NEAREST = 3
_LOOKED_AT = 40
"""Recorded requests, with the same and with other methods, that are compared with a request."""
_COMPARED = 200
"""Characters of a path that are compared."""
_TOLD = 3
"""Most segments, parameters or headers that are named one by one."""
_DEEPEST = 64
"""Most segments of a path that are compared."""
_SHOWN = 60
"""Characters of a value."""
Named = dict[str, str]
"""`request` and `differs`."""


Asked = set[int]
"""The numbers of the exchanges that have answered a request."""


class Lookup:
    """The index of recorded exchanges by request. `request_body` returns the decoded body of a recorded request.

    Requests of runners and of clients are matched apart.
    """

    def __init__(
        self, exchanges: Sequence[Exchange], request_body: Callable[[Exchange], bytes], rules: Rules = DEFAULT,
        day_of: Callable[[Exchange], date | None] = lambda _: None,
        may_ask_model: Callable[[Exchange], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        self._rules = rules
        self._last: tuple[Incoming | Request | None, Key] = None, Key("", "", ())
        self._bodies = Bodies(request_body, exchanges)
        self.calls = self._bodies.calls
        self.conversations = Conversations(request_body, filter(may_ask_model, exchanges), rules, day_of)
        self._index: dict[tuple[bool, Key], list[Exchange]] = defaultdict(list)
        self._relaxed: dict[tuple[bool, Key], Key] = {}
        self._masked: dict[tuple[bool, Key], Masked] = {}
        self._acts: dict[tuple[bool, str], list[Exchange]] = defaultdict(list)
        for x in exchanges:
            self._place(x)
        self._ordered = Ordered(key for _, key in self._index)
        self.creations = [x for x in exchanges if _creates(x)]
        """The exchanges that created a session, in order."""
        self._created: Asked = set()

    def _place(self, x: Exchange) -> None:
        is_runner, method, target = x.party == "runner", x.request.method, x.request.target
        key = self.key(x.request)
        self._index[is_runner, key].append(x)
        if (masked := key.masked) is not None:
            self._masked[is_runner, key] = masked
        self._relaxed.setdefault((is_runner, key.relaxed(self._rules)), key)
        acts = method not in READS and x.response is not None and not is_bookkeeping(method, target)
        if acts and x.session_id is not None and not creates_session(method, target):
            self._acts[is_runner, x.session_id].append(x)

    def key(self, request: Incoming | Request) -> Key:
        """Return the key of a request. The key of the last request is cached."""
        if request is not self._last[0]:
            self._last = request, key_of(request.method, request.target, request.headers, self._rules)
        return self._last[1]

    def alike(self, request: Incoming) -> list[Exchange]:
        """Return the recorded exchanges of such a request, in order."""
        return self._fitting(request, self._recorded(request.is_runner, self.key(request)))

    def _recorded(self, is_runner: bool, key: Key) -> list[Exchange]:
        """Return the exchanges with this key, else those with this key but for a masked secret in the target."""
        if found := self._index.get((is_runner, key)):
            return found
        spelling = str(key) if self._masked else ""
        fits = (
            other for other, masked in self._masked.items()
            if other[0] is is_runner and other[1].headers == key.headers and masked.fits(spelling)
        )  # fmt: skip
        return next((self._index[other] for other in fits), [])

    def alike_in_other_detail(self, request: Incoming) -> tuple[list[Exchange], Key | None]:
        """Return the recorded reads of the same resource in more or less detail, and their key."""
        other = self._relaxed.get((request.is_runner, self.key(request).relaxed(self._rules)))
        recorded = self._fitting(request, self._index[request.is_runner, other]) if other else []
        return recorded, other if recorded else None

    def next(self, request: Incoming, asked: Asked, *, again: bool) -> Exchange | None:
        """Return the exchange whose turn it is, and add it to `asked`; None if there is none.

        `again`: after the last exchange, start with the first again.
        """
        alike = self.alike(request)
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

    def told_of(self, creation: Exchange) -> list[str]:
        """Return a line that says which of several recorded sessions this exchange created."""
        count, number = len(self.creations), self.creations.index(creation) + 1
        said = f"POST {path_of(creation.request.target)}: session {number} of the {count} recorded"
        return [said] if count > 1 else []

    def is_creation(self, request: Incoming) -> bool:
        """Whether a request creates a session, and such a request was recorded."""
        return bool(self.creations) and not request.is_runner and creates_session(request.method, request.target)

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
            near = nearest(key, self._ordered.around(key))
            told = [named(other, difference(key, other)) for other in near]
            return Miss(f"{key} was never recorded", told, [line(key, other) for other in near])
        fitting = self._fitting(request, recorded)
        if not fitting:
            is_other = not self.conversations.fitting(request, recorded)
            other = self.conversations.miss(request, str(key), recorded) if is_other else None
            return other or self._other_bodies(key, request, recorded, asked)
        return self._no_answer(key, fitting) or self._used_up(key, request, fitting, asked)

    def _no_answer(self, key: Key, recorded: list[Exchange]) -> Miss | None:
        answered = [x.response for x in recorded if x.response is not None]
        if not answered:
            return Miss(f"{key} was recorded, but never answered", [named(key, f"{_NOTHING}never answered")])
        if all(response.status == 304 for response in answered):
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
            recorded = self._bodies.fitting(request, recorded, OF_CALLS[:1]) or recorded
        differ = (
            self._bodies.differences(request, x, self._body_paths(request))
            for x in sorted(recorded, key=lambda x: x.exchange in (asked or ()))
        )
        told = list(islice(dict.fromkeys(differ), NEAREST))
        return Miss(f"{key} was recorded, but not with this body", [named(key, one) for one in told], told)

    def _fitting(self, request: Incoming, recorded: list[Exchange]) -> list[Exchange]:
        """Return the exchanges whose conversations are equal, and whose bodies are, at the paths of the rules."""
        recorded = self.conversations.fitting(request, recorded)
        return self._bodies.fitting(request, recorded, self._body_paths(request))

    def _body_paths(self, request: Incoming) -> list[str]:
        """Return the paths of the rules, and those of a JSON-RPC call. A conversation is not compared as a whole."""
        paths = self._rules.body_paths(request.method, path_of(request.target))
        if self.conversations.has(request):
            return [path for path in paths if path]
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


def _creates(exchange: Exchange) -> bool:
    response = exchange.response
    ok = response is not None and 200 <= response.status < 300
    return ok and exchange.party != "runner" and creates_session(exchange.request.method, exchange.request.target)


class Ordered:
    """Recorded requests in the order of their paths, sorted once: 10,000 take 25 ms."""

    def __init__(self, recorded: Iterable[Key]) -> None:
        self._by_method: dict[str, list[Key]] = {}
        for key in sorted(set(recorded), key=_place):
            self._by_method.setdefault(key.method, []).append(key)

    def around(self, key: Key) -> list[Key]:
        """Return the requests around a path, a few of each method: the nearest are among them."""
        found: list[Key] = []
        for keys in self._by_method.values():
            at = bisect_left(keys, key.path, key=lambda other: other.path)
            found += keys[max(0, at - _LOOKED_AT) : at + _LOOKED_AT]
        return found


def _place(key: Key) -> tuple[str, str, Pairs, Pairs]:
    return key.path, key.method, key.query, key.headers


def nearest(key: Key, recorded: Iterable[Key]) -> list[Key]:
    """Return the recorded requests most similar to `key`, best first, without equal ones.

    Comparing is slow and blocks the event loop, so only requests that begin like `key` are compared.
    """
    others = {other for other in recorded if other != key}
    same = {other for other in others if other.method == key.method}
    looked_at = _beginning_like(key, same) + _beginning_like(key, others - same)
    matcher = SequenceMatcher(b=key.path[:_COMPARED])
    return sorted(looked_at, key=lambda other: (-_likeness(key, other, matcher), str(other)))[:NEAREST]


def named(key: Key, differs: str) -> Named:
    return {"request": str(key), "differs": differs}


def line(got: Key, recorded: Key) -> str:
    """A recorded request for a person: where it differs, `[-recorded-]{+asked+}`."""
    path = _marked_path(got.path, recorded.path)
    said = f"{_marked(recorded.method, got.method)} {path}{_marked(_query(recorded), _query(got))}"
    headers = ", ".join(f"header {one}" for one in _headers(got.headers, recorded.headers))
    return f"{said}  {headers}" if headers else said


def _marked(recorded: str, got: str) -> str:
    """Two texts as one, with short ids unless these would look alike."""
    if recorded == got:
        return recorded
    whole = clip(recorded, _SHOWN), clip(got, _SHOWN)
    short = short_ids(whole[0]), short_ids(whole[1])
    gone, new = short if short[0] != short[1] else whole
    return (f"[-{gone}-]" if gone else "") + (f"{{+{new}+}}" if new else "")


def _query(key: Key) -> str:
    said = "&".join(f"{name}={value}" for name, value in key.query)
    return f"?{said}" if said else ""


def _marked_path(got: str, recorded: str) -> str:
    """Mark the differences of two paths segment by segment; segments that only one has are marked together."""
    ours, theirs = (path.split("/", _DEEPEST)[1:] for path in (recorded, got))
    both = min(len(ours), len(theirs))
    made = "".join(f"/{_marked(one, other)}" for one, other in zip(ours, theirs, strict=False))
    return made + _marked(*("".join(f"/{one}" for one in rest[both:]) for rest in (ours, theirs)))


def difference(got: Key, recorded: Key) -> str:
    """Return in which parts two keys differ, and how."""
    told = ["method"] if got.method != recorded.method else []
    if got.path != recorded.path:
        told.append(f"path ({_segments(got.path, recorded.path)})")
    if got.query != recorded.query:
        told.append(f"query ({_parameters(got.query, recorded.query)})")
    return " and ".join([*told, *(f"header {one}" for one in _headers(got.headers, recorded.headers))])


def shown(value: str | None) -> str:
    """Return a value for a sentence: in quotes, cut."""
    return "nothing" if value is None else repr(clip(value, _SHOWN))


def _segments(got: str, recorded: str) -> str:
    pairs = zip_longest(got.split("/", _DEEPEST)[1:], recorded.split("/", _DEEPEST)[1:])
    differ = [(number, *pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1]]
    if len(differ) > _TOLD:
        return f"more than {_TOLD} segments"
    return ", ".join(f"segment {number}: {shown(one)} instead of {shown(other)}" for number, one, other in differ)


def _parameters(got: Pairs, recorded: Pairs) -> str:
    """`limit=50 instead of limit=20, after=x instead of nothing`."""
    names = dict.fromkeys(name for name, _ in set(got) ^ set(recorded)) or dict.fromkeys(name for name, _ in got)
    if len(names) > _TOLD:
        return f"more than {_TOLD} parameters"
    told = ((_of(name, got), _of(name, recorded)) for name in sorted(names))
    return ", ".join(f"{one or 'nothing'} instead of {other or 'nothing'}" for one, other in told if one != other)


def _of(name: str, pairs: Pairs) -> str:
    return clip("&".join(f"{one}={value}" for one, value in pairs if one == name), _SHOWN)


def _headers(got: Pairs, recorded: Pairs) -> Iterator[str]:
    ours, theirs = dict(got), dict(recorded)
    for name in dict.fromkeys((*ours, *theirs)):
        one, other = ours.get(name), theirs.get(name)
        if one != other:
            yield f"{name} ({shown(one)} instead of {shown(other)})"


def _beginning_like(key: Key, others: Iterable[Key]) -> list[Key]:
    """Return the keys around the place of its path in alphabetical order."""
    ordered = sorted(others, key=_place)
    at = max(0, bisect_left(ordered, key.path, key=lambda other: other.path) - _LOOKED_AT // 2)
    return ordered[at : at + _LOOKED_AT]


def _likeness(one: Key, other: Key, matcher: SequenceMatcher[str]) -> float:
    """Return the similarity of two keys: the path counts most, then the method and the common first segments."""
    path = other.path[:_COMPARED]
    matcher.set_seq1(path)
    wanted, found = one.path[:_COMPARED].split("/")[1:], path.split("/")[1:]
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(wanted, found, strict=False)))
    return (
        2.0 * (one.path == other.path)
        + 0.6 * (one.method == other.method)
        + shared / max(1, len(wanted))
        + matcher.ratio()
        + 0.1 * (one.query == other.query)
        + 0.1 * (one.headers == other.headers)
    )
