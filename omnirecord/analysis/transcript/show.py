"""The output of `show`: lines for people, or one object for each turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...cassette.select import the_session, with_children
from ...cassette.sqlite import Store
from ...model import Exchange
from ..gather import Context, Held, acts_in, children_of, failures_in, grouped, strays
from ..turns import LONG_SILENCE, Session, concluded, session_with_drafts, turn_row
from ..turns.draft import Draft
from . import WIDTH, Line, Page, transcript


def lines_of(
    store: Store,
    session: str | None,
    width: int = WIDTH,
    *,
    full: bool = False,
    long_silence: int = LONG_SILENCE,
    absolute: bool = False,
) -> Iterator[Line]:
    """Return the lines of `show`. Raises `UsageError` if no session, or more than one, has that id.

    `full`: nothing is cut; `long_silence`: length of a silence with a line, at least, in ns; `absolute`: times count
    from the beginning of the recording.
    """
    told = sessions(store, session, long_silence=long_silence, family=True)
    astray = [] if session is not None else failures_in(store, strays(store.exchanges(by_clients=True)))
    yield from transcript(told, width=width, full=full, absolute=absolute, astray=astray)
    wanted = None if session is None else the_session(store, session)
    yield from _recordings(store, wanted, Page(width, full))


def _recordings(store: Store, session: str | None, page: Page) -> Iterator[Line]:
    """Yield a line for each recording with labels or with the version of the server. `session`: only of that one."""
    there = {x.recording for x in store.exchanges() if session in (None, x.session_id)}
    found = [one for one in store.recordings() if one.recording in there and (one.labels or one.server_version)]
    if found:
        yield Line("", "blank")
    for one in found:
        server = [] if one.server_version is None else [f"server {one.server_version}"]
        facts = [f"Recording {one.recording}", *server, *(f"{key}={value}" for key, value in one.labels.items())]
        yield from page.wrapped(" · ".join(facts), "note", rest="  ")


def rows_of(store: Store, session: str | None, *, long_silence: int = LONG_SILENCE) -> Iterator[dict[str, Any]]:
    """Return the objects of `show --json`, one for each turn."""
    wanted = None if session is None else the_session(store, session)
    family = list(sessions(store, session, long_silence=long_silence, family=True))
    by_id = {(one.recording, one.session_id): one for one in family}
    for told in family:
        if wanted in (None, told.session_id):
            yield from turn_rows(told, by_id)


def turn_rows(told: Session, by_id: dict[tuple[int, str | None], Session]) -> Iterator[dict[str, Any]]:
    """Return the objects of one session's turns. `by_id`: all sessions, by recording and id."""
    others = children_of(told, by_id)
    for turn in told.turns[:-1]:
        yield turn_row(turn, begun_ns=told.begun_ns)
    for turn in told.turns[-1:]:
        why = concluded(told, others)
        yield turn_row(turn, {"code": why.code, "sentence": why.sentence}, why.row(), told.begun_ns)


def sessions(
    store: Store, session: str | None = None, *, long_silence: int = LONG_SILENCE, family: bool = False
) -> Iterator[Session]:
    """Return each session of each recording, and each stream without a session.

    `session`: only that one; with `family`, also those of its sub-agents, and of theirs.
    """
    return (told for told, _ in sessions_with_drafts(store, session, long_silence=long_silence, family=family))


def sessions_with_drafts(
    store: Store,
    session: str | None = None,
    *,
    long_silence: int = LONG_SILENCE,
    family: bool = False,
    recording: int | None = None,
    stream: int | None = None,
) -> Iterator[tuple[Session, list[Draft]]]:
    """Return the sessions as `sessions` does, each with the drafts of its turns. `recording`: only of that one;
    `stream`: only that stream without a session."""
    context, parents = Context(store), store.parents()
    wanted = None if session is None else frozenset({the_session(store, session)})
    if family and wanted is not None:
        wanted = with_children(store, *wanted)
    for exchanges in grouped(store.exchanges(by_clients=True)):
        first = exchanges[0]
        if recording not in (None, first.recording) or (stream is not None and _stream_of_none(first) != stream):
            continue
        if wanted is None or first.session_id in wanted:
            acts = list(acts_in(store, exchanges))
            told, drafts = session_with_drafts(
                exchanges,
                Held().of(frame for x in exchanges if x.stream is not None for frame in store.frames(x)),
                acts,
                parent_id=parents.get(first.session_id or ""),
                long_silence=long_silence,
                **context.of(exchanges),
            )
            yield replace(told, failures=tuple(failures_in(store, exchanges, acts))), drafts


def _stream_of_none(x: Exchange) -> int | None:
    return x.stream if x.session_id is None else None
