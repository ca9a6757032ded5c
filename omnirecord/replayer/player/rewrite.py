"""Changes to recorded answers on their way out: faults, and the ids of sessions, JSON-RPC messages and events. Pure.

**Sessions** (`sessions mapped`): ids that a client generates stand for recorded sessions. The nth unknown id stands for
the nth recorded session without a parent; after the last one, for the first again. Requests are looked up in recorded
ids; answers go out in the client's ids. An id is replaced as a whole word: `abc` in `"/v1/sessions/abc/events"`, not in
`abcd` or `x-abc`. Its replacement needs no escape in JSON or in a URL (`is_plain`), so no body has to be parsed.

**JSON-RPC**: an answer has the ids of the new request in place of the recorded ones. A client counts its requests, and
does not take an answer with another id. If the ids are equal, no byte changes.

**Events** (`resume`): they get ids: `STREAM.SEQ`, as the proxy gives them, up to the first event with an id of its
server.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import accumulate, pairwise
from typing import Any
from urllib.parse import quote, unquote_plus

from ...model import Exchange, Headers
from ...omnigent.routes import OWN_ID, creates_session, path_of, query_of, session_of, with_session
from ...wire.event_ids import event_id, parse_event_id, stamp
from ...wire.headers import without
from ...wire.json_rpc import Message, answered_to
from ...wire.sse import read_fields
from ...wire.strict_json import as_dict, loads
from ..faults import Faults, RequestFault
from ..matching.key import Incoming, Miss
from ..stream_parts import Part, frames_of
from .plan import ReplayPlan, Session
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
        return self._pattern.sub(lambda found: self._names[found[0]], data) if self else data

    def string(self, text: str) -> str:
        return self.text(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def headers(self, headers: Headers) -> Headers:
        return tuple((name, self.string(value)) for name, value in headers)

    def texts(self, slices: Sequence[bytes]) -> list[bytes]:
        """Return the slices of a text with the names replaced. A name that is cut goes into the slice of its start."""
        whole = b"".join(slices)
        out = []
        taken = 0
        found = self._pattern.finditer(whole) if self else iter(())
        match = next(found, None)
        for end in accumulate(map(len, slices)):
            parts = []
            while match is not None and match.start() < end:
                parts += [whole[taken : match.start()], self._names[match[0]]]
                taken = match.end()
                match = next(found, None)
            parts.append(whole[taken : max(taken, end)])
            taken = max(taken, end)
            out.append(b"".join(parts))
        return out

    def parts(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts of a stream with the names replaced, frame by frame. Parts that become empty stay."""
        return _changed(parts, lambda frame: self.texts([part.data for part in frame]))


def _changed(parts: Iterable[Part], change: Callable[[list[Part]], list[bytes] | None]) -> Iterator[Part]:
    """Yield the parts of a stream with other bytes, frame by frame. `change` returns None for a frame that stays."""
    for frame in frames_of(parts):
        if (texts := change(frame)) is not None:
            frame = [replace(part, data=data) for part, data in zip(frame, texts, strict=True)]
        yield from frame


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
        """Return the request in recorded ids: those in its path, and the values of its query and of its JSON body."""
        if not self._recorded:
            return request
        name = session_of(request.target)
        path = path_of(request.target)
        query = query_of(request.target)
        target = path if name is None else with_session(path, self.recorded(name))
        if query:
            target += "?" + "&".join(self._parameter(one) for one in query.split("&"))
        request = replace(request, target=target)
        if creates_session(request.method, target):  # its own id is a new one
            return request
        value = loads(request.content) if any(name.encode() in request.content for name in self._recorded) else None
        if not isinstance(value, dict | list):
            return request
        headers = without(request.headers, {"content-encoding"})
        return replace(request, body=json.dumps(self._value(value)).encode(), headers=headers)

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.recorded(value)
        if isinstance(value, list):
            return [self._value(one) for one in value]
        return {key: self._value(one) for key, one in value.items()} if isinstance(value, dict) else value

    def _parameter(self, text: str) -> str:
        name, equals, value = text.partition("=")
        recorded = self._recorded.get(unquote_plus(value))
        return text if recorded is None else name + equals + quote(recorded, safe="")

    def rows(self, rows: dict[str, Any], asked: Iterable[str]) -> dict[str, Any]:
        """Return recorded rows of the session list in the ids of the request."""
        renaming = Renaming({self.recorded(name): name for name in asked if is_plain(name)})
        told: dict[str, Any] = json.loads(renaming.text(json.dumps(rows).encode())) if renaming else rows
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
    found = (value.get(name) for name in OWN_ID)
    return next((name for name in found if isinstance(name, str) and is_plain(name)), None)


def renamed(decision: Decision, renaming: Renaming) -> Decision:
    """Return the answer in other ids. A compressed body that contains one goes out decompressed; a body that cannot be
    decompressed stays as recorded."""
    match decision:
        case Answering(content=content):
            if content is not None and (other := renaming.text(content)) != content:
                decision = decision.with_content(other)
            return replace(decision, exchange=_renamed_exchange(decision.exchange, renaming))
        case Playing():
            decision.planned = list(renaming.parts(decision.planned))
            decision.exchange = _renamed_exchange(decision.exchange, renaming)
        case Miss():
            near = [{name: renaming.string(text) for name, text in one.items()} for one in decision.nearest]
            lines = list(map(renaming.string, decision.lines))
            return replace(decision, message=renaming.string(decision.message), nearest=near, lines=lines)
    return decision


def _renamed_exchange(exchange: Exchange, renaming: Renaming) -> Exchange:
    if (response := exchange.response) is None:
        return exchange
    return replace(exchange, response=replace(response, headers=renaming.headers(response.headers)))


_DATA = b"data:"


def answer_to(answer: Answering, recorded: Message, asked: Message) -> Answering:
    """Return an answer with the ids of the new request. A compressed body that has others goes out decompressed."""
    data = loads(answer.content or b"")
    changed = _with_ids(data, recorded, asked)
    return answer if changed is data else answer.with_content(_json(changed))


def parts_to(parts: Iterable[Part], recorded: Message, asked: Message) -> Iterator[Part]:
    """Yield the parts of a stream with the ids of the new request. A changed frame goes out with its last part."""

    def change(frame: list[Part]) -> list[bytes] | None:
        lines = b"".join(part.data for part in frame).splitlines(keepends=True)
        data = [line for line in lines if line.startswith(_DATA)]
        value = loads(b"\n".join(line[len(_DATA) :] for line in data)) if data else None
        changed = _with_ids(value, recorded, asked)
        if changed is value:
            return None
        ending = data[0][len(data[0].rstrip(b"\r\n")) :]
        at = lines.index(data[0])
        rest = [line for line in lines[at:] if not line.startswith(_DATA)]
        made = b"".join([*lines[:at], b"data: " + _json(changed) + ending, *rest])
        return [*[b""] * (len(frame) - 1), made]

    return _changed(parts, change)


def ids_differ(recorded: Message, asked: Message) -> bool:
    """Return whether the answer to the recorded request has to be changed for the new one."""
    return (recorded.id, recorded.progress_token) != (asked.id, asked.progress_token)


def _with_ids(value: Any, recorded: Message, asked: Message) -> Any:
    """Return a message, or a batch of messages, with other ids; the same object if nothing changes."""
    if not isinstance(value, list):
        return answered_to(value, recorded, asked)
    changed = [answered_to(one, recorded, asked) for one in value]
    return value if all(a is b for a, b in zip(value, changed, strict=True)) else changed


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class Effects:
    """The effects of one replay. Raises `UsageError` if a fault has no event in the recording. `happened`: the faults
    that have changed an answer, in the order in which they first did."""

    def __init__(self, plan: ReplayPlan, faults: Faults, *, resume: bool) -> None:
        self._plan = plan
        self._resume = resume
        self._first_own_id = cache(self._read_first_own_id)
        self._has_faults = bool(faults)
        asked = [(x.request.method, x.request.target) for x in plan.exchanges if x.party != "runner"]
        self._bound = faults.bind(plan.named_streams() if faults else [], asked)
        self.happened: dict[str, None] = {}
        self._stalling: set[tuple[str, Playing]] = set()  # connections that stall, or have stalled

    def __bool__(self) -> bool:
        """Whether single frames are changed."""
        return self._resume or self._has_faults

    def reset(self) -> None:
        self.happened.clear()
        self._stalling.clear()
        self._bound.reset()

    def lay_out(self, playing: Playing) -> None:
        """Set the parts of a stream from its `planned` ones, behind the bytes that were sent."""
        parts = list(_changed(playing.planned, self._stamp)) if self._resume else playing.planned
        if not self._has_faults:
            playing.lay_out(parts)
            return
        had = Counter(name for name, other in self._stalling if other is not playing)
        # `over`: the stalls that other connections have had, as often as they were given
        over = {name for name, count in self._bound.stalls.items() if had[name] >= count}
        faulty = self._bound.on(playing.exchange.stream or 0, list(parts), over)
        self._stalling |= {(name, playing) for name in faulty.names if name in self._bound.stalls}
        playing.lay_out(faulty.parts, faulty)
        self.happened |= dict.fromkeys(name for name in faulty.names if name != faulty.by)

    def ended(self, playing: Playing) -> bool:
        """Whether the fault at the end of these parts ends the stream. If it has ended another client's stream, this
        one gets the rest."""
        by = playing.faulty.by
        if by is not None and self._bound.happened(by):
            self.happened[by] = None
            return True
        self.lay_out(playing)
        return False

    def closed(self, playing: Playing) -> None:
        """Note the end of a connection: a stall that it did not reach is left for another one."""
        self._stalling -= {
            (name, one)
            for name, one in self._stalling
            if one is playing and not any(playing.has_reached(key) for key in self._bound.stalled_at[name])
        }

    def on_request(self, method: str, target: str) -> RequestFault | None:
        if (fault := self._bound.on_request(method, target)) is not None:
            self.happened |= dict.fromkeys(fault.names)
        return fault

    def _stamp(self, frame: list[Part]) -> list[bytes] | None:
        seq = frame[0].seq
        stream = frame[0].stream
        if not seq or seq >= self._first_own_id(stream):
            return None
        stamped = stamp(b"".join(part.data for part in frame), event_id(stream, seq), bom=seq == 1)
        sizes = [len(part.data) for part in frame[1:]]
        ends = accumulate(sizes, initial=len(stamped) - sum(sizes))  # all but the first keep their size
        return [stamped[a:b] for a, b in pairwise([0, *ends])]

    def _read_first_own_id(self, stream: int) -> float:
        """Return the number of the first frame with an id of its server; infinite if there is none."""
        exchange = self._plan.stream(stream)
        frames = self._plan.frames(exchange) if exchange is not None else []
        with_id = (x.seq for x in frames if x.raw and b"id" in x.raw and read_fields(x.raw).id is not None)
        return next(with_id, float("inf"))

    def frame_of_id(self, event_id: str | None, session: Session) -> tuple[int, int] | None:
        """Return the stream and frame of an event id; None if the session has no event with this id."""
        if not self._resume or not event_id:
            return None
        streams = [x for x in session.opens if x.kind == "sse"]
        place = parse_event_id(event_id)
        if place is not None and any(x.stream == place[0] for x in streams):
            return place
        wanted = event_id.encode("utf-8", "surrogateescape")
        named = (
            (frame.stream, frame.seq)
            for x in reversed(streams)
            for frame in reversed(self._plan.frames(x))
            if frame.raw and wanted in frame.raw and read_fields(frame.raw).id == event_id
        )
        return next(named, None)
