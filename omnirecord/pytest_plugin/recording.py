"""The server of one test: a replay, or a recording that becomes its cassette if the test passes.

`section` describes the server of a failed test. It never raises, so that it does not hide the failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from ..cassette.files import TemporaryFolder, unwritable, whole_or_not
from ..cassette.jsonl import jsonl_bytes
from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..errors import NotACassette, UsageError
from ..recorder.proxy.server import Proxy
from ..recorder.proxy.targets import by_name
from ..replayer.blocking import Server, position_text
from ..replayer.server import Replay, Served
from ..text import visible
from .settings import Settings, checked_for_recording, failed_path

_LEAVE_IN = 1.0
"""Seconds for clients to disconnect, so that the recorder does not end their streams."""


class Recording:
    """A recording proxy with the attributes of a replay, but without differences and without a playhead."""

    token = None

    def __init__(self, upstreams: str, db: Path, **options: Any) -> None:
        upstream, named = by_name("omnirecord_upstream", upstreams.split(), "model=https://api.openai.com")
        self._proxy = Proxy(upstream, db, upstreams=named, answered=self._answered, **options)
        self.requests: list[Served] = []
        self.unmatched = self.mismatches = self.unplayed = self.made_up = self.waiting = self.faults = ()

    @property
    def url(self) -> str:
        return self._proxy.url

    @property
    def urls(self) -> Mapping[str, str]:
        """The URL of each upstream with a name, by name."""
        return self._proxy.urls

    async def __aenter__(self) -> Recording:
        await self._proxy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LEAVE_IN
        while self._proxy.open_exchanges and loop.time() < until:  # noqa: ASYNC110  # the test is over
            await asyncio.sleep(0.005)
        await self._proxy.stop()

    def _answered(self, method: str, target: str, exchange: int, status: int) -> None:
        self.requests.append(Served(method, target, status, exchange))

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse the verbs of a replay."""
        if not hasattr(Replay, name):
            raise AttributeError(name)
        raise UsageError(
            "this test is being recorded, and a live server has no playhead: name a cassette that another test"
            " records, and give this one record='none'"
        )


def keep_failed(db: Path, path: Path) -> None:
    """Write the recording `db` of a failed test beside its cassette `path`. Raises `UsageError`."""
    with closing(open_store(db)) as store:
        _write(store, db, failed_path(path))


def keep(db: Path, path: Path) -> None:
    """Write the recording `db` to `path`, in the form of its suffix, whole or not at all.

    Raises `UsageError` if it cannot be written, or if a request did not reach the upstream."""
    with closing(open_store(db)) as store:
        missed = store.exchanges(ending="upstream_unreachable")
        if missed:
            request = missed[0].request
            raise UsageError(
                f"{path} was left as it was: {len(missed)} of its requests did not reach the upstream, the first was"
                f" {request.method} {request.target}"
            )
        _write(store, db, path)
        with suppress(OSError):
            failed_path(path).unlink(missing_ok=True)


def _write(store: Store, db: Path, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(unwritable(path, error)) from error
    with whole_or_not(path) as file:
        if path.suffix == ".db":
            file.write(db.read_bytes())
            return
        file.writelines(jsonl_bytes(store))


_LISTED = 10
"""Most requests of the client that are listed."""


def section(server: Server, cassette: Path, *, stopped: bool = False, told: str = "") -> str:
    """Return lines about the cassette, the playhead and the differences from the recording, without the lines that the
    failure `told` already."""
    try:
        if server.is_recording:
            kept, name = visible(str(failed_path(cassette))), visible(str(cassette))
            as_it_was = "is unchanged" if cassette.exists() else "is written when the test passes"
            return f"recorded, and kept since the test failed: {kept}\nits cassette {as_it_was}: {name}"
        where = f"{visible(str(cassette))}, replayed at {server.url}"
        playhead = [] if stopped else _playhead(server)
        faults = [f"fault that struck: {visible(one)}" for one in server.faults]
        known = set(told.split("\n"))
        differences = [line for line in server.differences() if line not in known]
        return "\n".join([where, *_came(server), *playhead, *faults, *differences])
    except Exception as error:
        return f"{visible(str(cassette))}: no more can be said ({type(error).__name__}: {visible(str(error))})"


def _playhead(server: Server) -> Iterator[str]:
    yield from (f"waiting for {visible(one)}" for one in server.waiting)
    try:
        is_answered = any(one.exchange is not None for one in server.requests)
        nowhere = "no stream is open" if is_answered else "no client has listened yet"
        places = [position_text(position) for position in server.positions()] or [nowhere]
    except Exception as error:  # the thread died
        places = [visible(str(error))]
    yield from (f"playhead: {one}" for one in places)


def _came(server: Server) -> list[str]:
    requests = server.requests
    if not requests:
        return ["no request came"]
    head = "1 request came:" if len(requests) == 1 else f"{len(requests)} requests came:"
    if len(requests) > _LISTED:
        head = f"{len(requests)} requests came, the last {_LISTED} of them:"
    return [head, *(visible(f"  {one.method} {one.target} -> {one.status}") for one in requests[-_LISTED:])]


@dataclass(frozen=True, slots=True)
class Case:
    """A test that requests a server. `upstream`, `passed` and `failed` are called when they are needed."""

    node_id: str
    cassette: Path
    upstream: Callable[[], str]
    has_upstream: bool
    passed: Callable[[], bool]
    failed: Callable[[], bool]


@contextmanager
def served(case: Case, settings: Settings) -> Iterator[Server]:
    """Run the server of a test. Raises `UsageError`, `CassetteError` or `ServerError`."""
    if settings.record == "all" or (settings.record == "once" and not case.cassette.exists()):
        with _recorded(case, settings) as server:
            yield server
        return
    if not case.cassette.exists():
        raise NotACassette(f"{case.cassette} does not exist{_how_to_record_it(case, settings)}")
    replay = Replay(case.cassette, **settings.replay)
    replay.logs_misses = False  # a failed test shows misses once
    with _running(Server(replay)) as server, ExitStack() as further:
        for hop in _further(case.cassette) if "only" not in settings.replay else ():
            options = {name: value for name, value in settings.replay.items() if name not in _OF_FIRST_HOP}
            another = Replay(case.cassette, **options, only=hop)
            another.logs_misses = False
            server.further[hop] = further.enter_context(_running(Server(another)))
        yield server


_OF_FIRST_HOP = ("faults", "gates", "match")
"""Settings that name requests or events: they are for the first hop."""


def _further(cassette: Path) -> list[str]:
    """Return the names of the hops beside the first one."""
    with closing(open_store(cassette)) as store:
        hops = list(dict.fromkeys(one.hop for one in store.recordings()))
    return [hop for hop in hops if hop is not None] if None in hops else []


@contextmanager
def _recorded(case: Case, settings: Settings) -> Iterator[Server]:
    path = checked_for_recording(case.cassette)
    if settings.replay.get("faults"):
        raise UsageError(
            f"{path} cannot be recorded by a test with faults, because a live server makes no faults to order. Let"
            " another test record it, and give this one record='none'"
        )
    with TemporaryFolder("test") as folder:
        db = Path(folder) / "recording.db"
        recording = Recording(case.upstream(), db, **settings.recording)
        with _running(Server(cast("Replay", recording))) as server:
            yield server
        if case.passed():
            keep(db, path)
        elif case.failed():
            keep_failed(db, path)


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _how_to_record_it(case: Case, settings: Settings) -> str:
    options = "--omnirecord-record=once" + ("" if case.has_upstream else " --omnirecord-upstream=URL")
    if settings.only_replays:
        return f", and this test does not record it: first run the test that does, with {options}"
    return f": record it with `pytest '{case.node_id}' {options}`"
