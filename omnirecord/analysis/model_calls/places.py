"""The turns of a cassette, found by message, history, tool call and time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ...providers.call import ToolRequest
from ...wire.strict_json import loads
from ..turns.values import Session, Tool, Turn
from .clocks import Clocks
from .features import START, Asked, History, Key, is_counted, plain, turn_keys

MOST_OPEN = 64
"""Most open turns that are returned for one time."""
NO_HISTORIES: Mapping[object, History] = {}


def named(session: Session) -> object:
    """Return what tells a session, or a stream without one, from the others."""
    return session.recording, session.session_id, session.begun_ns if session.session_id is None else None


class Place(NamedTuple):
    """A turn, with its times in ns since 1970."""

    turn: Turn
    session: int
    """The index of its session."""
    begin_ns: int
    end_ns: int
    zero_ns: int
    """The start of its recording."""


class Places:
    """All turns, by their index."""

    def __init__(
        self, sessions: Iterable[Session], clocks: Clocks, histories: Mapping[object, History] = NO_HISTORIES
    ) -> None:
        """`histories`: of sessions without their first turns, by `named`."""
        self.all: list[Place] = []
        self.by_key: dict[Key, list[int]] = {}
        """The turns with a key; with `(session, *key)` those of one session."""
        self._by_tool: dict[str, list[tuple[int, Tool]]] = {}
        for number, session in enumerate(sessions):
            self._add(number, session, clocks.zero(session.recording), histories.get(named(session), START))

    def __getitem__(self, index: int) -> Place:
        return self.all[index]

    def _add(self, number: int, session: Session, zero_ns: int, history: History) -> None:
        turns = session.turns
        for place, (turn, keys) in enumerate(zip(turns, turn_keys(turns, history), strict=True)):
            end_ns = turn.ended_ns
            if end_ns is None:
                last_ns = max(session.until_ns, turn.last_event_ns)
                end_ns = turns[place + 1].begin_ns if place + 1 < len(turns) else last_ns
            index, end_ns = len(self.all), max(end_ns, turn.begin_ns)
            self.all.append(Place(turn, number, zero_ns + turn.begin_ns, zero_ns + end_ns, zero_ns))
            for key in keys:
                self.by_key.setdefault(key, []).append(index)
                self.by_key.setdefault((number, *key), []).append(index)
            for tool in turn.tools:
                self._by_tool.setdefault(tool.call_id, []).append((index, tool))

    def of_tool(self, call_id: str, asked: Asked, wanted: ToolRequest | None = None) -> list[int]:
        """Return the turns with a tool call of this id, and with the name and arguments of `wanted`. `asked`: the
        evidence in the request, of which a counted id needs some."""
        tools = self._by_tool.get(call_id, ())
        if len(tools) > MOST_OPEN:
            return []  # not even a session is shown by it
        counted = is_counted(call_id)
        found = (
            place
            for place, tool in tools
            if (wanted is None or _is_same(tool, wanted))
            and not (counted and not self._agrees(place, tool, asked, wanted))
        )
        return list(dict.fromkeys(found))

    def _agrees(self, place: int, tool: Tool, asked: Asked, wanted: ToolRequest | None) -> bool:
        """Return whether arguments, output or history speak for a tool call on the client hop."""
        if asked.history is not None and place in self.by_key.get(asked.history, ()):
            return True
        if wanted is not None:
            arguments = loads(wanted.arguments)
            return bool(arguments) and arguments == loads(tool.arguments)
        output = asked.outputs.get(tool.call_id)
        return bool(output) and output == plain(tool.output or "")


def _is_same(tool: Tool, wanted: ToolRequest) -> bool:
    """Return whether a tool call on the client hop may be the request of the model."""
    if tool.name and wanted.name and tool.name != wanted.name:
        return False
    ours, theirs = loads(tool.arguments), loads(wanted.arguments)
    return None in (ours, theirs) or ours in ({}, theirs)


def open_at(
    times: Iterable[tuple[int, int]], spans: Iterable[tuple[int, int, int]]
) -> Iterator[tuple[int, Sequence[int]]]:
    """Return for each time the spans that contain it, at most `MOST_OPEN` and one more. `times`: time and index;
    `spans`: first and last time and index."""
    steps = [(at, 1, index) for at, index in times]
    for begin, end, index in spans:
        steps += [(begin, 0, index), (end, 2, index)]
    open_: dict[int, None] = {}
    for _, kind, index in sorted(steps):
        if kind == 0:
            open_[index] = None
        elif kind == 2:
            del open_[index]
        else:
            yield index, [place for place, _ in zip(open_, range(MOST_OPEN + 1), strict=False)]
