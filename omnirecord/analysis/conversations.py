"""Conversations of model calls without Omnigent as sessions: a turn is a message of the user with its calls.

    for one in conversations_in(calls, recordings):
        one.session, one.conclusion

The session has no stream and no client. Its id is the name of the conversation, and `Session.conversation` its number.
The attempts of a call are one call: a refused attempt is a trouble of the turn. The output of a tool is in the request
after the call that asked for it.

If no output follows the last call, the agent stopped in its tool, or the tool ended the run of the agent. Some
frameworks have tools whose arguments are the result. The names of these tools, the request, and the exit code of the
recorded command tell which.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..cassette.labels import exit_code_of, outlived_by, signal_of, told_signal
from ..cassette.select import Source
from ..model import Recording, starts_of, total, wall_clock
from ..providers.answers import CallUsage
from ..providers.call import ModelCall
from ..providers.parts import Item, after_answer
from ..text import clip, joined, one_line, seconds
from .gather import model_calls
from .model_calls.values import Link, ModelCalls, Talk, TurnKey
from .turns.conclusion import MOST_ASKED, Code, Conclusion, Outcome
from .turns.tool_output import failure_in
from .turns.values import Asked, Ended, Fault, Passage, Session, Tool, Trouble, Turn, TurnUsage, total_cost

_MOST_TOOLS = 3
"""Tools that are named."""
_MOST_WHY = 80
"""Length of an error's text in a verdict, in characters."""


class CommandEnd(NamedTuple):
    """The end of a recorded command."""

    exit_code: int | None = None
    """None if it is not known."""
    signal: str | None = None
    """The name of the signal that ended the command; None if none did."""
    outlived_by: int = 0
    """The number of processes that outlived the command."""

    @property
    def told(self) -> str:
        """A further sentence about a command that did not end well; else empty."""
        if self.signal is not None:
            return f" The program was {told_signal(self.signal)}."
        return f" The program ended with exit code {self.exit_code}." if self.exit_code else ""


class ConcludedTalk(NamedTuple):
    """A conversation as a session, and how it ended."""

    talk: Talk
    session: Session
    conclusion: Conclusion
    calls: ModelCalls
    """Its calls with their turns. `Link.request` is the number of a call in the conversation."""
    without_output: tuple[str, ...] = ()
    """The names of the tools of the last call whose outputs were not sent, unless they are the result of the agent."""
    end: CommandEnd = CommandEnd()
    """The end of the recorded command."""

    @property
    def links(self) -> dict[int, Link]:
        """Its calls by exchange, with their times on the clock of its first recording."""
        return {link.call.exchange: link for link in self.calls.links}

    @property
    def stream(self) -> None:
        """It has no stream, as a stream without a session has."""


def conversations_in(calls: ModelCalls, recordings: Iterable[Recording]) -> list[ConcludedTalk]:
    """Return the conversations of a cassette whose calls have no turn, by their beginning."""
    return Conversations().of(calls, recordings)


class Conversations:
    """The conversations of calls that are recorded: each is made again only if it has changed."""

    def __init__(self) -> None:
        self._made: dict[int, ConcludedTalk] = {}

    def of(self, calls: ModelCalls, recordings: Iterable[Recording]) -> list[ConcludedTalk]:
        """Return what `conversations_in` returns."""
        by_number = {one.recording: one for one in recordings}
        before = self._made
        self._made = {}
        for talk in calls.talks:
            made = before.get(talk.number)
            labels = by_number[talk.links[-1].call.recording].labels
            end = CommandEnd(exit_code_of(labels), signal_of(labels), outlived_by(labels))
            if made is None or made.talk is not talk or made.end != end:
                made = _concluded(talk, by_number, end)
            self._made[talk.number] = made
        return list(self._made.values())


def calls_with_turns(store: Source) -> ModelCalls:
    """Return the model calls of a cassette, those of conversations with their turns in these."""
    calls = model_calls(store)
    conversations = conversations_in(calls, store.recordings())
    return with_turns(calls, conversations) if conversations else calls


def with_turns(calls: ModelCalls, conversations: Iterable[ConcludedTalk]) -> ModelCalls:
    """Return the calls of a cassette, those of conversations with their turns in these."""
    own = {link.call.exchange: link for one in conversations for link in one.calls.links}
    links = [own.get(link.call.exchange, link) for link in calls.links]
    return ModelCalls.of_links(links, calls.offsets)


def _concluded(talk: Talk, recordings: dict[int, Recording], end: CommandEnd) -> ConcludedTalk:
    first = talk.links[0].call
    zeros = starts_of(recordings.values())
    builder = _Builder(talk, has_succeeded=end.exit_code == 0)
    links: list[Link] = []
    for link, place in talk.calls:
        shift_ns = zeros[link.call.recording] - zeros[first.recording]
        turn = builder.add(link.call, shift_ns, is_again=place.attempt > 1)
        links.append(
            replace(
                link,
                turn=TurnKey(first.recording, talk.session_id, turn),
                by="conversation",
                certainty="ambiguous" if place.candidates else "likely",
                request=place.call,
                attempt=place.attempt,
                shift_ns=shift_ns,
                again=place.again,
            )
        )
    session = builder.session(recordings[first.recording].started_at)
    open_ = builder.without_output()
    conclusion = _conclusion(session, talk.links[-1], builder.until_ns, open_, end)
    return ConcludedTalk(talk, session, conclusion, ModelCalls.of_links(links, ()), open_, end)


@dataclass(slots=True)
class _Turn:
    """A turn that grows."""

    begin_ns: int
    asked: tuple[Asked, ...]
    messages: list[Passage]
    thoughts: list[Passage]
    tools: list[Tool]
    troubles: list[Trouble]
    calls: list[ModelCall]
    end_ns: int
    first_event_ns: int | None = None

    def new_in(self, items: tuple[Item, ...]) -> tuple[Item, ...]:
        """Return the items of its next request that are new: those after the model's answer. If the last call has no
        answer, such as before a fallback to another model, its own items are not new."""
        last = self.calls[-1]
        sent = () if last.has_answer or last.conversation is None else last.conversation.items
        is_again = bool(sent) and items[: len(sent)] == sent
        return items[max(after_answer(items), len(sent) if is_again else 0) :]

    def without_output(self) -> tuple[str, ...]:
        """Return the names of the tools of the last call without an output, unless they are the result."""
        last = self.calls[-1]
        if last.ending != "completed" or last.gives_output:
            return ()
        own = self.tools[len(self.tools) - len(last.tool_calls) :]
        return tuple(one.name for one in own if one.returned_ns is None)


class _Builder:
    """Makes a session of calls."""

    def __init__(self, talk: Talk, *, has_succeeded: bool) -> None:
        self._talk = talk
        self._has_succeeded = has_succeeded
        self._turns: list[_Turn] = []
        self.until_ns = 0

    def add(self, call: ModelCall, shift_ns: int, *, is_again: bool) -> int:
        """Add the next call; return the number of its turn. A time of the call plus `shift_ns` is one on the clock of
        the session."""
        at_ns = call.started_ns + shift_ns
        items = () if call.conversation is None else call.conversation.items
        new = self._turns[-1].new_in(items) if self._turns else items[after_answer(items) :]
        if is_again:
            new = ()
        asked = tuple(Asked(one.text, at_ns, "user") for one in new if one.kind == "user")
        if not asked and not self._turns:  # its beginning is in another conversation, or was not recorded
            asked = tuple(Asked(one.text, at_ns, "user") for one in items if one.kind == "user")[-1:]
        if asked or not self._turns:
            self._turns.append(_Turn(at_ns, asked, [], [], [], [], [], at_ns))
        turn = self._turns[-1]
        for item in new:
            if item.kind == "output":
                self._returned(item, at_ns)
        turn.calls.append(call)
        if turn.first_event_ns is None and call.first_event_ns is not None:
            turn.first_event_ns = call.first_event_ns + shift_ns
        turn.end_ns = max(turn.end_ns, at_ns if call.ended_ns is None else call.ended_ns + shift_ns)
        self.until_ns = max(self.until_ns, turn.end_ns)
        turn.messages += _passages(call, shift_ns)
        if call.reasoning:
            turn.thoughts.append(_passage(call, call.reasoning, -1, shift_ns))
        for one in call.tool_calls:
            asked_ns = turn.end_ns if one.at_ns is None else one.at_ns + shift_ns
            turn.tools.append(Tool(one.call_id, one.name, one.arguments, None, asked_ns, None, None))
        if call.has_failed:
            turn.troubles.append(Trouble(turn.end_ns, "error", call.hop, None, call.reason, call.error or ""))
        return len(self._turns)

    def _returned(self, item: Item, at_ns: int) -> None:
        """Give a tool its output: by its id, else by its name. An output without both is that of all calls before."""
        is_named = bool(item.call_id or item.name)
        for turn in reversed(self._turns):
            for number, tool in enumerate(turn.tools):
                is_it = tool.call_id == item.call_id if item.call_id else item.name in ("", tool.name)
                if tool.output is None and is_it:
                    turn.tools[number] = replace(
                        tool, output=item.text, returned_ns=at_ns, status="completed", failed=failure_in(item.text)
                    )
                    if is_named:
                        return

    def without_output(self) -> tuple[str, ...]:
        """Return the names of the tools that the conversation ends with."""
        return self._turns[-1].without_output()

    def session(self, started_at: str) -> Session:
        first = self._talk.links[0].call
        turns = tuple(self._turn(number, one) for number, one in enumerate(self._turns, 1))
        is_open = any(link.call.ending == "open" for link in self._talk.links)
        return Session(
            recording=first.recording,
            session_id=self._talk.session_id,
            parent_id=None,
            begun_ns=first.started_ns,
            ended_ns=None if is_open else self.until_ns,
            streams=(),
            turns=turns,
            started_at=wall_clock(started_at, first.started_ns),
            until_ns=self.until_ns,
            conversation=self._talk.number,
        )

    def _turn(self, number: int, one: _Turn) -> Turn:
        last = one.calls[-1]
        ended = "unfinished" if one.without_output() and not self._has_succeeded else _ended(last)
        first = next((text.first_ns for text in one.messages), None)
        fault = Fault(last.reason, last.error or "") if ended == "failed" else None
        return Turn(
            recording=self._talk.links[0].call.recording,
            session_id=self._talk.session_id,
            turn=number,
            asked=one.asked,
            asked_ns=one.begin_ns,
            started_ns=one.begin_ns if one.first_event_ns is None else one.first_event_ns,
            first_text_ns=first,
            ended_ns=None if ended == "unfinished" and last.cut_by != "client" else one.end_ns,
            last_event_ns=one.end_ns,
            ended=ended,
            error=fault,
            text="\n\n".join(text.text for text in one.messages),
            reasoning="\n\n".join(text.text for text in one.thoughts),
            messages=tuple(one.messages),
            thoughts=tuple(one.thoughts),
            tools=tuple(one.tools),
            approvals=(),
            children=(),
            response_id=last.response_id,
            agent=None,
            model=last.model,
            usage=_usage(one.calls),
            troubles=tuple(one.troubles),
            notes=(),
            longest_silence=None,
            silences=(),
            events=sum(call.events for call in one.calls),
            odd_events=sum(call.odd_events for call in one.calls),
            heartbeats=0,
        )


def _passages(call: ModelCall, shift_ns: int) -> Iterator[Passage]:
    for part, text in enumerate(call.texts):
        if text:
            yield _passage(call, text, part, shift_ns)


def _passage(call: ModelCall, text: str, part: int, shift_ns: int) -> Passage:
    times = [one.at_ns for one in call.deltas if one.part == part]
    times = times or [call.started_ns if call.ended_ns is None else call.ended_ns]
    pieces = sum(one.part == part for one in call.deltas)
    return Passage(text, times[0] + shift_ns, times[-1] + shift_ns, pieces)


def _usage(calls: Sequence[ModelCall]) -> TurnUsage | None:
    used = [call.usage for call in calls if call.usage is not None]
    if not used:
        return None
    names = ("input_tokens", "output_tokens", "reasoning_tokens", "total_tokens")
    asked, said, thought, both = (total(getattr(usage, name) for usage in used) for name in names)
    return TurnUsage(asked, said, thought, both, cost_of(used))


def cost_of(used: Iterable[CallUsage]) -> float | None:
    """Return the cost of calls in USD; None if no provider states it."""
    return total_cost(usage.cost_usd for usage in used)


def _ended(call: ModelCall) -> Ended:
    """Return how the turn ended whose last call this is."""
    if call.has_failed:
        return "failed"
    if call.ending == "incomplete":
        return "incomplete"
    return "completed" if call.ending == "completed" else "unfinished"


def _conclusion(
    session: Session, last: Link, until_ns: int, without_output: Sequence[str], end: CommandEnd
) -> Conclusion:
    call = last.call
    code, outcome, said = _how(call, end)
    if without_output and end.exit_code != 0:
        code = "tool_without_output"
        outcome = "unfinished"
        said = f"Unfinished: no output of {named_tools(without_output)}"
    since_ns = call.started_ns if outcome == "recording" else until_ns
    since = wall_clock(session.started_at or "", since_ns - session.begun_ns)
    word = "since" if outcome == "recording" or code == "tool_without_output" else "at"
    told = [None if call.is_unreached or call.ending == "cut" else call.reason, call.error]
    why = joined(told, ": ") if outcome == "failed" or code == "model_incomplete" else ""
    reason = f": {clip(one_line(why), _MOST_WHY).rstrip('.')}" if why else ""
    first = next((one.text for turn in session.turns for one in turn.asked if one.text), None)
    return Conclusion(
        code=code,
        outcome=outcome,
        verdict=f"{said}{reason} {word} {since[11:19]} UTC",
        sentence=_sentence_without_output(without_output, end) if without_output else _sentence(said, reason, end),
        since_ns=since_ns,
        since=since,
        ending=None,
        duration_s=None if session.duration_ns is None else session.duration_ns / 1e9,
        connected=(),
        asked=None if first is None else first[:MOST_ASKED],
    )


def _sentence(said: str, reason: str, end: CommandEnd) -> str:
    told = said if ": " in said else f"{said}: the model had answered, and nothing more was asked"
    is_told = end.signal is not None and end.signal in said
    return f"{told}{reason}".rstrip(".") + "." + ("" if is_told else end.told)


def named_tools(names: Sequence[str]) -> str:
    """Return the names of tools as words."""
    shown = ", ".join(clip(one_line(name), 60) or "(no name)" for name in names[:_MOST_TOOLS])
    return f"the tool{'' if len(names) == 1 else 's'} {shown}{' and others' if len(names) > _MOST_TOOLS else ''}"


def _sentence_without_output(names: Sequence[str], end: CommandEnd) -> str:
    code = " The program ended with exit code 0." if end.exit_code == 0 else end.told
    return f"The last answer calls {named_tools(names)}, and no output was sent to the model.{code}"


def _how(call: ModelCall, end: CommandEnd) -> tuple[Code, Outcome, str]:
    """Return the code, the outcome and the verdict of a conversation whose last call this is."""
    if call.ending == "completed":
        return "finished", "finished", "Finished"
    if call.ending == "incomplete":
        return "model_incomplete", "finished", "Finished: the answer is incomplete"
    if call.ending == "refused":
        return "model_failed", "failed", f"Failed: {call.refusal}"
    if call.ending == "open":
        return "still_recording", "recording", "Recording: the model works"
    if call.is_in_background:
        return "unknown", "unknown", f"Unknown: {call.last_seen}"
    if call.ending == "unknown":
        return "unknown", "unknown", f"Unknown: the provider answered {call.status} in an unknown form"
    if call.ending == "cut":
        return _how_cut(call, end)
    if call.is_unreached:
        return "model_failed", "failed", "Failed: the provider could not be reached"
    return "model_failed", "failed", "Failed: the model call failed"


def when_cut(call: ModelCall) -> str:
    """Return at what time the client of a call left."""
    if call.deltas:
        return "in the middle of the answer"
    waited = seconds(max((call.ended_ns or 0) - call.started_ns, 0))
    lacking = "an answer" if call.status is None else "a token"
    return f"after {waited} without {lacking}"


def _how_cut(call: ModelCall, end: CommandEnd) -> tuple[Code, Outcome, str]:
    if call.cut_by == "client":
        who = "the client left" if end.signal is None else f"the program was {told_signal(end.signal)}"
        return "call_cut", "unfinished", f"Unfinished: {who} {when_cut(call)}"
    if call.is_killed:
        return "call_cut", "unfinished", "Unfinished: the recorder was killed"
    if call.cut_by == "recorder":
        who = "the recorder was stopped" if end.exit_code is None else "the command ended before the answer"
        return "call_cut", "unfinished", f"Unfinished: {who}"
    return "model_failed", "failed", "Failed: the provider cut the answer"
