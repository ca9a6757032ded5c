"""The turn that is being told: what is known of it so far, until it is frozen.

Text comes in blocks: a block ends where the server stored it as an item, where a tool is called, and where the wire
names another message.

How soon a turn's first token came, and how fast the rest. Pure.

How the texts of a turn grew, so that they can be shown as they were at any time.

A text at a time is what `Passage.text` begins with: as many characters as the last mark up to then says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from ...omnigent.protocol import SYSTEM_TEXT
from .lenient import failure_in
from .values import (
    LONG_SILENCE,
    Approval,
    Asked,
    Child,
    Ended,
    Fault,
    Note,
    Passage,
    Silence,
    Tool,
    Trouble,
    Turn,
    TurnUsage,
)

Asker = Literal["user", "agent", "system"]


class Block:
    """A stretch of text while it grows."""

    def __init__(self, at_ns: int, place: int, message_id: str | None = None) -> None:
        self.parts: list[str] = []
        self.times: list[int] = []  # when each of them came
        self.first_ns = self.last_ns = at_ns
        self.place = place
        self.message_id = message_id
        self.stored: str | None = None
        self.closed = False

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def add(self, part: str, at_ns: int) -> None:
        self.parts.append(part)
        self.times.append(at_ns)
        self.last_ns = at_ns

    def passage(self) -> Passage:
        text = self.text
        as_stored = None if self.stored is None or not self.parts else text == self.stored
        return Passage(text or self.stored or "", self.first_ns, self.last_ns, len(self.parts), as_stored, self.place)


@dataclass(eq=False)
class Draft:
    """One turn, as far as it has been told."""

    started_ns: int
    asked: list[Asked] = field(default_factory=list)
    midway: list[Asked] = field(default_factory=list)
    """What was said while its response was under way: perhaps the next turn answers it."""
    taken: list[str] = field(default_factory=list)
    """The texts that the agent took in, in that order."""
    items: set[str] = field(default_factory=set)
    """The items that its questions are."""
    response_id: str | None = None
    agent: str | None = None
    model: str | None = None
    usage: TurnUsage | None = None
    runs: bool = False
    """Whether the agent has begun to work on it."""
    interrupted: bool = False
    begun: tuple[int, int] = (0, 0)
    """How many messages and thoughts it had when its last attempt began."""
    restarts: list[int] = field(default_factory=list)
    """When it was run again from its beginning, because its runner was restarted."""
    terminal: bool = False
    """Whether a `response.*` event has ended it."""
    ended: Ended = "unfinished"
    ended_ns: int | None = None
    error: Fault | None = None
    messages: list[Block] = field(default_factory=list)
    thoughts: list[Block] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)
    printed: dict[str, Block] = field(default_factory=dict)
    """What running tools have put out so far, by call id."""
    approvals: dict[str, Approval] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    longest: Silence | None = None
    long_silence: int = LONG_SILENCE
    """From how many ns on a silence is kept."""
    after_ns: int = 0
    """When the turn before had ended: what was asked before then had to wait."""
    last_ns: int = -1
    events: int = 0
    odd_events: int = 0
    heartbeats: int = 0
    joined_ns: int | None = None
    """When a connect snapshot last told of it."""
    beats_told: int = 0
    """How many of them belong to silences that are over."""
    waiting_for: dict[str, str] = field(default_factory=dict)
    """What is under way: elicitation or call id to its name."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it to tell."""
        told = (self.asked, self.messages, self.thoughts, self.tools, self.approvals, self.troubles, self.error)
        return self.response_id is None and not any(told)

    @property
    def only_asks(self) -> bool:
        """Whether it is a question about a message and no more: an interrupt leaves that open."""
        return not self.runs and any(one.resolved_ns is None for one in self.approvals.values())

    def touch(self, at_ns: int) -> None:
        """Something happened: what was before it was a silence."""
        self.quiet(at_ns)
        self.beats_told = self.heartbeats
        self.last_ns = max(self.last_ns, at_ns)
        self.events += 1

    def quiet(self, until_ns: int) -> None:
        """Nothing happened until then."""
        since = self.last_ns if self.last_ns >= 0 else self.started_ns
        if until_ns > since:
            self._silence(since, until_ns)

    def _silence(self, from_ns: int, until_ns: int) -> None:
        length = until_ns - from_ns
        if length < self.long_silence and self.longest is not None and length <= self.longest.length_ns:
            return
        during = next(reversed(self.waiting_for.values()), None)
        silence = Silence(from_ns, until_ns - from_ns, during, self.heartbeats - self.beats_told)
        if self.longest is None or silence.length_ns > self.longest.length_ns:
            self.longest = silence
        if silence.length_ns >= self.long_silence:
            self.silences.append(silence)

    def ask(
        self, text: str, at_ns: int, item_id: str | None = None, by: Asker = "user", *, midway: bool = False
    ) -> None:
        """What a user said, or somebody in a user's place; the same thing is not taken twice.

        `midway`: while the response was under way.
        """
        if item_id is not None and item_id in self.items:
            return
        known = any(asked.text == text for asked in self.asked) and not self.items
        if item_id is not None:
            self.items.add(item_id)
        if known:
            return
        asked = Asked(text, at_ns, "system" if text.startswith(SYSTEM_TEXT) else by, self.events)
        (self.midway if midway else self.asked).append(asked)
        if (since := max(at_ns, self.after_ns)) < self.started_ns:
            self._silence(since, self.started_ns)

    def restart(self, at_ns: int) -> None:
        """The server runs the turn again: what was under way is lost, and the answer begins anew."""
        self.break_text()
        self.break_thoughts()
        self.waiting_for.clear()
        self.begun = len(self.messages), len(self.thoughts)
        self.restarts.append(at_ns)
        number = len(self.restarts) + 1
        self.note(f"the runner was restarted, and the server ran the turn again: attempt {number} begins here", at_ns)

    def note(self, text: str, at_ns: int) -> None:
        self.notes.append(Note(at_ns, text, self.events))

    def say(self, delta: str, at_ns: int, message_id: str | None = None) -> None:
        block = self.messages[-1] if self.messages else None
        other = block is not None and message_id is not None and message_id != block.message_id
        if block is None or block.closed or other:
            block = Block(at_ns, self.events, message_id)
            self.messages.append(block)
        block.add(delta, at_ns)

    def say_again(self, text: str, at_ns: int) -> None:
        """The text in flight, sent again: only what nobody had heard of it is new."""
        block = self.messages[-1] if self.messages and not self.messages[-1].closed else None
        heard = block.text if block else ""
        if heard.startswith(text):
            return
        if text.startswith(heard):
            self.say(text[len(heard) :], at_ns)
        else:
            self.break_text()
            self.say(text, at_ns)

    def store(self, text: str, at_ns: int) -> None:
        """The server stored a message. It is the text that was just said, unless nothing was."""
        block = self.messages[-1] if self.messages else None
        if block is not None and block.closed and text in (block.text, block.stored):
            block.stored = text
            return
        if block is None or block.closed:
            block = Block(at_ns, self.events)
            self.messages.append(block)
        block.stored, block.closed = text, True

    def break_text(self) -> None:
        if self.messages:
            self.messages[-1].closed = True

    def think(self, delta: str, at_ns: int, *, whole: bool = False) -> None:
        """A piece of its thoughts, or all of them: a block goes on until something else is said or done."""
        block = self.thoughts[-1] if self.thoughts else None
        if block is None or block.closed:
            block = Block(at_ns, self.events)
            self.thoughts.append(block)
        if whole:
            block.stored, block.closed = delta, True
        else:
            block.add(delta, at_ns)
        block.last_ns = at_ns

    def break_thoughts(self) -> None:
        if self.thoughts:
            self.thoughts[-1].closed = True

    def call(self, call_id: str, name: str, arguments: str, status: str | None, at_ns: int) -> None:
        """A tool is called; it is told again when the call is complete."""
        self.break_text()
        known = self.tools.get(call_id)
        if known is None:
            self.tools[call_id] = Tool(call_id, name, arguments, None, at_ns, None, status, self.events)
            self.waiting_for[call_id] = name
        else:
            before = known.arguments if arguments == "{}" and known.arguments not in ("", "{}") else known.replaced
            self.tools[call_id] = replace(
                known, name=name or known.name, arguments=arguments, status=status, replaced=before
            )

    def hand_back(self, call_id: str, output: str | None, status: str | None, at_ns: int) -> None:
        """A tool has answered."""
        known = self.tools.get(call_id) or Tool(call_id, "", "", None, at_ns, None, None, self.events)
        self.tools[call_id] = replace(
            known, output=output, returned_ns=at_ns, status=status or known.status, failed=failure_in(output, status)
        )
        self.waiting_for.pop(call_id, None)

    def end(self, ended: Ended, at_ns: int, error: Fault | None = None) -> None:
        """It is over. What an interrupt cut short is `interrupted`, whatever the wire calls that."""
        cut_short = self.interrupted and ended in ("incomplete", "cancelled", "unfinished")
        self.ended = "interrupted" if cut_short else ended
        self.ended_ns = None if self.ended == "unfinished" else at_ns
        self.error = error or self.error

    def freeze(self, recording: int, session_id: str | None, number: int) -> Turn:
        """The turn. What it said and thought is put together here, once."""
        messages, thoughts = _passages(self.messages), _passages(self.thoughts)
        starts = [block.first_ns for block in self.messages]
        return Turn(
            recording=recording, session_id=session_id, turn=number,
            asked=tuple(self.asked), asked_ns=min((asked.at_ns for asked in self.asked), default=None),
            started_ns=self.started_ns, first_text_ns=min(starts, default=None), ended_ns=self.ended_ns,
            last_event_ns=max(self.last_ns, self.started_ns), ended=self.ended, error=self.error,
            text="\n\n".join(passage.text for passage in _passages(self.messages[self.begun[0] :])),
            reasoning="\n\n".join(passage.text for passage in _passages(self.thoughts[self.begun[1] :])),
            messages=messages, thoughts=thoughts, tools=tuple(self._tools()),
            approvals=tuple(self.approvals.values()), children=tuple(self.children.values()),
            response_id=self.response_id, agent=self.agent, model=self.model, usage=self.usage,
            troubles=tuple(self.troubles), notes=tuple(self.notes), longest_silence=self.longest,
            silences=tuple(self.silences), events=self.events, odd_events=self.odd_events,
            heartbeats=self.heartbeats, restarts_ns=tuple(self.restarts), joined_ns=self.joined_ns,
        )  # fmt: skip

    def _tools(self) -> Iterator[Tool]:
        for tool in self.tools.values():
            printed = self.printed.get(tool.call_id)
            yield replace(tool, output=printed.text) if printed and tool.output is None else tool


def _passages(blocks: list[Block]) -> tuple[Passage, ...]:
    return tuple(passage for passage in (block.passage() for block in blocks) if passage.text)


_AT_ONCE = 20_000_000
"""What took less than this, in ns, has no pace worth a number."""


class Pace(NamedTuple):
    """How a turn's text came."""

    first_ns: int | None
    """From the question to the first delta, of text or of thoughts; None where either was not seen."""
    deltas: int
    """How many there were, of both."""
    deltas_per_s: float | None
    """Of what came behind the first delta of each stretch; None where there is nothing to measure, or all came at
    once."""


def pace_of(turn: Turn) -> Pace:
    """The pace of a turn. Deltas are counted, not tokens: the wire does not say how many tokens a delta holds."""
    streamed = [passage for passage in (*turn.thoughts, *turn.messages) if passage.pieces]
    begin = min((passage.first_ns for passage in streamed), default=None)
    known = begin is not None and turn.asked_ns is not None and begin > turn.asked_ns
    return Pace(
        begin - turn.asked_ns if known and begin is not None and turn.asked_ns is not None else None,
        sum(passage.pieces for passage in streamed),
        _rate(streamed),
    )


def _rate(streamed: list[Passage]) -> float | None:
    gaps = sum(passage.pieces - 1 for passage in streamed)
    took = sum(passage.last_ns - passage.first_ns for passage in streamed)
    return gaps * 1e9 / took if gaps > 0 and took >= _AT_ONCE else None


Marks = list[int]
"""Times and lengths, one after the other: at so many ns the text had so many UTF-16 code units, as a browser counts."""


def growth_of(draft: Draft) -> dict[str, Any]:
    """The marks of a turn's messages and thoughts, in the order of their passages; and, by call id, what its tools put
    out while they ran: `[text, marks]`."""
    return {
        "messages": _all(draft.messages),
        "thoughts": _all(draft.thoughts),
        "printed": {call_id: [block.text, marks(block)] for call_id, block in draft.printed.items()},
    }


def marks(block: Block) -> Marks:
    """Those of one text; one that came at once has only its end."""
    if not block.parts:
        return [block.first_ns, units(block.stored or "")]
    found, length = [], 0
    for part, at_ns in zip(block.parts, block.times, strict=True):
        length += units(part)
        found += [at_ns, length]
    return found


def units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def _all(blocks: Iterable[Block]) -> list[Marks]:
    return [marks(block) for block in blocks if block.text or block.stored]
