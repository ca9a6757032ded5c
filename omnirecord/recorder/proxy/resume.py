"""`--resume`: which streams a reconnecting client can resume, for how long, and the bytes that it gets again.

The upstream connection of a resumable stream may outlive its client's. A task reads upstream into memory (`Held`) and
records it. The listener gets what waits there. A stream whose client has left is kept for a while, still read and
recorded. Only a request for the same target with the same header fields, and so the same credentials, gets it. The
proxy keeps a keyed digest of these.

`Held` has the chunks that a client may ask for again, and those that wait to be sent. Both together are bounded by
`limit`; the oldest sent chunk goes first.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ...errors import UsageError
from ...model import Ending, Headers
from ...server.aiohttp_names import HttpProcessingError
from ...server.raw_response import RawResponse
from ...wire.content_coding import codings_of
from ...wire.event_ids import Stamped, StreamStamper, event_id, parse_event_id
from ...wire.headers import decoded, end_to_end, header, is_event_stream
from ...wire.limits import checked_seconds
from ..operations import Received
from ..queue import ExchangeRecorder

GRACE = 30.0
"""Seconds that a stream is kept for a client that has left."""
MOST_KEPT = 100
"""The most streams that are kept for clients that have left."""
_DIFFER = ("last-event-id", "cache-control", "pragma", "traceparent", "tracestate", "x-request-id")
"""Fields that do not identify a client, and may differ in its next request."""
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, HttpProcessingError, ConnectionError)
"""The errors of a lost upstream, or of a lost client, in a body."""
_AT_ONCE = 64 * 1024
"""Bytes that are written between two checks whether the client keeps up."""
_OVERHEAD = 256
"""Bytes of memory that a piece takes beside its data."""

log = logging.getLogger("omnirecord")


@dataclass(slots=True)
class Piece:
    """Bytes to send, and the reads that they complete, until the recorder knows that these were sent."""

    stamped: Stamped
    reads: tuple[Received, ...] = ()

    @property
    def cost(self) -> int:
        return len(self.stamped.data) + _OVERHEAD


class Held:
    """The pieces of one stream in memory. No I/O.

    `waiting`: bytes to be sent. `newest`: the last frame with an id; `given`: the last one that was sent. `done`:
    `[DONE]` was sent. `forgotten`: the last frame that is no longer whole in memory. Frames count from 1; 0 is none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: deque[Piece] = deque()
        self._unsent: deque[Piece] = deque()
        self._size = 0
        self.waiting = 0
        self.newest = self.given = self.forgotten = 0
        self.done = False

    @property
    def is_full(self) -> bool:
        """Whether more bytes wait than `limit`."""
        return self.waiting > self._limit

    def add(self, piece: Piece) -> None:
        self._unsent.append(piece)
        self._size += piece.cost
        self.waiting += piece.cost
        if piece.stamped.has_id:
            self.newest = piece.stamped.seq

    def next(self, most: int) -> list[Piece]:
        """Return the next pieces to send, up to about `most` bytes. They count as sent from now on."""
        pieces: list[Piece] = []
        while self._unsent and most > 0:
            piece = self._unsent.popleft()
            pieces.append(piece)
            self._sent.append(piece)
            self.waiting -= piece.cost
            most -= piece.cost
            if piece.stamped.has_id:
                self.given = max(self.given, piece.stamped.seq)
            self.done = self.done or piece.stamped.is_done
        return pieces

    def rewind(self, seq: int) -> None:
        """Continue after frame `seq`, which was sent: backwards, or forwards after an earlier call."""
        while self._sent and self._sent[-1].stamped.seq > seq:
            piece = self._sent.pop()
            self._unsent.appendleft(piece)
            self.waiting += piece.cost
        while self._unsent and self._unsent[0].stamped.seq <= seq:
            piece = self._unsent.popleft()
            self._sent.append(piece)
            self.waiting -= piece.cost

    def trim(self, *, unsent: bool) -> None:
        """Drop pieces over the limit: sent ones and, with `unsent`, others."""
        while self._size > self._limit and (self._sent or (unsent and self._unsent)):
            if self._sent:
                self._forget(self._sent.popleft())
            else:
                piece = self._unsent.popleft()
                self.waiting -= piece.cost
                self._forget(piece)

    def forget_sent(self) -> None:
        """Drop the sent pieces: no client can ask for them."""
        while self._sent:
            self._forget(self._sent.popleft())

    def _forget(self, piece: Piece) -> None:
        self._size -= piece.cost
        self.forgotten = piece.stamped.seq


_Listener = tuple[web.BaseRequest, asyncio.Task[object]]
"""A client's request, and the task that serves it."""


class Relay:
    """Passes one stream on, to one client at a time.

    `left` is called when the listener leaves. `ending`: how the exchange ended; None while upstream is read.
    """

    def __init__(
        self, answer: aiohttp.ClientResponse, recorder: ExchangeRecorder, limit: int, left: Callable[[Relay], None]
    ) -> None:
        assert recorder.stream is not None
        self.stream = recorder.stream
        self.ending: Ending | None = None
        self._answer = answer
        self._recorder = recorder
        self._headers = end_to_end(decoded(answer.raw_headers), but=("content-length",))  # ids make the body longer
        self._left = left
        self._stamper = StreamStamper(recorder.stream, limit)
        self._held = Held(limit)
        self._reads: deque[tuple[int, Received]] = deque()  # in no piece yet, each with its end in the stream
        self._received = 0
        self._listener: _Listener | None = None
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @property
    def can_be_resumed(self) -> bool:
        """Whether a client may have an id to resume after, and a reason to."""
        return self._stamper.stamps and self._held.given > 0 and not self._held.done

    def refusal(self, seq: int) -> str | None:
        """Return why a client whose last event was frame `seq` cannot resume here; None if it can."""
        if self._held.forgotten > seq:
            return "what followed it is no longer in memory"
        if self._held.given < seq:
            return "it was never sent"
        if self.ending is not None and self._held.newest <= seq:
            return "the stream has ended, and no event followed"
        return None

    async def serve(self, request: web.BaseRequest, *, behind: int | None = None) -> web.StreamResponse:
        """Send the stream to this client until it ends, from its current place or after frame `behind`. The previous
        listener is cut: it is the same client on a lost connection, or it has given an id away."""
        task = asyncio.current_task()
        assert task is not None
        listener = request, task
        before, self._listener = self._listener, listener
        if before is not None and (transport := before[0].transport) is not None:
            transport.abort()
        if behind is not None:
            self._held.rewind(behind)
        response = RawResponse(self._answer.status, self._answer.reason or "", self._headers)
        try:
            await response.prepare(request)
            await self._send(response, listener)
            if self.ending != "eof" or self._listener is not listener:
                response.cut(request)
        except LOST:
            response.cut(request)
        except asyncio.CancelledError:
            response.cut(request)
            raise
        finally:
            if self._listener is listener:
                self._listener = None
                self._room.set()
                self._left(self)
        return response

    def end(self, ending: Ending) -> None:
        """End the exchange and the upstream connection; held pieces can still be sent. Only the first call counts."""
        if self.ending is None:
            self.ending = ending
            self._recorder.end(ending)
            self._reader.cancel()
            self._answer.close()
            self._news.set()

    def stop(self) -> None:
        """Cut both sides: the recorder stops."""
        self.end("recorder_stopped")
        if self._listener is not None:
            self._listener[1].cancel()

    async def _send(self, response: RawResponse, listener: _Listener) -> None:
        while self._listener is listener:
            if pieces := self._held.next(_AT_ONCE):
                response.write_at_once(b"".join(piece.stamped.data for piece in pieces))
                self._note_sent(pieces)
                await response.drain()
            elif self.ending is not None:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def _note_sent(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            for read in piece.reads:
                self._recorder.sent(read)
            piece.reads = ()
        if not self._stamper.stamps:
            self._held.forget_sent()
        self._room.set()

    async def _read(self) -> None:
        ending: Ending = "upstream_lost"
        try:
            async for data in self._answer.content.iter_any():
                self._received += len(data)
                self._reads.append((self._received, self._recorder.receive(data)))
                pieces = self._stamper.feed(data)
                self._hold(pieces, self._received - self._stamper.held)
                while self._held.is_full and self._listener is not None:
                    self._room.clear()
                    await self._room.wait()
            ending = "eof"
        except LOST:
            pass
        except Exception:
            log.exception("stream %d could not be passed on", self.stream)
        self._hold(self._stamper.close(), self._received)
        self.end(ending)

    def _hold(self, stamped: list[Stamped], given_out: int) -> None:
        """Append these pieces, with the reads that they complete. `given_out`: bytes of the stream in pieces so far."""
        pieces = [Piece(one) for one in stamped]
        if pieces:
            completed = []
            while self._reads and self._reads[0][0] <= given_out:
                completed.append(self._reads.popleft()[1])
            pieces[-1].reads = tuple(completed)
        for piece in pieces:
            self._held.add(piece)
        self._held.trim(unsent=self._listener is None)
        self._news.set()


@dataclass(frozen=True, slots=True)
class Asked:
    """The part of a request that decides which client may resume its response."""

    target: str
    headers: Headers


def can_be_stamped(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> bool:
    """Return whether ids can be added to this response, and a client can ask for it again. It must be a stream without
    a content coding, for a GET request."""
    headers = decoded(answer.raw_headers)
    is_get = request.method == "GET" and not request.body_exists
    is_plain = not codings_of(header(headers, "content-encoding"))
    return is_get and answer.status == 200 and is_event_stream(headers) and is_plain


class Resuming:
    """The resumable streams of one proxy: those with a listener, and those that are kept for `grace` seconds.

    Each holds up to `limit` bytes. Raises `UsageError` for an invalid grace, and for a limit of 0.
    """

    def __init__(self, grace: float, limit: int) -> None:
        if limit == 0:
            raise UsageError("--resume sends again what it has read ahead: give --read-ahead more than 0")
        self._grace = checked_seconds("resume-for", grace)
        self._limit = limit
        self._secret = os.urandom(32)
        self._relays: dict[int, tuple[Relay, bytes]] = {}
        self._kept: dict[Relay, asyncio.TimerHandle] = {}  # longest first
        self._stopped = False

    def begin(self, asked: Asked, answer: aiohttp.ClientResponse, recorder: ExchangeRecorder) -> Relay:
        relay = Relay(answer, recorder, self._limit, self._left)
        self._relays[relay.stream] = relay, self._digest(asked)
        return relay

    def find(self, method: str, asked: Asked) -> tuple[Relay | None, int]:
        """Return the stream that this request resumes, and its last frame. None: a new request goes to upstream."""
        given = parse_event_id((header(asked.headers, "last-event-id") or "").strip())
        if method != "GET" or given is None or self._stopped:
            return None, 0
        stream, seq = given
        relay, digest = self._relays.get(stream, (None, b""))
        if not hmac.compare_digest(digest, self._digest(asked)):
            relay = None
        refusal = relay.refusal(seq) if relay else "no stream is held for this client under that number"
        if refusal is not None:
            log.warning("event %s cannot be gone on from, a new stream is asked for: %s", event_id(*given), refusal)
            if relay in self._kept:
                self._drop(relay)
            return None, 0
        assert relay is not None
        if timer := self._kept.pop(relay, None):
            timer.cancel()
        log.info("a client came back to stream %d, behind its frame %d", stream, seq)
        return relay, seq

    @property
    def kept(self) -> int:
        """The number of streams that are kept for clients that have left. Each has a connection to upstream."""
        return len(self._kept)

    def stop(self) -> None:
        """Cut all streams: the recorder stops. Can be called again, for streams that began since."""
        self._stopped = True
        for timer in self._kept.values():
            timer.cancel()
        self._kept.clear()
        for relay, _ in self._relays.values():
            relay.stop()

    def _digest(self, asked: Asked) -> bytes:
        fields = [(name.lower(), value) for name, value in end_to_end(asked.headers, but=_DIFFER)]
        fields.sort(key=lambda field: field[0])  # several of one name keep their order
        return hmac.digest(self._secret, ascii((asked.target, fields)).encode(), "sha256")

    def _left(self, relay: Relay) -> None:
        """Keep a stream without a listener for a while, or end it."""
        if self._stopped:
            return
        if not relay.can_be_resumed:
            self._drop(relay)
            return
        self._kept[relay] = asyncio.get_running_loop().call_later(self._grace, self._drop, relay)
        if len(self._kept) > MOST_KEPT:
            oldest = next(iter(self._kept))
            log.warning("stream %d is not kept any longer: more than %d clients have left", oldest.stream, MOST_KEPT)
            self._drop(oldest)

    def _drop(self, relay: Relay) -> None:
        """End a stream: upstream sees that the client has left."""
        if timer := self._kept.pop(relay, None):
            timer.cancel()
        del self._relays[relay.stream]
        relay.end("client_left")
