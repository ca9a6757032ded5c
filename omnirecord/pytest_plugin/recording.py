"""A test being recorded: a proxy that looks like a replay; its cassette is kept if it passes, else beside it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from ..cassette.export import jsonl_bytes
from ..cassette.files import unwritable, whole_or_not
from ..cassette.open import open_store
from ..cassette.sqlite import Store
from ..errors import UsageError
from ..recorder.proxy.server import Proxy
from ..replayer.server import Served
from .paths import failed_path

_LEAVE_IN = 1.0
"""Seconds that clients get to be gone, so that it is not the recorder who ends their streams."""


class Recording:
    """A recording proxy in the shape of a replay that has nothing to complain of, and no playhead."""

    token = None

    def __init__(self, upstream: str, db: Path, **options: Any) -> None:
        self._proxy = Proxy(upstream, db, answered=self._answered, **options)
        self.requests: list[Served] = []
        self.unmatched = self.mismatches = self.unmade = self.made_up = self.waiting = self.faults = ()

    @property
    def url(self) -> str:
        return self._proxy.url

    async def __aenter__(self) -> Recording:
        await self._proxy.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + _LEAVE_IN
        while self._proxy.open_exchanges and loop.time() < until:  # noqa: ASYNC110  # the test is over: nobody waits
            await asyncio.sleep(0.005)
        await self._proxy.stop()

    def _answered(self, method: str, target: str, exchange: int, status: int) -> None:
        self.requests.append(Served(method, target, status, exchange))

    def _no_playhead(self, *_args: Any, **_named: Any) -> NoReturn:
        raise UsageError(
            "this test is being recorded, and a live server has no playhead: name a cassette that another test"
            " records, and give this one record='none'"
        )

    pause = play = set_speed = step = run_until = jump = position = positions = reset = standing = release = (
        _no_playhead
    )


def keep_failed(db: Path, path: Path) -> None:
    """Put what a failed test recorded in `db` beside its cassette `path`. Raises `UsageError`."""
    store = open_store(db)
    try:
        _write(store, db, failed_path(path))
    finally:
        store.close()


def keep(db: Path, path: Path) -> None:
    """Put what was recorded in `db` at `path`, in the form that its suffix names, whole or not at all. Raises
    `UsageError` where it cannot be written, or the upstream was not there for all of it."""
    store = open_store(db)
    try:
        missed = store.exchanges("ending = 'upstream_unreachable'")
        if missed:
            request = missed[0].request
            raise UsageError(
                f"{path} was left as it was: {len(missed)} of its requests did not reach the upstream, the first was"
                f" {request.method} {request.target}"
            )
        _write(store, db, path)
        with suppress(OSError):
            failed_path(path).unlink(missing_ok=True)
    finally:
        store.close()


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
