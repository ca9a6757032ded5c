"""Model calls for the page: rows for the timeline and the lists, one call in full, moves between deltas.

The links of all calls need all sessions of the cassette, so a request of its own returns them. While the cassette is
recorded, calls are linked to the last turns of each session, and earlier links are kept. A prompt can be
megabytes: the page gets the beginning of each message, and the whole message on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from typing import Any

from ..analysis.apis import is_unknown
from ..analysis.conversations import ConcludedTalk, Conversations, conversations_in, with_turns
from ..analysis.follow import File, Reader
from ..analysis.follow.sessions import GrowingSession, GrowingSessions, Others
from ..analysis.gather import model_calls, whole_sessions
from ..analysis.model_calls.pairing import Move, Piece, Place, moves
from ..analysis.model_calls.values import (
    Link,
    ModelCalls,
    TurnKey,
    call_row,
    text_of_item,
    text_of_schema,
    time_spent,
    turns_of,
)
from ..analysis.search import Hit
from ..analysis.transcript.other_apis import spent
from ..analysis.turns.values import Session
from ..cassette.model_calls import ModelHops
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..model import Exchange, by_key
from ..omnigent import protocol
from ..providers.conversation import Conversation
from ..text import clip
from ..wire.strict_json import as_text, payload
from .events import Key, Options, key_of_session, number_in, read_key

Row = dict[str, Any]
Rows = dict[int, tuple[Link, Row]]
"""The rows of calls, by exchange."""
SAID = 300
"""Most characters of a question or an answer in a row."""
MOST = 5000
"""Most calls in one list."""
ITEMS = 200
"""Most messages of a request in one answer."""
SHOWN = 3000
"""Most characters of a message that are shown at first."""
WHOLE = 16 << 20
"""Most characters of one message, or of a whole request."""
_TEXTS = {protocol.RESPONSE_OUTPUT_TEXT_DELTA: 0, **dict.fromkeys(protocol.REASONING_DELTAS, 1)}
"""The deltas that a model caused: 0 for text, 1 for reasoning."""


class Linked:
    """Links model calls for the page's requests. Links of a file that has not changed are kept; while the file is
    recorded, each request reads only what is new."""

    def __init__(self) -> None:
        self._kept: tuple[object, Hops] | None = None
        self._lock = Lock()
        self._growing: File[Hops] | None = None
        """The file that is recorded."""

    def linked(self, store: Store, path: Path, stamp: tuple[int, list[int] | None]) -> Hops:
        """Return the calls of the cassette at `path`. `stamp`: of the file, from before it was opened."""
        if not store.is_being_recorded:
            self._growing = None
            kept = self._kept
            if kept is None or kept[0] != stamp or stamp[1] is None:
                kept = self._kept = stamp, Hops.of(store)
            return kept[1]
        with self._lock:
            if self._growing is None or self._growing.path != path:
                self._growing = File(path, lambda _: _GrowingHops())
            return self._growing.look(store)[0][0]


class _Unknown(Others):
    """The exchanges of unknown APIs, which the page lists elsewhere."""

    def takes(self, store: Store, x: Exchange) -> bool:
        return is_unknown(store, x)


class _GrowingHops(Reader["Hops"]):
    """The model calls of a cassette that is recorded, after each read."""

    def __init__(self) -> None:
        self._sessions = GrowingSessions(GrowingSession, reads_open=True, others=_Unknown())
        self.growth = self._sessions.growth
        self._conversations = Conversations()
        self._rows: Rows = {}

    def read(self, store: Store, waiting: Set[int] = frozenset()) -> tuple[list[Hops], bool]:
        del waiting
        growing = self._sessions
        growing.look(store)
        talks = self._conversations.of(growing.calls, store.recordings())
        return [Hops([one.so_far() for one in growing.all.values()], growing.calls, talks, self._rows)], False


class Hops:
    """The model calls of a cassette, with its sessions and conversations. `rows`: keeps the rows of calls."""

    def __init__(
        self, sessions: list[Session], calls: ModelCalls, talks: list[ConcludedTalk], rows: Rows | None = None
    ) -> None:
        self.talks = talks
        self.sessions = sessions = [*sessions, *(one.session for one in talks)]
        self.calls = calls = with_turns(calls, talks) if talks else calls
        self.rows: Rows = {} if rows is None else rows
        self.by_exchange = {link.call.exchange: link for link in calls.links}
        self.by_stream = {link.call.stream: link for link in calls.links if link.call.stream is not None}
        self._of = {(one.recording, one.session_id): one for one in reversed(sessions)}
        self._pieces: dict[int, list[tuple[int, Piece]]] = {}
        self._moves: dict[TurnKey, dict[Place, Move]] = {}

    @classmethod
    def of(cls, store: Store) -> Hops:
        """Return the calls of a whole cassette. Without a model hop, no session is read."""
        sessions = list(whole_sessions(store)) if ModelHops(store) else []
        calls = model_calls(store, lambda: sessions)
        return cls(sessions, calls, conversations_in(calls, store.recordings()))

    def session(self, turn: TurnKey) -> Session | None:
        return self._of.get((turn.recording, turn.session_id))

    def family(self, key: Key) -> set[tuple[int, str | None]]:
        """Return the recording and id of a session, of its sub-agents, and of theirs."""
        found = {(key.recording, key.session_id)}
        size = 0
        while len(found) > size:
            size = len(found)
            found |= {
                (one.recording, one.session_id)
                for one in self.sessions
                if one.parent_id is not None and (one.recording, one.parent_id) in found
            }
        return found

    def row(self, link: Link) -> Row:
        """Return `call_line`, made once as long as the link stays the same."""
        kept = self.rows.get(link.call.exchange)
        if kept is None or kept[0] is not link:
            kept = self.rows[link.call.exchange] = link, call_line(self, link)
        return kept[1]

    def moves(self, store: Store, turn: TurnKey) -> dict[Place, Move]:
        """Return the moves between the deltas of a turn, and of the model calls that are linked to it."""
        if turn not in self._moves:
            self._moves[turn] = self._moves_of(store, turn)
        return self._moves[turn]

    def _moves_of(self, store: Store, key: TurnKey) -> dict[Place, Move]:
        session = self.session(key)
        if session is None:
            return {}
        turn = session.turns[key.turn - 1]
        end = session.turns[key.turn].begin_ns if key.turn < len(session.turns) else float("inf")
        links = self.calls.of(turn)
        found: dict[Place, Move] = {}
        for one in session.streams:
            if one.stream not in self._pieces:
                self._pieces[one.stream] = list(_pieces(store, one.stream))
            heard = [(kind, piece) for kind, piece in self._pieces[one.stream] if turn.begin_ns <= piece.at_ns < end]
            for wanted in (0, 1):
                client = [piece for kind, piece in heard if kind == wanted]
                said = [part for link in links for part in _said(link, reasoning=wanted == 1)]
                for place, move in moves(client, said).items():
                    found.setdefault(place, move)
        return found


def _pieces(store: Store, stream: int) -> Iterator[tuple[int, Piece]]:
    """Yield the deltas of a stream of the client hop that a model caused."""
    for x in store.exchanges(stream=stream):
        for frame in store.frames(x):
            kind = _TEXTS.get(frame.type or "")
            text = None if kind is None else as_text(payload(frame).get("delta"))
            if kind is not None and text:
                yield kind, Piece(stream, frame.seq, frame.offset_ns, text)


def _said(link: Link, *, reasoning: bool) -> list[list[Piece]]:
    """Return the deltas of each text of a call, on the clock of the turn."""
    parts = by_key((one for one in link.call.deltas if (one.part < 0) == reasoning), lambda one: one.part)
    return [
        [Piece(link.call.stream or 0, one.seq, one.at_ns + link.shift_ns, one.text) for one in parts[part]]
        for part in sorted(parts)
    ]


def calls(hops: Hops, key: Key | None = None) -> Row:
    """Return the model calls of a session and its sub-agents by start, ambiguous ones included; without `key`, all.
    `more`: the number of calls that are left out. `spent`: where the time of each turn of the session went."""
    family = None if key is None else hops.family(key)
    found = [
        link
        for link in hops.calls.links
        if family is None or any((one.recording, one.session_id) in family for one in turns_of(link))
    ]
    found.sort(key=lambda link: (link.started_ns, link.call.exchange))
    rows = [hops.row(link) for link in found[:MOST]]
    told = [one for one in hops.sessions if family is not None and (one.recording, one.session_id) in family]
    sentences = []
    for session in told:
        for turn in session.turns:
            links = hops.calls.of(turn)
            maybe = hops.calls.maybe(turn)
            if links or maybe:
                sentence = spent(time_spent(turn, links, len(maybe)))
                fork = _fork_at_turn(hops, session, turn.turn, links)
                place = {"key": str(key_of_session(session)), "turn": turn.turn}
                sentences.append({**place, "sentence": sentence, "fork": fork})
    return {
        "calls": rows,
        "more": max(0, len(found) - MOST),
        "is_recorded": hops.calls.is_recorded,
        "spent": sentences,
        "offsets": [asdict(one) for one in hops.calls.offsets],
    }


def call_line(hops: Hops, link: Link) -> Row:
    """Return a call as in `show --json`, with the beginnings of its texts, and the page's key of its session."""
    row = call_row(link)
    conversation = link.call.conversation
    row["asked"] = clip(conversation.asked if conversation else "", SAID)
    row["said"] = clip(row.pop("text"), SAID)
    row["tools"] = [one["name"] for one in row.pop("tool_calls")]
    del row["reasoning"]
    row["error"] = None if row["error"] is None else clip(row["error"], SAID)
    row["key"], row["turn"] = _place(hops, link.turn)
    row["candidates"] = [dict(zip(("key", "turn"), _place(hops, one), strict=True)) for one in link.candidates]
    row["shift_ns"] = link.shift_ns
    row["sdk_attempt"] = link.call.attempt
    return row


def _place(hops: Hops, turn: TurnKey | None) -> tuple[str | None, int | None]:
    session = None if turn is None else hops.session(turn)
    return (None, None) if session is None or turn is None else (str(key_of_session(session)), turn.turn)


def call(hops: Hops, number: int, until: int | None = None, shown: int = SHOWN) -> Row:
    """Return the request and the answer of one call. Raises `UsageError` if the cassette has no such call.

    `until`: only messages before this index. `shown`: most characters of a text. `cut` of a text: its length, if only
    its beginning is returned.
    """
    link = _link(hops, number)
    conversation = link.call.conversation
    answer = {
        "texts": [_shown(text, shown) for text in link.call.texts],
        "reasoning": _shown(link.call.reasoning, shown),
        "tools": [
            {"call_id": one.call_id, "name": one.name, **_shown(one.arguments, shown)} for one in link.call.tool_calls
        ],
    }
    asked = None if conversation is None else _asked(conversation, until, shown)
    return {**call_line(hops, link), "request_body": asked, "answer": answer, "fork": _fork_at(hops, link)}


def _fork_at(hops: Hops, link: Link) -> str:
    """Return the end of the command that forks at a call, behind the name of the cassette."""
    name = None if link.turn is None else link.turn.session_id
    own = [one for one in hops.calls.links if name is None or (one.turn is not None and one.turn.session_id == name)]
    own.sort(key=lambda one: (one.started_ns, one.call.exchange))
    numbers = list(dict.fromkeys(one.request for one in own))
    part = "" if name is None else f"#{name.removeprefix('conversation-')}"
    return f"{part} --from-call {numbers.index(link.request) + 1} --set PATH=VALUE -- COMMAND"


def _fork_at_turn(hops: Hops, session: Session, number: int, links: Sequence[Link]) -> str | None:
    """Return the same for a turn; None without a model call."""
    if session.conversation is not None or not links:
        return _fork_at(hops, links[0]) if links else None
    hop = f" --upstream {links[0].call.hop}=URL" if links[0].call.hop else ""
    return f"#{session.session_id} --from-turn {number} --message TEXT --upstream URL{hop}"


def _link(hops: Hops, number: int) -> Link:
    link = hops.by_exchange.get(number)
    if link is None:
        raise UsageError(f"exchange {number} is no model call")
    return link


def _asked(conversation: Conversation, until: int | None, shown: int) -> Row:
    items = conversation.items
    end = len(items) if until is None else min(until, len(items))
    begin = max(0, end - ITEMS)
    return {
        "model": conversation.model,
        "is_streamed": conversation.is_streamed,
        "instructions": _shown(conversation.instructions, shown),
        "tools": [
            {
                "name": one.name,
                "description": _shown(one.description, shown),
                "schema": _shown(text_of_schema(one), shown),
            }
            for one in conversation.tools[:ITEMS]
        ],
        "more_tools": max(0, len(conversation.tools) - ITEMS),
        "settings": [list(one) for one in conversation.settings],
        "previous_id": conversation.previous_id,
        "begin": begin,
        "count": len(items),
        "items": [
            {
                "kind": one.kind,
                "label": one.label,
                "name": one.name,
                "call_id": one.call_id,
                **_shown(text_of_item(one), shown),
            }
            for one in items[begin:end]
        ],
    }


def _shown(text: str, most: int) -> Row:
    return {"text": text[:most], "cut": len(text) if len(text) > most else None}


def part(hops: Hops, number: int, name: str) -> Row:
    """Return one text of a call as a whole. `name`: `instructions`, `reasoning`, or one of `item`, `text`, `argument`,
    `description` and `schema` with an index, as `item.3`. Raises `UsageError`."""
    link = _link(hops, number)
    kind, _, index = name.partition(".")
    if index and not (index.isascii() and index.isdecimal() and len(index) < 10):
        raise UsageError(f"part={name!r} names no part of a call")
    made = link.call
    conversation = link.call.conversation
    at = int(index or 0)
    one = slice(at, at + 1)
    arguments = [tool.arguments for tool in made.tool_calls[one]]
    found = {"reasoning": [made.reasoning], "text": [*made.texts[one]], "argument": arguments}
    if conversation is not None:
        tools = conversation.tools[one]
        found |= {
            "instructions": [conversation.instructions],
            "item": [*map(text_of_item, conversation.items[one])],
            "description": [tool.description for tool in tools],
            "schema": [*map(text_of_schema, tools)],
        }
    if not found.get(kind):
        raise UsageError(f"part={name!r} names no part of exchange {number}")
    return _shown(found[kind][0], WHOLE)


def move(store: Store, hops: Hops, stream: int, seq: int) -> Row | None:
    """Return the delta of the other hop that caused a delta, or that it caused; None if none is known."""
    link = hops.by_stream.get(stream)
    turn = link.turn if link is not None else _turn_at(store, hops, stream, seq)
    found = None if turn is None else hops.moves(store, turn).get((stream, seq))
    return None if found is None or turn is None else _move(hops, turn, found)


def _move(hops: Hops, turn: TurnKey, found: Move) -> Row:
    link = hops.by_stream.get(found.stream)
    return {"key": _place(hops, turn)[0], "exchange": None if link is None else link.call.exchange, **found._asdict()}


def _turn_at(store: Store, hops: Hops, stream: int, seq: int) -> TurnKey | None:
    """Return the turn of an event."""
    for x in store.exchanges(stream=stream):
        frame = store.frame(x, seq)
        session = hops.session(TurnKey(x.recording, x.session_id, 1))
        if frame is not None and session is not None:
            at = sum(one.begin_ns <= frame.offset_ns for one in session.turns)
            return TurnKey(x.recording, x.session_id, at) if at else None
    return None


CALLS: dict[str, Callable[[Store, Hops, Options], Any]] = {
    "calls": lambda _, hops, asked: calls(hops, read_key(asked["key"]) if "key" in asked else None),
    "call": lambda _, hops, asked: call(
        hops, number_in(asked, "exchange"), number_in(asked, "until") if "until" in asked else None
    ),
    "part": lambda _, hops, asked: part(hops, number_in(asked, "exchange"), asked.get("part", "")),
    "move": lambda store, hops, asked: move(store, hops, number_in(asked, "stream"), number_in(asked, "seq")),
}
"""The page's requests about model calls, by name."""


def call_of_hit(hit: Hit) -> Row | None:
    """Return the model call of a hit; None for a hit elsewhere. `calls`: the number of calls with the same text."""
    return None if hit.call is None else {**call_in_file(hit.call), "calls": hit.calls}


def call_in_file(link: Link) -> Row:
    """Return the facts of a call that a hit shows, with the page's key of its session."""
    turn = link.turn
    key = None if turn is None or turn.session_id is None else str(Key(turn.recording, turn.session_id))
    return {
        "exchange": link.call.exchange,
        "model": link.call.model,
        "key": key,
        "turn": turn.turn if turn else None,
        "began_ns": link.call.started_ns,
    }


def all_moves(store: Store, hops: Hops, sessions: set[str]) -> dict[str, Row]:
    """Return all moves of these sessions, by `stream:number` of the delta."""
    found: dict[str, Row] = {}
    for session in hops.sessions:
        if str(key_of_session(session)) in sessions:
            for turn in session.turns:
                key = TurnKey(session.recording, session.session_id, turn.turn)
                for (stream, seq), one in hops.moves(store, key).items():
                    found[f"{stream}:{seq}"] = _move(hops, key, one)
    return found
