"""The links between model calls and turns, and where the time of a turn went: frozen values. Pure.

A time of a call is ns on the clock of its own recording.

Each moment of a turn counts once, for the first of these: approval, model call, wait before a retry, tool, harness.
What ends after its turn counts up to the end of the turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from operator import attrgetter
from typing import Any, Literal, NamedTuple

from ...model import by_key
from ...providers.call import ModelCall
from ...providers.conversation import Conversation, Tool
from ...providers.grouping import Place, conversation_name
from ...providers.parts import Item, after_answer
from ...text import as_json, counted, dumps
from ..turns.builder import Span, union
from ..turns.values import Turn

By = Literal["call_id", "conversation", "retry", "time"]
"""The evidence of a link. `call_id`: a tool call of the turn; `conversation`: the user's message, the history and the
streamed text; `retry`: another attempt of the same request; `time`: no other turn was open."""
Certainty = Literal["exact", "likely", "ambiguous"]
MAX_CANDIDATES = 20
"""Most turns that an ambiguous link names."""
USAGE = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "total_tokens")


class TurnKey(NamedTuple):
    """Names a turn of a cassette."""

    recording: int
    session_id: str | None
    turn: int


def key_of(turn: Turn) -> TurnKey:
    return TurnKey(turn.recording, turn.session_id, turn.turn)


@dataclass(frozen=True, slots=True)
class Link:
    """One model call, and the turn that it belongs to."""

    call: ModelCall
    turn: TurnKey | None
    """None if no turn is known, or several are possible."""
    by: By | None
    certainty: Certainty | None
    """None if no turn is possible."""
    candidates: tuple[TurnKey, ...] = ()
    """The possible turns of an ambiguous call, at most `MAX_CANDIDATES`."""
    request: int = 0
    """The number of its request. The attempts of one request share it."""
    attempt: int = 1
    """Its number among the recorded attempts of its request, from 1."""
    shift_ns: int = 0
    """A time of the call plus this is a time on the clock of the turn's recording."""
    again: int = 0
    """The number of the earlier request of its conversation that is equal; 0 if there is none."""

    @property
    def started_ns(self) -> int:
        """On the clock of the turn's recording, like the next one."""
        return self.call.started_ns + self.shift_ns

    @property
    def ended_ns(self) -> int | None:
        return self.at(self.call.ended_ns)

    def at(self, ns: int | None) -> int | None:
        """Return a time of the call on the clock of the turn's recording."""
        return None if ns is None else ns + self.shift_ns


@dataclass(frozen=True, slots=True)
class Offset:
    """The assumed difference of the clocks of two recordings."""

    calls: int
    """The recording of the model calls."""
    turns: int
    """The recording of the turns."""
    offset_ns: int
    """Added to the wall-clock times of the model calls; 0 if the clocks agree."""
    by: Literal["run", "wall clock", "texts"]
    """`run`: one recorder wrote both; `wall clock`: the times fit as they are; `texts`: measured, as they do not."""


class Talk(NamedTuple):
    """The calls of one conversation with a model, none of which is of a turn of Omnigent."""

    number: int
    calls: tuple[tuple[Link, Place], ...]
    """By start. Attempts of one request have the same `Place.call`."""

    @property
    def session_id(self) -> str:
        """The name that stands where a session has its id. `CASSETTE#NAME` is this conversation, too."""
        return conversation_name(self.number)

    @property
    def links(self) -> list[Link]:
        return [link for link, _ in self.calls]

    @property
    def requests(self) -> int:
        """The number of its calls, without further attempts."""
        return max(place.call for _, place in self.calls)

    @property
    def repeated(self) -> tuple[int, ...]:
        """The numbers of its calls that repeat an earlier one (`Place.again`)."""
        return tuple(place.call for _, place in self.calls if place.again and place.attempt == 1)

    @property
    def is_ambiguous(self) -> bool:
        """Whether one of its calls may belong to another conversation."""
        return any(place.candidates for _, place in self.calls)


@dataclass(frozen=True, slots=True)
class ModelCalls:
    """The model calls of a cassette with their turns."""

    links: tuple[Link, ...] = ()
    """By recording and start."""
    offsets: tuple[Offset, ...] = ()
    """One for each pair of recordings with a link."""
    is_recorded: bool = False
    """Whether the cassette has a model hop, even one without a call."""
    talks: tuple[Talk, ...] = ()
    """The conversations whose calls have no turn, by their beginning."""
    _of: Mapping[TurnKey, list[Link]] = field(default_factory=dict, repr=False, compare=False)
    _maybe: Mapping[TurnKey, list[Link]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_links(cls, links: Iterable[Link], offsets: Iterable[Offset], talks: Iterable[Talk] = ()) -> ModelCalls:
        links = tuple(links)
        maybe = dict[TurnKey, list[Link]]()
        of = by_key((link for link in links if link.turn is not None), attrgetter("turn"))
        for link in links:
            for key in link.candidates:
                maybe.setdefault(key, []).append(link)
        for found in of.values():
            found.sort(key=lambda link: (link.started_ns, link.call.exchange))
        return cls(links, tuple(offsets), True, tuple(talks), of, maybe)

    def of(self, turn: Turn) -> list[Link]:
        """Return the calls of a turn, exact and likely ones, by start."""
        return self.of_key(key_of(turn))

    def of_key(self, key: TurnKey) -> list[Link]:
        return self._of.get(key, [])

    def maybe(self, turn: Turn) -> list[Link]:
        """Return the ambiguous calls that may belong to a turn."""
        return self._maybe.get(key_of(turn), [])

    @property
    def astray(self) -> list[Link]:
        """The calls without a turn that are in no conversation of `talks`."""
        told = {link.call.exchange for talk in self.talks for link in talk.links}
        return [link for link in self.links if link.turn is None and link.call.exchange not in told]


def turns_of(link: Link) -> tuple[TurnKey, ...]:
    """Return the turn of a call, or the turns that are possible."""
    return link.candidates if link.turn is None else (link.turn,)


def linked_to(recording: int, calls: ModelCalls) -> set[int]:
    """Return the other recordings with turns of the model calls of a recording, with calls of its turns, or with calls
    of the same conversation."""
    pairs = {(link.call.recording, turn.recording) for link in calls.links for turn in turns_of(link)}
    pairs |= {(talk.links[0].call.recording, link.call.recording) for talk in calls.talks for link in talk.links}
    return {one for pair in pairs if recording in pair for one in pair} - {recording}


def requests_of(links: Iterable[Link]) -> list[list[Link]]:
    """Return the links by request, each request's attempts in order; requests by the start of the first attempt."""
    return list(by_key(links, lambda link: link.request).values())


def counted_calls(calls: int, attempts: int, *more: str) -> str:
    """Return the number of calls as words, with that of their attempts if some were sent again. `more`: other facts."""
    told = [counted(attempts, "attempt")] if attempts != calls else []
    return counted(calls, "call") + (f" ({', '.join([*told, *more])})" if told or more else "")


def call_row(link: Link) -> dict[str, Any]:
    """Return a call as an object of `model_calls` in `show --json`. Its times are on the clock of the turn's recording,
    as those of the turn are; without a turn, on its own recording's."""
    call = link.call
    usage = link.call.usage
    return {
        "recording": call.recording,
        "exchange": call.exchange,
        "stream": call.stream,
        "hop": call.hop,
        "api": call.api,
        "model": call.model,
        "request": link.request,
        "attempt": max(call.attempt, link.attempt),
        "repeats": link.again or None,
        "status": call.status,
        "started_ns": link.started_ns,
        "first_byte_ns": link.at(call.first_byte_ns),
        "first_token_ns": link.at(call.first_token_ns),
        "ended_ns": link.ended_ns,
        "ending": call.ending,
        "reason": call.reason,
        "error": call.error,
        "cut_by": call.cut_by,
        "answered_from": call.answered_from,
        "usage": None if usage is None else {name: getattr(usage, name) for name in USAGE},
        "asked": None if call.conversation is None else call.conversation.asked,
        "response_id": call.response_id,
        "text": call.text,
        "reasoning": call.reasoning,
        "tool_calls": tool_calls_of(call),
        "by": link.by,
        "certainty": link.certainty,
        "candidates": [key._asdict() for key in link.candidates],
    }


def tool_calls_of(call: ModelCall) -> list[dict[str, str]]:
    """Return the tools that the model asks for, as objects of JSON."""
    return [{"call_id": one.call_id, "name": one.name, "arguments": one.arguments} for one in call.tool_calls]


def text_of_item(item: Item) -> str:
    return item.text if item.text or item.value is None else as_json(item.value)


def text_of_schema(tool: Tool) -> str:
    return "" if tool.schema is None else dumps(tool.schema)


def prompt_sizes(conversation: Conversation | None) -> dict[str, int | None]:
    """Return the sizes of the parts of a request, in characters; None without a conversation. `new`: after the model's
    last answer; `history`: before that."""
    if conversation is None:
        return dict.fromkeys(("system_chars", "tools_chars", "history_chars", "new_chars"))
    sizes = [len(text_of_item(one)) for one in conversation.items]
    new = after_answer(conversation.items)
    tools = (len(one.name) + len(one.description) + len(text_of_schema(one)) for one in conversation.tools)
    return {
        "system_chars": len(conversation.instructions),
        "tools_chars": sum(tools),
        "history_chars": sum(sizes[:new]),
        "new_chars": sum(sizes[new:]),
    }


@dataclass(frozen=True, slots=True)
class TimeSpent:
    """The time of one turn in ns, from its question to its end. Its five parts add up to `total_ns`."""

    total_ns: int
    model_ns: int
    retry_wait_ns: int
    """Between the attempts of a request: the caller of the model waits before it tries again."""
    tool_ns: int
    approval_ns: int
    harness_ns: int
    """The rest: Omnigent, the agent's harness, and their machines."""
    calls: int
    """The number of its model calls, retried ones included."""
    retried: int
    """The number of its calls that are another attempt of a request."""
    ambiguous_calls: int
    """The number of calls that may be of this turn or of another one. They are in no other number."""


class FirstToken(NamedTuple):
    """The time from the question to the turn's first token, in ns."""

    before_ns: int
    """Until the model was asked: the request that brought the token, in its first attempt."""
    model_ns: int
    """Until the model sent the token."""
    after_ns: int
    """Until the client had it."""


def time_spent(turn: Turn, links: Sequence[Link], ambiguous: int = 0) -> TimeSpent:
    """Return where the time of a turn went. `links`: its model calls; `ambiguous`: the number of possible others."""
    begin = turn.begin_ns
    end = max(begin, turn.last_event_ns if turn.ended_ns is None else turn.ended_ns)
    approvals = [(one.asked_ns, _first(one.answered_ns, one.resolved_ns, end)) for one in turn.approvals]
    models = [(one.started_ns, _first(one.ended_ns, end)) for one in links]
    requests = requests_of(links)
    waits = [(_first(before.ended_ns, end), after.started_ns) for some in requests for before, after in pairwise(some)]
    tools = [(one.called_ns, _first(one.returned_ns, end)) for one in turn.tools]
    lengths = [0]
    spans: list[Span] = []
    for some in (approvals, models, waits, tools):
        within = ((max(begin, a), min(end, b)) for a, b in some)
        spans = union([*spans, *((a, b) for a, b in within if b > a)])
        lengths.append(sum(b - a for a, b in spans))
    approval_ns, model_ns, wait_ns, tool_ns = (b - a for a, b in pairwise(lengths))
    return TimeSpent(
        total_ns=end - begin,
        model_ns=model_ns,
        retry_wait_ns=wait_ns,
        tool_ns=tool_ns,
        approval_ns=approval_ns,
        harness_ns=end - begin - lengths[-1],
        calls=len(links),
        retried=len(links) - len(requests),
        ambiguous_calls=ambiguous,
    )


def spent_in(turn: Turn, calls: ModelCalls) -> TimeSpent | None:
    """Return where the time of a turn went, with the model calls of its cassette; None without a model hop."""
    return time_spent(turn, calls.of(turn), len(calls.maybe(turn))) if calls.is_recorded else None


def first_token(links: Sequence[Link], posted_ns: int, token_ns: int) -> FirstToken | None:
    """Return the parts of the time from a question to the first token; None if no call brought that token.

    `posted_ns`, `token_ns`: the times of the question and of the token at the client.
    """
    brought = None
    for request in requests_of(links):
        for link in request:
            first = next((delta.at_ns + link.shift_ns for delta in link.call.deltas), None)
            if first is not None and first <= token_ns and (brought is None or first < brought[1]):
                brought = request[0].started_ns, first
    if brought is None or not posted_ns <= brought[0] <= brought[1]:
        return None
    return FirstToken(brought[0] - posted_ns, brought[1] - brought[0], token_ns - brought[1])


def _first(*times: int | None) -> int:
    return next(one for one in times if one is not None)
