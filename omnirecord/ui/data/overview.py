"""Overview, findings and sessions for the page.

The overview has recordings, sessions and incidents of the recorder. It reads no frames: findings are a request of their
own, so that the list appears at once. A session has its turns as in `show --json`, the growth of their texts, its
requests, and the sessions of its sub-agents.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...analysis.doctor.doctor import examine
from ...analysis.gather import Concluded, Known, children_of, conclusions, strays
from ...analysis.transcript.show import sessions_with_drafts, turn_rows
from ...analysis.turns import Session, concluded, growth_of
from ...analysis.turns.draft import Draft
from ...cassette.sqlite import Store
from ...errors import UsageError, __version__
from ...model import Exchange, wall_clock
from .events import Key, exchange_row, key_of_exchange, key_of_session, message_rows

Row = dict[str, Any]
MOST_OTHERS = 500
"""Most listed requests without a session, those of runners included."""


def overview(store: Store, name: str, files: Mapping[int, str] | None = None, known: Known | None = None) -> Row:
    """The overview. `name`: the cassette's. `files`: the file of each recording of a merged cassette. `known`: see
    `conclusions`. Times are ns of their recording."""
    files = files or {}
    recordings, exchanges = store.recordings(), store.exchanges()
    astray = {x.exchange for x in strays([x for x in exchanges if x.party != "runner"])}
    others = [x for x in exchanges if x.party == "runner" or x.exchange in astray]
    return {
        "name": " · ".join(dict.fromkeys(files.values())) or name,
        "files": list(dict.fromkeys(files.values())),
        "version": __version__,
        "is_recorded": store.is_being_recorded,
        "recordings": [
            {"recording": r.recording, "file": files.get(r.recording), "started_at": r.started_at,
             "version": r.version, "contract": r.contract, "upstream": r.upstream, "recording_id": r.recording_id,
             "run_id": r.run_id, "labels": dict(r.labels), "server_version": r.server_version,
             "exchanges": sum(x.recording == r.recording for x in exchanges)}
            for r in recordings
        ],
        "sessions": [_session(store, one) for one in conclusions(store, known=known)],
        "others": [{"recording": x.recording, **exchange_row(x)} for x in others[:MOST_OTHERS]],
        "more_others": max(0, len(others) - MOST_OTHERS),
        "incidents": [
            {"recording": one.recording, "at_ns": one.at_ns, "message": one.message} for one in store.incidents()
        ],
    }  # fmt: skip


def findings(store: Store, session: str | None = None) -> list[Row]:
    """The findings of the cassette, or of one session, each with its recording; None if that is unknown."""
    recordings: dict[object, set[int]] = {}
    for x in store.exchanges():
        for what in (x.stream, x.session_id):
            recordings.setdefault(what, set()).add(x.recording)
    return [
        {**one.row(), "recording": _only(recordings.get(one.stream or one.session_id))}
        for one in examine(store, session)
    ]  # fmt: skip


def _only(found: set[int] | None) -> int | None:
    return next(iter(found)) if found is not None and len(found) == 1 else None


def _session(store: Store, one: Concluded) -> Row:
    told, exchanges = one.session, one.gathered.exchanges
    streams = [x for x in exchanges if x.stream is not None]
    verdicts = sum((Counter(store.tally(x)[0]) for x in streams), Counter[str]())
    said = (store.last_status(x) for x in reversed(streams))
    return {
        "key": str(key_of_exchange(exchanges[0])),
        "recording": told.recording,
        "session_id": told.session_id,
        "stream": one.stream,
        "parent_session_id": told.parent_id,
        "started_at": told.started_at,
        "begun_ns": told.begun_ns,
        "ended_ns": told.until_ns,
        "streams": len(streams),
        "stream_numbers": [x.stream for x in streams],
        "path": exchanges[0].request.target,
        "exchanges": len(exchanges),
        "events": verdicts.total() - verdicts["comment"],
        "verdicts": verdicts,
        "bytes": sum(x.response_bytes for x in streams),
        "last_status": next((status for status in said if status is not None), None),
        "ending": one.conclusion.ending or exchanges[-1].ending,
        "asked": one.conclusion.asked,
        "conclusion": one.conclusion.row(),
    }


Told = tuple[Session, list[Draft]]


def session_data(store: Store, key: Key) -> Row:
    """A session and its sub-agents, the session itself first. Raises `UsageError` if the cassette has none such."""
    family = list(_family(store, key))
    family.sort(key=lambda one: key_of_session(one[0]) != key)
    if not family or key_of_session(family[0][0]) != key:
        raise UsageError(f"the cassette holds no session {key}")
    started_at = store.recording(key.recording).started_at
    by_id = {(told.recording, told.session_id): told for told, _ in family}
    ids = {told.session_id for told, _ in family if told.session_id is not None}
    exchanges = [x for x in store.exchanges(recording=key.recording) if _is_of(x, ids, key)]
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
    return list(sessions_with_drafts(store, key.session_id, family=family, recording=key.recording, stream=key.stream))


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
