"""A replay with a recorder behind it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from ..cassette.conversations import placed_calls
from ..cassette.files import checked_new, kept_recording, room_for, whole_or_not
from ..cassette.jsonl import jsonl_bytes
from ..cassette.open import brought_together, open_store
from ..cassette.select import named_session
from ..cassette.sqlite import Writer, rows
from ..cassette.sqlite.connection import clear_errors
from ..cassette.sqlite.lock import RecorderLock
from ..errors import UsageError
from ..model import Exchange
from ..recorder.proxy.forward import RequestHead
from ..recorder.proxy.server import Proxy
from ..replayer.beyond import Answered, Copy, Decide, Over, Question, Served, Where
from ..replayer.matching.key import Incoming, Miss
from ..replayer.player.plan import hop_of, hops_of
from ..replayer.server import Replay
from ..replayer.verdict import replaced_before, replaced_in
from ..server.access import File
from ..wire.headers import without
from .record import controlled

_NOWHERE = "http://upstream.invalid"
"""The upstream of a hop whose recording names none. No request goes to it."""
_HAS_BODY = {"content-length", "transfer-encoding", "content-encoding"}


def with_body(request: Incoming, body: bytes) -> Incoming:
    """Return a request with another body, which has no content coding."""
    headers = without(request.headers, _HAS_BODY)
    return replace(request, body=body, headers=(*headers, ("Content-Length", str(len(body)))))


def targets_of(cassette: str | Path) -> dict[str | None, list[str]]:
    """Return the targets of all recorded requests by hop. The first hop to play comes first. Raises `UsageError` or
    `CassetteError`."""
    with closing(open_store(cassette, judges=False)) as store:
        recordings = store.recordings()
        exchanges = store.exchanges()
    hops = {one.recording: one.hop for one in recordings}
    found: dict[str | None, list[str]] = {hop: [] for hop in hops_of(recordings, {x.recording for x in exchanges})}
    for x in exchanges:
        found[hops[x.recording]].append(x.request.target)
    return found or {None: []}


class _Recorder:
    """What is beyond the recording: the upstreams, and the recorder of their exchanges."""

    def __init__(self, proxy: Proxy, live: set[str | None], decide: Decide, *, keeps_answers: bool) -> None:
        self._proxy = proxy
        self._live = live
        self._decide = decide
        self._keeps_answers = keeps_answers

    def decide(self, question: Question) -> Where | Incoming | Miss:
        return self._decide(question)

    def reaches(self, hop: str | None) -> bool:
        return hop in self._live

    def live(
        self, hop: str | None, request: web.BaseRequest, sent: Incoming, answered: Answered, over: Over
    ) -> Awaitable[web.StreamResponse]:
        head = RequestHead(sent.target, sent.headers, sent.body)
        return self._proxy.forward(hop, request, head, answered, over)

    def copy(self, hop: str | None, asked: Incoming, exchange: Exchange) -> Copy | None:
        if not self._keeps_answers:
            return None
        head = RequestHead(asked.target, asked.headers)
        copy = self._proxy.begin(hop, asked.method, head, exchange.exchange)
        if asked.body:
            copy.body("request", asked.body)
        return copy


class Episodes(Replay):
    """A replay that lets upstreams answer what the recording does not, and records it (see the package).

    `upstreams`: the URLs by hop; None is the hop without a name, or else the first hop of the cassette. `into`: a new
    cassette; without requests, there is none. `decide`: where the answer of a request comes from. `replaces`: whether
    a live request takes the place of a recorded one that is not sent. `recording`: arguments of `RecordOptions`.
    `chosen`: those of `Replay`. Raises as `Replay` and `Proxy`.
    """

    def __init__(
        self,
        cassette: str | Path,
        upstreams: Mapping[str | None, str],
        *,
        into: File | None = None,
        decide: Decide = lambda _: "either",
        replaces: bool = True,
        recording: Mapping[str, Any] | None = None,
        **chosen: Any,
    ) -> None:
        super().__init__(cassette, repeats=False, **chosen)
        self._upstreams = upstreams
        self._into = None if into is None else checked_new(Path(into))
        if into is None and (named_session(cassette)[1] is not None or self.cassette.suffix not in (".db", ".jsonl")):
            raise UsageError(
                f"{cassette}: exchanges are appended to a whole .db or .jsonl only. Name a new cassette for them"
            )
        self._folder: Path | None = None
        """The folder with the .db that is recorded into, if the cassette is a .jsonl. It outlives a killed process."""
        self._lock: RecorderLock | None = None
        """The lock of such a .jsonl: of two replays that extend it, the last one would drop the calls of the other."""
        self._is_marked = False
        self._replaces = replaces
        if replaces:
            self.taken_over = lambda: {x.exchange for x in replaced_in(self, self._talks)}
        self._talks: Mapping[int, int] = {}
        """The conversations of the recorded model calls, by exchange."""
        self._decide_where = decide
        self._recording = recording or {}
        self._recorder: Proxy | None = None
        self.last_labels: dict[str, str] = {}
        """Labels that the recordings get at the end."""

    @property
    def db(self) -> Path:
        """The cassette that is written."""
        return self.cassette if self._into is None else self._into

    @property
    def records_into(self) -> Path | None:
        return self.db

    @property
    def urls(self) -> Mapping[str, str]:
        """The addresses of the hops with a name, by name."""
        return super().urls if self._recorder is None else {**self._recorder.urls, **super().urls}

    @property
    def page_of_recording(self) -> str | None:
        """The URL of the page that shows the recording; None without `ui`."""
        return None if self._recorder is None else self._recorder.page

    @property
    def recorded(self) -> int:
        """The number of exchanges that were recorded so far."""
        return 0 if self._recorder is None else self._recorder.exchanges

    @property
    def unrecorded(self) -> int:
        """The number of requests that passed unrecorded, because their paths are not wanted."""
        return 0 if self._recorder is None else self._recorder.unrecorded

    @property
    def is_incomplete(self) -> bool:
        """Whether the cassette lacks bytes that passed, because the disk did not keep up."""
        return self._recorder is not None and self._recorder.is_incomplete

    def hurry(self) -> None:
        if self._recorder is not None:
            self._recorder.hurry()

    @property
    def open_exchanges(self) -> int:
        return 0 if self._recorder is None else self._recorder.open_exchanges

    async def __aenter__(self) -> Episodes:
        played = await asyncio.to_thread(self._played)
        live = {
            (hop if hop is not None or None in played else next(iter(played))): self._upstreams[hop]
            for hop in self._upstreams
        }
        if not live:
            raise UsageError("there is no upstream to record: give --upstream URL")
        urls = {**{hop: recorded or _NOWHERE for hop, recorded in played.items()}, **live}
        first = urls.pop(None, None)
        named = {hop: url for hop, url in urls.items() if hop is not None}
        try:
            file = await asyncio.to_thread(self._file)
            recorder = self._recorder = controlled(
                first, file, upstreams=named, behind=played, is_lazy=True, answered=self._answered, **self._recording
            )
            self.beyond = _Recorder(recorder, set(live), self._decide_where, keeps_answers=self._into is not None)
            await recorder.__aenter__()
            try:
                await super().__aenter__()
            except BaseException:
                await recorder.stop(0)
                raise
        except BaseException:
            self._release()
            self._remove_folder()
            raise
        return self

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _played(self) -> dict[str | None, str | None]:
        """Return the recorded upstreams of the hops to play."""
        with closing(open_store(self.cassette, judges=False)) as store:
            recordings = store.recordings()
            used = {x.recording for x in store.exchanges()}
            self._talks = {call.exchange: place.conversation for call, place in placed_calls(store)}
        upstreams = {one.hop: one.upstream for one in recordings}
        only = self._options.only
        hops = hops_of(recordings, used) if only is None else [hop_of(recordings, only)]
        return {hop: upstreams.get(hop) for hop in hops or [None]}

    def _connect(self) -> None:
        assert self._recorder is not None
        for one in self.hops:
            self._recorder.put_behind(one.only, one._listener)

    def _answered(self, hop: str | None, method: str, target: str, exchange: int, status: int) -> None:
        """Note a request to an upstream that the cassette has no hop for."""
        served = Served(method, target, status, None, source="live", new=exchange or None)
        self.served.append((hop, served))
        self.on_request(hop, served)

    async def stop(self) -> None:
        for one in self.hops:
            one._listener.refuse_connections()
        if self._recorder is not None:
            await self._recorder.drain()
        await super().stop()
        if self._recorder is not None:
            self._recorder.last_labels |= self.last_labels
            await self._recorder.stop(0)
            if self._into is None:
                try:
                    await asyncio.to_thread(self._complete, self._recorder.db)
                finally:
                    self._release()
            elif not self.recorded:
                self._into.unlink(missing_ok=True)

    def _file(self) -> Path:
        """Return the .db to record into."""
        if self._into is not None or self.cassette.suffix == ".db":
            return self.db
        with clear_errors(self.cassette):
            self._lock = RecorderLock(self.cassette)
        room_for(self.cassette)  # raises before a call is paid for
        self._folder = Path(tempfile.mkdtemp(prefix="omnirecord-episodes-"))
        db = self._folder / "recording.db"
        brought_together([self.cassette], db)
        return db

    def _complete(self, db: Path) -> None:
        """Mark the recorded exchanges that live ones replaced, and write a .jsonl again."""
        if self._is_marked:
            return
        self._is_marked = True
        if self._recording.get("before_record") is not None:
            self._forget_left_out(db)
        replaced = self.taken_over()
        back = {one.exchange for _, one in self.served if one.exchange is not None} & replaced_before(self)
        if replaced or back:
            with closing(Writer(db)) as writer:
                writer.write([*map(rows.replaced, sorted(replaced)), *map(rows.not_replaced, sorted(back))])
        if self._folder is not None and (replaced or back or self.recorded):
            self._write_text(db)
        self._remove_folder()

    def _forget_left_out(self, db: Path) -> None:
        """Note which live exchanges `before_record` has left out: they are not recorded, so they replace nothing."""
        with closing(open_store(db, judges=False)) as store:
            kept = {x.exchange for x in store.exchanges()}
        self.served[:] = [
            (hop, one if one.new is None or one.new in kept else replace(one, new=None)) for hop, one in self.served
        ]

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write_text(self, db: Path) -> None:
        """Write the .jsonl again. Raises `UsageError` if that is impossible; then the recording is kept."""
        try:
            with closing(open_store(db)) as store, whole_or_not(self.cassette) as file:
                file.writelines(jsonl_bytes(store))
        except UsageError as error:
            kept = kept_recording(db, self.cassette, error)
            self._remove_folder()
            raise kept from error
