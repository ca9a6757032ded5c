"""A server in a thread: what goes in, what comes out, and how everything that can go wrong is told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import freezegun
import pytest

from omnirecord.errors import ServerError, UsageError
from omnirecord.server.listener import Background

seen: list[str] = []


@asynccontextmanager
async def server(*, fails_on: str = "", error: BaseException | None = None) -> AsyncIterator[None]:
    if fails_on == "entering" and error:
        raise error
    seen.append("entered")
    yield
    seen.append("left")
    if fails_on == "leaving" and error:
        raise error


@pytest.fixture
def running() -> Background:
    background = Background(server())
    background.start()
    return background


async def slowly(value: int) -> int:
    await asyncio.sleep(0.001)
    return value


def is_alive() -> bool:
    return any(thread.name == "omnirecord" for thread in threading.enumerate())


def test_it_is_entered_and_left_in_a_thread_that_is_gone_afterwards() -> None:
    seen.clear()
    background = Background(server())
    background.start()
    assert seen == ["entered"]
    assert is_alive()
    background.stop()
    assert seen == ["entered", "left"]
    assert not is_alive()
    background.stop()


def test_a_machine_that_has_no_room_for_one_more_is_a_sentence() -> None:
    error = OSError(24, "Too many open files")
    with pytest.raises(ServerError, match="no server can be started: Too many open files"):
        Background(server(fails_on="entering", error=error)).start()
    assert not is_alive()


def test_a_function_is_called_in_its_loop_and_a_coroutine_is_waited_for(running: Background) -> None:
    assert running.run(threading.current_thread) is not threading.current_thread()
    assert running.run(slowly, 3) == 3
    running.stop()


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3)], ids=repr)
def test_what_it_raises_is_the_callers_and_the_server_goes_on(running: Background, error: BaseException) -> None:
    def fails() -> None:
        raise error

    with pytest.raises(type(error)):
        running.run(fails)
    assert running.run(slowly, 4) == 4
    running.stop()


def test_what_entering_raises_is_raised_by_start() -> None:
    with pytest.raises(UsageError, match="nonsense"):
        Background(server(fails_on="entering", error=UsageError("nonsense"))).start()
    assert not is_alive()


def test_what_leaving_raises_is_raised_by_stop_once() -> None:
    background = Background(server(fails_on="leaving", error=OSError("disk")))
    background.start()
    with pytest.raises(ServerError, match="OSError disk"):
        background.stop()
    background.stop()


def test_who_waits_for_a_thread_that_dies_is_told(running: Background) -> None:
    threading.Timer(0.05, lambda: running.run(asyncio_stop)).start()
    with pytest.raises(ServerError, match="has ended"):
        running.run(asyncio.Event().wait)
    with pytest.raises(ServerError, match="has ended: RuntimeError"):
        running.run(slowly, 1)
    with pytest.raises(ServerError, match="has ended: RuntimeError"):
        running.stop()


def asyncio_stop() -> None:
    asyncio.get_running_loop().stop()


def test_who_waits_for_a_server_that_is_stopped_is_told(running: Background) -> None:
    threading.Timer(0.05, running.stop).start()
    with pytest.raises(ServerError, match="has ended; start another"):
        running.run(asyncio.Event().wait)


@pytest.mark.parametrize("real_asyncio", [True, False])
def test_its_clock_goes_on_where_the_time_is_frozen(real_asyncio: bool) -> None:
    with freezegun.freeze_time("2026-01-01", real_asyncio=real_asyncio):
        background = Background(server())
        background.start()
        before, monotonic = background.run(loop_time), time.monotonic()
        background.run(asyncio.sleep, 0.01)
        assert background.run(loop_time) - before >= 0.01
        assert time.monotonic() == monotonic
        background.stop()


def loop_time() -> float:
    return asyncio.get_running_loop().time()
