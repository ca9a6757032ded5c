"""What belongs to sessions of a cassette, and a cassette without it.

To a session belong its exchanges, and the calls to the model for its turns. So do the exchanges without a session that
name its id, such as a list of all sessions. A recording in which no session, no stream and no model call is left goes
as a whole, with its labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from ..cassette.conversations import conversation_named, may_be_conversation
from ..cassette.export import write_lines
from ..cassette.files import itself, sibling
from ..cassette.jsonl import encoded, values
from ..cassette.open import open_store
from ..cassette.scrub import form_of
from ..cassette.select import session_ids, the_session, with_children
from ..cassette.sqlite import Store, Writer, is_sqlite
from ..cassette.sqlite.lock import RecorderLock, recorder_is_alive
from ..cassette.sqlite.search_index import remove_index
from ..cassette.sqlite.writer import number_made
from ..errors import CassetteInUse, TooLarge, UsageError
from ..model import Exchange, Side
from ..providers.grouping import conversation_name
from ..providers.register import later_id
from ..text import dumps
from .gather import model_calls
from .model_calls.values import ModelCalls


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What leaves a cassette."""

    sessions: frozenset[str]
    """With their sub-agents. `conversation-2` is a conversation of model calls."""
    exchanges: frozenset[int]
    recordings: frozenset[int]
    """The recordings of which nothing is left."""
    parents: frozenset[str] = frozenset()
    """The sessions that started one of these as a sub-agent, and stay."""

    def takes(self, x: Exchange) -> bool:
        """Whether an exchange stays."""
        return x.exchange not in self.exchanges


def named(store: Store, names: Iterable[str]) -> frozenset[str]:
    """Return the sessions that these names mean, with their sub-agents. Raises `UsageError`."""
    found = set[str]()
    for name in names:
        number = conversation_named(store, name)
        found |= with_children(store, the_session(store, name)) if number is None else {conversation_name(number)}
    return frozenset(found)


def forgotten(store: Store, sessions: Collection[str], calls: ModelCalls | None = None) -> Forgotten:
    """Return what belongs to these sessions. `calls`: the model calls of the cassette, if they are known."""
    sessions = frozenset(sessions)
    calls = model_calls(store) if calls is None else calls
    every_call = [link.call for link in calls.links]
    of_calls = _sessions_of(calls)
    every = store.exchanges()
    own = {x.exchange for x in every if x.session_id in sessions}
    own |= {exchange for exchange, of in of_calls.items() if of and of <= sessions}
    answers = {(call.recording, call.response_id) for call in every_call if call.exchange in own and call.response_id}
    own |= {x.exchange for x in every if (x.recording, later_id(x.request.target)) in answers}
    touched = {x.recording for x in every if x.exchange in own}
    names = names_of(sessions)
    known = {*session_ids(store)}
    kept = set[int]()
    for x in every:
        if x.recording not in touched or x.exchange in own:
            continue
        if x.session_id is None and not of_calls.get(x.exchange) and any(map(names.search, _texts(store, x))):
            own.add(x.exchange)
        elif x.session_id in known or x.exchange in of_calls or (x.session_id is None and x.stream is not None):
            kept.add(x.recording)
    gone = touched - kept
    own |= {x.exchange for x in every if x.recording in gone}
    parents = {parent for child, parent in store.parents().items() if child in sessions} - sessions
    return Forgotten(sessions, frozenset(own), frozenset(gone), frozenset(parents))


def _sessions_of(calls: ModelCalls) -> dict[int, set[str | None]]:
    """Return the sessions that each model call may be of, by exchange."""
    found = dict[int, set[str | None]]()
    for link in calls.links:
        turns = link.candidates if link.turn is None else (link.turn,)
        found[link.call.exchange] = {one.session_id for one in turns}
    for talk in calls.talks:
        found |= {link.call.exchange: {talk.session_id} for link in talk.links}
    return found


def names_of(sessions: Iterable[str]) -> re.Pattern[bytes]:
    """Return an expression that finds one of these ids as a word."""
    words = b"|".join(re.escape(one.encode()) for one in sorted(sessions))
    return re.compile(rb"(?<![\w-])(?:" + words + rb")(?![\w-])")


def _texts(store: Store, x: Exchange) -> Iterable[bytes]:
    yield x.request.target.encode()
    yield dumps(x.request.headers).encode()
    yield _body(store, x, "request")
    if x.response is not None:
        yield dumps(x.response.headers).encode()
    if x.kind == "websocket":
        yield from (one.data for one in store.messages(x.exchange))
    elif x.stream is None:
        yield _body(store, x, "response")
    else:
        yield b"".join(store.content(x))


def _body(store: Store, x: Exchange, side: Side) -> bytes:
    try:
        return store.decoded_body(x, side)
    except TooLarge:
        return store.body(x.exchange, side)


def lines_without(store: Store, gone: Forgotten) -> Iterable[dict[str, object]]:
    """Return the values of the text form of what stays."""
    kept = [one.recording for one in store.recordings() if one.recording not in gone.recordings]
    return values(store, gone.takes, will_change=True, recordings=kept)


def copied_to(store: Store, gone: Forgotten, target: Path) -> None:
    """Write what stays of an open cassette to a new `.db`. Raises `UsageError` or `CassetteError`."""
    write_lines(encoded(lines_without(store, gone)), target, is_text=False, is_compressed=False)


def copied_without(names: Iterable[str]) -> Callable[[Store], Iterable[dict[str, object]]]:
    """Return a function that returns the text form of a cassette without these sessions. It raises `UsageError`."""
    return lambda store: lines_without(store, forgotten(store, named(store, names)))


def sessions_in(cassette: Path, names: Iterable[str], *, is_alone: bool) -> frozenset[str]:
    """Return the sessions of a cassette that these names mean, with their sub-agents.

    `is_alone`: raise `UsageError` for a name without a session. Raises `UsageError` or `CassetteError`.
    """
    found = set[str]()
    with closing(open_store(cassette)) as store:
        known = session_ids(store)
        for name in names:
            if is_alone or may_be_conversation(name) or any(one.startswith(name) for one in known):
                found |= named(store, [name])
    return frozenset(found)


def forget(cassette: Path, sessions: Collection[str]) -> Forgotten:
    """Remove the sessions with these ids from a cassette, whole or not at all. No byte of them stays in the file or
    beside it.

    Raises `UsageError`, also if nothing else is in the cassette, or `CassetteError`.
    """
    path = itself(cassette)
    is_database = is_sqlite(path)
    if recorder_is_alive(path):
        raise CassetteInUse(f"{cassette} is being recorded: stop the recorder first")
    if is_database:
        with closing(Writer(path)) as writer:
            writer.settle()
    lock = RecorderLock(path, is_shipper=True) if is_database else None
    try:
        if any(sibling(path, end).exists() and sibling(path, end).stat().st_size for end in ("-wal", "-journal")):
            raise CassetteInUse(f"another program has {cassette} open: end it, and try again")
        with closing(open_store(path)) as store:
            gone = forgotten(store, sessions)
            if len(gone.recordings) == len(store.recordings()):
                raise UsageError(f"{cassette} has nothing but these sessions: remove the file")
            is_text, is_compressed = form_of(path, path)
            pseudonyms = store.pseudonyms_of()
            remove_index(path)  # first: it has texts of the sessions
            for end in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    sibling(path, end).unlink()  # it is empty, and belongs to the old file
            write_lines(
                encoded(lines_without(store, gone)),
                path,
                is_text=is_text,
                is_compressed=is_compressed,
                pseudonyms=pseudonyms,
                number=number_made(path) if is_database else None,
            )
        return gone
    finally:
        if lock is not None:
            lock.release()
