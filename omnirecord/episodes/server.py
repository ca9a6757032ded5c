"""A replay with a recorder behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from ..cassette.files import new_cassette
from ..cassette.open import open_store
from ..cassette.select import named_session
from ..errors import UsageError
from ..model import Exchange, Recording
from ..recorder.proxy.forward import RequestHead
from ..recorder.proxy.server import Proxy
from ..replayer.beyond import Answered, Copy, Decide, Question, Served, Where
from ..replayer.matching.key import Incoming
from ..replayer.player.plan import hop_of, hops_of
from ..replayer.server import Replay
from ..wire.headers import without

_NOWHERE = "http://upstream.invalid"
"""The upstream of a hop whose recording names none. No request goes to it."""
_HAS_BODY = {"content-length", "transfer-encoding", "content-encoding"}


def with_body(request: Incoming, body: bytes) -> Incoming:
    """Return a request with another body, which has no content coding."""
    headers = without(request.headers, _HAS_BODY)
    return replace(request, body=body, headers=(*headers, ("Content-Length", str(len(body)))))


Noted = Callable[[str | None, Served], object]


class _Recorder:
    """What is beyond the recording: the upstreams, and the recorder of their exchanges."""

    def __init__(
        self, proxy: Proxy, live: set[str | None], decide: Decide, noted: Noted, *, keeps_answers: bool
    ) -> None:
        self._proxy = proxy
        self._noted = noted
        self._live = live
        self._decide = decide
        self._keeps_answers = keeps_answers

    def decide(self, question: Question) -> Where | Incoming:
        return self._decide(question)

    def reaches(self, hop: str | None) -> bool:
        return hop in self._live

    def live(
        self, hop: str | None, request: web.BaseRequest, sent: Incoming, answered: Answered
    ) -> Awaitable[web.StreamResponse]:
        head = RequestHead(sent.target, sent.headers, sent.body)
        return self._proxy.forward(hop, request, head, answered)

    def copy(self, hop: str | None, asked: Incoming, exchange: Exchange) -> Copy | None:
        if not self._keeps_answers:
            return None
        head = RequestHead(asked.target, asked.headers)
        copy = self._proxy.begin(hop, asked.method, head, exchange.exchange)
        if asked.body:
            copy.body("request", asked.body)
        return copy

    def noted(self, hop: str | None, served: Served) -> None:
        self._noted(hop, served)


class Episodes(Replay):
    """A replay that lets upstreams answer what the recording does not, and records it (see the package).

    `upstreams`: the URLs by hop; None is the hop without a name. `into`: a new cassette. `decide`: where the answer of
    a request comes from. `recording`: arguments of `RecordOptions`. `chosen`: those of `Replay`. Raises as `Replay` and
    `Proxy`.
    """

    def __init__(
        self,
        cassette: str | Path,
        upstreams: Mapping[str | None, str],
        *,
        into: str | Path | None = None,
        decide: Decide = lambda _: "either",
        recording: Mapping[str, Any] | None = None,
        **chosen: Any,
    ) -> None:
        super().__init__(cassette, repeats=False, **chosen)
        self._upstreams = upstreams
        self._into = None if into is None else new_cassette(Path(into))
        if into is None and (named_session(cassette)[1] is not None or self.cassette.suffix != ".db"):
            raise UsageError(f"{cassette}: exchanges are appended to a whole .db only. Name a new cassette for them")
        self._decide_where = decide
        self._recording = recording or {}
        self._recorder: Proxy | None = None
        self.served: list[tuple[str | None, Served]] = []
        """All requests so far, with the name of their hop."""
        self.on_request: Noted = lambda _hop, _served: None
        """Called with each request."""

    @property
    def db(self) -> Path:
        """The cassette that is written."""
        return self.cassette if self._into is None else self._into

    @property
    def urls(self) -> Mapping[str, str]:
        """The addresses of the hops with a name, by name."""
        return super().urls if self._recorder is None else {**self._recorder.urls, **super().urls}

    @property
    def recorded(self) -> int:
        """The number of exchanges that were recorded so far."""
        return 0 if self._recorder is None else self._recorder.exchanges

    @property
    def open_exchanges(self) -> int:
        return 0 if self._recorder is None else self._recorder.open_exchanges

    async def __aenter__(self) -> Episodes:
        played, recordings = await asyncio.to_thread(self._hops)
        hops = list(dict.fromkeys([*played, *self._upstreams]))
        known = {one.hop: one.upstream for one in recordings}
        urls = {hop: self._upstreams.get(hop) or known.get(hop) or _NOWHERE for hop in hops}
        if not self._upstreams.keys() & set(urls):
            raise UsageError("there is no upstream to record: give --upstream URL")
        first = urls.pop(None, None)
        named = {hop: url for hop, url in urls.items() if hop is not None}
        recorder = self._recorder = Proxy(
            first, self.db, upstreams=named, behind=played, answered=self._answered, **self._recording
        )
        live = set(self._upstreams)
        keeps = self._into is not None
        self.beyond = _Recorder(recorder, live, self._decide_where, self._noted, keeps_answers=keeps)
        await recorder.__aenter__()
        try:
            await super().__aenter__()
        except BaseException:
            await recorder.stop(0)
            raise
        return self

    def _hops(self) -> tuple[list[str | None], list[Recording]]:
        """Return the hops of the cassette to play, and its recordings."""
        with closing(open_store(self.cassette, judges=False)) as store:
            recordings = store.recordings()
            played = {x.recording for x in store.exchanges()}
        if self._options.only is not None:
            return [hop_of(recordings, self._options.only, played)], recordings
        return hops_of(recordings, played), recordings

    def _connect(self) -> None:
        assert self._recorder is not None
        for one in self._all:
            self._recorder.put_behind(one.only, one._listener)

    def _answered(self, hop: str | None, method: str, target: str, exchange: int, status: int) -> None:
        """Note a request to an upstream that the cassette has no hop for."""
        self._noted(hop, Served(method, target, status, None, source="live", new=exchange))

    def _noted(self, hop: str | None, served: Served) -> None:
        self.served.append((hop, served))
        self.on_request(hop, served)

    async def stop(self) -> None:
        for one in self._all:
            one._listener.refuse_connections()
        if self._recorder is not None:
            await self._recorder.drain()
        await super().stop()
        if self._recorder is not None:
            await self._recorder.stop(0)
