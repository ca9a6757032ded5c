"""The one server that the proxy connects to, and how: nothing added, nothing decoded, no timeout of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
from yarl import URL

from ..cassette import Headers
from ..errors import UsageError
from ..serving import LIMIT

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


def parse_upstream(url: str) -> URL:
    """The upstream's URL, which may have a path prefix. Raises `UsageError` with what is wrong with it."""
    try:
        parsed = URL(url, encoded=True)
        port = parsed.port
    except ValueError as error:
        raise UsageError(f"--upstream {url!r} is no URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or port is None:
        raise UsageError(f"--upstream {url!r} needs a scheme and a host: write for instance http://127.0.0.1:6767")
    if parsed.raw_user or parsed.raw_password:
        raise UsageError("--upstream may not carry a user or password: clients send their own credentials")
    if parsed.raw_query_string or parsed.raw_fragment:
        raise UsageError(f"--upstream {url!r} may have a path, but no query and no fragment")
    return parsed


class Upstream:
    """Connections to one upstream. Those of idempotent requests are used again, others are closed: a POST on a
    pooled connection that is just dying would fail, and could not be sent again."""

    def __init__(self, url: URL) -> None:
        self._base = str(url).rstrip("/")
        self.shown = self._base
        self._pooled = _session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=10))
        self._single = _session(aiohttp.TCPConnector(limit=0, force_close=True, ttl_dns_cache=10))

    async def request(
        self, method: str, target: str, headers: Headers, body: AsyncIterator[bytes] | None
    ) -> aiohttp.ClientResponse:
        """Send a request; return once the header section of its response is there. Raises aiohttp's errors."""
        session = self._pooled if method in _IDEMPOTENT and body is None else self._single
        return await session.request(
            method, URL(self._base + target, encoded=True), headers=headers, data=body, allow_redirects=False,
        )  # fmt: skip

    async def close(self) -> None:
        await self._pooled.close()
        await self._single.close()


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        skip_auto_headers=_ADDED_BY_AIOHTTP,
        max_line_size=LIMIT,
        max_field_size=LIMIT,
        max_headers=16384,
        trust_env=False,
    )
