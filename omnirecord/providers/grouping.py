"""Which conversation each model call belongs to: the only place that says so. Pure, incremental.

    grouping = Grouping()
    for call in calls:  # in the order in which they started
        grouping.add(call)  # Place(conversation=1, call=2, attempt=1, candidates=())

A request shows its place before its answer comes. While calls are recorded, `begin` takes a request, and `end` its
answer.

The evidence, strongest first:

1. The call repeats a failed one (`retries`): it is another attempt of the same request.
2. The request names an id of one conversation: of an earlier answer, of its items and tool calls, or of the
   conversation itself. An id of two conversations does not count, nor one that a provider may count from 1.
3. The messages begin with all messages of an earlier request, and its answer comes next. The longest such request
   counts. Of several, those count whose answer, texts as sent, instructions and model are equal, and which no other
   call continues.
4. The call before failed, and had the same messages for another model: this one is its fallback.
5. The history was shortened, but its last answer, and the message before that, are those of an earlier call.
6. The first live call of a fork continues the last call that the origin answered, if its history has an answer. The
   change may be in the first message.

A call without evidence begins a conversation, even if an earlier request is equal: two runs of a program are two
conversations. If calls were replaced, in record mode `new_episodes`, the calls in their place are another one. If
several conversations are possible, the call is in the first one, and `candidates` names all.
"""

from __future__ import annotations

import json
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Any, NamedTuple

from ..model import FORK_OF, Recording
from ..wire.strict_json import loads
from .answers import is_counted
from .call import ModelCall
from .parts import OF_MODEL, Item
from .retries import Retries

_MOST = 64
"""Equal requests and equal answers that are looked at: the last ones."""
_LEAST = 24
"""Characters of an answer and of the message before it, at least, that show the conversation of a shortened history."""


class Place(NamedTuple):
    """The place of a model call in its conversation. All numbers count from 1."""

    conversation: int
    """Conversations are numbered in the order in which they began."""
    call: int
    """The number of its request in the conversation. The attempts of a request share it."""
    attempt: int
    """Its number among the recorded attempts of its request."""
    candidates: tuple[int, ...] = ()
    """The conversations that are possible, its own included; empty if that is the only one."""
    again: int = 0
    """The number of the earlier request of the conversation that is equal to this one; 0 if there is none. A program
    that starts again with its saved history sends such a request."""


_NAME = "conversation-"


def conversation_name(number: int) -> str:
    """Return the name of a conversation, which stands where a session has its id."""
    return f"{_NAME}{number}"


def conversation_number(name: str | None) -> int | None:
    """Return the number of the conversation with this name; None if it is no such name."""
    number = (name or "").removeprefix(_NAME)
    return int(number) if number != name and number.isascii() and number.isdecimal() else None


@dataclass(slots=True)
class _Earlier:
    """What is kept of a call that a later one may continue."""

    number: int
    """Of the call, in the order in which they started, from 0."""
    place: Place
    same: tuple[object, ...]
    """The texts as sent, the instructions and the model."""
    ended_ns: int | None = None
    has_answer: bool = False
    has_failed: bool = False
    answer: int = 0
    last_user: str = ""
    """The last message of the user, until the answer comes."""
    is_continued: bool = False
    rivals: tuple[int, ...] = ()
    """The conversations of equal calls, if it is not sure which call continues which."""


class Grouping:
    """The conversations of the calls so far. It keeps no text."""

    def __init__(self, recordings: Iterable[Recording] = (), known: Mapping[int, Place] = MappingProxyType({})) -> None:
        """`recordings`: those of the calls and of their clients. `known`: the places of calls, by exchange, if they are
        known, as in a part of a cassette."""
        self.places: dict[int, Place] = {}
        """By exchange."""
        self._known = known
        self._retries = Retries()
        self._calls: list[_Earlier] = []
        self._by_exchange: dict[int, _Earlier] = {}
        self._requests: list[int] = []
        """The number of requests of each conversation."""
        self._owners: dict[str, int | None] = {}
        """The conversation of an id; None if it has several."""
        self._replaced_in: dict[int, int] = {}
        """The conversations with replaced calls, each with the recording of these."""
        self._next: dict[int, int] = {}
        """The conversations in their place."""
        self._forks: set[int] = set()
        """The recordings that are forks."""
        self._replayed: dict[int, _Earlier] = {}
        """The last call of each recording that another recording answered."""
        self._live: set[int] = set()
        """The recordings with a call that no other recording answered."""
        self._by_messages: dict[int, deque[_Earlier]] = {}
        self._by_answer: dict[int, list[_Earlier]] = {}
        self.know(recordings)

    def know(self, recordings: Iterable[Recording]) -> None:
        """Take the recordings that have begun by now."""
        known = list(recordings)
        hops = {one.hop for one in known}
        self._retries.is_behind_server = None in hops and len(hops) > 1
        self._forks.update(one.recording for one in known if FORK_OF in one.labels)

    def add(self, call: ModelCall, zero_ns: int = 0) -> Place:
        """Return the place of a call that has ended, or whose end was not recorded. `zero_ns`: the start of its
        recording on a clock that all calls share."""
        place = self.begin(call, zero_ns)
        self.end(call, zero_ns)
        return place

    def begin(self, call: ModelCall, zero_ns: int = 0) -> Place:
        """Return the place of a call. Its request is complete; its answer may follow."""
        if call.exchange in self._known:
            place = self._known[call.exchange]
        else:
            request = _Request(call)
            number = len(self._calls)
            start_ns = zero_ns + call.started_ns
            repeated = self._retries.before(number, call, start_ns)
            if repeated:
                place = self._attempt([self._calls[n] for n in repeated])
            else:
                place = self._request(call, request, start_ns)
            self._keep(call, request, _Earlier(number, place, request.same(len(request.items))))
        if call.answered_from is None:
            self._live.add(call.recording)
        elif call.exchange in self._by_exchange:
            self._replayed[call.recording] = self._by_exchange[call.exchange]
        self.places[call.exchange] = place
        return place

    def end(self, call: ModelCall, zero_ns: int = 0) -> None:
        """Take the answer of a call that has begun."""
        earlier = self._by_exchange.get(call.exchange)
        if earlier is None:
            return
        earlier.ended_ns = None if call.ended_ns is None else zero_ns + call.ended_ns
        earlier.has_answer = call.has_answer
        earlier.has_failed = call.has_failed
        self._retries.over(earlier.number, call, earlier.ended_ns)
        tools = [(one.name, loads(one.arguments)) for one in call.tool_calls]
        earlier.answer = _answer("".join(call.texts), tools)
        counted = {one.call_id for one in call.tool_calls if is_counted(one.call_id)}
        self._own((id_ for id_ in call.own_ids if id_ not in counted), earlier.place.conversation)
        last = _exchanged(earlier.last_user, "".join(call.texts))
        if last:
            alike = self._by_answer.setdefault(last, [])
            insort(alike, earlier, key=attrgetter("number"))
            del alike[:-_MOST]
        earlier.last_user = ""

    def is_unsure(self, call: ModelCall) -> bool:
        """Return whether a call may be an attempt of another request than that of its place: several failed alike."""
        earlier = self._by_exchange.get(call.exchange)
        return earlier is not None and earlier.number in self._retries.unsure

    def _attempt(self, before: Sequence[_Earlier]) -> Place:
        chosen = before[0]
        candidates = _rivals(before)
        return chosen.place._replace(attempt=chosen.place.attempt + 1, candidates=candidates)

    def _request(self, call: ModelCall, request: _Request, start_ns: int) -> Place:
        """Return the place of a call that is no other attempt."""
        conversation = self._owner(call.history_ids)
        candidates: tuple[int, ...] = ()
        if conversation is None:
            alike = self._by_history(request, start_ns) or self._before_fallback(request, start_ns)
            alike = alike or self._shortened(request, start_ns)
            if alike:
                free = [one for one in alike if not one.is_continued] or alike
                candidates = _rivals(free)
                free[0].is_continued = True
                conversation = free[0].place.conversation
        if conversation is None and request.has_answer and call.recording in self._forks - self._live:
            before = self._replayed.get(call.recording)
            conversation = None if before is None else before.place.conversation
        while self._replaced_in.get(conversation or 0, call.recording) != call.recording:
            conversation = self._next.get(conversation or 0) or self._begun(conversation)
        if conversation is None:
            conversation = self._begun()
        if call.is_replaced:
            self._replaced_in[conversation] = call.recording
        self._requests[conversation - 1] += 1
        again = self._equal(request, conversation, start_ns)
        return Place(conversation, self._requests[conversation - 1], 1, candidates, again)

    def _equal(self, request: _Request, conversation: int, start_ns: int) -> int:
        """Return the number of the last equal request of a conversation that is over; 0 if there is none."""
        if not request.is_whole:
            return 0
        same = request.same(len(request.items))
        for one in reversed(self._by_messages.get(request.messages[-1], ())):
            is_over = one.ended_ns is not None and one.ended_ns <= start_ns
            if is_over and one.place.conversation == conversation and one.same == same:
                return one.place.call
        return 0

    def _begun(self, in_place_of: int | None = None) -> int:
        """Return the number of a new conversation."""
        self._requests.append(0)
        number = len(self._requests)
        if in_place_of is not None:
            self._next[in_place_of] = number
        return number

    def _owner(self, ids: Sequence[str]) -> int | None:
        """Return the conversation that owns an id; that of the last id counts."""
        owners = (self._owners.get(id_) for id_ in reversed(ids))
        return next((owner for owner in owners if owner is not None), None)

    def _by_history(self, request: _Request, start_ns: int) -> list[_Earlier]:
        """Return the calls whose messages, as many as possible, begin the messages of this request."""
        for length in range(len(request.items) - 1, 0, -1):
            earlier = self._by_messages.get(request.messages[length], ())
            over = [one for one in earlier if one.ended_ns is not None and one.ended_ns <= start_ns]
            if over and (alike := _continued(over, request, length)):
                return alike
        return []

    def _before_fallback(self, request: _Request, start_ns: int) -> list[_Earlier]:
        """Return the call before if it failed, and had the messages of this request for another model."""
        before = self._calls[-1:]
        if not before or not request.is_whole or before[0] not in self._by_messages.get(request.messages[-1], ()):
            return []
        *texts, model = request.same(len(request.items))
        is_over = before[0].ended_ns is not None and before[0].ended_ns <= start_ns
        is_alike = [*before[0].same[:-1]] == texts and before[0].same[-1] != model
        return before if before[0].has_failed and is_over and is_alike else []

    def _shortened(self, request: _Request, start_ns: int) -> list[_Earlier]:
        """Return the calls with the last answer of this request."""
        earlier = self._by_answer.get(request.last_answer(), ())
        return [one for one in earlier if one.ended_ns is not None and one.ended_ns <= start_ns]

    def _keep(self, call: ModelCall, request: _Request, earlier: _Earlier) -> None:
        self._calls.append(earlier)
        self._by_exchange[call.exchange] = earlier
        named = None if call.conversation is None else call.conversation.conversation_id
        self._own([named] if named else [], earlier.place.conversation)
        earlier.last_user = _last_user(request.items)
        if request.is_whole:
            self._by_messages.setdefault(request.messages[-1], deque(maxlen=_MOST)).append(earlier)

    def _own(self, ids: Iterable[str], conversation: int) -> None:
        """Note that these ids are of a conversation."""
        for id_ in ids:
            is_alone = self._owners.get(id_, conversation) == conversation
            self._owners[id_] = conversation if is_alone else None


def _rivals(alike: Sequence[_Earlier]) -> tuple[int, ...]:
    """Return the conversations of equal calls if there are several, or if an equal call was continued before."""
    conversations = {one.place.conversation for one in alike}
    if len(conversations) > 1:
        for one in alike:
            one.rivals = tuple(sorted(conversations))
    return alike[0].rivals


def _continued(over: Sequence[_Earlier], request: _Request, length: int) -> list[_Earlier]:
    """Return the calls that a request continues. `length`: the number of their messages."""
    if request.items[length].kind not in OF_MODEL:
        found = [one for one in over if not one.has_answer]
    else:
        answer = _answer_in(request.items[length:])
        found = [one for one in over if one.answer == answer]
        if not found and len({one.place.conversation for one in over}) == 1:
            found = list(over)  # the client wrote the answer anew
    for count in range(1, 4):
        same = request.same(length)[:count]
        found = [one for one in found if one.same[:count] == same] or found
    return found


class _Request:
    """The messages of a request as hashes."""

    def __init__(self, call: ModelCall) -> None:
        conversation = call.conversation
        self.items: tuple[Item, ...] = () if conversation is None else conversation.items
        self.messages = list(_chain((one.kind, one.same, one.name, one.call) for one in self.items))
        """The hash of the first messages, by their number."""
        self.is_whole = bool(self.items) and conversation is not None and conversation.previous_id is None
        """Whether it has all messages of its conversation."""
        self._sent = list(_chain((one.text, one.call_id) for one in self.items))
        self._more = () if conversation is None else (conversation.instructions, conversation.model)

    @property
    def has_answer(self) -> bool:
        """Whether the history has an answer of the model."""
        return any(one.kind in OF_MODEL for one in self.items)

    def same(self, length: int) -> tuple[object, ...]:
        """Return what equal requests share: the first messages as sent, the instructions and the model."""
        return (self._sent[length], *map(hash, self._more))

    def last_answer(self) -> int:
        """Return a hash of the last answer and of the message before it; 0 if there is none."""
        begin = max((n for n, one in enumerate(self.items) if one.kind == "assistant"), default=None)
        if begin is None:
            return 0
        while begin > 0 and self.items[begin - 1].kind in OF_MODEL:
            begin -= 1
        return _exchanged(_last_user(self.items[:begin]), _said_in(self.items[begin:]))


def _chain(parts: Iterable[tuple[object, ...]]) -> Iterator[int]:
    found = hash(())
    yield found
    for part in parts:
        found = hash((found, part))
        yield found


def _last_user(items: Sequence[Item]) -> str:
    return next((one.text for one in reversed(items) if one.kind == "user"), "")


def _exchanged(asked: str, said: str) -> int:
    asked = _dense(asked)
    said = _dense(said)
    return hash((asked, said)) if said and len(asked) + len(said) >= _LEAST else 0


def _run(items: Iterable[Item]) -> Iterator[Item]:
    """Return the items of one answer. Parts of an unknown kind may be within it."""
    for one in items:
        if one.kind not in (*OF_MODEL, "other"):
            return
        yield one


def _said_in(items: Iterable[Item]) -> str:
    return "".join(one.text for one in _run(items) if one.kind == "assistant")


def _answer_in(items: Sequence[Item]) -> int:
    return _answer(_said_in(items), [(one.name, one.value) for one in _run(items) if one.kind == "call"])


def _answer(text: str, tools: Iterable[tuple[str, Any]]) -> int:
    """Return a hash of an answer: of its text without white space, and of the tools that it asks for."""
    return hash((_dense(text), *((name, json.dumps(arguments, sort_keys=True)) for name, arguments in tools)))


def _dense(text: str) -> str:
    return "".join(text.split())
