"""A recording followed by asking the proxy that makes it. What was missed while the connection was lost is asked for
with the last bookmark; what comes twice then is told once."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import urlencode, urlsplit

from ...errors import UsageError
from ...omnigent.routes import CONTROL
from ...server.access import checked_token
from ...server.tls import File, Trust, explained
from ...wire.sse import Frame, Parser
from ..listing import Row
from . import Wanted

_AGAIN = 0.5
"""Seconds between attempts to reach a proxy."""
_SILENCE = 60.0
"""Seconds without a byte after which a connection is lost: a proxy sends a comment every 15."""
_READ = 1 << 16

Say = Callable[[str], None]


class Lost(Exception):
    """Nobody answers, or no longer."""


class Remote:
    """The proxy at `url`, whose path may be that of the control interface. `token`: what it asks for, where it is
    reachable from elsewhere. `ca`: who has to vouch for it, where it speaks TLS. Raises `UsageError` where one of
    them cannot be used."""

    def __init__(
        self, url: str, wanted: Wanted, last: int, *, token: str | None = None, ca: File | None = None
    ) -> None:
        try:
            parts = urlsplit(url)
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(f"{url} is no URL: {error}") from None
        if not self._host or parts.username is not None:
            raise UsageError(f"{url} names no host, or a user: write for instance http://127.0.0.1:6868")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.partition(CONTROL)[0].rstrip('/')}"
        self._tls = Trust(ca).context() if parts.scheme == "https" else None
        if ca is not None and self._tls is None:
            raise UsageError(f"--ca is for a proxy with https, and {url} has none")
        self._token = token and checked_token(token, "the token")
        self._path = urlsplit(self.url).path + CONTROL + "events"
        self._wanted, self._last = wanted, last
        self._bookmark: str | None = None
        self._cassette = ""
        self._told: dict[tuple[str, object], int] = {}
        """The last `seq` of each stream of a cassette, as far as no bookmark says so."""
        self._has_begun, self._tells_requests = False, True

    def rows(self, *, retry: bool, say: Say, rest: Callable[[], None]) -> Iterator[Row]:
        """See `follow`. With `retry`, also where nobody answers yet, or no longer."""
        while True:
            try:
                yield from self._listen(say, rest)
                ended = f"{self.url} has stopped recording"
            except Lost as error:
                if not self._has_begun and not retry:
                    raise UsageError(
                        f"nothing answers at {self.url} ({error}): start `omnirecord proxy --control` there, or wait"
                        " for it with --retry"
                    ) from error
                ended = f"the connection to {self.url} is lost ({error})" if self._has_begun else f"no {self.url} yet"
            if not retry:
                say(f"{ended}: no more events")
                return
            say(f"{ended}: trying again")
            time.sleep(_AGAIN)

    def _listen(self, say: Say, rest: Callable[[], None]) -> Iterator[Row]:
        """The rows of one connection, until the recording ends. Raises `Lost`."""
        with closing(self._connection()) as connection:
            response = self._ask(connection)
            self._has_begun = True
            say("")
            parser = Parser()
            while True:
                for frame in parser.feed(_some(response)):
                    if frame.event == "end":
                        return
                    yield from self._told_once(frame, say)
                rest()

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=_SILENCE)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_SILENCE, context=self._tls)

    def _ask(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        wanted = self._wanted
        given: dict[str, object] = {
            "session": wanted.session, "stream": wanted.stream, "type": wanted.type, "verdict": wanted.verdict,
            "requests": 1 if wanted.takes_requests and self._tells_requests else None,
        }  # fmt: skip
        query = urlencode({name: value for name, value in [*given.items(), ("last", self._last)] if value is not None})
        headers = {"Accept": "text/event-stream"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._has_begun:  # what comes from now on is new, whether a bookmark says how far we were or not
            headers["Last-Event-ID"] = self._bookmark or ""
        try:
            connection.request("GET", f"{self._path}?{query}", headers=headers)
            response = connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise UsageError(f"{self.url} is not to be trusted: {explained(error)}") from error
        except (OSError, http.client.HTTPException) as error:
            raise Lost(_why(error)) from error
        if response.status == 400 and self._tells_requests and wanted.takes_requests:  # it may be an older proxy
            self._tells_requests = False
            connection.close()
            return self._ask(connection)
        if response.status == 200 and response.getheader("X-Omnirecord") == "events":
            return response
        raise UsageError(self._refused(response))

    def _refused(self, response: http.client.HTTPResponse) -> str:
        """What our own control interface said, if it was that which answered."""
        try:
            said = json.loads(response.read(_READ))["error"]["message"]
        except (ValueError, LookupError, TypeError, OSError, http.client.HTTPException):
            said = ""
        is_ours = isinstance(said, str) and said.startswith("omnirecord: ")
        if is_ours and response.status == 401:
            asks = "does not take this token" if self._token else "asks for a token"
            return (
                f"{self.url} {asks}: give the one that was printed when it started, or that it was given, in"
                " OMNIRECORD_TOKEN or with --token"
            )
        if is_ours and response.status in (400, 403, 503):
            return f"{self.url} says: {said.removeprefix('omnirecord: ')}"
        return f"{self.url} is no proxy that tells what it records: start it with `omnirecord proxy --control`"

    def _told_once(self, frame: Frame, say: Say) -> Iterator[Row]:
        try:
            value = json.loads(frame.data or "null")
        except ValueError:
            return
        if frame.event == "trouble":
            say(f"{self.url} says: {value.get('message')}")
        elif frame.event == "cassette":
            self._cassette = str(value.get("id"))
        elif isinstance(value, dict) and (frame.event == "request" or (frame.event is None and self._is_new(value))):
            yield value
        if frame.id is not None:  # nothing of what came before comes again
            self._bookmark = frame.id
            self._told.clear()

    def _is_new(self, row: Row) -> bool:
        stream, seq = (self._cassette, row.get("stream")), row.get("seq")
        if not isinstance(seq, int) or seq <= self._told.get(stream, 0):
            return False
        self._told[stream] = seq
        return True


def _some(response: http.client.HTTPResponse) -> bytes:
    try:
        data = response.read1(_READ)
    except (OSError, http.client.HTTPException) as error:
        raise Lost(_why(error)) from error
    if not data:
        raise Lost("it was closed")
    return data


def _why(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return explained(error) or reason or str(error) or type(error).__name__
