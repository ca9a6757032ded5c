"""The recording proxy: an aiohttp server whose every request goes to one upstream, and onto the tape.

It opens no connection of its own and knows no Omnigent: a stream is whatever answers `text/event-stream`, a
WebSocket whatever is switched to. Stopping is deliberate: streams and WebSockets are cut at once, ordinary requests
get five seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import web
from yarl import URL

from ..errors import UsageError
from ..headers import decoded
from ..limits import Given, Retention, retention, rotation
from ..recorder import NewFrames
from ..redact import content_scanner
from ..routes import CONTROL
from ..serving import DRAIN_TIMEOUT, Listener, Place, bad_request, origin_form
from ..tape import Tape, Watch, ignore, nothing
from ..tls import File, Trust
from .control import UI, Control, pages_of
from .forward import Answered, Forward
from .readahead import DEFAULT as READ_AHEAD
from .resuming import GRACE, Asked, Resuming
from .upstream import Upstream, parse_upstream, refuse_itself, upstream_context

log = logging.getLogger("omnirecord")

__all__ = ["GRACE", "READ_AHEAD", "Answered", "NewFrames", "Proxy"]


def _tell_nobody(method: str, target: str, exchange: int, status: int) -> None:
    pass


class Proxy:
    """A proxy that records. Use it with `async with`: `url` is where clients connect, `db` the cassette.

    With `control`, `/-/omnirecord/` tells how the recording is, and what is recorded; it is not recorded itself. With
    `ui` the same, and a page that shows it.

    With `rotate`, `db` is a link to the newest of several cassettes, of which `keep` says how many are kept.

    `exchanges`: how many requests have come. With `resume`, events get ids, and a client that lost its stream can come
    back for `resume_for` seconds; those that do count as no request. `redact` "content" masks what looks like a secret
    in content too, on its way to the cassette, and what begins with one of `redact_patterns`. `apart`: frames are made,
    and judged, in a process of their own, so that they take nothing from the event loop; as the command does. Of very
    many that came at once, `watch` is then given the last 200.

    Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(
        self,
        upstream: str,
        db: str | Path = "omnirecord.db",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        allow_remote: bool = False,
        token: str | None = None,
        tls_cert: File | None = None,
        tls_key: File | None = None,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        insecure: bool = False,
        contract: str = "omnigent",
        read_ahead: int = READ_AHEAD,
        resume: bool = False,
        resume_for: float = GRACE,
        control: bool = False,
        ui: bool = False,
        redact: str | None = None,
        redact_patterns: Iterable[str] = (),
        rotate: Given = (),
        keep: Given = (),
        apart: bool = False,
        watch: Watch = ignore,
        answered: Answered = _tell_nobody,
    ) -> None:
        if read_ahead < 0:
            raise UsageError(f"read_ahead {read_ahead} must be 0 or more, in bytes")
        self._target: URL = parse_upstream(upstream)
        self.upstream = str(self._target)
        self._trust = Trust(ca, cert, key, insecure)
        self._db = Path(db)
        self._contract = contract
        self._content = content_scanner(redact, redact_patterns)
        self._rotation, self._keep = rotation(rotate), retention(keep)
        if self._rotation is None and self._keep != Retention():
            raise UsageError("--keep says what is kept of full cassettes: give --rotate as well")
        self._read_ahead = read_ahead
        self._apart, self._watch = apart, watch
        self._is_controlled, self._has_page = control or ui, ui
        self._control: Control | None = None
        self._answered = answered
        self._resuming = Resuming(resume_for, read_ahead) if resume else None
        self._running: dict[Forward, asyncio.Task[object]] = {}
        self._listener = Listener(self._handle, Place(host, port, allow_remote, token, tls_cert, tls_key))
        self._entered: Tape | None = None
        self.exchanges = 0

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def page(self) -> str | None:
        """Where the page is; None without `ui`."""
        return f"{self.url}{UI}" if self._has_page else None

    @property
    def token(self) -> str | None:
        """What requests to its control path have to send as `Authorization: Bearer`; None where nothing."""
        return self._listener.token if self._is_controlled else None

    @property
    def made_token(self) -> str | None:
        """The same, where it was made up: nobody knows it yet."""
        return self.token if self._listener.is_made else None

    @property
    def db(self) -> Path:
        """The cassette: another than was named, where somebody put something else in its place meanwhile."""
        return self._db if self._entered is None else self._entered.path

    @property
    def recording(self) -> int:
        """The number of the recording that is being made."""
        return self._tape.recording

    @property
    def _tape(self) -> Tape:
        if self._entered is None:
            raise UsageError("the proxy does not record yet: enter it with `async with`")
        return self._entered

    @property
    def open_exchanges(self) -> int:
        """How many requests are going on."""
        return len(self._running)

    async def __aenter__(self) -> Proxy:
        tls = upstream_context(self._target, self._trust)
        await self._listener.bind()  # before the cassette is touched
        try:
            refuse_itself(self._target, self.url)
            self._entered = await asyncio.to_thread(
                Tape, self._db, self.upstream, self._contract, content=self._content, rotation=self._rotation,
                keep=self._keep, watch=self._watch, apart=self._apart,
                news=self._made_control().announce if self._is_controlled else nothing,
            )  # fmt: skip
        except BaseException:
            await self._listener.stop(0)
            raise
        self._upstream = Upstream(self._target, tls)
        self._warn()
        await self._listener.start()
        return self

    def _made_control(self) -> Control:
        guard = self._listener.guard
        pages = pages_of(guard, lambda: self.db) if self._has_page else None
        self._control = Control(guard, lambda: self.db, self._state, pages)
        return self._control

    def _state(self) -> dict[str, Any]:
        streams = [forward.take for forward in self._running if forward.take.stream is not None]
        return {
            "db": str(self.db), "upstream": self.upstream, "recording": self.recording, "exchanges": self.exchanges,
            "open_exchanges": self.open_exchanges, "degraded": self._tape.degraded,
            "streams": [{"stream": take.stream, "session_id": take.session_id} for take in streams],
        }  # fmt: skip

    def _warn(self) -> None:
        """Of what was allowed and is not safe."""
        if self._listener.is_remote:
            log.warning(
                "whoever can reach %s can use %s through it: clients cannot be asked for a token%s",
                self.url,
                self.upstream,
                ", only who wants to know what is recorded is" if self._is_controlled else "",
            )
        if self._trust.insecure:
            log.warning(
                "--insecure: the certificate of %s is not verified, so whoever is in between can read and change"
                " everything", self.upstream,
            )  # fmt: skip

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Refuse new connections, cut streams, give others `timeout` seconds, flush. Safe to call at any time."""
        self._listener.refuse_connections()
        self._cut(streams_only=True)
        await self._wait_for_requests(timeout)
        self._cut(streams_only=False)
        if self._control is not None and self._entered is not None:
            await self._wait_for_requests(0.1)
            await asyncio.to_thread(self._entered.stop)
            await self._control.finish(1.0)
        await self._listener.stop(0.1)
        if self._entered is not None:
            await self._upstream.close()
            await asyncio.to_thread(self._entered.stop)

    def hurry(self) -> None:
        """Wait for nothing more: cut what is still open. For the second signal."""
        self._cut(streams_only=False)

    def _cut(self, *, streams_only: bool) -> None:
        if self._resuming is not None:
            self._resuming.stop()
        for forward, task in list(self._running.items()):
            if forward.endless or not streams_only:
                forward.stopped = True
                task.cancel()

    async def _wait_for_requests(self, timeout: float) -> None:
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timeout)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        target = origin_form(request)
        if target is None:
            return bad_request("it names no path of the one upstream", 405)
        if self._control is not None and target.startswith(CONTROL):
            return await self._control.handle(request, target)
        asked = Asked(target, decoded(request.raw_headers))
        relay, behind = self._resuming.find(request.method, asked) if self._resuming else (None, 0)
        if relay is not None:
            return await relay.serve(request, behind=behind)
        forward = self._forward(request, asked)
        del asked  # this frame lasts as long as a stream
        try:
            return await forward.run()
        finally:
            del self._running[forward]

    def _forward(self, request: web.BaseRequest, asked: Asked) -> Forward:
        self.exchanges += 1
        take = self._tape.take(request.method, asked.target, asked.headers)
        forward = Forward(
            request, asked, take, self._upstream, self._read_ahead, self._resuming, self._answered
        )  # fmt: skip
        task = asyncio.current_task()
        assert task is not None
        self._running[forward] = task
        return forward
