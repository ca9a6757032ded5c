"""`doctor`, `stats` and `validate` of this version over all sessions of a lake, in worker processes.

The tables `findings`, `turns` and `problems` have the facts of the version that shipped a recording. Here each
recording is read from its rows and analysed anew, together with the other hops of its cassette. A session tree with
parts in several recordings is analysed once, as the cassette that `get` makes of it. Results come in order; a worker
that dies is reported and replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from ..analysis.doctor.examine import examine
from ..analysis.doctor.model import ModelChecks
from ..analysis.query import Whole
from ..analysis.stats import astray_row, astray_rows, measured
from ..analysis.stats.values import stats_row
from ..analysis.validate import validation
from ..cassette.contracts import load, reading_with
from ..cassette.open import held
from ..errors import OmnirecordError, UsageError
from ..model import root_of
from ..text import clip
from .get import FetchedTree
from .layout import CHILDREN, conversation_ids, recording_of
from .location import Lake
from .reading import Batch, Reader, RecordingRows, Snapshot, Wanted

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """The analyses to run: `doctor`, `stats`, `validate`. `contract`: the one to read with, by default each recording's
    own."""

    analyses: tuple[str, ...]
    contract: str | None = None


@dataclass(slots=True)
class Outcome:
    """The result of one recording, or of a session tree in several recordings."""

    recording_id: str
    """That of `Wanted`."""
    sessions: list[str] = field(default_factory=list)
    """A name for each session and conversation. The parts of a session in several recordings have the same name."""
    events: int = 0
    """The number of events that `validate` checked."""
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """The rows of each analysis."""
    verdicts: Counter[str] = field(default_factory=Counter)
    failure: str | None = None
    """Why there is no result, as a sentence."""
    missing: list[tuple[str, str]] = field(default_factory=list)
    """The table and the path of each missing file, if it is that."""


def plan(lake: Lake, snapshot: Snapshot, since: datetime | None = None) -> list[Wanted]:
    """Return the recordings to read, and which of their sessions; then the session trees in several recordings. Raises
    `LakeError`.

    `since`: only sessions that began then or later. Findings of a whole recording, and streams without a session, go
    with the recording, by its day.
    """
    recordings = snapshot.recordings(lake)
    groups = snapshot.groups(lake)
    group_of = {id_: least for least, ids in groups.items() for id_ in ids}
    rows = [
        session
        for session in snapshot.sessions(lake)
        if session["session_id"] is not None
        and recording_of(session["session_id"]) is None
        and session["recording_id"] in recordings
    ]
    parents = {child: row["session_id"] for row in rows for child in row[CHILDREN] or ()}
    parents |= {row["session_id"]: row["parent_session_id"] for row in rows if row["parent_session_id"] is not None}
    roots = {row["session_id"]: root_of(row["session_id"], parents) for row in rows}
    trees: dict[str, set[str]] = defaultdict(set)
    for one in rows:
        trees[roots[one["session_id"]]].add(one["recording_id"])
    split: dict[str, set[str]] = {root: set() for root, ids in trees.items() if len(ids) > 1}
    sessions_of: dict[str, set[str]] = defaultdict(set)
    whole: dict[str, set[str]] = defaultdict(set)
    chosen: dict[str, set[str | None]] = defaultdict(set)
    for recording_id, day in recordings.items():
        if since is None or day >= since.date().isoformat():
            chosen[recording_id].add(None)
    for one in rows:
        session_id = one["session_id"]
        root = roots[session_id]
        began = one["started_at"]
        is_wanted = since is None or (began is not None and began >= since)
        if is_wanted:
            chosen[one["recording_id"]].add(session_id)
        if root in split:
            sessions_of[root].add(session_id)
            whole[one["recording_id"]].add(session_id)
            if is_wanted:
                split[root].add(session_id)
    for ids in groups.values():
        if any(id_ in chosen for id_ in ids):  # the others are only read
            chosen |= {id_: set() for id_ in ids if id_ not in chosen and id_ in recordings}
    own = [
        Wanted(
            recordings[id_],
            id_,
            None if since is None else frozenset(chosen[id_]),
            group_of.get(id_, ""),
            frozenset(whole[id_]) if id_ in whole else frozenset(),
        )
        for id_ in (recordings if since is None else sorted(chosen))
    ]
    return own + [
        Wanted(
            min(map(recordings.__getitem__, trees[root])),
            min(sessions),
            frozenset(sessions),
            tree=frozenset(sessions_of[root]),
            last_day=max(map(recordings.__getitem__, trees[root])),
        )
        for root, sessions in sorted(split.items())
        if sessions
    ]


Begun = Callable[[str, list[str]], None]
"""Called before recordings are analysed, with the id of the first one and its sessions. A session tree has no id."""


def analysed(reader: Reader, batch: Batch, job: Job, begun: Begun) -> Iterator[Outcome]:
    """Yield the result of each recording of a batch. Raises `UsageError` for a contract of another API."""
    if batch.wanted[0].tree:
        yield _of_tree(reader, batch.wanted[0], job, begun)
        return
    for group, rows in reader.recordings(batch):
        numbers = {recording.recording_id: recording.recording for recording in rows.recordings()}
        first = group[0].recording_id
        begun(first, [session for session in rows.sessions(numbers[first]) if session is not None])
        model = ModelChecks(rows)
        names = conversation_ids(
            model.calls, {recording.recording: recording.recording_id for recording in rows.recordings()}
        )
        for wanted in group:
            if wanted.is_wanted:
                yield _outcome(wanted, rows, numbers[wanted.recording_id], model, names, job)


def _of_tree(reader: Reader, wanted: Wanted, job: Job, begun: Begun) -> Outcome:
    """Return the result of a session tree in several recordings."""
    sessions = sorted(filter(None, wanted.sessions or ()))
    begun("", sessions)
    lake = reader.tree_lake
    lake.missing.clear()
    days = date.fromisoformat(wanted.day), date.fromisoformat(wanted.last_day)
    fetch = FetchedTree(reader.query, wanted.tree, days)
    made = Outcome(wanted.recording_id, sessions)
    if not fetch.recordings:  # it expired meanwhile
        return made
    with closing(held(fetch.values())) as store:
        if missing := lake.missing.files():
            failure = f"session {wanted.recording_id} cannot be analysed: a file with a part of it is lost"
            return Outcome(wanted.recording_id, failure=failure, missing=missing)
        model = ModelChecks(store)
        ids = {recording.recording: recording.recording_id for recording in store.recordings()}
        exchanges = [x for x in store.exchanges() if x.session_id in sessions]
        first = {x.session_id: x.recording for x in reversed(exchanges)}
        of_stream = {x.stream: x.recording for x in exchanges if x.stream is not None}

        def told(found: Iterable[Row]) -> list[Row]:
            return [
                row | {"recording_id": recording_id if recording_id in holders else min(holders)}
                for row in found
                if (session_id := row["session_id"]) in first
                if (number := row.get("recording") or of_stream.get(row.get("stream") or 0, first[session_id]))
                if (recording_id := ids[number]) and (holders := fetch.holders[session_id])  # parts may be joined
            ]

        if "doctor" in job.analyses:
            made.rows["doctor"] = told(one.row() for one in examine(store, model=model))
        if "stats" in job.analyses:
            made.rows["stats"] = told(map(stats_row, measured(store, calls=model.calls)))
        return made


def _outcome(
    wanted: Wanted, rows: RecordingRows, recording: int, model: ModelChecks, names: Mapping[str, str], job: Job
) -> Outcome:
    """Return the result of one recording. `names`: the ids of its conversations in the lake; they are wanted as streams
    without a session are."""
    made = Outcome(wanted.recording_id)
    mark = {"recording_id": wanted.recording_id}

    def told(found: Iterable[Row]) -> list[Row]:
        return [
            row | mark | {"session_id": names.get(row["session_id"], row["session_id"])}
            for row in found
            if (None if row["session_id"] in names else row["session_id"]) in known
            and row["session_id"] not in wanted.elsewhere
        ]

    sessions = [
        session for session in rows.sessions(recording) if wanted.sessions is None or session in wanted.sessions
    ]
    known = {*sessions, None} if wanted.sessions is None or None in wanted.sessions else {*sessions}
    made.sessions = [session for session in sessions if session is not None]
    if None in known:
        talks = sum(talk.links[0].call.recording == recording for talk in model.calls.talks)
        made.sessions += [f"{wanted.recording_id} {number}" for number in range(talks)]
    if "doctor" in job.analyses:
        found = examine(rows, recording=recording, model=model)
        made.rows["doctor"] = told(one.row() for one in found)
        for row in made.rows["doctor"]:
            del row["recording"]  # a number in its cassette
    if "stats" in job.analyses:
        numbers = Whole(rows, recording, tells_problems=False, model=model).measured
        made.rows["stats"] = told(map(stats_row, numbers))
        made.rows["stats"] += told(astray_row(*one) for one in astray_rows(model.calls) if one[0] == recording)
    if "validate" in job.analyses:
        contract = None if job.contract is None else _contract(job.contract)
        made.rows["validate"] = []
        for session_id in sessions:
            result = validation(rows.of_session(recording, session_id), contract)
            made.events += result.events
            made.verdicts.update(result.verdicts)
            own = {"session_id": session_id, **mark}
            made.rows["validate"] += [problem.row | own for problem in result.problems]
    return made


_contract = cache(load)

MOST = 32
"""Recordings in a batch."""
_NAMED = 3
"""Sessions that a message names at most."""
_SPAWN = multiprocessing.get_context("spawn")


def run(
    lake: Lake, snapshot: Snapshot, wanted: Sequence[Wanted], job: Job, jobs: int, tell: Callable[[str], None]
) -> Iterator[Outcome]:
    """Yield the result of each recording, by day and id, then those of session trees. `tell` is called with a sentence
    when a worker dies.

    A recording whose worker dies is read again alone; if that worker dies too, its result is a failure. Raises
    `UsageError` for a contract of another API.
    """
    recordings = [one for one in wanted if not one.tree]
    batches = list(snapshot.batches(recordings, _most(len(recordings), jobs)))
    if {"doctor", "stats"} & set(job.analyses):
        batches += [Batch((one,), {}) for one in wanted if one.tree]
    jobs = min(jobs, len(batches))
    if jobs <= 1:
        with closing(Reader(lake)) as reader, reading_with(job.contract):
            for batch in batches:
                yield from _guarded(reader, batch, job)
        return
    with closing(_Pool(lake.url, job, jobs, tell, batches)) as pool:
        yield from pool.results()


def _most(recordings: int, jobs: int) -> int:
    """The size of a batch: small enough that every worker gets several."""
    return max(1, min(MOST, recordings // (4 * max(jobs, 1))))


def _guarded(reader: Reader, batch: Batch, job: Job, begun: Begun = lambda *_: None) -> Iterator[Outcome]:
    """The results of a batch. If a recording cannot be read, each other one still has its result."""
    done = set[str]()
    try:
        for outcome in analysed(reader, batch, job, begun):
            done.add(outcome.recording_id)
            yield outcome
    except UsageError:
        raise
    except Exception as error:
        left = batch.left(done)
        if len(batch.each()) > 1:
            for one in left:
                yield from _guarded(reader, one, job, begun)
            return
        said = str(error) if isinstance(error, OmnirecordError) else f"{type(error).__name__}: {error}"
        for id_ in (of.recording_id for one in left for of in one.wanted if of.is_wanted):
            missing = reader.lake.missing.files()
            what = "session" if batch.wanted[0].tree else "recording"
            yield Outcome(id_, failure=f"{what} {id_} cannot be analysed: {said}", missing=missing)


def _work(connection: Connection, url: str, job: Job) -> None:
    """The life of a worker: take batches, send results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process handles Ctrl-C
    reader = Reader(Lake(url))
    with suppress(EOFError, OSError), reading_with(job.contract):  # the parent process is gone
        while (batch := connection.recv()) is not None:
            try:
                for outcome in _guarded(reader, batch, job, lambda *at: connection.send(("begun", at))):
                    connection.send(("outcome", outcome))
            except OmnirecordError as error:
                connection.send(("refused", str(error)))
            connection.send(("done", None))
    reader.close()


TARGET: Callable[[Connection, str, Job], None] = _work
"""The function that a worker process runs."""


class _Worker:
    """One worker process and the batch that it has."""

    def __init__(self, url: str, job: Job) -> None:
        self.connection, other = _SPAWN.Pipe()
        self.process: BaseProcess = _SPAWN.Process(target=TARGET, args=(other, url, job), daemon=True)
        self.process.start()
        other.close()
        self.number = -1
        self.batch: Batch | None = None
        self.at: tuple[str, list[str]] | None = None

    def give(self, number: int, batch: Batch) -> None:
        self.number = number
        self.batch = batch
        self.at = None
        with suppress(OSError):  # it died: `receive` finds out
            self.connection.send(batch)

    def place(self) -> str:
        if self.at is None:
            return ""
        recording_id, sessions = self.at
        more = f" and {len(sessions) - _NAMED} more" if len(sessions) > _NAMED else ""
        word = "session" if len(sessions) == 1 else "sessions"
        named = [f"{word} {', '.join(clip(one, 80) for one in sessions[:_NAMED])}{more}"] if sessions else []
        return " in " + ", ".join([*([f"recording {recording_id}"] if recording_id else []), *named])


class _Pool:
    def __init__(self, url: str, job: Job, jobs: int, tell: Callable[[str], None], batches: Sequence[Batch]) -> None:
        self._url = url
        self._job = job
        self._tell = tell
        self._workers = [_Worker(url, job) for _ in range(jobs)]
        self._again = deque[tuple[int, Batch]]()
        self._waiting = deque(enumerate(batches))
        self._left = [{one.recording_id for one in batch.wanted if one.is_wanted} for batch in batches]
        self._found: dict[int, list[Outcome]] = {number: [] for number in range(len(batches))}

    def results(self) -> Iterator[Outcome]:
        """Yield the results in the order of the batches."""
        for number, left in enumerate(self._left):
            while left:
                for worker in self._workers:
                    if worker.batch is None and (self._again or self._waiting):
                        worker.give(*(self._again or self._waiting).popleft())
                for ready in wait([worker.connection for worker in self._workers if worker.batch is not None]):
                    self._receive(next(one for one in self._workers if one.connection is ready))
            yield from sorted(self._found.pop(number), key=lambda one: one.recording_id)

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if kind == "refused":
            raise UsageError(value)
        if kind == "begun":
            worker.at = value
        elif kind == "outcome":
            self._add(worker.number, value)
        else:
            assert worker.batch is not None
            for one in worker.batch.wanted:  # those that left the lake in the meantime have no result
                self._left[worker.number].discard(one.recording_id)
            worker.batch = None

    def _add(self, number: int, outcome: Outcome) -> None:
        self._found[number].append(outcome)
        self._left[number].discard(outcome.recording_id)

    def _replace(self, worker: _Worker) -> None:
        """Start another worker, and give the rest of the batch to others, recording by recording."""
        worker.process.join()
        number = worker.number
        batch = worker.batch
        code = worker.process.exitcode or 0
        assert batch is not None
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        ids = {one.recording_id for one in batch.wanted}
        left = batch.left(ids - self._left[number])
        if len(batch.each()) == 1:
            for id_ in sorted(ids & self._left[number]):
                where = worker.place() or f" in recording {id_}"
                self._add(number, Outcome(id_, failure=f"a worker {how}{where}: it was not analysed"))
        elif left:
            self._tell(f"a worker {how}{worker.place()}: its recordings are read again, one by one")
            self._again += [(number, one) for one in left]
        worker.connection.close()
        self._workers[self._workers.index(worker)] = _Worker(self._url, self._job)

    def close(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.kill()
            worker.process.join()


def default_jobs() -> int:
    """Return the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
