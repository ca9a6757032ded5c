"""The recording thread, and what the proxy holds in its hand to feed it.

Forward first, record second: `Tape` and `Take` only append to a list, on the event loop; a thread behind them makes
rows of it and commits at least every 100 ms. A disk that is slow, full or locked makes the list grow and nothing
wait. Over `BUFFER` bytes, what arrives is counted but no longer kept. Both are said on stderr, when they begin, once a
minute, and when they are over, and in the cassette. `reels` are the files that it writes, several with `--rotate`;
one that was removed or replaced under the recorder is noticed, and another begun.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from .apart import Apart
from .batches import taken
from .cassette import Direction, Ending, Headers, Kind, Side
from .complaining import Complaint
from .contract import load
from .errors import CassetteError
from .headers import header, printable, printable_text
from .limits import Retention, Rotation
from .recorder import (
    BodyData,
    Ended,
    FrameMaker,
    Incidence,
    Messaged,
    NewFrames,
    Op,
    Passed,
    Received,
    Requested,
    Responded,
    SentLate,
)  # fmt: skip
from .recorder.pace import Pace, breath
from .redact import Scanner, credentials
from .reels import Reel, Reels
from .routes import session_of
from .sse import last_end
from .steady import monotonic, monotonic_ns
from .store import Writer
from .store.rows import Row
from .store.writer import is_transient

COMMIT_EVERY = 0.08
"""Seconds that what happened is gathered before it is committed; with the commit itself it stays under 0.1."""
BATCH = 8 * 1024 * 1024
"""Bytes that are committed at once, at the most."""
PAUSE = 0.0005
"""Seconds in which the event loop has the interpreter for itself, between some of what happened and what follows."""
MUCH = 2 * 1024 * 1024
"""Bytes that wait for the disk at which it is hurried."""
LATE = 2 * BATCH
"""Bytes that came while others were committed, at which frames are not made for a while: the recording needs the
processor, and what was promised of it comes first."""
BUFFER = 256 * 1024 * 1024
"""Bytes that may wait for the disk."""
RETRY_EVERY = 0.25
"""Seconds between attempts to write while the recording is degraded."""
LOOK_EVERY = 0.5
"""Seconds after which it is looked whether the files are still there, and full, where nothing happens."""
LOAD_IN = 2.0
"""Seconds that are waited for the process that makes frames, at the beginning; it may load on if it takes longer."""
END_IN = 1.0
"""Seconds in which the process that makes frames has to end."""
GIVE_UP_AFTER = 4.0
"""Seconds that a stopping recorder goes on trying to write, and making frames."""

Watch = Callable[[NewFrames], None]
"""Told of frames as they become rows, in the recording thread."""

log = logging.getLogger("omnirecord")


def ignore(frames: NewFrames) -> None:
    """Watch nothing."""


def nothing() -> None:
    """Be told nothing."""


class Take:
    """One exchange being recorded. Its methods are called as things happen, and only note that they did.

    When its file is full, a stream or WebSocket that was asked for with GET goes on in the next one: the exchange ends
    in the old file behind a whole frame or message, and begins there again under the same numbers.
    """

    __slots__ = (
        "_messages", "_moves", "_over", "_reads", "_reel", "_reels", "_request", "_response", "_tape",
        "exchange", "party", "session_id", "stream",
    )  # fmt: skip

    def __init__(self, tape: Tape, request: Requested, reel: Reel, session_id: str | None = None) -> None:
        self._tape = tape
        self._reels = tape.reels
        self._request: Requested | None = request
        self._response: Responded | None = None
        self._reel = reel
        self._moves = False
        self.session_id = session_id
        self.exchange = request.exchange
        self.party = request.party
        self._reads = 0
        self._messages = 0
        self._over = False
        self.stream: int | None = None
        self._put(request)

    def now(self) -> int:
        """Nanoseconds, by the tape's clock."""
        return self._tape.now()

    def _now(self) -> int:
        return self._tape.now() - self._reel.zero_ns

    def _put(self, op: Op) -> None:
        self._tape.put(op, self._reel)

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        """The response's header section is complete. A stream gets its number here."""
        if kind == "sse":
            self.stream = self._tape.next_stream()
        at, reason, headers = self._now(), printable_text(reason), printable(headers)
        is_coded = (header(headers, "content-encoding") or "identity").strip().lower() != "identity"
        request, self._request = self._request, None
        response = Responded(self.exchange, kind, self.stream, at, status, reason, headers)
        can_move = kind == "websocket" or (kind == "sse" and not is_coded)
        self._moves = self._reels.rotates and request is not None and request.method == "GET" and can_move
        if self._moves:
            self._request, self._response = request, response  # else nobody asks for them again
        self._put(response)

    def body(self, side: Side, data: bytes) -> None:
        """Bytes of a body that is no stream."""
        self._put(BodyData(self.exchange, side, self._tape.room(data)))

    def receive(self, data: bytes) -> Received:
        """A stream's bytes arrived; call `sent` with the result once they are handed on."""
        now = self._tape.now()
        if self._reel is self._reels.current or not self._is_to_move or (end := last_end(data)) == 0:
            return self._read(data, now)
        first = self._read(data[:end], now)
        self._move()
        if end == len(data):
            return first
        rest = self._read(data[end:], now)
        rest.before = first
        return rest

    def passed(self, data: bytes, at_ns: int) -> None:
        """A stream's bytes arrived then, by the tape's clock, and are handed on by now: `receive` and `sent` in one."""
        if self._reel is self._reels.current or not self._is_to_move:
            self._read(data, at_ns, self._tape.now())
        else:
            self.sent(self.receive(data))

    def _read(self, data: bytes, at_ns: int, sent_ns: int | None = None) -> Received:
        """What is done for each read: in few calls, since each delays the next one."""
        tape, reel, n, size = self._tape, self._reel, self._reads, len(data)
        self._reads = n + 1
        if tape.is_dropping or tape.put_bytes - tape.taken_bytes > BUFFER:
            kept = tape.room(data)
        else:
            tape.put_bytes += size
            kept = data
        zero_ns = reel.zero_ns
        sent_ns = None if sent_ns is None else sent_ns - zero_ns
        read = Received(self.exchange, n, at_ns - zero_ns, size, kept, sent_ns, False, reel)
        tape.put(read, reel)
        return read

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:
        """A WebSocket message or control frame arrived; call `sent` once it is handed on."""
        if self._is_to_move:
            self._move()
        message = Messaged(
            self.exchange, self._messages, self._now(), dir, opcode, self._tape.room(data), reel=self._reel
        )  # fmt: skip
        self._messages += 1
        self._put(message)
        return message

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be read which nobody is waiting for."""
        return self._tape.is_behind

    @property
    def _is_to_move(self) -> bool:
        return self._reel is not self._tape.reel and self._moves and not self._over

    def _move(self) -> None:
        """Go on in the newest file."""
        assert self._request is not None
        assert self._response is not None
        passed = Passed()
        self._put(Ended(self.exchange, self._now(), "recorder_stopped", passed))
        self._reel = self._tape.reel
        now = self._now()
        self._put(replace(self._request, at_ns=now))
        self._put(replace(self._response, at_ns=now, passed=passed))
        self._reads = self._messages = 0

    def sent(self, what: Received | Messaged) -> None:
        """Handed to the other side's transport now."""
        if type(what) is Received and what.before is not None:
            self.sent(what.before)
        tape = self._tape
        what.sent_ns = tape.clock() - tape.zero_ns - what.reel.zero_ns
        if what.written:  # set by the recording thread before it reads `sent_ns`: one of us sees the other
            tape.put(SentLate(what), what.reel)

    def end(self, ending: Ending) -> None:
        """The exchange is over; only the first call counts."""
        if not self._over:
            self._over = True
            self._put(Ended(self.exchange, self._now(), ending))


class Tape:
    """A recording in progress: one run of the proxy, appended to a cassette, or with `rotation` to several.

    `content` finds the secrets that are masked in content; without it, that is kept as it is. `watch` is called with
    the frames as they become rows, `news` when some have, in a thread of ours. `apart`: frames are made in a process
    of their own.
    """

    def __init__(
        self,
        path: Path,
        upstream: str | None,
        contract: str = "omnigent",
        *,
        content: Scanner | None = None,
        rotation: Rotation | None = None,
        keep: Retention | None = None,
        watch: Watch = ignore,
        news: Callable[[], None] = nothing,
        apart: bool = False,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        judge = load(contract)
        self.clock = clock
        self.zero_ns = clock()
        self._wake = threading.Event()
        self._apart = Apart(contract, self._show, watch is not ignore, news, self._wake.set) if apart else None
        frames = self._apart.frames if self._apart else partial(FrameMaker, contract=judge, shows=watch is not ignore)
        self.reels = Reels(path, judge, upstream, rotation, keep or Retention(), self.now, content, frames)
        self._exchanges, self._streams = self.reel.last
        self._parties: dict[object, str] = {}
        self._ops: deque[tuple[Reel, Op]] = deque()  # appended to by one thread, taken from by the other
        self.put_bytes = self.taken_bytes = 0  # each written by one thread only
        self.is_dropping = self._gave_up = self._is_moving = False
        self._degraded: str | None = None
        self._recorded_at = 0.0
        self._pace = Pace()
        self._trouble = Complaint()
        self._watch, self._news = watch, news
        self._sleeps = False
        self._stopping = threading.Event()
        self._give_up_at = math.inf
        self._thread = threading.Thread(target=self._run, name="omnirecord-tape")
        self._thread.start()
        if self._apart is not None:
            self._apart.is_loaded.wait(LOAD_IN)

    @property
    def degraded(self) -> str | None:
        """Why what comes cannot be written just now, or no frames be made of it."""
        return self._degraded or (self._apart.trouble if self._apart else None)

    @property
    def path(self) -> Path:
        """The cassette that is written, or the link to it: another than at first, where somebody put something else in
        its place."""
        return self.reels.path

    @property
    def reel(self) -> Reel:
        """The file in which what begins now is recorded."""
        return self.reels.current

    @property
    def recording(self) -> int:
        """The number of the recording in that file."""
        return self.reel.number

    def now(self) -> int:
        """Nanoseconds since the tape began."""
        return self.clock() - self.zero_ns

    def take(self, method: str, target: str, headers: Headers) -> Take:
        """A request's header section is complete: begin its exchange."""
        reel = self.reel
        at = self.now() - reel.zero_ns
        self._exchanges += 1
        party = self._party(headers)
        request = Requested(self._exchanges, party, at, method, printable_text(target), printable(headers))
        return Take(self, request, reel, session_of(target))

    def _party(self, headers: Headers) -> str:
        if any(name.lower() == "x-omnigent-runner-tunnel-token" for name, _ in headers):
            return "runner"
        known = self._parties
        return known.setdefault(credentials(headers), f"client-{len(known) + 1}" if known else "client")

    def next_stream(self) -> int:
        self._streams += 1
        return self._streams

    def put(self, op: Op, reel: Reel | None = None) -> None:
        """`reel`: the file that it belongs to; None: the current one."""
        self._ops.append((self.reel if reel is None else reel, op))
        if self._sleeps:
            self._wake.set()

    @property
    def is_behind(self) -> bool:
        """Whether a quarter of what may wait for the disk does."""
        return self.put_bytes - self.taken_bytes > BUFFER // 4

    def room(self, data: bytes) -> bytes | None:
        """The data, if it can be kept until the disk takes it; None while too much is waiting."""
        full = self.put_bytes - self.taken_bytes > BUFFER
        if full is not self.is_dropping:
            self.is_dropping = full
            self._say(
                "too much waits for the disk: bytes are counted, no longer kept" if full else "bytes are kept again"
            )
        if full:
            return None
        self.put_bytes += len(data)
        return data

    def _say(self, message: str) -> None:
        log.warning("recording degraded: %s", message)
        reel = self.reel
        self.put(Incidence(self.now() - reel.zero_ns, message), reel)

    def stop(self) -> None:
        """Write what is left, make its frames, close the file. Blocks; call it off the event loop."""
        if not self._stopping.is_set():
            self._give_up_at = monotonic() + GIVE_UP_AFTER
        self._stopping.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        if self._apart is not None:
            self._apart.tell()  # which begins it
        while not self._finished():
            self._gather()
            self._look()
            if not self._gave_up:
                self._record()
            if not self._gave_up:
                self._frame()
                self.reels.turn()
        if self._apart is not None:
            self._apart.stop(END_IN)
        self.reels.close()

    def _gather(self) -> None:
        """Wait until there is something to do, and then a moment for more of it: a row or a transaction for each thing
        that happens costs more than what happens."""
        self._wake.clear()
        self._sleeps = True  # from here on `put` wakes us: that costs it a call, which it is spared where nobody sleeps
        woken = self._ops or self._stopping.is_set() or self._wake.wait(self._pause())
        self._sleeps = False
        since = monotonic() - self._recorded_at
        if woken and since < COMMIT_EVERY and self.put_bytes - self.taken_bytes < BATCH:
            self._stopping.wait(COMMIT_EVERY - max(since, 0.0))

    def _pause(self) -> float:
        """Seconds until there is something to do though nothing happens."""
        if self._apart is not None:
            return min(LOOK_EVERY, self._apart.pause())
        if not self.reels.is_behind:
            return LOOK_EVERY
        return self._pace.pause(self._waiting, monotonic())

    @property
    def _waiting(self) -> int:
        """Of how many streams frames are to be made."""
        return sum(reel.recorder.waiting for reel in self.reels.all)

    def _finished(self) -> bool:
        if not self._stopping.is_set() or self._ops:
            return self._gave_up
        if self.reels.is_behind and monotonic() > self._give_up_at:
            log.warning("frames were not finished in time: whoever reads the cassette makes them")
            return True
        return self._gave_up or not self.reels.is_behind

    def _record(self) -> None:
        self._recorded_at = monotonic()
        for batch in taken(self._ops, BATCH, self._rest()):
            reel = batch.reel
            if not reel.is_closed:  # else it is told when a read was handed on, which comes too late for it
                reel.is_used = True
                made = reel.recorder.rows(batch.ops, self._rest())
                self._persist(partial(self._write, reel, reel.writer, made), len(batch.ops))
            self.taken_bytes += batch.size
            batch.let_go(self._rest())

    def _rest(self) -> Callable[[], object] | None:
        """What leaves the interpreter to the event loop for a moment; None where too much waits for that: to get it
        back may take ten times as long."""
        is_much = self.put_bytes - self.taken_bytes > MUCH
        return None if is_much else partial(self._stopping.wait, PAUSE)

    def _write(self, reel: Reel, writer: Writer, made: list[Row]) -> None:
        """All rows; those that can never be written cost only themselves."""
        if writer is not reel.writer:
            self._say(f"{len(made)} rows were for the file that is no longer there, and could not be written")
            return
        try:
            writer.write(made, self._rest())
        except Exception as error:
            if is_transient(error):
                raise
            refused = writer.write_each(made)
            self._say(f"{len(refused)} rows could not be written: {error}")

    def _frame(self) -> None:
        """Make them, where it is time for that, or tell who does."""
        if self._apart is not None:
            is_late = self.put_bytes - self.taken_bytes > LATE and not self._stopping.is_set()
            self._apart.tell(hurry=self._stopping.is_set(), hold=is_late)
            if self._stopping.is_set() and not self._ops and self.reels.is_behind:
                self._wake.wait(COMMIT_EVERY)
        elif self._stopping.is_set() or not self._pace.pause(self._waiting, monotonic()):
            self._persist(self._make_frames, 0)

    def _make_frames(self) -> None:
        self._pace.begin(monotonic())
        for reel in self.reels.all:
            for made in reel.recorder.make_frames(lambda waiting: self._stopping.wait(breath(waiting))):
                for frames in made:
                    self._show(frames)
                if made:
                    self._news()
                if self._pace.is_long(monotonic()):
                    return

    def _show(self, frames: NewFrames) -> None:
        try:
            self._watch(frames)
        except Exception:  # whoever watches must not end the recording
            log.exception("could not show what passes")

    def _look(self) -> None:
        """Give what is recorded another file where its own was taken away: what is written to that would be found by
        nobody."""
        for reel in self.reels.all:
            what = reel.writer.displaced()
            if what is not None and not self._is_moving:
                self._is_moving = True
                self._persist(partial(self.reels.replace, reel, what), 0)
                self._is_moving = False

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
                self._degraded = str(error)
                if failed_at is None:
                    failed_at = monotonic()
                waits = (self.put_bytes - self.taken_bytes) / 1e6
                self._trouble.say(
                    f"recording degraded: {error}; streams go on, trying again; {waits:.1f} MB wait in memory,"
                    f" {BUFFER / 1e6:.0f} MB may"
                )
                if monotonic() > self._give_up_at:
                    lost = waiting + len(self._ops)
                    log.error("recording incomplete: %d things that happened could not be written", lost)
                    self._gave_up = True
                    return
                time.sleep(RETRY_EVERY)
                self._look()
        self._degraded = None
        if failed_at is not None:
            lasted = monotonic() - failed_at
            self._trouble.over(f"recording recovered after {lasted:.1f} s")
            reel = self.reel
            at = self.now() - reel.zero_ns
            self.put(Incidence(at, f"the file could not be written for {lasted:.1f} s; what came waited"), reel)
