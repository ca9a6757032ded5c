"""The conversations of a cassette: its model calls, grouped by `providers.grouping`.

A conversation has a number, which counts from 1 in the order in which the conversations began. `CASSETTE#2` names the
second one. A number is the beginning of a session id, too: then the name is `CASSETTE#conversation-2`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..errors import UsageError
from ..model import Exchange, starts_of
from ..providers.call import ModelCall
from ..providers.grouping import Grouping, Place, conversation_name, conversation_number
from ..providers.register import later_id
from .model_calls import ModelHops, call_in
from .select import Source, session_ids, the_session, with_children

Takes = Callable[[Exchange], bool]
"""Whether a part of a cassette has an exchange."""


def placed_calls(store: Source) -> Iterator[tuple[ModelCall, Place]]:
    """Return each model call of a cassette with its place in a conversation, in the order in which the calls started.

    One call is in memory at a time.
    """
    hops = ModelHops(store)
    recordings = store.recordings()
    zeros = starts_of(recordings)
    grouping = Grouping(recordings, store.places)
    exchanges = sorted(hops.exchanges(), key=lambda x: (zeros[x.recording] + x.request.at_ns, x.exchange))
    for x in exchanges:
        call = call_in(store, x, hops)
        if call is not None:
            yield call, grouping.add(call, zeros[call.recording])


def may_be_conversation(name: str) -> bool:
    """Return whether a name after `#` has the form of a conversation's name: `2`, or `conversation-2`."""
    return conversation_number(name) is not None or (name.isascii() and name.isdecimal())


def conversation_named(store: Source, name: str) -> int | None:
    """Return the number of the conversation that a name after `#` means; None if it means a session. Raises
    `UsageError` if the cassette has no conversation with this number, or if the name means a session, too."""
    if not may_be_conversation(name):
        return None
    full = conversation_number(name)
    number = int(name) if full is None else full
    known = sorted({place.conversation for _, place in placed_calls(store)})
    is_one = number in known
    session = next((one for one in session_ids(store) if full is None and one.startswith(name)), None)
    if session is not None:
        if is_one and session != name:
            raise UsageError(
                f"{name} is a conversation, and the session {session} begins with it: give more of the id, or"
                f" #{conversation_name(number)}"
            )
        return None
    if is_one:
        return number
    if known:
        there = f"is only #{known[0]}" if len(known) == 1 else f"are #{known[0]} to #{known[-1]}"
        raise UsageError(f"the cassette has no conversation {number}: there {there}")
    return None


def part_named(store: Source, name: str) -> tuple[Takes, Mapping[int, Place]]:
    """Return which exchanges a session has with its sub-agents, or a conversation with the requests for its earlier
    answers; and the places of the calls in the conversation, by exchange. Raises `UsageError`."""
    number = conversation_named(store, name)
    if number is None:
        family = with_children(store, the_session(store, name))
        return (lambda x: x.session_id in family), {}
    calls = [(call, place) for call, place in placed_calls(store) if place.conversation == number]
    places = {call.exchange: place for call, place in calls}
    answers = {(call.recording, call.response_id) for call, _ in calls if call.response_id is not None}
    return (lambda x: x.exchange in places or (x.recording, later_id(x.request.target)) in answers), places
