"""The recording of one test, which becomes its cassette if the test passes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any, NoReturn, cast

from ..cassette.files import TemporaryFolder, kept_recording, unwritable, whole_or_not
from ..cassette.jsonl import jsonl_bytes
from ..cassette.open import brought_together, open_store
from ..episodes.server import Episodes
from ..errors import UsageError
from ..recorder.proxy.server import Proxy
from ..replayer.beyond import Served
from ..replayer.control import PlayheadControl, Server
from ..replayer.server import Replay
from ..server.listener import WithBlock, by_name
from ..server.timers import monotonic
from .settings import Case, Settings, failed_path

_LEAVE_IN = 1.0
"""Seconds for clients to disconnect, so that the recorder does not end their streams."""


def _upstreams(text: str) -> tuple[str | None, dict[str, str]]:
    """Return the server without a name, and those with one."""
    return by_name("omnirecord_upstream", text.split(), "model=https://api.openai.com")


class Recording(WithBlock):
    """A recording proxy with the attributes of a replay, but without differences and without a playhead."""

    token = None

    def __init__(self, upstreams: str, db: Path, **options: Any) -> None:
        upstream, named = _upstreams(upstreams)
        self._proxy = Proxy(upstream, db, upstreams=named, answered=self._answered, **options)
        self.requests: list[Served] = []
        self.unmatched = self.mismatches = self.unplayed = self.made_up = self.waiting = self.faults = ()

    def __enter__(self) -> Server:
        server = self._blocking = Server(cast("PlayheadControl", self))
        return server.start()

    @property
    def is_unused(self) -> bool:
        return not self._proxy.exchanges and not self._proxy.unrecorded

    async def __aenter__(self) -> Recording:
        await self._proxy.__aenter__()
        self.url = self._proxy.url
        self.urls = self._proxy.urls
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LEAVE_IN
        while self._proxy.open_exchanges and loop.time() < until:  # noqa: ASYNC110  # the test is over
            await asyncio.sleep(0.005)
        await self._proxy.stop()

    def _answered(self, _hop: str | None, method: str, target: str, exchange: int, status: int) -> None:
        self.requests.append(Served(method, target, status, exchange))

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse the verbs of a replay."""
        if not hasattr(Replay, name):
            raise AttributeError(name)
        raise UsageError(
            "this test is being recorded, and a live server has no playhead: name a cassette that another test"
            " records, and give this one record='none'"
        )


def _checked(path: Path) -> Path:
    """Return the cassette of a test that records. Raises `UsageError`."""
    if path.suffix not in (".jsonl", ".db"):
        raise UsageError(f"{path} cannot be recorded: name it .jsonl, for git and review, or .db")
    return path


@contextmanager
def extended(case: Case, settings: Settings) -> Iterator[Server]:
    """Run the replay of a test, and a recorder for the requests that its cassette does not have. Raises `UsageError`,
    `CassetteError` or `ServerError`."""
    path = _checked(case.cassette)
    upstream, named = _upstreams(case.upstream())
    servers: dict[str | None, str] = {} if upstream is None else {None: upstream}
    servers.update(named)
    with TemporaryFolder("test") as folder:
        db = Path(folder) / "recording.db"
        brought_together([path], db)
        episodes = Episodes(db, servers, recording=settings.recording, **settings.replay)
        episodes.logs_misses = False
        episodes.used_by = "pytest"
        with episodes as server:
            yield server
            until = monotonic() + _LEAVE_IN
            while episodes.open_exchanges and monotonic() < until:
                sleep(0.005)
        if episodes.recorded and ((outcomes := case.outcomes()) == {"passed"} or "failed" in outcomes):
            _keep(db, path, has_passed=outcomes == {"passed"})


@contextmanager
def recorded(case: Case, settings: Settings) -> Iterator[Server]:
    """Run the recording proxy of a test. Raises `UsageError`, `CassetteError` or `ServerError`."""
    path = _checked(case.cassette)
    if settings.replay.get("faults"):
        raise UsageError(
            f"{path} cannot be recorded by a test with faults, because a live server makes no faults to order. Let"
            " another test record it, and give this one record='none'"
        )
    with TemporaryFolder("test") as folder:
        db = Path(folder) / "recording.db"
        with Recording(case.upstream(), db, **settings.recording) as server:
            yield server
        outcomes = case.outcomes()
        if outcomes == {"passed"} or ("failed" in outcomes and not server.is_unused):
            _keep(db, path, has_passed=outcomes == {"passed"})


def _keep(db: Path, path: Path, *, has_passed: bool) -> None:
    """Write the recording `db` of a test to its cassette `path`, or that of a failed test beside it, whole or not at
    all. Raises `UsageError` if it cannot be written, or if a request of a passed test did not reach the upstream."""
    target = path if has_passed else failed_path(path)
    with closing(open_store(db)) as store:
        if has_passed and (missed := store.exchanges(ending="upstream_unreachable")):
            request = missed[0].request
            raise UsageError(
                f"{path} was left as it was: {len(missed)} of its requests did not reach the upstream, the first was"
                f" {request.method} {request.target}"
            )
    try:
        _write(db, target)
    except UsageError as error:
        raise kept_recording(db, target, error) from error
    if has_passed:
        with suppress(OSError):
            failed_path(path).unlink(missing_ok=True)


def _write(db: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(unwritable(target, error)) from error
    with closing(open_store(db)) as store, whole_or_not(target) as file:
        file.writelines([db.read_bytes()] if target.suffix == ".db" else jsonl_bytes(store))
