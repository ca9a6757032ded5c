"""What happened and is not in the file yet: the event loop puts it in, the recording thread takes it out.

Forward first, record second: nothing here waits, it is only appended to a list. A disk that is slow, full or locked
makes that grow. Over `BUFFER` bytes, what arrives is counted, and no longer kept. Stderr and the cassette say so when
that begins, every `SAY_EVERY` seconds with the number of bytes, and when it ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from .cassette import Direction, Ending, Headers, Kind, Side
from .headers import header, printable, printable_text
from .recorder import (
    BodyData,
    Ended,
    Incidence,
    Messaged,
    Op,
    Passed,
    Received,
    Requested,
    Responded,
    SentLate,
)  # fmt: skip
from .recorder.pace import Lag
from .reels import Reel, Reels
from .sse import last_end

BUFFER = 256 * 1024 * 1024
"""Bytes that may wait for the disk."""
SAY_EVERY = 10.0
"""Seconds between two lines that say how many bytes are not kept so far."""

log = logging.getLogger("omnirecord")


def amount(size: int, pieces: int) -> str:
    """So many bytes in so many pieces, in words."""
    told = f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
    return f"{told} in {pieces} pieces"


class Intake:
    """`clock` in ns; `wake` is called with what comes while the recording thread sleeps."""

    def __init__(self, clock: Callable[[], int], wake: Callable[[], None]) -> None:
        self.clock = clock
        self.zero_ns = clock()
        self.ops: deque[tuple[Reel, Op]] = deque()  # appended to by one thread, taken from by the other
        self.put_bytes = self.taken_bytes = 0  # each written by one thread only
        self.is_dropping = self.sleeps = False
        self.dropped_bytes = self.dropped = 0
        """Bytes that were not kept, and in how many reads, messages or pieces of a body they came."""
        self._said_at = 0
        self._wake = wake
        self._lag = Lag()

    def now(self) -> int:
        """Nanoseconds since it began."""
        return self.clock() - self.zero_ns

    def put(self, op: Op, reel: Reel) -> None:
        """`reel`: the file that it belongs to."""
        self.ops.append((reel, op))
        if self.sleeps:
            self._wake()

    @property
    def waiting(self) -> int:
        """Bytes that wait for the disk."""
        return self.put_bytes - self.taken_bytes

    def lag(self, now: float) -> float:
        """Seconds that the first of them has been waiting, as seen by whoever asks often."""
        return self._lag.seconds(self.put_bytes, self.taken_bytes, now)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nothing should be read which nobody is waiting for: a quarter of what may."""
        return self.waiting > BUFFER // 4

    def room(self, data: bytes, reel: Reel) -> bytes | None:
        """The data, if it can be kept until the disk takes it; None while too much is waiting."""
        full = self.waiting > BUFFER
        if full or self.is_dropping:
            self._drop(len(data) if full else 0, reel, full=full)
        if full:
            return None
        self.put_bytes += len(data)
        return data

    def _drop(self, size: int, reel: Reel, *, full: bool) -> None:
        began, now = not self.is_dropping, self.now()
        self.is_dropping = full
        if not full:
            self.say(f"bytes are kept again; {self.told_dropped} were not kept", reel)
            return
        self.dropped_bytes += size
        self.dropped += 1
        if began:
            self.say("too much waits for the disk: bytes are counted, no longer kept", reel)
        elif now - self._said_at >= SAY_EVERY * 1e9:
            self.say(f"too much waits for the disk: {self.told_dropped} are not kept so far", reel)
        else:
            return
        self._said_at = now

    @property
    def told_dropped(self) -> str:
        """How much was not kept, in words."""
        return amount(self.dropped_bytes, self.dropped)

    def say(self, message: str, reel: Reel) -> None:
        """That what is recorded lacks something, on stderr and in that file."""
        log.warning("recording degraded: %s", message)
        self.note(message, reel)

    def note(self, message: str, reel: Reel) -> None:
        """The same in the file alone."""
        self.put(Incidence(self.now() - reel.zero_ns, message), reel)


class Take:
    """One exchange being recorded. Its methods are called as things happen, and only note that they did.

    When its file is full, a stream or WebSocket that was asked for with GET goes on in the next one: the exchange ends
    in the old file behind a whole frame or message, and begins there again under the same numbers.
    """

    __slots__ = (
        "_intake", "_messages", "_moves", "_over", "_reads", "_reel", "_reels", "_request", "_response",
        "exchange", "party", "session_id", "stream",
    )  # fmt: skip

    def __init__(
        self, intake: Intake, reels: Reels, request: Requested, reel: Reel, session_id: str | None = None
    ) -> None:
        self._intake, self._reels = intake, reels
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
        """Nanoseconds, by the intake's clock."""
        return self._intake.now()

    def _now(self) -> int:
        return self._intake.now() - self._reel.zero_ns

    def _put(self, op: Op) -> None:
        self._intake.put(op, self._reel)

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        """The response's header section is complete. A stream gets its number here."""
        if kind == "sse":
            self.stream = self._reels.next_stream()
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
        self._put(BodyData(self.exchange, side, self._intake.room(data, self._reel)))

    def receive(self, data: bytes) -> Received:
        """A stream's bytes arrived; call `sent` with the result once they are handed on."""
        now = self._intake.now()
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
        """A stream's bytes arrived then, by our clock, and are handed on by now: `receive` and `sent` in one."""
        if self._reel is self._reels.current or not self._is_to_move:
            self._read(data, at_ns, self._intake.now())
        else:
            self.sent(self.receive(data))

    def _read(self, data: bytes, at_ns: int, sent_ns: int | None = None) -> Received:
        """What is done for each read: in few calls, since each delays the next one."""
        intake, reel, n, size = self._intake, self._reel, self._reads, len(data)
        self._reads = n + 1
        if intake.is_dropping or intake.put_bytes - intake.taken_bytes > BUFFER:
            kept = intake.room(data, reel)
        else:
            intake.put_bytes += size
            kept = data
        zero_ns = reel.zero_ns
        sent_ns = None if sent_ns is None else sent_ns - zero_ns
        read = Received(self.exchange, n, at_ns - zero_ns, size, kept, sent_ns, False, reel)
        intake.put(read, reel)
        return read

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:
        """A WebSocket message or control frame arrived; call `sent` once it is handed on."""
        if self._is_to_move:
            self._move()
        kept = self._intake.room(data, self._reel)
        message = Messaged(self.exchange, self._messages, self._now(), dir, opcode, kept, reel=self._reel)
        self._messages += 1
        self._put(message)
        return message

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be read which nobody is waiting for."""
        return self._intake.is_behind

    @property
    def _is_to_move(self) -> bool:
        return self._reel is not self._reels.current and self._moves and not self._over

    def _move(self) -> None:
        """Go on in the newest file."""
        assert self._request is not None
        assert self._response is not None
        passed = Passed()
        self._put(Ended(self.exchange, self._now(), "recorder_stopped", passed))
        self._reel = self._reels.current
        now = self._now()
        self._put(replace(self._request, at_ns=now))
        self._put(replace(self._response, at_ns=now, passed=passed))
        self._reads = self._messages = 0

    def sent(self, what: Received | Messaged) -> None:
        """Handed to the other side's transport now."""
        if type(what) is Received and what.before is not None:
            self.sent(what.before)
        intake = self._intake
        what.sent_ns = intake.clock() - intake.zero_ns - what.reel.zero_ns
        if what.written:  # set by the recording thread before it reads `sent_ns`: one of us sees the other
            intake.put(SentLate(what), what.reel)

    def end(self, ending: Ending) -> None:
        """The exchange is over; only the first call counts."""
        if not self._over:
            self._over = True
            self._put(Ended(self.exchange, self._now(), ending))
