"""Operations on their way to the file: the event loop queues them, the recording thread takes them.

Forward first, record second: nothing here waits. The queue grows while a disk is slow, full or locked. Over `BUFFER`
bytes, new data is counted and dropped. Stderr and the cassette say so when that begins, every `REPORT_DROPPED_EVERY`
seconds with the number of bytes, and when it ends.
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
from .intervals import BUFFER, REPORT_DROPPED_EVERY
from .operations import (
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

log = logging.getLogger("omnirecord")


def amount(size: int, pieces: int) -> str:
    told = f"{size / 1e6:.1f} MB" if size >= 100_000 else f"{size} bytes"
    return f"{told} in {pieces} pieces"


class RecordQueue:
    """The queue of one recording. `clock`: in ns. `wake`: called for an operation while the recording thread sleeps."""

    def __init__(self, clock: Callable[[], int], wake: Callable[[], None]) -> None:
        self.clock = clock
        self.zero_ns = clock()
        self.ops: deque[tuple[RecordingFile, Op]] = deque()  # appended to by one thread, taken from by the other
        self.put_bytes = self.taken_bytes = 0  # each written by one thread only
        self.is_dropping = self.sleeps = False
        self.dropped_bytes = self.dropped = 0
        """Bytes that were not kept, and the number of reads, messages and pieces of a body that had them."""
        self.left_out = 0
        """Exchanges that are not in the cassette, because they began while the queue was full."""
        self._say_at = 0.0
        self._is_told = False
        self.missing: dict[ExchangeRecorder, None] = {}
        """The exchanges whose reads are not kept at the moment."""
        self._wake = wake

    def now(self) -> int:
        """Nanoseconds since the recording began."""
        return self.clock() - self.zero_ns

    def put(self, op: Op, file: RecordingFile) -> None:
        self.ops.append((file, op))
        if self.sleeps:
            self._wake()

    @property
    def waiting(self) -> int:
        """Bytes of memory that wait for the disk."""
        return self.put_bytes - self.taken_bytes

    @property
    def is_behind(self) -> bool:
        """Whether a quarter of the queue is full, so that nothing should be read ahead of a client."""
        return self.waiting > BUFFER // 4

    def room(self, data: bytes, file: RecordingFile, more: int = 0) -> bytes | None:
        """Return the data, and count its bytes and `more` bytes of memory. None, and count them as dropped, while the
        queue is full."""
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
            what = f"{self.told_dropped} are not kept so far" if self._is_told else "bytes are counted, no longer kept"
            self.say(f"too much waits for the disk: {what}", file)
            self._is_told = True
            self._say_at = now + REPORT_DROPPED_EVERY * 1e9

    @property
    def told_dropped(self) -> str:
        """The number of bytes that were not kept, in words."""
        pieces = amount(self.dropped_bytes, self.dropped)
        return f"{pieces}, of which {self.left_out} are whole exchanges," if self.left_out else pieces

    def say(self, message: str, file: RecordingFile) -> None:
        """Report a gap in the recording on stderr, and in that file."""
        log.warning("recording degraded: %s", message)
        self.note(message, file)

    def note(self, message: str, file: RecordingFile) -> None:
        """Report it in the file alone."""
        self.put(Incidence(self.now() - file.zero_ns, message), file)


class ExchangeRecorder:
    """Records one exchange: its methods queue an operation each.

    When its file is full, a stream or WebSocket of a GET request continues in the next file. The exchange ends in the
    old file after a whole frame or message. It begins in the next file under the same numbers.
    """

    __slots__ = (
        "_answered",
        "_cut",
        "_file",
        "_files",
        "_is_left_out",
        "_lost",
        "_messages",
        "_missed",
        "_moves",
        "_over",
        "_queue",
        "_reads",
        "_request",
        "_response",
        "exchange",
        "party",
        "session_id",
        "stream",
    )

    def __init__(
        self,
        queue: RecordQueue,
        files: RecordingFiles,
        request: Requested,
        file: RecordingFile,
        session_id: str | None = None,
        answered: Callable[[Headers, str, Headers], None] = lambda *_: None,
    ) -> None:
        self._queue = queue
        self._files = files
        self._answered = answered
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
        self._is_left_out = queue.room(b"", file) is None
        if self._is_left_out:
            queue.left_out += 1
            queue.dropped_bytes += held(request)
        self._put(request)

    def now(self) -> int:
        return self._queue.now()

    def _now(self) -> int:
        return self._queue.now() - self._file.zero_ns

    def _put(self, op: Op) -> None:
        if not self._is_left_out:
            self._queue.put_bytes += held(op) - content(op)  # `room` has counted the content
            self._queue.put(op, self._file)

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        """Record the header section of the response. A stream gets its number here."""
        if kind == "sse":
            self.stream = self._files.next_stream()
        at = self._now()
        reason = printable_text(reason)
        headers = printable(headers)
        is_coded = bool(codings_of(header(headers, "content-encoding")))
        request = self._request
        self._request = None
        if request is not None:
            self._answered(request.headers, request.party, headers)
        response = Responded(self.exchange, kind, self.stream, at, status, reason, headers)
        can_move = not self._is_left_out and (kind == "websocket" or (kind == "sse" and not is_coded))
        self._moves = self._files.rotates and request is not None and request.method == "GET" and can_move
        if self._moves:
            self._request = request  # for the next file
            self._response = response
        self._put(response)

    def body(self, side: Side, data: bytes) -> None:
        """Record bytes of a body that is no stream. After bytes that were not kept, no more are."""
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
        """Record bytes of a stream. Call `sent` with the result once they are handed to the client's transport."""
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
        """Record bytes of a stream that arrived at `at_ns` and are handed on already: `receive` and `sent` in one."""
        if self._file is self._files.current or not self._is_to_move:
            self._read(data, at_ns, self._queue.now())
        else:
            self.sent(self.receive(data))

    def _read(self, data: bytes, at_ns: int, sent_ns: int | None = None) -> Received:
        """Record one read, in few calls: each one delays the stream."""
        queue = self._queue
        file = self._file
        n = self._reads
        size = len(data)
        self._reads = n + 1
        if self._is_left_out:
            queue.leave_out(size)
            return Received(self.exchange, n, at_ns, size, None, sent_ns, False, file.index)
        at_ns -= file.zero_ns
        sent_ns = None if sent_ns is None else sent_ns - file.zero_ns
        if queue.is_dropping or queue.put_bytes - queue.taken_bytes > BUFFER:
            if (kept := queue.room(data, file, HELD)) is None:
                self._reads = n
                return self._miss(size, at_ns, sent_ns)
        else:
            queue.put_bytes += size + HELD
            kept = data
        read = Received(self.exchange, n, at_ns, size, kept, sent_ns, False, file.index)
        queue.put(read, file)
        return read

    def _miss(self, size: int, at_ns: int, sent_ns: int | None) -> Received:
        """Count a read that is not kept. Consecutive ones become one operation, which is queued once bytes are kept
        again, so that a stuck disk costs no memory."""
        if (missed := self._missed) is None:
            missed = Received(self.exchange, self._reads, at_ns, size, None, sent_ns, False, self._file.index)
            self._missed = missed
            self._reads += 1
            self._queue.missing[self] = None
        else:
            missed.size += size
            missed.sent_ns = sent_ns
        return missed

    def put_missed(self) -> None:
        """Queue the reads that were not kept, as one."""
        missed = self._missed
        self._missed = None
        if missed is not None:
            del self._queue.missing[self]
            self._put(missed)

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:
        """Record a WebSocket message or control frame. Call `sent` with the result once it is handed on."""
        if self._is_to_move:
            self._move()
        kept = None
        if self._is_left_out:
            self._queue.leave_out(len(data))
        else:
            kept = self._queue.room(data, self._file)
        message = Messaged(self.exchange, self._messages, self._now(), dir, opcode, kept, file=self._file.index)
        self._messages += 1
        if kept is not None or dir not in self._lost:  # of consecutive lost ones only the first
            self._put(message)
        others = tuple(lost for lost in self._lost if lost != dir)
        self._lost = others if kept is not None else (*others, dir)
        return message

    @property
    def is_behind(self) -> bool:
        """Whether the disk is behind, so that nothing should be read ahead of a client."""
        return self._queue.is_behind

    @property
    def _is_to_move(self) -> bool:
        return self._file is not self._files.current and self._moves and not self._over

    def _move(self) -> None:
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
        """Record that a read or message is handed to the other side's transport now."""
        if type(what) is Received and what.before is not None:
            self.sent(what.before)
        queue = self._queue
        file = self._file
        if what.file != file.index:
            older = next((one for one in self._files.all if one.index == what.file), None)
            if older is None:  # it is closed
                return
            file = older
        what.sent_ns = queue.clock() - queue.zero_ns - file.zero_ns
        if what.written:  # the recording thread sets it before it reads `sent_ns`
            queue.put_bytes += HELD
            queue.put(SentLate(what), file)

    def end(self, ending: Ending, *, is_cut: bool = False) -> None:
        """Record the end of the exchange. Only the first call counts. `is_cut`: the body of the request was not read to
        its end."""
        if not self._over:
            self._over = True
            self.put_missed()
            self._put(Ended(self.exchange, self._now(), ending, is_cut=is_cut))


class Unrecorded(ExchangeRecorder):
    """Records nothing: the exchange is not wanted in the cassette."""

    __slots__ = ()

    def __init__(self, queue: RecordQueue) -> None:
        self._queue = queue
        self.exchange = 0
        self.party = "client"
        self.session_id = None
        self.stream = None

    def respond(self, kind: Kind, status: int, reason: str, headers: Headers) -> None:
        pass

    def body(self, side: Side, data: bytes) -> None:
        pass

    def receive(self, data: bytes) -> Received:
        return Received(0, 0, 0, len(data), None)

    def passed(self, data: bytes, at_ns: int) -> None:
        pass

    def message(self, dir: Direction, opcode: int, data: bytes) -> Messaged:  # noqa: ARG002
        return Messaged(0, 0, 0, dir, opcode, None)

    @property
    def is_behind(self) -> bool:
        return False

    def sent(self, what: Received | Messaged) -> None:
        pass

    def end(self, ending: Ending, *, is_cut: bool = False) -> None:
        pass
