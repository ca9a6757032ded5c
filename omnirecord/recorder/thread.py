"""The recording thread: it makes rows of queued operations, and commits them at least every 100 ms.

A failed write is retried for as long as it takes. Stderr says so when it begins, once a minute, and when it ends; the
cassette says so too. If a file is removed or replaced during the recording, a new one begins.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..cassette.contracts import AUTO, load
from ..cassette.files import itself
from ..cassette.sqlite import Writer, rows
from ..cassette.sqlite.journal import without_bytes
from ..cassette.sqlite.rows import Row
from ..cassette.sqlite.writer import is_full, is_transient
from ..errors import CassetteError, UsageError
from ..model import RECOVERED, UNWRITTEN, Headers
from ..omnigent.routes import Parties, session_of
from ..redaction.pseudonyms import UserKey
from ..redaction.redactor import Scanner, credentials
from ..server.timers import Complaint, fault_of, monotonic, monotonic_ns
from ..wire.headers import printable, printable_text
from ..wire.limits import Retention, Rotation
from . import intervals
from .files import Hop, RecordingFile, RecordingFiles
from .operations import HELD, Batch, Labelled, Requested, drop_bytes, take_batches
from .queue import ExchangeRecorder, RecordQueue, Unrecorded, amount

log = logging.getLogger("omnirecord")


class RecorderThread:
    """A recording in progress: one run of the proxy, appended to a cassette, or with `rotation` to several.

    `contract`: the name or path of the given contract; None: the default. `further`: the hops with a name: the name,
    the upstream, the contract likewise. They are all hops if there is no `upstream`.
    `content` finds the secrets to mask in content; None: content is kept as it is. `news` is called after a commit, in
    the recording thread.
    `is_lazy`: the recording of a hop begins with its first request.
    `pseudonym_key`: by default the user's own. `keep_unshipped`: the URL of the lake that has to have a cassette before
    `keep` removes it, and the bytes above which it is removed nevertheless.
    """

    def __init__(
        self,
        path: Path,
        upstream: str | None,
        contract: str | None = None,
        *,
        further: Sequence[tuple[str, str | None, str | None]] = (),
        content: Scanner | None = None,
        rotation: Rotation | None = None,
        keep: Retention | None = None,
        news: Callable[[], object] = lambda: None,
        pseudonym_key: UserKey | None = None,
        labels: Mapping[str, str] | None = None,
        keep_unshipped: tuple[str, int] | None = None,
        is_lazy: bool = False,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        if not itself(path).parent.exists():
            raise UsageError(f"cannot write {path}: No such file or directory (make the folder first)")
        named = further if upstream is None and further else [(None, upstream, contract), *further]
        hops = [
            Hop(name, url, load(AUTO if judge is None else judge), is_given=judge is not None)
            for name, url, judge in named
        ]
        self._wake = threading.Event()
        self._queue = RecordQueue(clock, self._wake.set)
        self.files = RecordingFiles(
            path,
            hops,
            rotation,
            keep or Retention(),
            self._queue.now,
            content,
            pseudonym_key,
            labels,
            keep_unshipped,
            self._queue.note,
            is_lazy,
        )
        self._is_named = [hop.name is not None for hop in hops]
        self._parties = Parties(credentials)
        self._gave_up = self._is_moving = self._is_incomplete = False
        self._degraded: str | None = None
        self._recorded_at = self._paused_at = 0.0
        self._pace = intervals.FrameSchedule()
        self._pass: Iterator[int] | None = None
        """The framing pass that has begun."""
        self._busy_at = -math.inf
        """When a commit last had much in it."""
        self._trouble = Complaint()
        self._fault = Complaint()
        self._news = news
        self._stopping = threading.Event()
        self._give_up_at = self._write_until = self._ends_at = math.inf
        self._lost = self._unwritten = 0
        self._refused: tuple[RecordingFile, list[Row]] | None = None
        """The rows that could not be written before the recorder gave up."""
        self._batch = intervals.BATCH if content is None else intervals.MASKED_BATCH
        self._thread = threading.Thread(target=self._run, name="omnirecord-recorder")
        self._thread.start()

    @property
    def degraded(self) -> str | None:
        """Why data cannot be written at the moment. None if all is well."""
        if self._queue.is_dropping and self._degraded is None:
            return f"too much waits for the disk: {self._queue.told_dropped} are not kept so far"
        return self._degraded

    @property
    def waiting_bytes(self) -> int:
        """Bytes of memory that wait for the disk."""
        return self._queue.waiting

    @property
    def dropped_bytes(self) -> int:
        """Bytes that passed and are not in the cassette: the queue was full, or the recorder stopped before."""
        return self._queue.dropped_bytes + self._lost

    @property
    def is_incomplete(self) -> bool:
        """Whether the cassette lacks something that passed."""
        return self._is_incomplete or self._queue.dropped > 0

    @property
    def path(self) -> Path:
        """The cassette, or the link to it. It changes if another file takes its place."""
        return self.files.path

    @property
    def file(self) -> RecordingFile:
        """The file that records new exchanges."""
        return self.files.current

    @property
    def recording(self) -> int:
        """The number of the recording in that file."""
        return self.file.number

    def note(self, message: str) -> None:
        self._queue.note(message, self.file)

    def label(self, key: str, value: str) -> None:
        """Add a label to the recordings."""
        self._queue.put(Labelled(key, value), self.file)

    def begin_exchange(
        self, method: str, target: str, headers: Headers, hop: int = 0, answered_from: int | None = None
    ) -> ExchangeRecorder:
        """Return the recorder of a new exchange, whose request has its header section. `hop`: the position of its
        upstream. An exchange of a named hop has no session, and its party is `client`. `answered_from`: the number of
        the exchange of another cassette that is the answer."""
        file = self.file
        is_named = self._is_named[hop]
        at = self._queue.now() - file.zero_ns
        number = self.files.next_exchange()
        party = "client" if is_named else self._parties.of(method, target, headers)
        request = Requested(number, party, at, method, printable_text(target), printable(headers), hop, answered_from)
        if is_named:
            return ExchangeRecorder(self._queue, self.files, request, file)
        return ExchangeRecorder(self._queue, self.files, request, file, session_of(target), self._parties.answered)

    def pass_unrecorded(self) -> ExchangeRecorder:
        """Return a recorder that records nothing."""
        return Unrecorded(self._queue)

    def stop(self, within: float = intervals.STOP_WITHIN) -> None:
        """Write what is queued, make its frames and close the file, within about `within` seconds. Bytes come first.
        Those that are not written by then are dropped and counted in `dropped_bytes`. Blocks the caller."""
        if not self._stopping.is_set():
            now = monotonic()
            self._give_up_at = min(self._give_up_at, now + min(intervals.GIVE_UP_AFTER, within))
            self._write_until = min(self._write_until, now + max(within - intervals.LAST_WRITES, 0.0))
            self._ends_at = min(self._ends_at, now + within)
            if self._queue.dropped:
                self._say(f"{self._queue.told_dropped} were not kept in all: too much waited for the disk")
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def hurry(self) -> None:
        """Let a recorder that stops, now or later, drop the bytes that are not written yet."""
        self._give_up_at = self._write_until = self._ends_at = monotonic()

    def _run(self) -> None:
        while not self._finished():
            try:
                self._step()
            except Exception as error:  # neither a bug nor a lack of memory ends a recording
                self._fault.say(f"recording degraded: {fault_of(error)}; streams go on, trying again")
                self._gave_up = monotonic() > self._give_up_at
                time.sleep(intervals.RETRY_EVERY)
        if self._gave_up and (unwritten := self._unwritten + len(self._queue.ops)):
            self._leave(max(0, self._queue.waiting - HELD * unwritten), unwritten)
        self.files.close(max(self._ends_at - monotonic(), intervals.LEAST_LAST_WRITES))

    def _step(self) -> None:
        self._gather()
        self._look()
        if not self._gave_up:
            self._record()
        if not self._gave_up:
            self._frame()
            self.files.turn()

    def _gather(self) -> None:
        """Wait for an operation, and then for more: a commit for each operation costs more than the operation."""
        self._wake.clear()
        self._queue.sleeps = True  # `put` calls `_wake` only while this is true
        woken = self._queue.ops or self._stopping.is_set() or self._wake.wait(self._pause())
        self._queue.sleeps = False
        since = monotonic() - self._recorded_at
        if woken and since < intervals.COMMIT_EVERY and self._queue.waiting < intervals.BATCH:
            self._stopping.wait(intervals.COMMIT_EVERY - max(since, 0.0))

    def _pause(self) -> float:
        """Seconds until there is work without a new operation."""
        if not self.files.is_behind:
            return intervals.CHECK_FILES_EVERY
        return min(intervals.CHECK_FILES_EVERY, self._until_frames())

    def _until_frames(self) -> float:
        """Seconds until frames are due."""
        if self._pass is not None:
            return 0.0
        now = monotonic()
        return self._pace.pause(now, is_busy=now - self._busy_at < intervals.FRAME_EVERY)

    def _finished(self) -> bool:
        if not self._stopping.is_set() or self._queue.ops:
            return self._gave_up
        if self.files.is_behind and monotonic() > self._give_up_at:
            log.warning("frames were not finished in time: readers of the cassette make them")
            return True
        return self._gave_up or not self.files.is_behind

    def _record(self) -> None:
        self._recorded_at = monotonic()
        most = min(self._batch, intervals.LAST_BATCH) if self._stopping.is_set() else self._batch
        if self._stopping.is_set() and self._queue.ops and monotonic() > self._write_until:
            self._forget()
            return
        batches = take_batches(self._queue.ops, most, self._rest())
        if sum(len(batch.ops) for batch in batches) >= intervals.MUCH:
            self._busy_at = self._recorded_at
        for n, batch in enumerate(batches):
            try:
                self._record_batch(batch)
            except Exception as error:  # some of its operations are done, so it cannot be retried
                self._lost = self._lost + batch.size
                self._is_incomplete = True
                self._say(f"{amount(batch.size, len(batch.ops))} are not kept: {fault_of(error)}")
            if self._gave_up:
                self._unwritten = len(batch.ops)
                self._queue.ops.extendleft((one.file, op) for one in reversed(batches[n + 1 :]) for op in one.ops[::-1])
                return
            self._queue.taken_bytes += batch.size
            batch.free(self._rest())
        if batches:
            self._news()

    def _record_batch(self, batch: Batch[RecordingFile]) -> None:
        file = batch.file
        if not file.is_closed:  # else these are late `SentLate`, which no row needs
            file.is_used = True
            made = file.row_maker.rows(batch.ops, self._rest())
            self._persist(partial(self._write, file, file.writer, made))
            self._refused = (file, made) if self._gave_up else None

    def _forget(self) -> None:
        """Drop the queued bytes, for lack of time, and write the rest: sizes and ends. Report the loss."""
        until = max(self._ends_at, monotonic() + intervals.LEAST_LAST_WRITES)
        half = (monotonic() + until) / 2
        left = drop_bytes(self._queue.ops, intervals.MASKED_BATCH, lambda: monotonic() > half)
        self._queue.taken_bytes += left.held
        if left.size:
            self._lose(left.size, left.pieces)
        self._unwritten = sum(len(batch.ops) for batch in left.batches)
        for batch in left.batches:
            if self._gave_up or monotonic() > until:
                break
            self._record_batch(batch)
            self._unwritten -= 0 if self._gave_up else len(batch.ops)
        self._gave_up |= self._unwritten > 0 or (left.is_cut and monotonic() > self._ends_at)

    def _leave(self, size: int, pieces: int) -> None:
        """Note the loss in the cassette, if it has room, then the exchanges without their bytes. Nothing is retried."""
        self._lose(size, pieces)
        if monotonic() >= self._ends_at:
            return
        for file in self.files.all:
            file.reserve.give_all()
            file.row_maker.forget_waiting()
        said = f"{self._degraded}: {amount(size, pieces)} passed and are not kept, since the recorder stopped"
        try:
            at_ns = self._queue.now() - self.file.zero_ns
            self.file.writer.write([rows.incident(self.file.number, at_ns, said)])
            if self._refused is not None:
                file, made = self._refused
                file.writer.write(without_bytes(made))
            for batch in drop_bytes(self._queue.ops, intervals.MASKED_BATCH, lambda: False).batches:
                if not batch.file.is_closed:
                    batch.file.writer.write(batch.file.row_maker.rows(batch.ops))
        except Exception as error:
            log.error(
                "%s does not have all requests, and may not say so, since nothing can be written: %s", self.path, error
            )

    def _lose(self, size: int, pieces: int) -> None:
        self._lost = self._lost + size
        self._is_incomplete = True
        why = f"{self._degraded}: " if self._degraded is not None else ""
        log.error("recording incomplete: %s%s were not written before the recorder stopped", why, amount(size, pieces))
        if not self._gave_up:
            said = f"the recorder stopped before {amount(size, pieces)} were written: they passed and are not kept"
            self._queue.note(said, self.file)

    def _rest(self) -> Callable[[], object] | None:
        """The pause between portions. None if many bytes are queued: to get the GIL back takes ten times as long."""
        is_much = self._queue.waiting > intervals.HURRY_AT
        return None if is_much else self._pause_for_loop

    def _pause_for_loop(self) -> None:
        """Let the event loop have the GIL, if this thread has worked for a while. A wait for `_stopping` instead of a
        sleep would take four times the CPU."""
        if time.perf_counter() - self._paused_at > intervals.WORK and not self._stopping.is_set():
            time.sleep(intervals.PAUSE)
            self._paused_at = time.perf_counter()

    def _write(self, file: RecordingFile, writer: Writer, made: list[Row]) -> bool:
        """Write all rows. Rows that can never be written are left out and reported. Return whether there were none."""
        if writer is not file.writer:
            self._say(f"{len(made)} rows were for the file that is no longer there, and could not be written")
            return False
        try:
            writer.write(made, self._rest())
        except Exception as error:
            if is_transient(error):
                raise
            refused = writer.write_each(made)
            self._say(f"{len(refused)} rows could not be written: {error}")
            return False
        return True

    def _frame(self) -> None:
        """Settle the journal and make the frames that are due. A stopping recorder writes its bytes first."""
        is_stopping = self._stopping.is_set()
        if is_stopping and self._queue.ops:
            return
        for file in self.files.all:
            if file.row_maker.journaled > intervals.JOURNAL:
                self._persist(partial(self._settle, file))
        if self.files.is_behind and (is_stopping or not self._until_frames()):
            self._persist(self._make_frames)

    def _settle(self, file: RecordingFile) -> None:
        if not file.is_closed:
            file.row_maker.settle(partial(self._write, file, file.writer), self._rest())

    def _make_frames(self) -> None:
        """Go on with a pass over all streams, for `FRAME_FOR` seconds."""
        self._pace.begin(monotonic(), goes_on=self._pass is not None)
        found = self._pass or self._passing()
        self._pass = None
        for _ in found:
            if self._pace.is_long(monotonic()):
                self._pass = found
                return

    def _passing(self) -> Iterator[int]:
        """Make the frames of all waiting streams, and yield after each transaction."""
        for file in self.files.all:
            self._settle(file)
            yield 0
            yield from file.row_maker.frames.make(self._frames_rest)

    def _frames_rest(self) -> bool:
        """Pause for the event loop. Return whether it is time for a commit."""
        self._pause_for_loop()
        return self._pace.is_long(monotonic())

    def _look(self) -> None:
        """Continue in a new file if a file was removed or replaced: no reader would find the old one."""
        for file in self.files.all:
            what = file.writer.displaced()
            if what is not None and not self._is_moving:
                self._is_moving = True
                self._persist(partial(self.files.replace, file, what))
                self._is_moving = False

    def _say(self, message: str) -> None:
        self._queue.say(message, self.file)

    def _persist(self, work: Callable[[], object]) -> None:
        """Call `work` until it succeeds: neither a disk nor another process ends a recording."""
        failed_at: float | None = None
        while True:
            try:
                work()
                break
            except Exception as error:
                if not is_transient(error) and not isinstance(error, CassetteError):
                    self._say(fault_of(error))
                    return
                self._degraded = "the disk is full" if is_full(error) else str(error)
                if failed_at is None:
                    failed_at = monotonic()
                    if is_full(error):
                        self._note_full()
                waits = self._queue.waiting / 1e6
                most = intervals.BUFFER / 1e6
                self._trouble.say(
                    f"recording degraded: {self._degraded}. Streams go on, and the recorder tries again. Meanwhile"
                    f" {waits:.1f} MB wait in memory; above {most:.0f} MB, further bytes are dropped"
                )
                if monotonic() > self._give_up_at:
                    self._gave_up = True
                    return
                time.sleep(intervals.RETRY_EVERY)
                self._look()
        self._degraded = None
        if failed_at is not None:
            lasted = monotonic() - failed_at
            self._trouble.over(f"recording recovered after {lasted:.1f} s")
            self._queue.note(f"{RECOVERED} {lasted:.1f} s; the data waited in memory", self.file)
            for file in self.files.all:
                file.reserve.fill()

    def _note_full(self) -> None:
        """Note in the cassette that the disk is full, with the reserve: a recorder that is killed cannot note it."""
        file = self.file
        file.reserve.give_some()
        with suppress(Exception):
            at_ns = self._queue.now() - file.zero_ns
            file.writer.write([rows.incident(file.number, at_ns, f"{UNWRITTEN} (the disk is full)")])
