"""A turn while it is built, its pace, and the growth of its texts. Pure.

Text comes in blocks. A block ends where the server stores it as an item, at a tool call, and where an event names
another message.

Growth: a text at a given time is the beginning of `Passage.text`, as long as the last mark up to that time says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from ...model import TimedFrame
from .begin_and_end import Asker, Course
from .tool_output import failure_in
from .values import Approval, Child, Note, Passage, Ref, Silence, Tool, Trouble, Turn, TurnUsage

LONG_SILENCE = 5_000_000_000
"""Length of a long silence, at least, in ns."""


class Block:
    """A growing stretch of text."""

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

    def add_all(self, parts: Sequence[str], times: Sequence[int]) -> None:
        self.parts += parts
        self.times += times
        self.last_ns = times[-1]

    def passage(self) -> Passage:
        text = self.text
        as_stored = None if self.stored is None or not self.parts else text == self.stored
        return Passage(text or self.stored or "", self.first_ns, self.last_ns, len(self.parts), as_stored, self.place)


@dataclass(eq=False, slots=True)
class Trace:
    """The events that show one thing: a tool call, a question to the user, or a sub-agent."""

    begun: list[Ref] = field(default_factory=list)
    """The calls, the questions, or the first event."""
    ended: list[Ref] = field(default_factory=list)
    """The outputs, the answers, or the statuses."""
    told: list[str | None] = field(default_factory=list)
    """The action or the status that each of `ended` has."""
    error: str = ""
    """The error that the last of `ended` has."""


@dataclass(eq=False, slots=True)
class Part:
    """What one stream carried of one turn."""

    first: TimedFrame
    last: TimedFrame
    before: TimedFrame | None = None
    """The event before `last`."""


@dataclass(eq=False)
class Draft(Course):
    """One turn, with its texts, tools and silences."""

    agent: str | None = None
    model: str | None = None
    usage: TurnUsage | None = None
    begun: tuple[int, int] = (0, 0)
    """The numbers of messages and thoughts at the beginning of its last attempt."""
    restarts: list[int] = field(default_factory=list)
    """The times in ns at which the server ran it again, because its runner was restarted."""
    messages: list[Block] = field(default_factory=list)
    thoughts: list[Block] = field(default_factory=list)
    tools: dict[str, Tool] = field(default_factory=dict)
    printed: dict[str, Block] = field(default_factory=dict)
    """By call id: the output of running tools so far."""
    approvals: dict[str, Approval] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    traces: dict[str, Trace] = field(default_factory=dict)
    """The events of its calls, questions and sub-agents, by their ids."""
    parts: dict[int, Part] = field(default_factory=dict)
    """By stream."""
    spoke: TimedFrame | None = None
    """The last event of its response."""
    end_ref: Ref | None = None
    """The event that ended it."""
    late_ends: list[tuple[str, Ref, Ref]] = field(default_factory=list)
    """The ends that came after its rest: type, the rest, the event."""
    unbegun: tuple[str, Ref] | None = None
    """The id of its response, and the event that ended this response, if no event began it."""
    cut: list[tuple[str, Ref, Ref]] = field(default_factory=list)
    """The responses that a restart of the runner cut: id, last event, first event of the next one."""
    lost: Ref | None = None
    """The event that says that the runner was lost after the turn."""
    quiet_refs: dict[int, tuple[Ref, Ref]] = field(default_factory=dict)
    """The events around each long silence, by its beginning in ns."""
    troubles: list[Trouble] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    longest: Silence | None = None
    short_ns: int = 0
    """Length of a silence that is not noted, at most, in ns."""
    long_silence: int = LONG_SILENCE
    """Length of a silence that is kept, at least, in ns."""
    after_ns: int = 0
    """The end of the turn before, in ns: an earlier question had to wait."""
    last_ns: int = -1
    odd_events: int = 0
    heartbeats: int = 0
    joined_ns: int | None = None
    """The time of the last connect snapshot with its text, in ns."""
    beats_told: int = 0
    """The number of heartbeats in silences that are over."""

    def touch(self, at_ns: int) -> None:
        """Count an event, which ends a silence."""
        if at_ns - self.last_ns > self.short_ns:
            self.quiet(at_ns)
        self.beats_told = self.heartbeats
        if at_ns > self.last_ns:
            self.last_ns = at_ns
        self.events += 1

    def touch_all(self, times: Sequence[int]) -> None:
        """Count events, each of which ends a silence."""
        self.beats_told = self.heartbeats
        for at_ns in times:
            if at_ns - self.last_ns > self.short_ns:
                self.quiet(at_ns)
            if at_ns > self.last_ns:
                self.last_ns = at_ns
        self.events += len(times)

    def quiet(self, until_ns: int, since_ns: int | None = None) -> None:
        """Note a silence up to that time. `since_ns`: its beginning, by default the last event."""
        if since_ns is None:
            since_ns = self.last_ns if self.last_ns >= 0 else self.started_ns
        length = until_ns - since_ns
        if length <= self.short_ns:
            return
        silence = Silence(since_ns, length, self.waits_for, self.heartbeats - self.beats_told)
        if self.longest is None or length > self.longest.length_ns:
            self.longest = silence
            self.short_ns = min(length, max(self.long_silence - 1, 0))
        if length >= self.long_silence:
            self.silences.append(silence)

    def ask(
        self, text: str, at_ns: int, item_id: str | None = None, by: Asker = "user", *, midway: bool = False
    ) -> bool:
        is_new = super().ask(text, at_ns, item_id, by, midway=midway)
        if is_new:
            self.quiet(self.started_ns, max(at_ns, self.after_ns))
        return is_new

    def restart(self, at_ns: int) -> None:
        """Begin another attempt of the turn: the server runs it again, and the answer begins anew."""
        self.break_text()
        self.break_thoughts()
        self.begun = len(self.messages), len(self.thoughts)
        self.restarts.append(at_ns)
        self.note(
            f"the runner was restarted, and the server ran the turn again: attempt {self.attempts} begins here", at_ns
        )

    def note(self, text: str, at_ns: int) -> None:
        self.notes.append(Note(at_ns, text, self.events))

    def forget(self) -> None:
        """Forget the complete texts, and what was noted."""
        for some in (self.messages, self.thoughts):
            del some[:-1]
        for noted in (self.notes, self.troubles, self.silences):
            noted.clear()

    def _open(self, blocks: list[Block], at_ns: int, message_id: str | None = None) -> Block:
        """Return the last block if it can grow, or a new one."""
        if not blocks or blocks[-1].closed or message_id not in (None, blocks[-1].message_id):
            blocks.append(Block(at_ns, self.events, message_id))
        return blocks[-1]

    def say(self, delta: str, at_ns: int, message_id: str | None = None) -> None:
        self._open(self.messages, at_ns, message_id).add(delta, at_ns)

    def say_again(self, text: str, at_ns: int) -> None:
        """Add text in flight that the server sent again: only the end that no stream has brought yet."""
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
        """Add a stored message. It is the text of the last block, if there is one."""
        block = self.messages[-1] if self.messages else None
        if block is None or (block.closed and text not in (block.text, block.stored)):
            block = self._open(self.messages, at_ns)
        block.stored = text
        block.closed = True

    def break_text(self) -> None:
        if self.messages:
            self.messages[-1].closed = True

    def think(self, delta: str, at_ns: int, *, whole: bool = False) -> None:
        """Add a delta of its thoughts; `whole`: all of them. A block ends with any other event of the answer."""
        block = self._open(self.thoughts, at_ns)
        if whole:
            block.stored = delta
            block.closed = True
        else:
            block.add(delta, at_ns)
        block.last_ns = at_ns

    def break_thoughts(self) -> None:
        if self.thoughts:
            self.thoughts[-1].closed = True

    def call(self, call_id: str, name: str, arguments: str, status: str | None, at_ns: int) -> None:
        """Add a tool call. A second event of the same call completes it."""
        self.break_text()
        known = self.tools.get(call_id)
        if known is None:
            self.tools[call_id] = Tool(call_id, name, arguments, None, at_ns, None, status, self.events)
        else:
            before = known.arguments if arguments == "{}" and known.arguments not in ("", "{}") else known.replaced
            self.tools[call_id] = replace(
                known, name=name or known.name, arguments=arguments, status=status, replaced=before
            )

    def hand_back(self, call_id: str, output: str | None, status: str | None, at_ns: int) -> None:
        known = self.tools.get(call_id) or Tool(call_id, "", "", None, at_ns, None, None, self.events)
        failed = failure_in(output, status)
        status = status or known.status
        self.tools[call_id] = replace(known, output=output, returned_ns=at_ns, status=status, failed=failed)

    @property
    def is_cut(self) -> bool:
        """Whether no event ended it on a stream that carried it: its end was not heard."""
        end = self.end_ref
        if self.ended != "unfinished" or end is None:
            return self.ended == "unfinished"
        part = self.parts.get(end.stream)
        return part is None or part.first.seq >= end.seq

    @property
    def until_ns(self) -> int:
        """The time of the event that ended it, or of its last event."""
        return max(self.last_ns, self.started_ns) if self.end_ref is None else self.end_ref.at_ns

    def carry(self, frame: TimedFrame) -> None:
        """Note that a stream carried an event of it."""
        part = self.parts.get(frame.stream)
        if part is None:
            self.parts[frame.stream] = Part(frame, frame)
        else:
            part.before = part.last
            part.last = frame

    def trace(self, id_: str) -> Trace:
        """Return the events of a call, a question or a sub-agent."""
        return self.traces.setdefault(id_, Trace())

    def freeze(
        self,
        recording: int,
        session_id: str | None,
        number: int,
        answered: Callable[[Approval], Approval] = lambda one: one,
    ) -> Turn:
        """Return the turn as a value. Its texts are joined here, once. `answered`: adds an answer to an approval."""
        messages, thoughts = _passages(self.messages), _passages(self.thoughts)
        starts = [block.first_ns for block in self.messages] if self.events else []  # a read has no time of a text
        return Turn(
            recording=recording,
            session_id=session_id,
            turn=number,
            asked=tuple(self.asked),
            asked_ns=min((asked.at_ns for asked in self.asked), default=None),
            started_ns=self.started_ns,
            first_text_ns=min(starts, default=None),
            ended_ns=self.ended_ns,
            last_event_ns=max(self.last_ns, self.started_ns),
            ended=self.ended,
            error=self.error,
            text="\n\n".join(passage.text for passage in _passages(self.messages[self.begun[0] :])),
            reasoning="\n\n".join(passage.text for passage in _passages(self.thoughts[self.begun[1] :])),
            messages=messages,
            thoughts=thoughts,
            tools=tuple(map(self._told, self.tools.values())),
            approvals=tuple(map(answered, self.approvals.values())),
            children=tuple(self.children.values()),
            response_id=self.response_id,
            agent=self.agent,
            model=self.model,
            usage=self.usage,
            troubles=tuple(self.troubles),
            notes=tuple(self.notes),
            longest_silence=self.longest,
            silences=tuple(self.silences),
            events=self.events,
            odd_events=self.odd_events,
            heartbeats=self.heartbeats,
            restarts_ns=tuple(self.restarts),
            joined_ns=self.joined_ns,
        )

    def _told(self, tool: Tool) -> Tool:
        """Return a tool call; while it runs, with its output so far."""
        printed = self.printed.get(tool.call_id)
        return replace(tool, output=printed.text) if printed and tool.output is None else tool


def _passages(blocks: list[Block]) -> tuple[Passage, ...]:
    return tuple(passage for passage in (block.passage() for block in blocks) if passage.text)


AT_ONCE = 20_000_000
"""Duration of text that has a pace, at least, in ns."""


class Pace(NamedTuple):
    first_ns: int | None
    """From the question to the first delta of text or thoughts, in ns; None if either is unknown."""
    deltas: int
    """The number of deltas of text and thoughts."""
    deltas_per_s: float | None
    """The rate of the deltas after the first one of each stretch; None if there are none, or all came at once."""


def pace_of(turn: Turn) -> Pace:
    """Return the pace of a turn in deltas. Events do not say how many tokens a delta has."""
    streamed = [passage for passage in (*turn.thoughts, *turn.messages) if passage.pieces]
    begin = min((passage.first_ns for passage in streamed), default=None)
    is_known = begin is not None and turn.asked_ns is not None and begin > turn.asked_ns
    first_ns = (begin or 0) - (turn.asked_ns or 0) if is_known else None
    deltas = sum(passage.pieces for passage in streamed)
    gaps = deltas - len(streamed)
    took = sum(passage.last_ns - passage.first_ns for passage in streamed)
    return Pace(first_ns, deltas, gaps * 1e9 / took if gaps > 0 and took >= AT_ONCE else None)


Marks = list[int]
"""Times and lengths in turn: at so many ns the text had so many UTF-16 code units, as a browser counts them."""


def growth_of(draft: Draft) -> dict[str, Any]:
    """Return the marks of a turn's messages and thoughts, in the order of their passages; and by call id the output of
    running tools: `[text, marks]`."""
    return {
        "messages": [marks(block) for block in draft.messages if block.text or block.stored],
        "thoughts": [marks(block) for block in draft.thoughts if block.text or block.stored],
        "printed": {call_id: [block.text, marks(block)] for call_id, block in draft.printed.items()},
    }


def marks(block: Block) -> Marks:
    """Return the marks of one text; of a text that came as a whole, only its end."""
    if not block.parts:
        return [block.first_ns, units(block.stored or "")]
    found = []
    length = 0
    for part, at_ns in zip(block.parts, block.times, strict=True):
        length += units(part)
        found += [at_ns, length]
    return found


def units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
