"""Session ids that a client made up, and the recorded sessions that they stand for (`sessions mapped`). No clock.

The nth id that the cassette has not stands for the nth recorded session that is nobody's child; once all are taken,
from the first again, as `POST /v1/sessions` has it. What is asked in the client's id is looked up in the recorded one;
answers come out in the client's.

Ids that come out under other names: in JSON, in URLs, in frames, whole or cut in parts. Pure.

An id is replaced where it stands as a whole word: `abc` in `"/v1/sessions/abc/events"`, not in `abcd` or `x-abc`.
What it is replaced by needs no escape in JSON or in a URL (`is_plain`), so no body has to be parsed and written anew.
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

from ...model import Exchange, Headers, Response
from ...omnigent.routes import path_of, query_of, session_of, with_session
from ...wire.content_coding import content_of
from ...wire.headers import header, without
from ..matching.key import Incoming, Miss
from ..parts import Part, frames_of
from .decisions import Answering, Decision
from .plan import ReplayPlan
from .playback import Playing

_PLAIN = re.compile(r"[A-Za-z0-9._~-]{1,256}")  # RFC 3986's unreserved characters
_BEFORE = rb"(?:(?<![\w-])|(?<=\\u[0-9a-fA-F]{4})|(?<=[^\\]\\[bfnrt]))"
"""No word's character, unless it ends an escape of JSON."""
_AFTER = rb"(?![\w-])"


def is_plain(name: str) -> bool:
    """Whether an id means the same in JSON and in a URL."""
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
        """The same bytes with the other names."""
        return self._pattern.sub(lambda found: self._names[found[0]], data) if self else data

    def string(self, text: str) -> str:
        return self.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self.string(value)) for name, value in headers)

    def texts(self, pieces: Sequence[bytes]) -> list[bytes]:
        """The same for one text in pieces: a name that is cut goes whole into the piece in which it began."""
        whole = b"".join(pieces)
        out, taken = [], 0
        found = self._pattern.finditer(whole) if self else iter(())
        match = next(found, None)
        for end in accumulate(map(len, pieces)):
            parts = []
            while match is not None and match.start() < end:
                parts += [whole[taken : match.start()], self._names[match[0]]]
                taken, match = match.end(), next(found, None)
            parts.append(whole[taken : max(taken, end)])
            taken = max(taken, end)
            out.append(b"".join(parts))
        return out

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same for a stream, frame by frame; parts that have nothing left stay, empty."""
        for frame in frames_of(parts):
            texts = self.texts([part.data for part in frame])
            yield from (replace(part, data=data) for part, data in zip(frame, texts, strict=True))


_CODING = "content-encoding"


class SessionMap:
    """`known`: every recorded id; `roots`: those that an id may stand for, in order."""

    def __init__(self, known: Iterable[str], roots: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._roots = [root for root in roots if is_plain(root)]
        self._recorded: dict[str, str] = {}  # by the id that a client made up
        self._names: dict[str, str] = {}  # what each root was last called
        self._taken: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget every id that a client made up."""
        self._recorded.clear()
        self._names.clear()
        self._taken.clear()

    def meet(self, target: str) -> str | None:
        """Take note of the session that a request speaks of; the root that it begins again, if it does."""
        name = session_of(target)
        if name is None or name in self._known or name in self._recorded or not is_plain(name) or not self._roots:
            return None
        root = min(self._roots, key=lambda one: self._taken[one])
        begins_again = self._taken[root] > 0
        self.call(root, name)
        return root if begins_again else None

    def call(self, root: str, name: str) -> None:
        """From now on `name` stands for this session, unless it is another's."""
        if root not in self._roots or (name != root and name in self._known):
            return
        self._taken[root] += 1
        self._names[root] = name
        if name != root:
            self._recorded[name] = root

    def recorded(self, name: str) -> str:
        """The recorded id that an id stands for: as a rule itself."""
        return self._recorded.get(name, name)

    def request(self, request: Incoming) -> Incoming:
        """The same request, asked in recorded ids. Its body is left as it is."""
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
        """Rows of the session list, as they were recorded, in the ids in which they were asked for."""
        names = {self.recorded(name): name for name in asked if is_plain(name)}
        told: dict[str, Any] = json.loads(Renaming(names).text(json.dumps(rows).encode()))
        return told

    def renaming(self, target: str) -> Renaming:
        """How recorded ids are called in the answer to such a request: as it calls them, else as they were last."""
        asked = session_of(target) or ""
        root = self.recorded(asked)
        return Renaming(self._names | ({root: asked} if root in self._roots else {}))


def session_map(plan: ReplayPlan) -> SessionMap:
    """The map of a cassette: what may be stood for is what was once answered with a 2xx."""
    real = (x.session_id for x in plan.exchanges if x.response is not None and 200 <= x.response.status < 300)
    roots = (name for name in real if name is not None and plan.sessions[name].root == name)
    named = (x.session_id for x in plan.exchanges)  # unknown ones too: their 404s were recorded
    return SessionMap((name for name in named if name is not None), dict.fromkeys(roots))


def own_id(request: Incoming) -> str | None:
    """The id that a `POST /v1/sessions` wants for its session."""
    try:
        value = json.loads(request.body)
    except (ValueError, RecursionError):
        return None
    found = (value.get(name) for name in ("id", "session_id")) if isinstance(value, dict) else ()
    return next((name for name in found if isinstance(name, str) and is_plain(name)), None)


def renamed(decision: Decision, renaming: Renaming) -> Decision:
    """The same answer in other ids. What is compressed and holds one is given uncompressed; what cannot be
    decompressed stays as it was recorded."""
    match decision:
        case Answering():
            return _renamed_answer(decision, renaming)
        case Playing():
            _rename_stream(decision, renaming)
        case Miss():
            near = [{name: renaming.string(text) for name, text in one.items()} for one in decision.nearest]
            return Miss(renaming.string(decision.message), near, list(map(renaming.string, decision.lines)))
    return decision


def _renamed_answer(answer: Answering, renaming: Renaming) -> Answering:
    response = answer.exchange.response
    if response is None or not renaming:
        return answer
    content = content_of(answer.body, header(response.headers, _CODING))
    body = answer.body if content is None else renaming.text(content)
    is_changed = content is not None and body != content
    exchange = _renamed_exchange(answer.exchange, response, renaming, decoded=is_changed)
    return replace(answer, exchange=exchange, body=body if is_changed else answer.body)


def _rename_stream(playing: Playing, renaming: Renaming) -> None:
    response = playing.exchange.response
    if response is None or not renaming:
        return
    playing.planned = list(renaming.parts(playing.planned))
    playing.exchange = _renamed_exchange(playing.exchange, response, renaming, decoded=False)


def _renamed_exchange(exchange: Exchange, response: Response, renaming: Renaming, *, decoded: bool) -> Exchange:
    headers = renaming.headers(without(response.headers, {_CODING} if decoded else ()))
    return replace(exchange, response=replace(response, headers=headers))
