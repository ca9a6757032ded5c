"""The turns of a cassette, found by message, history, tool call and time; with the recordings on one clock. Pure.

The evidence in a request's conversation and in a turn are keys that can be compared in constant time. A message is a
run of user texts with nothing between them. White space does not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from ...model import Recording, starts_of
from ...omnigent.protocol import INTERRUPTED_TEXT
from ...providers.answers import ToolRequest, is_counted
from ...providers.conversation import Conversation
from ...wire.strict_json import loads
from ..turns.values import Session, Tool, Turn
from .values import Offset

CAUSAL = 1_000_000
"""Difference in ns of two times of one recorder, at most, if the first one caused the second."""
SKEW = 100_000_000
"""The same for two recorders whose clocks agree."""


class Clocks:
    """The recordings of a cassette with their starts in ns since 1970, and the assumed offsets between them."""

    def __init__(self, recordings: Iterable[Recording]) -> None:
        self._runs = {one.recording: one.run_id for one in recordings if one.run_id is not None}
        self._zeros = starts_of(recordings)
        self._offsets: dict[tuple[int, int], Offset] = {}

    def zero(self, recording: int) -> int:
        return self._zeros.get(recording, 0)

    def measure(self, model: int, client: int, seen: Sequence[tuple[int, bool]]) -> None:
        """Set the offset of a recording of model calls to one of turns. It is 0 if the times fit as they are, else the
        shortest delay that was seen.

        `seen` has two values for each text and tool call on both hops. One is its delay from model to client, in ns
        by the wall clocks. The other says whether the times of call and turn fit.
        """
        if not self._is_one(model, client) and sum(fits for _, fits in seen) * 2 < len(seen):
            self._offsets[model, client] = Offset(model, client, min(seen)[0], "texts")

    def offset(self, model: int, client: int) -> Offset:
        """Return the assumed offset of a recording of model calls to one of turns."""
        known = self._offsets.get((model, client))
        if known is None:
            by_run = self._is_one(model, client)
            known = self._offsets[model, client] = Offset(model, client, 0, "run" if by_run else "wall clock")
        return known

    def slack(self, model: int, client: int) -> int:
        """Return the difference in ns that two times may have, at most."""
        return CAUSAL if self.offset(model, client).by == "run" else SKEW

    def at(self, model: int, ns: int, client: int) -> int:
        """Return a time of a model call in ns since 1970, on the clock of the turns."""
        return self.zero(model) + ns + self.offset(model, client).offset_ns

    def _is_one(self, model: int, client: int) -> bool:
        run = self._runs.get(model)
        return model == client or (run is not None and run == self._runs.get(client))


Key = tuple[object, ...]


class Asked(NamedTuple):
    """What a conversation shows of the turn and the session that it belongs to."""

    keys: tuple[Key, ...]
    """From the most to the least specific: the whole history of messages, the last answer, the last message."""
    messages: tuple[str, ...]
    """The last message, as a whole and its last part."""
    new_ids: tuple[str, ...]
    """The ids of the tool outputs after the last message: they belong to the same turn."""
    old_ids: tuple[str, ...]
    """The other ids of tools: they belong to the same session."""
    history: Key | None = None
    """The key of the whole history, if it has an earlier message."""
    outputs: Mapping[str, str] = {}
    """The outputs of tools with counted ids, by id."""


NOTHING = Asked((), (), (), ())


def asked_of(conversation: Conversation) -> Asked:
    """Return the evidence in a request."""
    history = hash(())
    said = ""
    run: list[str] = []
    last: tuple[str, ...] = ()
    said_before = ""
    before = ""
    prefix = history
    new: dict[str, None] = {}
    old: dict[str, None] = {}
    outputs: dict[str, str] = {}
    for item in conversation.items:
        if item.kind == "user":
            text = plain(item.text)
            if not text or text.startswith(INTERRUPTED_TEXT):
                continue
            if not run:
                before = last[0] if last else ""
                said_before = said
                prefix = history
                old |= new
                new = {}
            run.append(text)
            last = tuple(dict.fromkeys((" ".join(run), run[-1])))
            history = hash((prefix, last[0]))
        elif item.kind != "system":
            run = []
            if item.kind == "assistant":
                said = plain(item.text) or said
            elif item.call_id is not None:
                if item.kind == "output":
                    new[item.call_id] = None
                    if is_counted(item.call_id):
                        outputs[item.call_id] = plain(item.text)
                else:
                    old[item.call_id] = None
    keys: list[Key] = [("history", history)] if last else []
    keys += chain.from_iterable(_message_keys(message, said_before, before) for message in last)
    return Asked(
        keys=tuple(keys),
        messages=last,
        new_ids=tuple(new),
        old_ids=tuple(id_ for id_ in old if id_ not in new),
        history=("history", history) if before else None,
        outputs=outputs,
    )


def _message_keys(message: str, said: str, before: str) -> Iterator[Key]:
    if said:
        yield ("answer", message, said)
    if before:
        yield ("before", message, before)
    yield ("message", message)


class History(NamedTuple):
    """The messages of a session before a turn."""

    digest: int = hash(())
    said: str = ""
    """The last answer."""
    before: str = ""
    """The last message."""


START = History()


def keys_and_history(turn: Turn, history: History) -> tuple[list[Key], History]:
    """Return the keys of a turn, and the history after it. A denied message never reaches the model."""
    texts = [text for text in (plain(one.text) for one in turn.asked) if text]
    message = " ".join(texts)
    own = hash((history.digest, message)) if message else history.digest
    keys: list[Key] = [("history", own)] if message else []
    for text in dict.fromkeys((message, *texts[-1:], *texts[:1])):
        if text:
            keys += _message_keys(text, history.said, history.before)
    if turn.ended != "denied":
        said = next((plain(one.text) for one in reversed(turn.messages) if one.text.strip()), history.said)
        history = History(own, said, message or history.before)
    return list(dict.fromkeys(keys)), history


def plain(text: str) -> str:
    """Return the text with single spaces."""
    return " ".join(text.split())


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

    def __init__(self, sessions: Iterable[Session], clocks: Clocks, histories: Mapping[object, History]) -> None:
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
        for place, turn in enumerate(turns):
            keys, history = keys_and_history(turn, history)
            end_ns = turn.ended_ns
            if end_ns is None:
                last_ns = max(session.until_ns, turn.last_event_ns)
                end_ns = turns[place + 1].begin_ns if place + 1 < len(turns) else last_ns
            index = len(self.all)
            end_ns = max(end_ns, turn.begin_ns)
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
        same = ((place, tool) for place, tool in tools if wanted is None or _is_same(tool, wanted))
        found = (place for place, tool in same if not counted or self._agrees(place, tool, asked, wanted))
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
    ours = loads(tool.arguments)
    theirs = loads(wanted.arguments)
    return None in (ours, theirs) or ours in ({}, theirs)


def open_at(times: Iterable[tuple[int, int]], spans: Iterable[tuple[int, int, int]]) -> Iterator[tuple[int, list[int]]]:
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
