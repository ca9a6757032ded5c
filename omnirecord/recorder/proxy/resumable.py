"""One stamped stream: its upstream connection, which may outlive the client's, and who listens to it now.

Upstream is read in a task of its own, into memory (`Held`) and onto the tape. Whoever listens is sent what waits
there; one who leaves can come back behind the last event it has. How long it is waited for is decided in `resuming`.

What of a stamped stream is in memory: what was sent and may be asked for again, and what waits to be sent.

Both together are bounded by `limit`: what was sent longest ago goes first. No I/O.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ...model import Ending
from ...server.aiohttp_private import HttpProcessingError
from ...server.listener import RawResponse
from ...wire.event_ids import Stamped, StreamStamper
from ...wire.headers import decoded, end_to_end
from ..queue import ExchangeRecorder
from ..rows.exchanges import Received

_OVERHEAD = 256
"""Bytes that a piece costs beside its data."""


@dataclass(slots=True)
class Piece:
    """Something to send, and the reads that it completes; none any more once these were told that they were sent."""

    stamped: Stamped
    reads: tuple[Received, ...] = ()

    @property
    def cost(self) -> int:
        return len(self.stamped.data) + _OVERHEAD


class Held:
    """The pieces of one stream, and how far they were sent.

    `waiting`: bytes still to be sent. `given`: the last frame that was sent with an id; `done`: that was `[DONE]`.
    `forgotten`: the last frame of which something is no longer here. Frames count from 1; 0 is none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sent: deque[Piece] = deque()
        self._unsent: deque[Piece] = deque()
        self._size = 0
        self._newest = 0  # the newest frame with an id
        self.waiting = 0
        self.given = self.forgotten = 0
        self.done = False

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return self.waiting > self._limit

    def add(self, piece: Piece) -> None:
        """Something more to send."""
        self._unsent.append(piece)
        self._size += piece.cost
        self.waiting += piece.cost
        if piece.stamped.has_id:
            self._newest = piece.stamped.seq

    def next(self, most: int) -> list[Piece]:
        """The next pieces to send, up to about so many bytes; they count as sent from now on."""
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

    def has_news_behind(self, seq: int) -> bool:
        """Whether an event followed."""
        return self._newest > seq

    def rewind(self, seq: int) -> None:
        """What is behind frame `seq`, which was sent, is to be sent next: again, or less than an earlier call said."""
        while self._sent and self._sent[-1].stamped.seq > seq:
            piece = self._sent.pop()
            self._unsent.appendleft(piece)
            self.waiting += piece.cost
        while self._unsent and self._unsent[0].stamped.seq <= seq:
            piece = self._unsent.popleft()
            self._sent.append(piece)
            self.waiting -= piece.cost

    def trim(self, *, unsent: bool) -> None:
        """Forget what is too much: what was sent and, if so said, what was not."""
        while self._size > self._limit and (self._sent or (unsent and self._unsent)):
            if self._sent:
                self._forget(self._sent.popleft())
            else:
                piece = self._unsent.popleft()
                self.waiting -= piece.cost
                self._forget(piece)

    def forget_sent(self) -> None:
        """Nothing will be asked for again."""
        while self._sent:
            self._forget(self._sent.popleft())

    def _forget(self, piece: Piece) -> None:
        self._size -= piece.cost
        self.forgotten = piece.stamped.seq


log = logging.getLogger("omnirecord")

LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, HttpProcessingError, ConnectionError)
"""What an upstream, or a client, that is lost in a body raises."""
_AT_ONCE = 64 * 1024
"""Bytes that are written before it is looked at whether the client takes them."""


@dataclass(slots=True, eq=False)
class _Listener:
    """A client's connection, and the task that serves it."""

    request: web.BaseRequest
    task: asyncio.Task[object]


class Relay:
    """Passes one stream on, to one client at a time.

    `left` is called whenever nobody listens any more. `ending`: how the exchange ended; None while upstream is read.
    """

    def __init__(
        self, answer: aiohttp.ClientResponse, recorder: ExchangeRecorder, limit: int, left: Callable[[Relay], None]
    ) -> None:
        assert recorder.stream is not None
        self.stream = recorder.stream
        self.ending: Ending | None = None
        self._answer = answer
        self._recorder = recorder
        self._headers = end_to_end(decoded(answer.raw_headers), but=("content-length",))  # it has grown
        self._left = left
        self._stamper = StreamStamper(recorder.stream, limit)
        self._held = Held(limit)
        self._reads: deque[tuple[int, Received]] = deque()  # not yet in a piece, and where in the stream each ends
        self._received = 0
        self._listener: _Listener | None = None
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    @property
    def is_heard(self) -> bool:
        return self._listener is not None

    @property
    def can_be_resumed(self) -> bool:
        """Whether a client can have an id to come back with, and a reason to."""
        return self._stamper.stamps and self._held.given > 0 and not self._held.done

    def refusal(self, seq: int) -> str | None:
        """Why a client whose last event was frame `seq` cannot go on here; None where it can."""
        if self._held.forgotten > seq:
            return "what followed it is no longer in memory"
        if self._held.given < seq:
            return "it was never sent"
        if self.ending is not None and not self._held.has_news_behind(seq):
            return "the stream has ended, and no event followed"
        return None

    async def serve(self, request: web.BaseRequest, *, behind: int | None = None) -> web.StreamResponse:
        """Send the stream to this client until it ends, from where it is or from `behind` that frame on.

        Who listened until now is cut: it is this client, on a connection that it has lost, or gives an id away.
        """
        listener = self._listen(request)
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
            self._leave(listener)
        return response

    def end(self, ending: Ending) -> None:
        """Upstream is over, or left alone from now on; what is held can still be sent. Only the first call counts."""
        if self.ending is None:
            self.ending = ending
            self._recorder.end(ending)
            self._reader.cancel()
            self._answer.close()
            self._news.set()

    def stop(self) -> None:
        """The recorder stops: cut both sides."""
        self.end("recorder_stopped")
        if self._listener is not None:
            self._listener.task.cancel()

    def _listen(self, request: web.BaseRequest) -> _Listener:
        task = asyncio.current_task()
        assert task is not None
        before, self._listener = self._listener, _Listener(request, task)
        if before is not None and before.request.transport is not None:
            before.request.transport.abort()
        return self._listener

    def _leave(self, listener: _Listener) -> None:
        if self._listener is listener:
            self._listener = None
            self._room.set()
            self._left(self)

    async def _send(self, response: RawResponse, listener: _Listener) -> None:
        writer = response.writer()
        while self._listener is listener:
            if pieces := self._held.next(_AT_ONCE):
                await writer.write(b"".join(piece.stamped.data for piece in pieces), drain=False)
                self._note_sent(pieces)
                await writer.drain()
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
                self._arrived(data)
                while self._held.is_full and self.is_heard:
                    self._room.clear()
                    await self._room.wait()
            ending = "eof"
        except LOST:
            pass
        except Exception:
            log.exception("stream %d could not be passed on", self.stream)
        self._hold(self._stamper.close(), self._received)
        self.end(ending)

    def _arrived(self, data: bytes) -> None:
        read = self._recorder.receive(data)
        self._received += len(data)
        self._reads.append((self._received, read))
        pieces = self._stamper.feed(data)
        self._hold(pieces, self._received - self._stamper.held)

    def _hold(self, stamped: list[Stamped], given_out: int) -> None:
        """Put these in memory, with the reads that they complete: of all bytes so many are `given_out` now."""
        pieces = [Piece(one) for one in stamped]
        if pieces:
            pieces[-1].reads = tuple(self._completed(given_out))
        for piece in pieces:
            self._held.add(piece)
        self._held.trim(unsent=not self.is_heard)
        self._news.set()

    def _completed(self, given_out: int) -> Iterator[Received]:
        while self._reads and self._reads[0][0] <= given_out:
            yield self._reads.popleft()[1]
