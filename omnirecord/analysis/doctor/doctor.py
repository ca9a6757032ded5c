"""The sessions of a cassette, examined: what `doctor` prints. Reads the store, and each frame once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ...cassette.open import open_store
from ...cassette.select import the_session
from ...cassette.sqlite import Store
from ...model import Exchange, TimedFrame
from ...omnigent.contract import load
from ...text import one_line
from ...wire.content_coding import tells_of_coding
from ...wire.sse import Parser
from ..gather import acts_in, failures_in, grouped, strays
from ..turns import deleted_at
from . import (
    Examined,
    Finding,
    ItemList,
    Sign,
    Upstream,
    explained,
    in_order,
    item_list_of,
    reads_items,
)

_MOST = 20
_AFTERWARDS = 2**62


def findings_of(cassette: str | Path, session: str | None = None) -> list[Finding]:
    """The findings of a cassette, or of one session in it, worst first. Raises `UsageError` or `CassetteError`."""
    store = open_store(cassette)
    try:
        return examine(store, session)
    finally:
        store.close()


def examine(store: Store, session: str | None = None) -> list[Finding]:
    """The same of an open store."""
    wanted = None if session is None else the_session(store, session)
    recordings = _by_recording(store)
    troubles = list(_of_recordings(store, recordings))
    sessions = list(_examined(store, recordings, wanted))
    at_rest = {one.session_id for _, one in sessions if one.session_id is not None and one.is_at_rest}
    found, named = list[Finding](), set[tuple[int, str | None]]()
    for recording, one in sessions:
        beside = [sign for number, sign in troubles if number == recording]
        own = explained(one.signs(at_rest), one.session_id, beside)
        named |= {(recording, finding.because) for finding in own}
        found += own
    shared = [sign for number, sign in troubles if wanted is None or (number, sign.code) in named]
    return in_order([*(finding for sign in shared for finding in explained([sign], None)), *found])


def _by_recording(store: Store) -> dict[int, list[Exchange]]:
    recordings: dict[int, list[Exchange]] = {}
    for x in store.exchanges():
        recordings.setdefault(x.recording, []).append(x)
    return recordings


def _examined(
    store: Store, recordings: dict[int, list[Exchange]], wanted: str | None
) -> Iterator[tuple[int, Examined]]:
    """Each session of each recording, with that; streams that belong to no session one by one."""
    for recording, exchanges in recordings.items():
        upstream, excused, deleted = Upstream.of(exchanges), _excuse(store, recording), _deleted(exchanges)
        clients = [x for x in exchanges if x.party != "runner"]
        if wanted is None and (failed := failures_in(store, strays(clients))):
            yield recording, Examined(None, upstream=upstream, failed=failed)
        for group in grouped(clients):
            if wanted in (None, group[0].session_id):
                yield recording, _session(store, group, upstream, excused, deleted)


def _session(
    store: Store,
    exchanges: list[Exchange],
    upstream: Upstream,
    excused: Callable[[TimedFrame], bool],
    deleted: dict[str, int],
) -> Examined:
    acts, snapshots = list(acts_in(store, exchanges)), _snapshots(store, exchanges)
    failed = failures_in(store, exchanges, acts)
    one = Examined(exchanges[0].session_id, acts, snapshots, upstream, failed, excused, deleted)
    for x in exchanges:
        if x.stream is not None:
            one.hear(x, store.frames(x))
    return one


def _deleted(exchanges: Iterable[Exchange]) -> dict[str, int]:
    """The sessions that clients deleted, and when."""
    found = ((x.session_id, deleted_at([x])) for x in exchanges if x.session_id is not None)
    return {session_id: at_ns for session_id, at_ns in found if session_id is not None and at_ns is not None}


def _excuse(store: Store, recording: int) -> Callable[[TimedFrame], bool]:
    """Whether a frame against the recording's contract is one that the live server sends all the same."""
    live = load("omnigent")
    if store.contract_of(recording) is live:
        return lambda _: False
    return lambda frame: (
        frame.raw is not None
        and all(live.judge(one).verdict == "valid" for one in Parser(at_start=frame.seq == 1).feed(frame.raw))
    )


def _snapshots(store: Store, exchanges: list[Exchange]) -> Iterator[ItemList]:
    for x in exchanges:
        if reads_items(x):
            snapshot = item_list_of(x, store.decoded_body(x, "response"))
            if snapshot is not None:
                yield snapshot


def _of_recordings(store: Store, recordings: dict[int, list[Exchange]]) -> Iterator[tuple[int, Sign]]:
    """What went wrong with the recordings as such: each with its number."""
    for incident in store.incidents()[:_MOST]:
        code, what = "recording-degraded", "from here on not all could be recorded"
        if tells_of_coding(incident.message):
            code, what = "stream-not-decoded", "from here on no events could be read"
        message = f"{what}: {one_line(incident.message)[:200]}"
        yield incident.recording, Sign(code, message, incident.at_ns, _AFTERWARDS)
    for recording, exchanges in recordings.items():
        yield from ((recording, sign) for sign in _unreachable(exchanges))


def _unreachable(exchanges: list[Exchange]) -> Iterator[Sign]:
    """Requests that found no server. Where it had answered before, somebody stopped it: that is the worse of both."""
    lost = [x for x in exchanges if x.ending == "upstream_unreachable"]
    if lost:
        first = lost[0].request
        answered = any(
            x.response and x.ending != "upstream_unreachable" for x in exchanges if x.request.at_ns < first.at_ns
        )
        what = f"{len(lost)} request{'' if len(lost) == 1 else 's'} did not reach the server"
        message = f"{what}, the first of them {first.method} {one_line(first.target)[:100]}"
        yield Sign(
            "upstream-unreachable", message, first.at_ns, lost[-1].request.at_ns,
            severity="warning" if answered else None,
        )  # fmt: skip
