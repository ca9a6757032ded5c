"""The watchdog finds a callback that keeps the event loop busy, names the line, and counts no garbage collection."""

from __future__ import annotations

import asyncio
import gc
import time

from tests.support.watchdog import MOST, Watchdog


def busy() -> None:
    began = time.thread_time()
    while time.thread_time() - began < 40 * MOST:
        pass


async def of_a_server(what: object) -> None:
    asyncio.get_running_loop().call_soon(what)  # type: ignore[arg-type]
    await asyncio.sleep(0.01)


async def test_a_callback_that_keeps_the_event_loop_busy_is_found_and_its_line_named() -> None:
    with Watchdog().watching() as watchdog:
        await of_a_server(busy)
    (slow,) = [one for one in watchdog.slow if one.name == "busy"]
    assert slow.seconds >= 8 * MOST
    assert any(" busy" in line for line in slow.stack)


async def test_a_callback_that_waits_is_not_found() -> None:
    with Watchdog().watching() as watchdog:
        await of_a_server(lambda: time.sleep(4 * MOST))
    assert watchdog.callbacks
    assert not watchdog.slow


async def test_garbage_collection_is_not_counted() -> None:
    circles: list[list[object]] = []

    def collect() -> None:
        gc.collect()

    for _ in range(300_000):
        circles.append([])
        circles[-1].append(circles)
    began = time.thread_time()
    gc.collect()
    assert time.thread_time() - began > MOST / 2
    with Watchdog().watching() as watchdog:
        await of_a_server(collect)
    assert not watchdog.slow
