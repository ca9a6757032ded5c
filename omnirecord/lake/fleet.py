"""`doctor`, `stats` and `validate` of this version over all sessions of a lake, in worker processes.

The tables `findings`, `turns` and `problems` have the facts of the version that shipped a recording. Here each
recording is read from its rows and analysed anew. A shard has whole session trees, chosen by a hash of the id of the
root session: each session is in one shard, whatever the order and the number of recordings.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from ..analysis.doctor.doctor import examine
from ..analysis.stats.values import stats_row
from ..analysis.validate import validation
from ..analysis.whole import Whole
from ..cassette.contracts import load
from ..contract.judge import Contract
from ..errors import UsageError
from .location import Lake
from .reading import Batch, Reader, RecordingRows, Snapshot, Wanted
from .sessions import root_of
from .tables import CHILDREN

Row = dict[str, Any]
ANALYSES = ("doctor", "stats", "validate")
_SHARD = re.compile(r"([0-9]{1,6})/([0-9]{1,6})")


@dataclass(frozen=True, slots=True)
class Job:
    """The analyses to run. `contract`: the contract for `validate`, by default each recording's own."""

    analyses: tuple[str, ...]
    contract: str | None = None


@dataclass(slots=True)
class Outcome:
    """The result of one recording."""

    recording_id: str
    sessions: int = 0
    events: int = 0
    """The number of events that `validate` checked."""
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """The rows of each analysis."""
    verdicts: dict[str, int] = field(default_factory=dict)
    failure: str | None = None
    """Why there is no result, as a sentence."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of all sessions, from 1."""

    number: int
    count: int

    @classmethod
    def of(cls, text: str) -> Shard:
        """Return the value of `--shard`. Raises `UsageError`."""
        found = _SHARD.fullmatch(text.strip())
        shard = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise UsageError(f"--shard {text!r} cannot be used: give I/N with I from 1 to N, as in 1/4")
        return shard

    def has(self, name: str) -> bool:
        """Whether a session is in this shard."""
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


def plan(lake: Lake, snapshot: Snapshot, since: datetime | None = None, shard: Shard | None = None) -> list[Wanted]:
    """Return the recordings to read, and which of their sessions. Raises `LakeError`.

    `since`: only sessions that began then or later. Findings of a whole recording, and streams without a session, go
    with the recording: by its id, and by its day.
    """
    recordings = snapshot.recordings(lake)
    if since is None and shard is None:
        return [Wanted(day, recording_id) for recording_id, day in recordings.items()]
    rows = snapshot.sessions(lake)
    parents = {child: one["session_id"] for one in rows for child in one[CHILDREN] or ()}
    parents |= {one["session_id"]: one["parent_session_id"] for one in rows if one["parent_session_id"] is not None}
    chosen: dict[str, set[str | None]] = {}
    for recording_id, day in recordings.items():
        is_late = since is None or day >= since.date().isoformat()
        if is_late and (shard is None or shard.has(recording_id)):
            chosen.setdefault(recording_id, set()).add(None)
    for one in rows:
        session_id, recording_id = one["session_id"], one["recording_id"]
        if session_id is None or recording_id not in recordings:
            continue
        began = one["started_at"]
        is_late = since is None or (began is not None and began >= since)
        if is_late and (shard is None or shard.has(root_of(session_id, parents))):
            chosen.setdefault(recording_id, set()).add(session_id)
    return [Wanted(recordings[id_], id_, frozenset(sessions)) for id_, sessions in sorted(chosen.items())]


def analysed(
    reader: Reader, batch: Batch, job: Job, begun: Callable[[str, list[str]], None] = lambda _id, _sessions: None
) -> Iterator[Outcome]:
    """Yield the result of each recording of a batch. `begun` is called before, with its id and its sessions."""
    for wanted, rows in reader.recordings(batch):
        groups = rows.sessions()
        begun(wanted.recording_id, [one for one in groups if one is not None])
        yield outcome_of(wanted, rows, job)


def outcome_of(wanted: Wanted, rows: RecordingRows, job: Job) -> Outcome:
    """Return the result of one recording. Raises `UsageError` for a contract of another API."""
    made = Outcome(wanted.recording_id)
    mark = {"recording_id": wanted.recording_id}
    sessions = [one for one in rows.sessions() if wanted.sessions is None or one in wanted.sessions]
    known = set(sessions) | {None} if wanted.sessions is None or None in wanted.sessions else set(sessions)
    made.sessions = sum(one is not None for one in sessions)
    whole = Whole(rows, rows.recordings()[0].recording, tells_problems=False) if "stats" in job.analyses else None
    if "doctor" in job.analyses:
        found = examine(rows) if whole is None else whole.examined
        made.rows["doctor"] = [one.row() | mark for one in found if one.session_id in known]
    if whole is not None:
        numbers = whole.measured
        made.rows["stats"] = [stats_row(one) | mark for one in numbers if one.session_id in known]
    if "validate" in job.analyses:
        contract = None if job.contract is None else _contract(job.contract)
        made.rows["validate"] = []
        for session_id in sessions:
            result = validation(rows.of_session(session_id), contract)
            made.events += result.events
            for verdict, count in result.verdicts.items():
                made.verdicts[verdict] = made.verdicts.get(verdict, 0) + count
            own = {"session_id": session_id, **mark}
            made.rows["validate"] += [problem.row | own for problem in result.problems]
    return made


@cache
def _contract(name: str) -> Contract:
    return load(name)
