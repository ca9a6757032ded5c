"""The recording thread, and what the proxy holds in its hand to feed it.

Forward first, record second: `Tape` and `Take` only append to a list, on the event loop; a thread behind them makes
rows of it and commits at least every 100 ms. A disk that is slow, full or locked makes the list grow and nothing
wait. Over `BUFFER` bytes, what arrives is counted but no longer kept. Both are said on stderr, when they begin and
when they are over, and in the cassette. A file that was removed or replaced is noticed, and a new one begun.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ._version import __version__
from .cassette import Direction, Ending, Headers, Kind, Recording, Side
from .contract import Contract, load
from .errors import CassetteError
from .headers import printable, printable_text
from .library import contract_or_default
from .recorder import (
    BodyData,
    Ended,
    Incidence,
    Messaged,
    NewFrames,
    Op,
    Received,
    Recorder,
    Requested,
    Responded,
    SentLate,
)  # fmt: skip
from .redact import Redactor, credentials
from .routes import session_of
from .steady import monotonic, monotonic_ns
from .store import Writer, rows
from .store.rows import Row
from .store.schema import free_path
from .store.writer import is_transient

COMMIT_EVERY = 0.05
"""Seconds that what happened is gathered before it is committed; with the commit itself it stays under 0.1."""
BATCH = 8 * 1024 * 1024
"""Bytes that are committed at once, at the most."""
FRAME_FOR = 0.05
"""Seconds that frames are made before new arrivals are looked at again."""
BUFFER = 256 * 1024 * 1024
"""Bytes that may wait for the disk."""
RETRY_EVERY = 0.25
"""Seconds between attempts to write while the recording is degraded."""
LOOK_EVERY = 0.5
"""Seconds after which it is looked whether the file is still there, where nothing happens."""
GIVE_UP_AFTER = 4.0
"""Seconds that a stopping recorder goes on trying to write, and making frames."""

Watch = Callable[[NewFrames], None]
"""Told of frames as they become rows, in the recording thread."""

log = logging.getLogger("omnirecord")


def ignore(frames: NewFrames) -> None:
    """Watch nothing."""


class Take:
    """One exchange being recorded. Its methods are called as things happen, and only note that they did."""

    def __init__(self, tape: Tape, exchange: int, party: str, session_id: str | None = None) -> None:
        self._tape = tape
        self.session_id = session_id
        self.exchange = exchange
        self.party = party
        self._reads = 0
        self._messages = 0
        self._over = False
        self.stream: int | None = None

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        """The response's header section is complete. A stream gets its number here."""
        if kind == "sse":
            self.stream = self._tape.next_stream()
        at, reason, headers = self._tape.now(), printable_text(reason), printable(headers)
        self._tape.put(Responded(self.exchange, kind, self.stream, at, status, reason, headers))

    def body(self, side: Side, data: bytes) -> None:
        """Bytes of a body that is no stream."""
        self._tape.put(BodyData(self.exchange, side, self._tape.room(data)))

    def receive(self, data: bytes) -> Received:
        """A stream's bytes arrived; call `sent` with the result once they are handed on."""
        read = Received(self.exchange, self._reads, self._tape.now(), len(data), self._tape.room(data))
        self._reads += 1
        self._tape.put(read)
        return read

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:
        """A WebSocket message or control frame arrived; call `sent` once it is handed on."""
        message = Messaged(self.exchange, self._messages, self._tape.now(), dir, opcode, self._tape.room(data))
        self._messages += 1
        self._tape.put(message)
        return message

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be read which nobody is waiting for."""
        return self._tape.is_behind

    def sent(self, what: Received | Messaged) -> None:
        """Handed to the other side's transport now."""
        what.sent_ns = self._tape.now()
        if what.written:  # set by the recording thread before it reads `sent_ns`: one of us sees the other
            self._tape.put(SentLate(what))

    def end(self, ending: Ending) -> None:
        """The exchange is over; only the first call counts."""
        if not self._over:
            self._over = True
            self._tape.put(Ended(self.exchange, self._tape.now(), ending))


class Tape:
    """A recording in progress: one run of the proxy, appended to a cassette.

    `watch` is called in the recording thread with the frames as they become rows.
    """

    def __init__(
        self,
        path: Path,
        upstream: str | None,
        contract: str = "omnigent",
        *,
        watch: Watch = ignore,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        judge = load(contract)
        self._path = path
        self._writer = Writer(path)
        self._clock = clock
        self._zero = clock()
        self.recording = self._writer.last_number("recording") + 1
        self._exchanges = self._writer.last_number("exchange")
        self._streams = self._writer.last_number("stream")
        self._parties: dict[object, str] = {}
        self._ops: deque[Op] = deque()  # appended to by one thread, taken from by the other
        self._put_bytes = self._taken_bytes = 0  # each written by one thread only
        self._dropping = self._gave_up = self._is_moving = False
        self.degraded: str | None = None
        """Why what comes cannot be written just now."""
        self._watch = watch
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._give_up_at = math.inf
        started = datetime.now(UTC).isoformat(timespec="microseconds")
        self._recording = Recording(self.recording, started, __version__, contract, upstream)
        self._begin(judge)
        self._thread = threading.Thread(target=self._run, name="omnirecord-tape")
        self._thread.start()

    def _begin(self, judge: Contract) -> None:
        self._secret = self._writer.secret()
        self._recorder = Recorder(self._writer, self.recording, judge, Redactor(self._secret))
        try:
            self._recorder.finish_killed(contract_or_default)
            self._writer.write([rows.recording(self._recording)])
        except BaseException:
            self._writer.close()
            raise

    @property
    def path(self) -> Path:
        """The cassette that is written: another than at first, where somebody put something else in its place."""
        assert self._writer.path is not None
        return self._writer.path

    def now(self) -> int:
        """Nanoseconds since the recording began."""
        return self._clock() - self._zero

    def take(self, method: str, target: str, headers: Headers) -> Take:
        """A request's header section is complete: begin its exchange."""
        at = self.now()
        self._exchanges += 1
        party = self._party(headers)
        self.put(Requested(self._exchanges, party, at, method, printable_text(target), printable(headers)))
        return Take(self, self._exchanges, party, session_of(target))

    def _party(self, headers: Headers) -> str:
        if any(name.lower() == "x-omnigent-runner-tunnel-token" for name, _ in headers):
            return "runner"
        known = self._parties
        return known.setdefault(credentials(headers), f"client-{len(known) + 1}" if known else "client")

    def next_stream(self) -> int:
        self._streams += 1
        return self._streams

    def put(self, op: Op) -> None:
        self._ops.append(op)
        if not self._wake.is_set():
            self._wake.set()

    @property
    def is_behind(self) -> bool:
        """Whether a quarter of what may wait for the disk does."""
        return self._put_bytes - self._taken_bytes > BUFFER // 4

    def room(self, data: bytes) -> bytes | None:
        """The data, if it can be kept until the disk takes it; None while too much is waiting."""
        full = self._put_bytes - self._taken_bytes > BUFFER
        if full is not self._dropping:
            self._dropping = full
            self._say(
                "too much waits for the disk: bytes are counted, no longer kept" if full else "bytes are kept again"
            )
        if full:
            return None
        self._put_bytes += len(data)
        return data

    def _say(self, message: str) -> None:
        log.warning("recording degraded: %s", message)
        self.put(Incidence(self.now(), message))

    def stop(self) -> None:
        """Write what is left, make its frames, close the file. Blocks; call it off the event loop."""
        if not self._stopping.is_set():
            self._give_up_at = monotonic() + GIVE_UP_AFTER
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._finished():
            if not self._ops and not self._recorder.behind and self._wake.wait(LOOK_EVERY):
                self._stopping.wait(COMMIT_EVERY)
            self._wake.clear()
            self._look()
            if not self._gave_up:
                self._record(self._taken())
            if not self._gave_up:
                self._frame()
        self._writer.close()

    def _finished(self) -> bool:
        if not self._stopping.is_set() or self._ops:
            return self._gave_up
        if self._recorder.behind and monotonic() > self._give_up_at:
            log.warning("frames were not finished in time: whoever reads the cassette makes them")
            return True
        return self._gave_up or not self._recorder.behind

    def _taken(self) -> list[Op]:
        taken: list[Op] = []
        size = 0
        while self._ops and size < BATCH:
            taken.append(self._ops.popleft())
            size += _size(taken[-1])
        return taken

    def _record(self, ops: list[Op]) -> None:
        if not ops:
            return
        made, writer = self._recorder.rows(ops), self._writer
        self._persist(lambda: self._write(made, writer), len(ops))
        self._taken_bytes += sum(_size(op) for op in ops)

    def _write(self, made: list[Row], writer: Writer) -> None:
        """All rows; those that can never be written cost only themselves."""
        if writer is not self._writer:
            self._say(f"{len(made)} rows were for the file that is no longer there, and could not be written")
            return
        try:
            self._writer.write(made)
        except Exception as error:
            if is_transient(error):
                raise
            refused = self._writer.write_each(made)
            self._say(f"{len(refused)} rows could not be written: {error}")

    def _frame(self) -> None:
        def work() -> None:
            until = monotonic() + FRAME_FOR
            for frames in self._recorder.make_frames():
                try:
                    self._watch(frames)
                except Exception:  # whoever watches must not end the recording
                    log.exception("could not show what passes")
                if monotonic() > until:
                    return

        self._persist(work, 0)

    def _look(self) -> None:
        """Begin a new file where ours was taken away: what is written to it now would be found by nobody."""
        what = self._writer.displaced()
        if what is not None and not self._is_moving:
            self._is_moving = True
            self._persist(lambda: self._move(what), 0)
            self._is_moving = False

    def _move(self, what: str) -> None:
        """May be called again where it failed. Numbers and times go on, so that the files can be laid side by side."""
        before, at = self._writer, self.now()
        goes_on = rows.incident(self.recording, at, f"this file {what} while it was recorded, and another one begun")
        with suppress(Exception):  # it may be nowhere, and was closed if this is not the first attempt
            before.write([*self._recorder.left_behind(at), goes_on])
        before.close()
        writer = Writer(free_path(self._path))
        try:
            begins = f"{self._path.name} {what} while it was recorded: what came before is not in this file"
            writer.keep_secret(self._secret)
            incident = rows.incident(self.recording, at, begins)
            writer.write([rows.recording(self._recording), *self._recorder.move(writer), incident])
        except BaseException:
            writer.close()
            raise
        self._writer = writer
        log.warning("recording degraded: %s %s; it goes on in %s", self._path, what, writer.path)

    def _persist(self, work: Callable[[], None], waiting: int) -> None:
        """Do it until it works: nothing that a disk or another process does ends a recording."""
        failed_at: float | None = None
        while True:
            try:
                work()
                break
            except Exception as error:
                if not is_transient(error) and not isinstance(error, CassetteError):
                    self._say(f"a fault of omnirecord: {type(error).__name__}: {error}")
                    return
                self.degraded = str(error)
                if failed_at is None:
                    failed_at = monotonic()
                    log.warning("recording degraded: %s; streams go on, trying again", error)
                if monotonic() > self._give_up_at:
                    lost = waiting + len(self._ops)
                    log.error("recording incomplete: %d things that happened could not be written", lost)
                    self._gave_up = True
                    return
                time.sleep(RETRY_EVERY)
                self._look()
        self.degraded = None
        if failed_at is not None:
            lasted = monotonic() - failed_at
            log.warning("recording recovered after %.1f s", lasted)
            self.put(Incidence(self.now(), f"the file could not be written for {lasted:.1f} s; what came waited"))


def _size(op: Op) -> int:
    match op:
        case BodyData() | Received() | Messaged():
            return len(op.data or b"")
    return 0
