"""The output of `show`: lines for people, or one object for each turn. `unfolding` has that of `show --follow`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...cassette.select import the_session
from ...cassette.source import Source
from ...cassette.sqlite import Store
from ...model import Exchange
from ..gather import Context, failures_in, gathered, model_calls, strays, without_calls
from ..model_calls.spent import spent_in
from ..model_calls.values import ModelCalls, call_row
from ..turns.conclusion import children_of, concluded
from ..turns.draft import Draft
from ..turns.values import LONG_SILENCE, Session, row_without_turn, turn_row
from . import WIDTH, Line, Page, transcript
from .other import exchanges_of_others, lines_of_others
from .tree import NO_CALLS


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
    told = list(sessions(store, session, long_silence=long_silence, family=True))
    calls = model_calls(store, None if session is not None else lambda: told)
    others = exchanges_of_others(store) if session is None else {}
    listed = {x.exchange for some in others.values() for x in some}
    exchanges = [] if session is not None else without_calls(store, store.exchanges(by_clients=True))
    exchanges = [x for x in exchanges if x.exchange not in listed]
    if exchanges or calls.links or not others:
        yield from transcript(
            [one for one in told if one.request is None], width=width, full=full, absolute=absolute,
            astray=failures_in(store, strays(exchanges)), calls=calls, recordings=store.recordings(),
            with_astray_calls=session is None,
        )  # fmt: skip
        yield from [Line("", "blank")] if others else ()
    yield from lines_of_others(store, others, Page(width, full), absolute=absolute)
    wanted = None if session is None else the_session(store, session)
    yield from _recordings(store, wanted, Page(width, full))


def _recordings(store: Store, session: str | None, page: Page) -> Iterator[Line]:
    """Yield a line for each recording with labels or with the version of the server. `session`: only of that one."""
    found = [one for one in store.recordings() if one.labels or one.server_version]
    if found and session is not None:
        there = {x.recording for x in store.exchanges() if x.session_id == session}
        found = [one for one in found if one.recording in there]
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
    calls = model_calls(store, None if session is not None else lambda: family)
    for told in family:
        if wanted in (None, told.session_id):
            yield from turn_rows(told, by_id, calls)
    for link in calls.astray if session is None else ():
        yield row_without_turn(link.call.recording, call_row(link))


def turn_rows(
    told: Session, by_id: dict[tuple[int, str | None], Session], calls: ModelCalls = NO_CALLS
) -> Iterator[dict[str, Any]]:
    """Return the objects of one session's turns. `by_id`: all sessions, by recording and id. `calls`: the model
    calls."""
    others = children_of(told, by_id)
    for turn in told.turns:
        why = concluded(told, others) if turn is told.turns[-1] else None
        stopped = None if why is None else {"code": why.code, "sentence": why.sentence}
        used = spent_in(turn, calls)
        yield turn_row(
            turn,
            stopped,
            None if why is None else why.row(),
            told.begun_ns,
            list(map(call_row, calls.of(turn))),
            used.row() if used else None,
        )


def sessions(
    store: Source, session: str | None = None, *, long_silence: int = LONG_SILENCE, family: bool = False
) -> Iterator[Session]:
    """Return each session of each recording, and each stream without a session.

    `session`: only that one; with `family`, also those of its sub-agents, and of theirs.
    """
    return (told for told, _ in sessions_with_drafts(store, session, long_silence=long_silence, family=family))


def sessions_with_drafts(
    store: Source,
    session: str | None = None,
    *,
    long_silence: int = LONG_SILENCE,
    family: bool = False,
    recording: int | None = None,
    stream: int | None = None,
) -> Iterator[tuple[Session, list[Draft]]]:
    """Return the sessions as `sessions` does, each with the drafts of its turns. `recording`: only of that one;
    `stream`: only that stream without a session."""
    context = Context(store)

    def takes(first: Exchange) -> bool:
        is_stream = stream is None or (first.session_id is None and first.stream == stream)
        return recording in (None, first.recording) and is_stream

    for one in gathered(store, session, family=family, takes=takes):
        told, drafts = one.told(context.of(one.exchanges), long_silence=long_silence)
        yield replace(told, failures=one.failures()), drafts
