"""A recording proxy for programs without an event loop: it runs in its own thread."""

from __future__ import annotations

import asyncio
from types import TracebackType

from ..server.background import Background
from .proxy import server as proxy
from .shipping import Shipping


class Recorder:
    """A recording proxy in a thread. `url` is where clients connect, `db` the cassette."""

    def __init__(self, server: proxy.Proxy) -> None:
        self._server = server
        self._background = Background(server)
        self.upstream, self.db, self.url = server.upstream, server.db, ""

    def start(self) -> Recorder:
        """Start the proxy, and return once it listens. Raises `UsageError`, `CassetteError` or `ServerError`."""
        self._background.start()
        self.url = self._server.url
        return self

    def stop(self) -> None:
        """Cut open streams, give other requests five seconds, and close the cassette."""
        self._background.stop()

    @property
    def token(self) -> str | None:
        """The token that requests to its control path send as `Authorization: Bearer`; None if none is needed."""
        return self._server.token

    @property
    def page(self) -> str | None:
        """The URL of the page; None without `ui`."""
        return self._server.page

    @property
    def recording(self) -> int:
        """The number of the recording in progress."""
        return self._server.recording

    @property
    def exchanges(self) -> int:
        """The number of requests so far."""
        return self._server.exchanges


class Proxy(proxy.Proxy):
    """A proxy for `async with`, in the caller's event loop, or for `with`, in its own thread.

    With `ship`, a process ships its files. Leaving waits for it, up to `SHIP_WITHIN` seconds.
    """

    _shipping: Shipping | None = None

    async def __aenter__(self) -> Proxy:
        await super().__aenter__()
        self._shipping = self.shipping
        if self._shipping is not None:
            self._shipping.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        if self._shipping is not None:
            await asyncio.to_thread(self._shipping.finish)

    def __enter__(self) -> Recorder:
        self._blocking = Recorder(self)
        return self._blocking.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocking.stop()
