"""Session ids that a client generates, and the recorded sessions that they stand for (`sessions mapped`). Pure.

The nth unknown id stands for the nth recorded session without a parent; after the last one, for the first again.
Requests are looked up in recorded ids; answers go out in the client's ids.

An id is replaced as a whole word: `abc` in `"/v1/sessions/abc/events"`, not in `abcd` or `x-abc`. Its replacement needs
no escape in JSON or in a URL (`is_plain`), so no body has to be parsed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any
from urllib.parse import quote, unquote_plus

from ...model import Exchange, Headers
from ...omnigent.routes import path_of, query_of, session_of, with_session
from ...wire.strict_json import as_dict, loads
from ..matching.key import Incoming, Miss
from ..parts import Part, frames_of
from .plan import ReplayPlan
from .playback import Answering, Decision, Playing

_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,256}")  # RFC 3986's unreserved characters
_BEFORE = rb"(?:(?<![\w-])|(?<=\\u[0-9a-fA-F]{4})|(?<=[^\\]\\[bfnrt]))"
"""No character of a word, unless it ends a JSON escape."""
_AFTER = rb"(?![\w-])"


def is_plain(name: str) -> bool:
    """Whether an id needs no escape in JSON or in a URL."""
    return _PLAIN.fullmatch(name) is not None


class Renaming:
    """Replaces the keys of `names` by its values, all at once. Raises `ValueError` for a name that is not plain."""

    def __init__(self, names: Mapping[str, str]) -> None:
        if odd := [name for name in names.values() if not is_plain(name)]:
            raise ValueError(f"{odd[0]!r} would have to be escaped")
        self._names = {old.encode(): new.encode() for old, new in names.items() if old and old != new}
        longest_first = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(_BEFORE + b"(?:" + b"|".join(map(re.escape, longest_first)) + b")" + _AFTER)

    def __bool__(self) -> bool:
        return bool(self._names)

    def text(self, data: bytes) -> bytes:
        """Return the bytes with the names replaced."""
        return self._pattern.sub(lambda found: self._names[found[0]], data) if self else data

    def string(self, text: str) -> str:
        return self.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self.string(value)) for name, value in headers)

    def texts(self, slices: Sequence[bytes]) -> list[bytes]:
        """Return the slices of a text with the names replaced. A name that is cut goes into the slice of its start."""
        whole = b"".join(slices)
        out, taken = [], 0
        found = self._pattern.finditer(whole) if self else iter(())
        match = next(found, None)
        for end in accumulate(map(len, slices)):
            parts = []
            while match is not None and match.start() < end:
                parts += [whole[taken : match.start()], self._names[match[0]]]
                taken, match = match.end(), next(found, None)
            parts.append(whole[taken : max(taken, end)])
            taken = max(taken, end)
            out.append(b"".join(parts))
        return out

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts of a stream with the names replaced, frame by frame. Parts that become empty stay."""
        for frame in frames_of(parts):
            texts = self.texts([part.data for part in frame])
            yield from (replace(part, data=data) for part, data in zip(frame, texts, strict=True))


class SessionMap:
    """The recorded sessions that generated ids stand for. `known`: all recorded ids; `roots`: the sessions without a
    parent."""

    def __init__(self, known: Iterable[str], roots: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._roots = [root for root in roots if is_plain(root)]
        self._recorded: dict[str, str] = {}  # by the id of the client
        self._names: dict[str, str] = {}  # the last id of each root
        self._taken: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget all ids of clients."""
        self._recorded.clear()
        self._names.clear()
        self._taken.clear()

    def meet(self, target: str) -> str | None:
        """Map the session of a request. Return the root that it begins again, if it does."""
        name = session_of(target)
        if name is None or name in self._known or name in self._recorded or not is_plain(name) or not self._roots:
            return None
        root = min(self._roots, key=lambda one: self._taken[one])
        begins_again = self._taken[root] > 0
        self.call(root, name)
        return root if begins_again else None

    def call(self, root: str, name: str) -> None:
        """Let `name` stand for this session from now on, unless it is the id of another one."""
        if root not in self._roots or (name != root and name in self._known):
            return
        self._taken[root] += 1
        self._names[root] = name
        if name != root:
            self._recorded[name] = root

    def recorded(self, name: str) -> str:
        """Return the recorded id of an id; the id itself if it is not mapped."""
        return self._recorded.get(name, name)

    def request(self, request: Incoming) -> Incoming:
        """Return the request in recorded ids. Its body stays as it is."""
        if not self._recorded:
            return request
        name, path, query = session_of(request.target), path_of(request.target), query_of(request.target)
        target = path if name is None else with_session(path, self.recorded(name))
        if query:
            target += "?" + "&".join(self._parameter(one) for one in query.split("&"))
        return replace(request, target=target)

    def _parameter(self, text: str) -> str:
        name, equals, value = text.partition("=")
        recorded = self._recorded.get(unquote_plus(value))
        return text if recorded is None else name + equals + quote(recorded, safe="")

    def rows(self, rows: dict[str, Any], asked: Iterable[str]) -> dict[str, Any]:
        """Return recorded rows of the session list in the ids of the request."""
        names = {self.recorded(name): name for name in asked if is_plain(name)}
        told: dict[str, Any] = json.loads(Renaming(names).text(json.dumps(rows).encode()))
        return told

    def renaming(self, target: str) -> Renaming:
        """Return the renaming for the answer to a request: to its own ids, else to the last ids of the client."""
        asked = session_of(target) or ""
        root = self.recorded(asked)
        return Renaming(self._names | ({root: asked} if root in self._roots else {}))


def session_map(plan: ReplayPlan) -> SessionMap:
    """Return the map of a cassette. Ids stand for sessions with a 2xx answer only."""
    real = (x.session_id for x in plan.exchanges if x.response is not None and 200 <= x.response.status < 300)
    roots = (name for name in real if name is not None and plan.sessions[name].root == name)
    named = (x.session_id for x in plan.exchanges)  # unknown ones, too: their 404s were recorded
    return SessionMap((name for name in named if name is not None), dict.fromkeys(roots))


def own_id(request: Incoming) -> str | None:
    """Return the id that a `POST /v1/sessions` chooses for its session; None if it chooses none."""
    value = as_dict(loads(request.body))
    found = (value.get(name) for name in ("id", "session_id"))
    return next((name for name in found if isinstance(name, str) and is_plain(name)), None)


def renamed(decision: Decision, renaming: Renaming) -> Decision:
    """Return the answer in other ids. A compressed body that contains one goes out decompressed; a body that cannot be
    decompressed stays as recorded."""
    if not renaming:
        return decision
    match decision:
        case Answering():
            return _renamed_answer(decision, renaming)
        case Playing():
            decision.planned = list(renaming.parts(decision.planned))
            decision.exchange = _renamed_exchange(decision.exchange, renaming)
        case Miss():
            near = [{name: renaming.string(text) for name, text in one.items()} for one in decision.nearest]
            return Miss(renaming.string(decision.message), near, list(map(renaming.string, decision.lines)))
    return decision


def _renamed_answer(answer: Answering, renaming: Renaming) -> Answering:
    content = answer.content
    renamed = None if content is None else renaming.text(content)
    if renamed is not None and renamed != content:
        answer = answer.with_content(renamed)
    return replace(answer, exchange=_renamed_exchange(answer.exchange, renaming))


def _renamed_exchange(exchange: Exchange, renaming: Renaming) -> Exchange:
    response = exchange.response
    if response is None:
        return exchange
    return replace(exchange, response=replace(response, headers=renaming.headers(response.headers)))
