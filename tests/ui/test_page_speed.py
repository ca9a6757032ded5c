"""The page with a hundred thousand events, measured: how soon something is to be seen, and how smoothly it moves."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browsing import SharedBrowser, eventually, opened, settled
from tests.support.cassettes import Made, completed, created, delta, event, heartbeat, status
from tests.support.watchdog import slowness

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timed]
EVENTS = 100_000
TURN = 400
TRIES = 5
FRAMES = """async ([ms, moves]) => {
  const one = document.querySelector('.scrubber'), lanes = document.querySelector('.lanes-box')
  const ways = {
    scroll: n => { document.querySelector('.wire-rows').scrollTop = n * 613 },
    scrub: n => { one.value = n * 37 % 10000; one.dispatchEvent(new Event('input')) },
    zoom: n => lanes.dispatchEvent(new WheelEvent('wheel', { deltaY: n % 120 < 60 ? -80 : 80, clientX: 500 })),
  }
  const times = [], end = performance.now() + ms, step = ways[moves]
  await new Promise(done => {
    const frame = now => { times.push(now); step(times.length); now < end ? requestAnimationFrame(frame) : done() }
    requestAnimationFrame(frame)
  })
  return (times.length - 1) / ((times.at(-1) - times[0]) / 1000)
}"""
"""Moves something with every frame for a while; how many frames a second there were."""


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session of some hundred turns with tools and silences."""
    tape, reads, at, number = Made(), [(1.0, heartbeat())], 1.0, 0
    while number < EVENTS:
        name = f"{number}"
        message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": name}]}}
        tape.post("/v1/sessions/s/events", at, body=message, answer={"item_id": name})
        reads += [(at + 0.1, status("running")), (at + 0.2, created(name))]
        reads += [(at + 0.3 + n / 30, delta(f"word {n} ", number + n)) for n in range(TURN)]
        at += 1 + TURN / 30
        call = {"type": "function_call", "call_id": name, "name": "shell", "arguments": "{}", "status": "completed"}
        output = {"type": "function_call_output", "call_id": name, "output": "fine"}
        reads += [
            (at, event("response.output_item.done", item=call)),
            (at + 1, event("response.output_item.done", item=output)),
        ]
        reads += [(at + 1.1, completed(name)), (at + 1.2, status("idle")), (at + 15, heartbeat())]
        at, number = at + 16, number + TURN + 7
    tape.stream("s", 0.5, *reads)
    return tape.save(tmp_path_factory.mktemp("long") / "long.db")


@pytest.fixture(scope="module")
def url(long: Path) -> Iterator[str]:
    """In a process of its own, as it is used."""
    command = [sys.executable, "-m", "omnirecord", "ui", str(long), "--json", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())["url"]
        server.terminate()


@pytest.fixture(scope="module")
def page(shared_browser: SharedBrowser, url: str) -> Iterator[Any]:
    with shared_browser.lent() as browser, opened(browser, url) as page:
        page.set_default_timeout(30_000)
        yield page


def test_it_is_painted_within_a_second(page: Any) -> None:
    page.wait_for_selector(".event")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    listed = page.evaluate("performance.now()")
    assert painted < 1000 * slowness()
    assert listed < 3000 * slowness()
    settled(page)
    assert page.inner_text(".wire-count").startswith("100,")


@pytest.fixture(scope="module")
def wire(page: Any, url: str) -> Any:
    """The page with all events as rows."""
    page.goto(f"{url}#/session/1.session.s?tab=wire&fold=no")
    settled(page)
    eventually(lambda: page.locator(".wire-space").evaluate("one => one.offsetHeight") > EVENTS)  # a row for each delta
    return page


@pytest.mark.parametrize("moves", ["scroll", "scrub", "zoom"])
def test_it_moves_at_fifty_frames_a_second(wire: Any, moves: str) -> None:
    assert any(wire.evaluate(FRAMES, [1000, moves]) >= 50 for _ in range(TRIES))
