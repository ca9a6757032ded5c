"""Follows a recording by its file, or by the URL of the proxy: rows as `events --json` prints them.

The file is checked four times a second, and opened only if it has changed, or its recorder has ended. The proxy is
asked for events after the last bookmark when a connection was lost; rows that come again are dropped.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from ...cassette.open import open_store
from ...cassette.sqlite import is_packed
from ...cassette.sqlite.connection import clear_errors
from ...cassette.sqlite.lock import recorder_is_alive
from ...errors import CassetteError, NotACassette, UsageError
from ...omnigent.routes import CONTROL
from ...server.access import File, Trust, checked_token, explained
from ...server.timers import monotonic
from ...wire.sse import Frame, Parser
from ..listing import Row
from . import Batch, Follower
from .rows import LAST, Wanted, rows_of

_AGAIN = 0.5
"""Seconds between attempts to reach a proxy."""
_SILENCE = 60.0
"""Seconds without a byte after which a connection is lost: a proxy sends a comment every 15."""
_READ = 1 << 16
POLL = 0.25
"""Time between checks of the file, in seconds."""
_BEGINNING = 5.0
"""Time in which a recorder makes a cassette of a new file, at most, in seconds."""
Say = Callable[[str], None]
Rest = Callable[[], None]


class Lost(Exception):
    """The proxy does not answer, or the connection broke."""


class Remote:
    """The proxy at `url`, which may end in the path of the control interface. `token`: the proxy's token, if it
    requires one. `ca`: CA bundle that verifies its certificate. Raises `UsageError` if one of them cannot be used."""

    def __init__(self, url: str, wanted: Wanted, last: int, *, token: str | None, ca: File | None) -> None:
        try:
            parts = urlsplit(url)
            self._host = parts.hostname or ""
            self._port = parts.port
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
        self._wanted = wanted
        self._last = last
        self._bookmark: str | None = None
        self._cassette = ""
        self._told: dict[tuple[str, object], int] = {}
        """The last `seq` of each stream of a cassette since the last bookmark."""
        self._has_begun = False
        self._tells_requests = True

    def rows(self, *, retry: bool, say: Say, rest: Rest) -> Iterator[Row]:
        """Return the rows, as `follow` does. With `retry`, also if the proxy does not answer yet, or no longer."""
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

    def _listen(self, say: Say, rest: Rest) -> Iterator[Row]:
        """Return the rows of one connection, until the recording ends. Raises `Lost`."""
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
            "session": wanted.session,
            "stream": wanted.stream,
            "type": wanted.type,
            "verdict": wanted.verdict,
            "requests": 1 if wanted.takes_requests and self._tells_requests else None,
            "last": self._last,
        }
        query = urlencode({name: value for name, value in given.items() if value is not None})
        headers = {"Accept": "text/event-stream"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if self._has_begun:  # without a bookmark: only events from now on
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
        """Return a sentence about an answer that is no event stream."""
        try:
            said = json.loads(response.read(_READ))["error"]["message"]
        except (ValueError, LookupError, TypeError, OSError, http.client.HTTPException):
            said = ""
        is_ours = isinstance(said, str) and said.startswith("omnirecord: ")
        if is_ours and response.status == 401:
            asks = "does not take this token" if self._token else "asks for a token"
            return (
                f"{self.url} {asks}: give the token that the proxy printed or was given at its start, in"
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
        if frame.id is not None:  # no earlier row comes again
            self._bookmark = frame.id
            self._told.clear()

    def _is_new(self, row: Row) -> bool:
        stream = (self._cassette, row.get("stream"))
        seq = row.get("seq")
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


def rows_of_file(path: Path, wanted: Wanted, last: int, *, retry: bool, say: Say, rest: Rest) -> Iterator[Row]:
    """Return the rows, as `follow` does. With `retry`, also of a future file, and of the next recording."""
    with clear_errors(path):
        if path.is_file() and is_packed(path):
            raise UsageError(f"{path} is compressed, so nothing is added to it: omnirecord events {path} shows it all")
    follower = rows_of(path, wanted, last, opens=partial(open_store, follows=True))
    while True:
        if not path.exists():
            _missing(path, follower, retry=retry, say=say)
            if follower.has_read and not retry:
                return
            time.sleep(POLL)
            continue
        batch = _read(follower, path)
        yield from batch.rows
        if batch.has_more:
            continue
        if batch.rows:
            rest()
        if not batch.is_recorded and not retry:
            say(f"no recorder writes to {path}: end of the recording")
            return
        say("" if batch.is_recorded else f"no recorder writes to {path}: waiting for the next recording")
        time.sleep(POLL)


def _missing(path: Path, follower: Follower[Row], *, retry: bool, say: Say) -> None:
    if follower.has_read:
        say(f"{path} is no longer there" + (": waiting for another one" if retry else ""))
    elif retry:
        say(f"waiting for {path}")
    else:
        raise NotACassette(f"{path} does not exist: name a cassette, or wait for it with --retry")


def _read(follower: Follower[Row], path: Path) -> Batch[Row]:
    """Return the next batch. A file that a recorder has just created is no cassette yet: try again."""
    until = monotonic() + _BEGINNING
    while True:
        try:
            return follower.read()
        except CassetteError:
            if not recorder_is_alive(path) or monotonic() > until:
                raise
        time.sleep(POLL)


def follow(
    source: str,
    wanted: Wanted,
    *,
    last: int = LAST,
    retry: bool = False,
    token: str | None = None,
    ca: File | None = None,
    say: Say,
    rest: Rest = lambda: None,
) -> Iterator[Row]:
    """Return the `last` recorded rows, then each new one until the recording ends; with `retry` for ever.

    `source` is a path or a URL; `token` and `ca` are for a proxy. `say` takes a sentence for the user: what is waited
    for, and why nothing more comes. `rest` is called when there is no further row at the moment.

    Raises `UsageError` or `CassetteError`.
    """
    say = _once(say)
    if source.startswith(("http://", "https://")):
        return Remote(source, wanted, last, token=token, ca=ca).rows(retry=retry, say=say, rest=rest)
    if ca is not None:
        raise UsageError(f"--ca is for a proxy with https, and {source} is a file")
    return rows_of_file(Path(source), wanted, last, retry=retry, say=say, rest=rest)


def _once(say: Say) -> Say:
    """Return `say` without repeated sentences. An empty sentence only allows the one before it to be repeated."""
    last = ""

    def said(sentence: str) -> None:
        nonlocal last
        if sentence and sentence != last:
            say(sentence)
        last = sentence

    return said
