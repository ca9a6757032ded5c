"""`--resume`: which streams a reconnecting client can resume, and for how long.

A stream whose client has left is kept for a while: upstream is still read and recorded. Only a request for the same
target with the same header fields, and so the same credentials, gets it. The proxy keeps a keyed digest of these.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from ...errors import UsageError
from ...model import Headers
from ...wire.content_coding import codings_of
from ...wire.event_ids import event_id, parse_event_id
from ...wire.headers import decoded, end_to_end, header, is_event_stream
from ...wire.limits import checked_seconds
from ..queue import ExchangeRecorder
from .resumable import Relay

log = logging.getLogger("omnirecord")

GRACE = 30.0
"""Seconds that a stream is kept for a client that has left."""
MOST_KEPT = 100
"""The most streams that are kept for clients that have left."""
_DIFFER = ("last-event-id", "cache-control", "pragma", "traceparent", "tracestate", "x-request-id")
"""Fields that do not identify a client, and may differ in its next request."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The part of a request that decides which client may resume its response."""

    target: str
    headers: Headers


def can_be_stamped(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> bool:
    """Return whether ids can be added to this response, and a client can ask for it again. It must be a stream without
    a content coding, for a GET request."""
    headers = decoded(answer.raw_headers)
    is_plain = not codings_of(header(headers, "content-encoding"))
    return (
        request.method == "GET" and not request.body_exists and answer.status == 200
        and is_event_stream(headers) and is_plain
    )  # fmt: skip


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
        """Return the relay of a new stream."""
        relay = Relay(answer, recorder, self._limit, self._left)
        self._relays[relay.stream] = relay, self._digest(asked)
        return relay

    def find(self, method: str, asked: Asked) -> tuple[Relay | None, int]:
        """Return the stream that this request resumes, and its last frame. None: a new request goes to upstream."""
        given = parse_event_id((header(asked.headers, "last-event-id") or "").strip())
        if method != "GET" or given is None or self._stopped:
            return None, 0
        stream, seq = given
        relay = self._of_client(stream, asked)
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

    def _of_client(self, stream: int, asked: Asked) -> Relay | None:
        relay, digest = self._relays.get(stream, (None, b""))
        return relay if hmac.compare_digest(digest, self._digest(asked)) else None

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
