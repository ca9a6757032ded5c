"""The model calls of a cassette, linked to turns. No I/O, no clock; linear in calls and turns, apart from sorting.

    found = linked(calls, sessions, recordings)
    for link in found.of(turn): ...

`values` has `Link`, `ModelCalls`, the objects of `show --json`, and where the time of a turn went. `places` has turns
by message and history. `pairing` has equal texts by their times, and moves between the deltas of both hops.
`providers.grouping` tells which calls are of one conversation, and which are attempts of one request.

The evidence, strongest first:

1. `call_id`, exact: the model asked for a tool that is in one turn only. Or the request has the output of such a tool
   after its last user message. A counted id (`call_1`) needs equal arguments, an equal output or an equal history.
2. `conversation`, likely: the last user message and the history before it are those of a turn. The streamed text is
   there too, at the right time (`pairing`). If one call of a conversation shows the session, all of them do.
3. `retry`, likely: another attempt of the same request has a turn.
4. `time`, likely: exactly one turn was open when the call started, and its message is in the request.

A call with several possible turns is `ambiguous`, and names them. Evidence beats times: if the texts show that the
clocks of two recorders differ, the times of the calls are shifted (`Clocks`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf
from types import MappingProxyType
from typing import NamedTuple

from ...model import Recording, by_key
from ...providers.call import Delta, ModelCall
from ...providers.grouping import Grouping, Place
from ..turns.values import Passage, Session, Turn
from .pairing import Groups, Heard, Said, pairs
from .places import MOST_OPEN, NO_HISTORIES, NOTHING, Asked, Clocks, History, Key, Places, asked_of, open_at, plain
from .values import MAX_CANDIDATES, By, Certainty, Link, ModelCalls, Talk, key_of, turns_of

_Groups = dict[tuple[Key, tuple[int, ...]], list[int]]
"""The calls with a key, by the key and the turns that have it."""


NO_PLACES: Mapping[int, Place] = MappingProxyType({})
_SHORT = 16
"""Characters of the beginning of a text that are compared if one side was cut."""


class _Found(NamedTuple):
    places: tuple[int, ...]
    by: By
    certainty: Certainty


def linked(
    calls: Iterable[ModelCall],
    sessions: Iterable[Session],
    recordings: Iterable[Recording],
    histories: Mapping[object, History] = NO_HISTORIES,
    asked: Callable[[ModelCall], Asked] | None = None,
    known_places: Mapping[int, Place] = NO_PLACES,
    grouping: Grouping | None = None,
) -> ModelCalls:
    """Return the calls with their turns. `sessions`: all of the cassette, with their texts.

    `histories`: of sessions without their first turns. `asked`: returns the evidence in a request, if it is kept.
    `known_places`: the places of calls in their conversations, as far as they are known. `grouping`: has the places of
    all calls.
    """
    clocks = Clocks(recordings)
    calls = sorted(calls, key=order)
    if grouping is None:
        grouping = _grouped(calls, clocks, Grouping(recordings, known_places))
    return _Correlation(calls, Places(sessions, clocks, histories), clocks, asked or evidence_of, grouping).result()


def _grouped(calls: Sequence[ModelCall], clocks: Clocks, grouping: Grouping) -> Grouping:
    zeros = {one.recording: clocks.zero(one.recording) for one in calls}
    for call in sorted(calls, key=lambda one: (zeros[one.recording] + one.started_ns, one.exchange)):
        grouping.add(call, zeros[call.recording])
    return grouping


def talks_of(links: Iterable[Link], grouping: Grouping, clocks: Clocks) -> Iterator[Talk]:
    """Return the conversations whose calls have no turn, by their beginning."""
    placed = [(link, grouping.places[link.call.exchange]) for link in links if link.call.exchange in grouping.places]
    by_number = by_key(placed, lambda one: one[1].conversation)
    for number in sorted(by_number):
        calls = by_number[number]
        if not any(turns_of(link) for link, _ in calls):
            calls.sort(
                key=lambda one: (clocks.zero(one[0].call.recording) + one[0].call.started_ns, one[0].call.exchange)
            )
            yield Talk(number, tuple(calls))


def evidence_of(call: ModelCall) -> Asked:
    """Return the evidence in the request of a call."""
    return NOTHING if call.conversation is None else asked_of(call.conversation)


class _Correlation:
    def __init__(
        self,
        calls: list[ModelCall],
        places: Places,
        clocks: Clocks,
        asked: Callable[[ModelCall], Asked],
        grouping: Grouping,
    ) -> None:
        self._calls = calls
        self._places = places
        self._clocks = clocks
        self._grouping = grouping
        self._asked = list(map(asked, calls))
        self._found: dict[int, _Found] = {}
        self._issued = Counter(tool_call.call_id for call in calls for tool_call in call.tool_calls)
        known = {number: place for number, call in enumerate(calls) if (place := grouping.places.get(call.exchange))}
        requests = by_key(known, lambda number: known[number][:2]).values()
        self._attempts = Groups(len(calls), (pair for some in requests for pair in pairwise(some)))
        """The attempts of each request. A group has the number of the first one."""
        first_unsure: dict[int, int] = {}
        for place in sorted(known.values()):
            if place.candidates:
                first_unsure.setdefault(place.conversation, place.call)
        # What follows an unsure call may belong to another conversation, or continue an earlier call of this one.
        sure = [n for n, place in known.items() if place.call < first_unsure.get(place.conversation, inf)]
        self._conversations = [some for some in by_key(sure, lambda n: known[n].conversation).values() if len(some) > 1]
        self._unsure = {number for number, call in enumerate(calls) if grouping.is_unsure(call)}
        self._tries = {self._attempts.of(group[0]): group for group in self._attempts.groups() if 1 < len(group) < 50}

    def result(self) -> ModelCalls:
        groups = self._groups([self._by_ids(number) for number in range(len(self._calls))])
        self._measure(groups)
        for (_, places), numbers in groups.items():
            self._by_conversation(numbers, places)
        self._by_texts()
        self._by_conversations()
        self._by_retries()
        self._by_time()
        self._join_attempts()
        linked_to = ((number, place) for number, found in self._found.items() for place in found.places)
        used = {(self._calls[n].recording, self._places[place].turn.recording) for n, place in linked_to}
        offsets = sorted((self._clocks.offset(*pair) for pair in used), key=lambda one: (one.calls, one.turns))
        links = list(self._links())
        return ModelCalls.of_links(links, offsets, talks_of(links, self._grouping, self._clocks))

    def _find(self, number: int, places: Sequence[int], by: By, certainty: Certainty = "likely") -> None:
        """Link a call to one turn; it is ambiguous if there are several."""
        if len(places) > 1:
            certainty = "ambiguous"
        if places:
            self._found[number] = _Found(tuple(places[:MAX_CANDIDATES]), by, certainty)

    def _is_sure(self, number: int) -> bool:
        return number in self._found and self._found[number].certainty != "ambiguous"

    # 1. Ids of tools.

    def _by_ids(self, number: int) -> int | None:
        """Link a call by the ids of its tools. Return the session that they show; None if they show none."""
        call = self._calls[number]
        asked = self._asked[number]
        votes = [
            self._places.of_tool(tool_call.call_id, asked, tool_call)
            for tool_call in call.tool_calls
            if self._is_own(tool_call.call_id)
        ]
        votes += [self._places.of_tool(id_, asked) for id_ in asked.new_ids if self._is_own(id_)]
        known = [vote for vote in votes if vote]
        exact = {vote[0] for vote in known if len(vote) == 1 and self._is_possible(number, vote[0])}
        if len(exact) == 1 and all(exact <= set(vote) for vote in known):
            self._find(number, [*exact], "call_id", "exact")
        elif len(exact) > 1:
            self._find(number, sorted(exact), "call_id", "ambiguous")
        old = [self._places.of_tool(id_, asked) for id_ in asked.old_ids if self._is_own(id_)]
        shown = {self._places[vote[0]].session for vote in old if len(vote) == 1}
        return shown.pop() if len(shown) == 1 else None

    def _is_own(self, call_id: str) -> bool:
        """Return whether no two calls asked for a tool with this id. Some models count their ids from 1."""
        return bool(call_id) and self._issued[call_id] < 2

    def _is_possible(self, number: int, place: int) -> bool:
        """Return whether neither message nor time, of one recorder, speaks against a turn."""
        one = self._places[place]
        recording = self._calls[number].recording
        if self._clocks.offset(recording, one.turn.recording).by == "run":
            slack = self._clocks.slack(recording, one.turn.recording)
            at_ns = self._clocks.at(recording, self._calls[number].started_ns, one.turn.recording)
            if not one.begin_ns - slack <= at_ns <= one.end_ns + slack:
                return False
        return _is_about(self._asked[number].messages, one.turn)

    # 2. Messages, history and texts.

    def _groups(self, sessions: Sequence[int | None]) -> _Groups:
        """Return the calls without a link by their most specific key that a turn has, with the turns that have it.
        `sessions`: those that ids of tools show."""
        left = (number for number in range(len(sessions)) if number not in self._found)
        found = by_key(left, lambda number: self._key(number, sessions[number]))
        return {(key, tuple(self._places.by_key[key])): some for key, some in found.items() if key is not None}

    def _key(self, number: int, session: int | None = None) -> Key | None:
        """Return the most specific key of a call that a turn has. `session`: a turn of this one."""
        keys = self._asked[number].keys
        keys = keys if session is None else tuple((session, *key) for key in keys)
        return next((key for key in keys if key in self._places.by_key), None)

    def _measure(self, groups: _Groups) -> None:
        """Measure the difference of the clocks of two recorders, from calls whose turn is known without times."""
        seen: dict[tuple[int, int], list[tuple[int, bool]]] = {}
        for number, place, model_ns, client_ns in self._on_both_hops(groups):
            call = self._calls[number]
            one = self._places[place]
            zero = self._clocks.zero(call.recording)
            recordings = (call.recording, one.turn.recording)
            delay = one.zero_ns + client_ns - zero - model_ns
            slack = self._clocks.slack(*recordings)
            is_during = one.begin_ns - slack <= zero + call.started_ns <= one.end_ns + slack
            seen.setdefault(recordings, []).append((delay, delay >= -slack and is_during))
        for (model, client), all_ in seen.items():
            self._clocks.measure(model, client, all_)

    def _on_both_hops(self, groups: _Groups) -> Iterator[tuple[int, int, int, int]]:
        """Return call, turn, and the times at which the model and the client had the same tool call or text."""
        for number, found in self._found.items():
            if found.certainty == "exact":
                asked = {tool_call.call_id: tool_call.at_ns for tool_call in self._calls[number].tool_calls}
                for tool in self._places[found.places[0]].turn.tools:
                    if (model_ns := asked.get(tool.call_id)) is not None:
                        yield number, found.places[0], model_ns, tool.called_ns
        for (_, places), numbers in groups.items():
            heard = self._heard(places)
            for text, some in self._said(numbers).items():
                ours = sorted((deltas[0].at_ns, number) for number, deltas in some)
                theirs = sorted((passage.first_ns, place) for place, passage in heard.get(text, ()))
                if len(ours) == len(theirs):  # in the same order, on whatever clock
                    for (model_ns, number), (client_ns, place) in zip(ours, theirs, strict=True):
                        yield number, place, model_ns, client_ns

    def _said(self, numbers: Iterable[int], *, cut: bool = False) -> dict[str, list[tuple[int, list[Delta]]]]:
        """Return calls with the deltas of their first text, by that text. `cut`: by its beginning."""
        first = ((number, [delta for delta in self._calls[number].deltas if delta.part == 0]) for number in numbers)
        streamed = (one for one in first if one[1])
        return by_key(streamed, lambda one: _compared(self._calls[one[0]].texts[0], cut=cut))

    def _heard(self, places: Iterable[int], *, cut: bool = False) -> dict[str, list[tuple[int, Passage]]]:
        """Return turns with each streamed text, by that text. `cut`: by its beginning."""
        told = ((place, passage) for place in places for passage in self._places[place].turn.messages)
        return by_key((one for one in told if one[1].pieces), lambda one: _compared(one[1].text, cut=cut))

    def _by_conversation(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        """Link calls to turns with the same message: by their texts, else by the turns that were open."""
        self._by_equal_texts(numbers, places)
        is_only = len(places) == len(numbers) == 1
        for number, open_ in self._open([n for n in numbers if n not in self._found], places):
            fitting = self._fitting(number, open_)
            if fitting or not is_only:
                self._find(number, fitting, "conversation")
            else:
                self._find(number, open_, "conversation", "ambiguous")

    def _fitting(self, number: int, places: Iterable[int]) -> list[int]:
        """Return the turns that neither a call nor another attempt of the same request contradicts."""
        tried = () if number in self._unsure else self._tries.get(self._attempts.of(number), ())
        return [place for place in places if not any(self._contradicts(n, place) for n in (number, *tried))]

    def _contradicts(self, number: int, place: int, *, whole: bool = True) -> bool:
        """Return whether the text or a tool of a call is missing in a turn. `whole`: only if both are finished."""
        call = self._calls[number]
        turn = self._places[place].turn
        is_finished = call.ending == "completed" and turn.ended == "completed"
        if whole and is_finished and call.tool_calls:
            return not {tool_call.call_id for tool_call in call.tool_calls} & {tool.call_id for tool in turn.tools}
        if (whole and not is_finished) or not call.texts or not turn.messages:
            return False
        heard = [plain(passage.text) for passage in turn.messages]
        said = map(plain, call.texts)
        return not any(text.startswith(one) or one.startswith(text) for text in said for one in heard)

    def _by_equal_texts(self, numbers: Iterable[int], places: Sequence[int]) -> None:
        """Link calls to turns with the same text; then those of which one side was cut."""
        for cut in (False, True):
            for client, some in self._by_client(places).items():
                for model, calls in self._by_model(n for n in numbers if n not in self._found).items():
                    self._pair(model, client, calls, some, cut=cut)

    def _by_client(self, places: Iterable[int]) -> dict[int, list[int]]:
        return by_key(places, lambda place: self._places[place].turn.recording)

    def _by_model(self, numbers: Iterable[int]) -> dict[int, list[int]]:
        return by_key(numbers, lambda number: self._calls[number].recording)

    def _pair(self, model: int, client: int, numbers: Iterable[int], places: Iterable[int], *, cut: bool) -> None:
        said = self._said(numbers, cut=cut)
        at = self._clocks.at
        heard = self._heard(places if said else (), cut=cut)
        for same, some in said.items():
            ours = list[Said]()
            theirs = list[Heard]()
            for number, deltas in some:
                times = (deltas[0].at_ns, deltas[-1].at_ns, self._calls[number].started_ns)
                first_ns, last_ns, start_ns = (at(model, ns, client) for ns in times)
                ours.append(Said(first_ns, last_ns, start_ns, number))
            for place, passage in heard.get(same, ()):
                one = self._places[place]
                zero_ns = self._places[place].zero_ns
                first_ns = zero_ns + passage.first_ns
                last_ns = zero_ns + passage.last_ns
                theirs.append(Heard(first_ns, last_ns, one.begin_ns, one.end_ns, place))
            for call, turns, is_sure in pairs(ours, theirs, self._clocks.slack(model, client)):
                fitting = [turn for turn in turns if not (cut and self._contradicts(call, turn, whole=False))]
                self._find(call, fitting, "conversation", "likely" if is_sure else "ambiguous")

    def _by_texts(self) -> None:
        """Link calls whose message is in no turn: a harness may have written it anew."""
        left = [n for n in range(len(self._calls)) if n not in self._found and self._key(n) is None]
        if left:
            self._by_equal_texts(left, range(len(self._places.all)))

    def _by_conversations(self) -> None:
        """Link the calls of a conversation by the turns of the others, if these show one session."""
        for calls in self._conversations:
            session = self._session_of(calls)
            exact = {n for n in calls if n in self._found and self._found[n].certainty == "exact"}
            for number in calls if session is not None else ():
                if self._is_sure(number) and session in self._sessions(self._found[number]):
                    continue
                key = None if number in exact else self._key(number, session)
                if key is not None:
                    open_ = [place for _, some in self._open([number], self._places.by_key[key]) for place in some]
                    self._find(number, self._fitting(number, open_), "conversation")

    def _session_of(self, calls: Iterable[int]) -> int | None:
        """Return the session of a conversation: that of its tools, else the only one possible for all its calls."""
        found = [self._found[number] for number in calls if number in self._found]
        exact = {session for one in found if one.certainty == "exact" for session in self._sessions(one)}
        possible = exact or set.intersection(*map(self._sessions, found)) if found else set[int]()
        return next(iter(possible)) if len(possible) == 1 else None

    def _sessions(self, found: _Found) -> set[int]:
        return {self._places[place].session for place in found.places}

    # 3. Attempts of one request.

    def _by_retries(self) -> None:
        """Give the attempts of a request the turn of the attempt that has one."""
        for group in self._attempts.groups():
            sure = {self._found[number].places[0] for number in group if self._is_sure(number)}
            for number in group if len(sure) == 1 else ():
                fits = number not in self._unsure and not any(self._contradicts(number, one) for one in sure)
                if not self._is_sure(number) and fits:
                    self._find(number, [*sure], "retry")

    # 4. Times.

    def _by_time(self) -> None:
        """Link the calls without any other evidence to the turn that was open, if there is only one."""
        left = [n for n in range(len(self._calls)) if n not in self._found and self._key(n) is None]
        for number, open_ in self._open(left, range(len(self._places.all))):
            fits = len(open_) == 1 and _is_about(self._asked[number].messages, self._places[open_[0]].turn)
            self._find(number, open_, "time", "likely" if fits else "ambiguous")

    def _open(self, numbers: Iterable[int], places: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Return for each call the turns that were open when it started, at most `MOST_OPEN` and one more."""
        by_client = self._by_client(places)
        by_model = self._by_model(numbers)
        found: dict[int, list[int]] = {number: [] for some in by_model.values() for number in some}
        for model, some in by_model.items():
            for client, all_ in by_client.items():
                slack = self._clocks.slack(model, client)
                times = ((self._clocks.at(model, self._calls[n].started_ns, client), n) for n in some)
                spans = ((self._places[p].begin_ns - slack, self._places[p].end_ns + slack, p) for p in all_)
                for number, open_ in open_at(times, spans):
                    found[number] += open_
        yield from ((number, open_[: MOST_OPEN + 1]) for number, open_ in found.items())

    # The result.

    def _join_attempts(self) -> None:
        """Take equal requests of one turn for attempts of one request, if the earlier one has no answer."""
        sure = [n for n in sorted(self._found) if self._is_sure(n) and self._calls[n].conversation is not None]
        for group in by_key(sure, lambda n: (self._found[n].places[0], self._calls[n].conversation)).values():
            for before, after in pairwise(group):
                if not self._calls[before].has_answer and self._attempts.of(before) != self._attempts.of(after):
                    self._attempts.join(before, after)

    def _links(self) -> Iterator[Link]:
        names: dict[int, int] = {}
        tried: Counter[int] = Counter()
        for number, call in enumerate(self._calls):
            request = names.setdefault(self._attempts.of(number), len(names) + 1)
            tried[request] += 1
            if (found := self._found.get(number)) is None:
                yield Link(call, None, None, None, (), request, tried[request])
                continue
            keys = tuple(key_of(self._places[place].turn) for place in found.places)
            first = self._places[found.places[0]]
            shift_ns = self._clocks.at(call.recording, 0, first.turn.recording) - first.zero_ns
            turn, candidates = (None, keys) if found.certainty == "ambiguous" else (keys[0], ())
            yield Link(call, turn, found.by, found.certainty, candidates, request, tried[request], shift_ns)


def order(call: ModelCall) -> tuple[int, int, int]:
    """Return the sort key of calls: recording, start, exchange."""
    return call.recording, call.started_ns, call.exchange


def _compared(text: str, *, cut: bool) -> str:
    return plain(text)[: _SHORT if cut else None]


def _is_about(messages: Sequence[str], turn: Turn) -> bool:
    """Return whether a message of the turn is part of the request's last message; True if either has none."""
    asked = [text for text in (plain(one.text) for one in turn.asked) if text]
    return not messages or not asked or any(text in message for text in asked for message in messages)
