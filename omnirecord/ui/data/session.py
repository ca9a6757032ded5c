"""One session as the page shows it: its turns as `show --json` has them, how their texts grew, and its requests.

With it come the sessions of its sub-agents, and of theirs.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ...analysis.gather import children_of
from ...analysis.transcript.show import grown_sessions, turn_rows
from ...analysis.turns import Session, concluded, growth_of
from ...analysis.turns.draft import Draft
from ...cassette.sqlite import Store
from ...errors import UsageError
from ...model import Exchange, wall_clock
from .exchanges import exchange_row, message_rows
from .keys import Key, key_of_session

Row = dict[str, Any]
Told = tuple[Session, list[Draft]]


def session_data(store: Store, key: Key) -> Row:
    """The session and its family, the session itself first. Raises `UsageError` where it is not there."""
    family = list(_family(store, key))
    family.sort(key=lambda one: key_of_session(one[0]) != key)
    if not family or key_of_session(family[0][0]) != key:
        raise UsageError(f"the cassette holds no session {key}")
    started_at = store.recording(key.recording).started_at
    by_id = {(told.recording, told.session_id): told for told, _ in family}
    ids = {told.session_id for told, _ in family if told.session_id is not None}
    exchanges = [x for x in store.exchanges("recording = ?", key.recording) if _is_of(x, ids, key)]
    return {
        "key": str(key),
        "started_at": started_at,
        "is_recorded": store.is_being_recorded,
        "family": [_told(told, drafts, by_id) for told, drafts in family],
        "exchanges": [exchange_row(x) for x in exchanges],
        "messages": [row for x in exchanges if x.kind == "websocket" for row in message_rows(store, x)],
        "at": wall_clock(started_at, 0),
    }


def _family(store: Store, key: Key) -> list[Told]:
    family = key.session_id is not None
    return list(grown_sessions(store, key.session_id, family=family, recording=key.recording, stream=key.stream))


def _is_of(x: Exchange, ids: set[str], key: Key) -> bool:
    return x.session_id in ids or (x.session_id is None and x.stream is not None and x.stream == key.stream)


def _told(told: Session, drafts: list[Draft], by_id: dict[tuple[int, str | None], Session]) -> Row:
    why = concluded(told, children_of(told, by_id))
    title = told.snapshot.title if told.snapshot else None
    return {
        "key": str(key_of_session(told)),
        "session_id": told.session_id,
        "parent_id": told.parent_id,
        "title": title,
        "begun_ns": told.begun_ns,
        "ended_ns": told.until_ns,
        "status": told.status,
        "cost_usd": told.cost_usd,
        "heartbeats": told.heartbeats,
        "streams": [asdict(one) for one in told.streams],
        "turns": list(turn_rows(told, by_id)),
        "growth": [growth_of(draft) for draft in drafts],
        "stopped": {"code": why.code, "sentence": why.sentence, "at_rest": why.outcome == "finished"},
        "conclusion": why.row(),
    }
