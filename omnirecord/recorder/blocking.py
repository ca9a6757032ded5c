"""A recording proxy for programs without an event loop: it runs in a thread."""

from __future__ import annotations

from types import TracebackType

from ..server.background import Background
from .proxy import server as proxy


class Recorder:
    """A recording proxy in a thread. `url` is where clients connect, `db` the cassette."""

    def __init__(self, server: proxy.Proxy) -> None:
        self._server = server
        self._background = Background(server)
        self.upstream, self.db, self.url = server.upstream, server.db, ""

    def start(self) -> Recorder:
        """Raises `UsageError`, `CassetteError` or `ServerError`."""
        self._background.start()
        self.url = self._server.url
        return self

    def stop(self) -> None:
        """Cut streams that are open, give other requests five seconds, close the cassette."""
        self._background.stop()

    @property
    def token(self) -> str | None:
        """What requests to its control path have to send as `Authorization: Bearer`; None where nothing."""
        return self._server.token

    @property
    def page(self) -> str | None:
        """Where the page is; None without `ui`."""
        return self._server.page

    @property
    def recording(self) -> int:
        """The number of the recording that is being made."""
        return self._server.recording

    @property
    def exchanges(self) -> int:
        """How many requests have come."""
        return self._server.exchanges


class Proxy(proxy.Proxy):
    """A proxy that can be entered with `async with`, in the caller's loop, or with `with`, in a thread of its own."""

    def __enter__(self) -> Recorder:
        self._blocking = Recorder(self)
        return self._blocking.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocking.stop()
