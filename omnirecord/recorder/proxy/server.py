"""The recording proxy: aiohttp servers that pass each request on to their upstream, and record it.

It opens no other connection, except for a check of each upstream at the start. It knows no Omnigent: a stream is any
`text/event-stream` response, a WebSocket any upgrade. When it stops, streams and WebSockets are cut at once, and other
requests get five seconds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from aiohttp import web

from ...cassette.labels import labels_of
from ...errors import ServerError, UsageError
from ...model import UNRECORDED
from ...omnigent.routes import CONTROL, UI, path_of
from ...options import RecordOptions
from ...redaction.pseudonyms import user_key
from ...redaction.redactor import content_scanner
from ...server.access import Guard, Trust
from ...server.http import Handler, origin_form
from ...server.listener import DRAIN_TIMEOUT, Blocking, Listener, Place, WithBlock, of_server, parse_listen
from ...server.refusals import bad_request, error_response
from ...server.timers import monotonic
from ...text import counted
from ...wire.headers import decoded
from ...wire.limits import Retention, lake_url, retention, rotation, size_of
from ..intervals import STOP_WITHIN
from ..queue import ExchangeRecorder
from ..shipping import Shipping
from ..thread import RecorderThread
from ..wanted import Wanted
from .forward import Answered, Forward, Over, RequestHead
from .upstream import Target, targets_of


class Recorder(Blocking):
    """A recording proxy in a thread. Clients connect to `url`, those of a named upstream to its URL in `urls`."""

    def __init__(self, server: Proxy) -> None:
        super().__init__(server)
        self.upstream = server.upstream
        self.upstreams = server.upstreams
        self.db = server.db

    urls: Mapping[str, str] = of_server("urls")
    page: str | None = of_server("page")
    """The URL of the page; None without `ui`."""
    recording: int = of_server("recording")
    """The number of the recording in progress."""
    exchanges: int = of_server("exchanges")
    """The number of recorded requests so far."""
    unrecorded: int = of_server("unrecorded")
    """The number of requests that passed unrecorded, because their paths are not wanted."""


class Interface(Protocol):
    """Answers requests about the recording: below the control path, and at the listener of the page."""

    def announce(self) -> None:
        """The cassette has new rows. Called in the recording thread."""

    async def handle(self, request: web.BaseRequest, target: str, guard: Guard) -> web.StreamResponse:
        """Answer a request below the control path."""
        ...

    async def serve(self, request: web.BaseRequest, guard: Guard) -> web.StreamResponse:
        """Answer a request to the listener of the page."""
        ...

    async def finish(self, timeout: float) -> None:
        """The recording is closed: send the clients the rest."""


Interfaces = Callable[[Callable[[], Path], Callable[[], dict[str, Any]], Guard | None], Interface]
"""Makes the interface of a recorder. Its arguments return the cassette and the body of `GET /-/omnirecord/`; the guard
of the page is None without a page."""


class Proxy(WithBlock):
    """A proxy that records. Use it with `async with`, or with `with`: then it runs in a thread of its own. Clients
    connect to `url`, and `db` is the cassette.

    The arguments are those of `RecordOptions`, and five more. `interface`: makes what answers about the recording;
    `control` and `ui` need it, and `omnirecord.record` has one. `runs_shipping`: it runs the process that ships, and
    leaving waits for that; else the caller runs it. `answered`: called when a response begins. `behind`: the names of
    the upstreams that are behind another server: the proxy has no listener for them, and gets their requests from
    `forward`. `is_lazy`: the recording of an upstream begins with its first request.

    Requests to the control path are not recorded. No browser may read it, because pages of the upstream have the same
    origin. So the page has a second listener: for `ui=True` on the port after the proxy's, or else on a free one.

    Raises `UsageError`, `CassetteError` or `ServerError` on entering.
    """

    def __init__(
        self,
        *args: Any,
        interface: Interfaces | None = None,
        runs_shipping: bool = False,
        answered: Answered = lambda *_: None,
        behind: Collection[str | None] = (),
        is_lazy: bool = False,
        **named: Any,
    ) -> None:
        options = RecordOptions(*args, **named)
        if options.read_ahead < 0:
            raise UsageError(f"read_ahead {options.read_ahead} must be 0 or more, in bytes")
        self._place = Place(
            options.host, options.port, options.allow_remote, options.token, options.tls_cert, options.tls_key
        )
        self._targets = targets_of(options, self._place, self._handle)
        self._is_lazy = is_lazy
        self._behind = [target for target in self._targets if target.name in behind]
        self.upstream = self._targets[0].shown
        self._trust = Trust(options.ca, options.cert, options.key, options.insecure)
        self._db = Path(options.db)
        self._content = content_scanner(options.redact, options.redact_patterns)
        self._pseudonym_key = options.pseudonym_key
        self._rotation = rotation(options.rotate)
        self._keep = retention(options.keep)
        if self._rotation is None and self._keep != Retention():
            raise UsageError("--keep says what is kept of full cassettes: give --rotate as well")
        most = size_of("--keep-unshipped", options.keep_unshipped)
        self._keep_unshipped = None if options.ship is None else (lake_url(options.ship), most)
        self._shipping = self.shipping if runs_shipping else None
        self._labels = labels_of(options.labels or ())
        self.last_labels: dict[str, str] = {}
        """Labels that the recordings get at the end."""
        self._before_record = options.before_record
        if options.before_record is not None and (options.rotate or options.ship is not None):
            raise UsageError("before_record writes one cassette again at its end: leave out rotate and ship")
        self._wanted = Wanted(options.only_paths, options.except_paths)
        self.unrecorded = 0
        """The number of requests that passed unrecorded, because their paths are not wanted."""
        self._read_ahead = options.read_ahead
        self._ui = options.ui
        self._is_controlled = options.control or bool(options.ui)
        if self._is_controlled and interface is None:
            raise UsageError("a bare Proxy has no control path and no page: use omnirecord.record")
        self._make_interface = interface
        self._interface: Interface | None = None
        self._watching: list[Callable[[], object]] = []
        self._answered = answered
        self._running: dict[Forward, None] = {}
        self._listener = self._targets[0].listener
        self._paging: Listener | None = None
        if isinstance(options.ui, str):
            parse_listen(options.ui, allow_remote=options.allow_remote, option="--ui")
        self._entered: RecorderThread | None = None

    @property
    def exchanges(self) -> int:
        """The number of requests so far."""
        return sum(target.exchanges for target in self._targets)

    @property
    def exchanges_of(self) -> Mapping[str, int]:
        return {target.name: target.exchanges for target in self._targets if target.name is not None}

    @property
    def upstreams(self) -> Mapping[str, str]:
        """The URLs of the upstreams with a name, by name."""
        return {target.name: target.shown for target in self._targets if target.name is not None}

    @property
    def proxies(self) -> Mapping[str, str]:
        """The HTTP proxies that it uses, without credentials, by the URL of the upstream."""
        return {target.shown: str(target.via) for target in self._targets if target.via is not None}

    @property
    def urls(self) -> Mapping[str, str]:
        """The URLs at which clients reach the upstreams with a name, by name."""
        return {target.name: target.listener.url for target in self._targets if target.name is not None}

    @property
    def url(self) -> str:
        return self._listener.url

    @property
    def page(self) -> str | None:
        """Where the page is; None without `ui`."""
        return f"{self._paging.url}{UI}" if self._paging is not None else None

    @property
    def _listeners(self) -> list[Listener]:
        listeners = [target.listener for target in self._targets if target not in self._behind]
        return listeners if self._paging is None else [*listeners, self._paging]

    @property
    def token(self) -> str | None:
        """What requests to its control path have to send as `Authorization: Bearer`; None where nothing."""
        return next((one.token for one in self._listeners if one.token), None) if self._is_controlled else None

    @property
    def made_token(self) -> str | None:
        """The token, if the server has generated it."""
        return self.token if any(one.is_made for one in self._listeners) else None

    @property
    def db(self) -> Path:
        """The cassette. It changes if another file takes its place."""
        return self._db if self._entered is None else self._entered.path

    @property
    def shipping(self) -> Shipping | None:
        """The process that ships its files, not started; None without `ship`."""
        ship = self._keep_unshipped
        return None if ship is None else Shipping(ship[0], self._db, rotates=self._rotation is not None)

    @property
    def recording(self) -> int:
        return self._recorder_thread.recording

    @property
    def dropped_bytes(self) -> int:
        """Bytes that passed so far and are not in the cassette."""
        return 0 if self._entered is None else self._entered.dropped_bytes

    @property
    def is_incomplete(self) -> bool:
        """Whether the cassette lacks bytes that passed, because the disk did not keep up."""
        return self._entered is not None and self._entered.is_incomplete

    @property
    def _recorder_thread(self) -> RecorderThread:
        if self._entered is None:
            raise UsageError("the proxy does not record yet: enter it with `async with`")
        return self._entered

    @property
    def open_exchanges(self) -> int:
        return len(self._running)

    def __enter__(self) -> Recorder:
        recorder = self._blocking = Recorder(self)
        return recorder.start()

    async def __aenter__(self) -> Proxy:
        tls = contexts(self._targets, self._trust)
        try:
            for listener in self._listeners:
                await listener.bind()  # before the cassette is touched
            pseudonym_key = await asyncio.to_thread(user_key, self._pseudonym_key)
            if self._ui:
                place = replace(self._place, token=self._listener.token, option="--ui")
                self._paging = await _page_listener(self._serve_page, place, self._ui, self.url)
            for target in self._targets:
                target.refuse_itself(listener.url for listener in self._listeners)
            if self._is_controlled and self._make_interface is not None:
                guard = None if self._paging is None else self._paging.guard
                self._interface = self._make_interface(lambda: self.db, self._state, guard)
                self.watch(self._interface.announce)
            first = self._targets[0]
            self._entered = await asyncio.to_thread(
                RecorderThread,
                self._db,
                first.shown if first.name is None else None,
                first.contract,
                further=[(one.name, one.shown, one.contract) for one in self._targets if one.name is not None],
                content=self._content,
                rotation=self._rotation,
                keep=self._keep,
                pseudonym_key=pseudonym_key,
                labels=self._labels,
                keep_unshipped=self._keep_unshipped,
                news=self._announce,
                is_lazy=self._is_lazy,
            )
        except BaseException:
            for listener in self._listeners:
                await listener.stop(0)
            raise
        await self._begin_listening(tls)
        if self._shipping is not None:
            self._shipping.start()
        return self

    async def _begin_listening(self, tls: Sequence[ssl.SSLContext | None]) -> None:
        """Let the upstreams make connections, with these TLS settings, and the listeners accept them."""
        for target, of_target in zip(self._targets, tls, strict=True):
            target.connect(of_target)
            if target not in self._behind:
                self._attend(target)
        for listener in self._listeners:
            await listener.start()

    def _attend(self, target: Target) -> None:
        """Let the listener of an upstream count and close connections."""
        assert self._entered is not None
        target.attend(self._descriptors, self._let_go, self._entered.note)
        target.warn(insecure=self._trust.insecure, has_control=self._is_controlled and target.number == 0)

    def put_behind(self, name: str | None, listener: Listener) -> None:
        """Set the listener that gets the requests of an upstream. Raises `UsageError` if that is the upstream."""
        target = self._target(name)
        target.listener = listener
        target.refuse_itself([listener.url])
        self._attend(target)

    def _target(self, name: str | None) -> Target:
        return next(target for target in self._targets if target.name == name)

    async def check_upstreams(self) -> None:
        """Connect to each upstream once, without a request. Warn if this is not possible."""
        await asyncio.gather(*(target.check() for target in self._targets))

    def watch(self, news: Callable[[], object]) -> None:
        """Call `news` after each commit from now on, in the recording thread."""
        self._watching.append(news)

    def _announce(self) -> None:
        for news in self._watching:
            news()

    def _descriptors(self) -> int:
        """The number of upstream connections that have no client."""
        return sum(target.upstream.idle for target in self._targets)

    def _let_go(self) -> None:
        for target in self._targets:
            target.upstream.let_go()

    def _state(self) -> dict[str, Any]:
        streams = [(one.recorder, one.target) for one in self._running if one.recorder.stream is not None]
        return {
            "db": str(self.db),
            "upstream": self.upstream,
            "recording": self.recording,
            "exchanges": self.exchanges,
            "unrecorded": self.unrecorded,
            "open_exchanges": self.open_exchanges,
            "degraded": self._recorder_thread.degraded,
            "waiting_bytes": self._recorder_thread.waiting_bytes,
            "dropped_bytes": self._recorder_thread.dropped_bytes,
            "refused": sum(target.listener.accepting.refused for target in self._targets),
            "streams": [
                {"stream": recorder.stream, "session_id": recorder.session_id, "hop": target.name}
                for recorder, target in streams
            ],
            "upstreams": [
                {"hop": one.name, "upstream": one.shown, "url": one.listener.url, "exchanges": one.exchanges}
                for one in self._targets
            ],
        }

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        if self._shipping is not None:
            await asyncio.to_thread(self._shipping.finish, self.db)

    async def stop(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Refuse new connections, cut streams, give other requests `timeout` seconds, and write what is queued.

        It takes about `STOP_WITHIN` seconds; bytes that are not written by then are lost (`is_incomplete`). Can be
        called at any time."""
        until = monotonic() + max(STOP_WITHIN, timeout)
        await self.drain(timeout)
        if self.unrecorded and self._entered is not None:
            told = f"{UNRECORDED}{counted(self.unrecorded, 'request')} with paths that --only or --except leave out"
            self._entered.note(told)
        while self.last_labels and self._entered is not None:
            self._entered.label(*self.last_labels.popitem())
        if self._interface is not None and self._entered is not None:
            await self._wait_for_requests(0.1)
            await asyncio.to_thread(self._entered.stop, until - monotonic())
            await self._interface.finish(1.0)
        for listener in self._listeners:
            await listener.stop(0.1)
        if self._entered is not None:
            for target in self._targets:
                await target.upstream.close()
            await asyncio.to_thread(self._entered.stop, until - monotonic())
            hook = self._before_record
            self._before_record = None
            if hook is not None:
                from ..before_record import apply  # few recorders need it

                await asyncio.to_thread(apply, hook, self.db, self.recording)

    async def drain(self, timeout: float = DRAIN_TIMEOUT) -> None:
        """Refuse new connections, cut streams, and give other requests `timeout` seconds."""
        for listener in self._listeners:
            listener.refuse_connections()
        self._cut(streams_only=True)
        await self._wait_for_requests(timeout)
        self._cut(streams_only=False)

    def hurry(self) -> None:
        """Cut what is open and drop what is not written, without a wait: for a second signal."""
        self._cut(streams_only=False)
        if self._entered is not None:
            self._entered.hurry()

    def _cut(self, *, streams_only: bool) -> None:
        for forward in list(self._running):
            if forward.endless or not streams_only:
                forward.stopped = True
                forward.task.cancel()

    async def _wait_for_requests(self, timeout: float) -> None:
        if self._running:
            await asyncio.wait([forward.task for forward in self._running], timeout=timeout)

    def _handle(self, of: Target, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Return the coroutine that answers a request: one of its own would last as long as a stream."""
        target = origin_form(request)
        if target is None or (self._interface is not None and of.number == 0 and target.startswith(CONTROL)):
            return self._controlled(request, target)
        head = RequestHead(target, decoded(request.raw_headers))
        recorder = self._begin(of, request.method, head)
        return Forward(request, head, recorder, of, self._read_ahead, self._answered, self._running).run()

    def _begin(self, of: Target, method: str, head: RequestHead, answered_from: int | None = None) -> ExchangeRecorder:
        """Return the recorder of a new exchange."""
        if self._wanted.has(head.target):
            of.exchanges += 1
            return self._recorder_thread.begin_exchange(method, head.target, head.headers, of.number, answered_from)
        self.unrecorded += 1
        return self._recorder_thread.pass_unrecorded()

    def forward(
        self, name: str | None, request: web.BaseRequest, head: RequestHead, answered: Answered, over: Over
    ) -> Awaitable[web.StreamResponse]:
        """Return the coroutine that passes on a request of another server to the upstream with this name, and records
        it. `head`: what to send."""
        of = self._target(name)
        recorder = self._begin(of, request.method, head)
        return Forward(request, head, recorder, of, self._read_ahead, answered, self._running, over).run()

    def begin(self, name: str | None, method: str, head: RequestHead, answered_from: int) -> ExchangeRecorder:
        """Return the recorder of an exchange that another server answers. `answered_from`: the exchange of another
        cassette that is the answer."""
        return self._begin(self._target(name), method, head, answered_from)

    async def _controlled(self, request: web.BaseRequest, target: str | None) -> web.StreamResponse:
        """Answer a request to the control path, or refuse one that names no path."""
        if target is None or self._interface is None:
            return bad_request("it names no path of the one upstream", 405)
        if self.page is not None and path_of(target) == UI:  # its former address
            return web.Response(status=302, headers={"Location": self.page})
        return await self._interface.handle(request, target, self._listener.guard)

    async def _serve_page(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._interface is None or self._paging is None:
            return error_response(503, "not_ready", "omnirecord: the recording has not begun")
        return await self._interface.serve(request, self._paging.guard)


def contexts(targets: Sequence[Target], trust: Trust) -> list[ssl.SSLContext | None]:
    """Return the TLS settings for each upstream. Raises `UsageError`, also for options if no upstream has https."""
    if trust and not any(one.uses_tls for one in targets):
        shown = " and ".join(one.shown for one in targets)
        raise UsageError(f"--ca, --cert, --key and --insecure are for an upstream with https, and {shown} has none")
    return [trust.context() if target.uses_tls else None for target in targets]


async def _page_listener(handler: Handler, place: Place, address: bool | str, proxy: str) -> Listener:
    """Return the page's own listener: pages and service workers of the upstream have the origin of the proxy's URL.

    It is at `address`, else on the port after the proxy's if `place` has one, else on a free port.
    """
    if isinstance(address, str):
        return await _bound(handler, place.at(address, "--ui"))
    behind = (urlsplit(proxy).port or 0) + 1 if place.port else 0
    try:
        return await _bound(handler, replace(place, port=behind if behind < 65536 else 0))
    except ServerError:
        return await _bound(handler, replace(place, port=0))


async def _bound(handler: Handler, place: Place) -> Listener:
    listener = Listener(handler, place, has_pages=True)
    await listener.bind()
    return listener
