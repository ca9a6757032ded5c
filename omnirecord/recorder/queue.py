"""What happened and is not in the file yet: the event loop puts it in, the recording thread takes it out.

Forward first, record second: nothing here waits, it is only appended to a list. A disk that is slow, full or locked
makes that grow. Over `BUFFER` bytes, what arrives is counted, and no longer kept. Stderr and the cassette say so when
that begins, every `REPORT_DROPPED_EVERY` seconds with the number of bytes, and when it ends.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from ..model import Direction, Ending, Headers, Kind, Side
from ..wire.content_coding import codings_of
from ..wire.headers import header, printable, printable_text
from ..wire.sse import last_end
from .files import RecordingFile, RecordingFiles
from .pace import BUFFER, REPORT_DROPPED_EVERY, Lag
from .rows.exchanges import (  # fmt: skip
    HELD,
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
    content,
    held,
)

_FULL = "too much waits for the disk"

log = logging.getLogger("omnirecord")


def amount(size: int, pieces: int) -> str:
    """So many bytes in so many pieces, in words."""
    told = f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
    return f"{told} in {pieces} pieces"


class RecordQueue:
    """`clock` in ns; `wake` is called with what comes while the recording thread sleeps."""

    def __init__(self, clock: Callable[[], int], wake: Callable[[], None]) -> None:
        self.clock = clock
        self.zero_ns = clock()
        self.ops: deque[tuple[RecordingFile, Op]] = deque()  # appended to by one thread, taken from by the other
        self.put_bytes = self.taken_bytes = 0  # each written by one thread only
        self.is_dropping = self.sleeps = False
        self.dropped_bytes = self.dropped = 0
        """Bytes that were not kept, and in how many reads, messages or pieces of a body they came."""
        self.left_out = 0
        """Exchanges that are not in the cassette, since they began while nothing was kept."""
        self._say_at, self._is_told = 0.0, False
        self.missing: dict[ExchangeRecorder, None] = {}
        """The exchanges of which reads are not kept just now."""
        self._wake = wake
        self._lag = Lag()

    def now(self) -> int:
        """Nanoseconds since it began."""
        return self.clock() - self.zero_ns

    def put(self, op: Op, file: RecordingFile) -> None:
        """`reel`: the file that it belongs to."""
        self.ops.append((file, op))
        if self.sleeps:
            self._wake()

    @property
    def waiting(self) -> int:
        """Bytes of memory that wait for the disk."""
        return self.put_bytes - self.taken_bytes

    def lag(self, now: float) -> float:
        """Seconds that the first of them has been waiting, as seen by whoever asks often."""
        return self._lag.seconds(self.put_bytes, self.taken_bytes, now)

    @property
    def is_behind(self) -> bool:
        """Whether so much waits that nothing should be read which nobody is waiting for: a quarter of what may."""
        return self.waiting > BUFFER // 4

    def room(self, data: bytes, file: RecordingFile, more: int = 0) -> bytes | None:
        """The data, if it can be kept until the disk takes it; None while too much is waiting. `more`: bytes of memory
        that it takes beside its own."""
        full = self.waiting > (BUFFER * 3 // 4 if self.is_dropping else BUFFER)
        if full or self.is_dropping:
            self._drop(len(data) if full else 0, file, full=full)
        if full:
            return None
        self.put_bytes += len(data) + more
        return data

    def leave_out(self, size: int) -> None:
        """Count bytes of an exchange that is not in the cassette."""
        self.dropped_bytes += size
        self.dropped += 1

    def has_room(self, request: Requested, file: RecordingFile) -> bool:
        """Whether an exchange that begins now can be kept. Else it is counted."""
        if self.room(b"", file) is not None:
            return True
        self.left_out += 1
        self.dropped_bytes += held(request)
        return False

    def _drop(self, size: int, file: RecordingFile, *, full: bool) -> None:
        self.is_dropping = full
        if not full:
            for recorder in list(self.missing):
                recorder.put_missed()
            if self._is_told:
                self._is_told = False
                self.say(f"bytes are kept again; {self.told_dropped} were not kept", file)
            return
        self.dropped_bytes += size
        self.dropped += 1
        if (now := self.now()) >= self._say_at:
            so_far = f"{self.told_dropped} are not kept so far"
            self.say(f"{_FULL}: {so_far if self._is_told else 'bytes are counted, no longer kept'}", file)
            self._is_told, self._say_at = True, now + REPORT_DROPPED_EVERY * 1e9

    @property
    def told_dropped(self) -> str:
        """How much was not kept, in words."""
        pieces = amount(self.dropped_bytes, self.dropped)
        return f"{pieces}, of which {self.left_out} are whole exchanges," if self.left_out else pieces

    def say(self, message: str, file: RecordingFile) -> None:
        """That what is recorded lacks something, on stderr and in that file."""
        log.warning("recording degraded: %s", message)
        self.note(message, file)

    def note(self, message: str, file: RecordingFile) -> None:
        """The same in the file alone."""
        self.put(Incidence(self.now() - file.zero_ns, message), file)


class ExchangeRecorder:
    """One exchange being recorded. Its methods are called as things happen, and only note that they did.

    When its file is full, a stream or WebSocket that was asked for with GET goes on in the next one: the exchange ends
    in the old file behind a whole frame or message, and begins there again under the same numbers.
    """

    __slots__ = (
        "_cut", "_file", "_files", "_is_left_out", "_lost", "_messages", "_missed", "_moves", "_over", "_queue",
        "_reads", "_request", "_response", "exchange", "party", "session_id", "stream",
    )  # fmt: skip

    def __init__(
        self,
        queue: RecordQueue,
        files: RecordingFiles,
        request: Requested,
        file: RecordingFile,
        session_id: str | None = None,
    ) -> None:
        self._queue, self._files = queue, files
        self._request: Requested | None = request
        self._response: Responded | None = None
        self._file = file
        self._moves = False
        self.session_id = session_id
        self.exchange = request.exchange
        self.party = request.party
        self._reads = 0
        self._messages = 0
        self._over = False
        self._missed: Received | None = None
        self._cut: tuple[Side, ...] = ()
        self._lost: tuple[Direction, ...] = ()
        self.stream: int | None = None
        self._is_left_out = not queue.has_room(request, file)
        self._put(request)

    def now(self) -> int:
        """Nanoseconds, by the intake's clock."""
        return self._queue.now()

    def _now(self) -> int:
        return self._queue.now() - self._file.zero_ns

    def _put(self, op: Op) -> None:
        if not self._is_left_out:
            self._queue.put_bytes += held(op) - content(op)  # which `room` has counted
            self._queue.put(op, self._file)

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        """The response's header section is complete. A stream gets its number here."""
        if kind == "sse":
            self.stream = self._files.next_stream()
        at, reason, headers = self._now(), printable_text(reason), printable(headers)
        is_coded = bool(codings_of(header(headers, "content-encoding")))
        request, self._request = self._request, None
        response = Responded(self.exchange, kind, self.stream, at, status, reason, headers)
        can_move = not self._is_left_out and (kind == "websocket" or (kind == "sse" and not is_coded))
        self._moves = self._files.rotates and request is not None and request.method == "GET" and can_move
        if self._moves:
            self._request, self._response = request, response  # else nobody asks for them again
        self._put(response)

    def body(self, side: Side, data: bytes) -> None:
        """Bytes of a body that is no stream. Behind some that are not kept none are: the recorder is told once."""
        if self._is_left_out:
            self._queue.leave_out(len(data))
            return
        kept = self._queue.room(data, self._file)
        if side in self._cut:
            self._queue.put_bytes -= 0 if kept is None else len(kept)
            return
        if kept is None:
            self._cut += (side,)
        self._put(BodyData(self.exchange, side, kept))

    def receive(self, data: bytes) -> Received:
        """A stream's bytes arrived; call `sent` with the result once they are handed on."""
        now = self._queue.now()
        if self._file is self._files.current or not self._is_to_move or (end := last_end(data)) == 0:
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
        if self._file is self._files.current or not self._is_to_move:
            self._read(data, at_ns, self._queue.now())
        else:
            self.sent(self.receive(data))

    def _read(self, data: bytes, at_ns: int, sent_ns: int | None = None) -> Received:
        """What is done for each read: in few calls, since each delays the next one."""
        queue, file, n, size = self._queue, self._file, self._reads, len(data)
        self._reads = n + 1
        if self._is_left_out:
            queue.leave_out(size)
            return Received(self.exchange, n, at_ns, size, None, sent_ns, False, file.index)
        if queue.is_dropping or queue.put_bytes - queue.taken_bytes > BUFFER:
            kept = queue.room(data, file, HELD)
            if kept is None:
                self._reads = n
                return self._miss(size, at_ns, sent_ns)
        else:
            queue.put_bytes += size + HELD
            kept = data
        zero_ns = file.zero_ns
        sent_ns = None if sent_ns is None else sent_ns - zero_ns
        read = Received(self.exchange, n, at_ns - zero_ns, size, kept, sent_ns, False, file.index)
        queue.put(read, file)
        return read

    def _miss(self, size: int, at_ns: int, sent_ns: int | None) -> Received:
        """A read that is not kept. Those that follow each other become one, which is put once bytes are kept again: a
        list of them would grow for as long as the disk takes nothing."""
        zero_ns = self._file.zero_ns
        sent_ns = None if sent_ns is None else sent_ns - zero_ns
        missed = self._missed
        if missed is None:
            at = at_ns - zero_ns
            missed = Received(self.exchange, self._reads, at, size, None, sent_ns, False, self._file.index)
            self._missed = missed
            self._reads += 1
            self._queue.missing[self] = None
        else:
            missed.size += size
            missed.sent_ns = sent_ns
        return missed

    def put_missed(self) -> None:
        """Tell the recorder of the reads that were not kept."""
        missed, self._missed = self._missed, None
        if missed is not None:
            del self._queue.missing[self]
            self._put(missed)

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:
        """A WebSocket message or control frame arrived; call `sent` once it is handed on."""
        if self._is_to_move:
            self._move()
        kept = None
        if self._is_left_out:
            self._queue.leave_out(len(data))
        else:
            kept = self._queue.room(data, self._file)
        message = Messaged(self.exchange, self._messages, self._now(), dir, opcode, kept, file=self._file.index)
        self._messages += 1
        if kept is not None or dir not in self._lost:  # of those that are not kept in a row, the first one is told
            self._put(message)
        others = tuple(lost for lost in self._lost if lost != dir)
        self._lost = others if kept is not None else (*others, dir)
        return message

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for the disk that nothing should be read which nobody is waiting for."""
        return self._queue.is_behind

    @property
    def _is_to_move(self) -> bool:
        return self._file is not self._files.current and self._moves and not self._over

    def _move(self) -> None:
        """Go on in the newest file."""
        assert self._request is not None
        assert self._response is not None
        passed = Passed()
        self.put_missed()
        self._put(Ended(self.exchange, self._now(), "recorder_stopped", passed))
        self._file = self._files.current
        now = self._now()
        self._put(replace(self._request, at_ns=now))
        self._put(replace(self._response, at_ns=now, passed=passed))
        self._reads = self._messages = 0

    def sent(self, what: Received | Messaged) -> None:
        """Handed to the other side's transport now."""
        if type(what) is Received and what.before is not None:
            self.sent(what.before)
        queue, file = self._queue, self._file
        if what.file != file.index:
            older = self._files.open_file(what.file)
            if older is None:
                return
            file = older
        what.sent_ns = queue.clock() - queue.zero_ns - file.zero_ns
        if what.written:  # set by the recording thread before it reads `sent_ns`: one of us sees the other
            queue.put_bytes += HELD
            queue.put(SentLate(what), file)

    def end(self, ending: Ending) -> None:
        """The exchange is over; only the first call counts."""
        if not self._over:
            self._over = True
            self.put_missed()
            self._put(Ended(self.exchange, self._now(), ending))
