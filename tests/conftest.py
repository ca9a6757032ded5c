"""What takes minutes runs with `--long`; what is measured is told behind the run."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.examples import SHARE
from tests.support.watchdog import MOST, Watchdog

# How long an example takes says more about what else the machine does; work that grows too fast has tests of its own.
settings.register_profile("omnirecord", deadline=None, max_examples=SHARE)
settings.register_profile("long", deadline=None, max_examples=100)

# No test makes a pseudonym key in the home folder of a developer; processes that tests start inherit this.
_STATE = tempfile.mkdtemp(prefix="tests-of-omnirecord-")
os.environ["XDG_STATE_HOME"] = _STATE
os.environ.pop("OMNIRECORD_PSEUDONYM_KEY", None)
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)

# A shell that starts a command in the background lets the command and its child processes ignore SIGINT. A test that
# sends SIGINT to such a process would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

Figure = Callable[[str, str], None]
"""Tells what was measured, and how much it was."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run what takes minutes too: 100 kills, a line of 1 GiB, ...")


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("long" if config.getoption("--long") else "omnirecord")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    if config.getoption("dist") != "loadfile":
        return None
    from tests.support.units import Units

    return Units(config, log)


_OF_SERVERS = ("recorder/proxy/", "replayer/test_", "server/test_listener", "ui/test_control")
"""Paths of tests that run our servers in their own process: the event loop is watched in all of them."""
_TESTS = Path(__file__).parent
_MOST_ELSEWHERE = 4 * MOST
"""Seconds for those: a socket's callback takes up to 7 ms where a test sends many bytes at once."""
_HEAVY = ("browser", "slow")
_LONGEST = (
    "end_to_end/test_acceptance.py", "end_to_end/test_rig.py", "end_to_end/test_real_resume.py",
    "end_to_end/test_real_tail.py", "end_to_end/test_real_validate.py", "end_to_end/test_real_web_ui.py",
    "end_to_end/test_real_offline.py", "end_to_end/test_lake_tutorial.py", "lake/test_page.py", "cli/test_tail.py",
    "lake/test_upkeep.py", "lake/test_query.py", "ui/test_page.py", "end_to_end/hostile/test_hostile_bombs.py",
    "docs/test_docs.py", "analysis/search/test_search.py", "lake/test_fleet.py", "lake/test_ship.py",
    "pytest_plugin/test_plugin.py",
    "end_to_end/hostile/test_hostile_streams.py", "end_to_end/test_real_faults.py", "redaction/test_planted.py",
)  # fmt: skip
"""Files that take 20 s and more, longest first: a worker that takes one of them last would be alone at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # A worker takes a file at a time: those that take long come first, so that none is left alone with one at the end.
    first = {_TESTS / path: number for number, path in enumerate(_LONGEST)}
    paths = {item.path for item in items}
    watched = {path for path in paths if os.path.relpath(path, _TESTS).startswith(_OF_SERVERS)}
    for item in items:
        if item.path in watched:
            item.add_marker(pytest.mark.watched(most=_MOST_ELSEWHERE))
        # Not autouse, which costs each test a third of a millisecond. The cases of a test share the list.
        is_watched = isinstance(item, pytest.Function) and item.get_closest_marker("watched")
        if is_watched and "_watched" not in item.fixturenames:
            item.fixturenames.insert(0, "_watched")
    real = {item.path for item in items if item.get_closest_marker("real")}
    heavy = {item.path for item in items if any(map(item.get_closest_marker, _HEAVY))}
    items.sort(key=lambda item: (first.get(item.path, len(first)), item.path not in real, item.path not in heavy))
    if not config.getoption("--long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="one more of what is tested already: runs with --long"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Ten thousand tests are a million objects that stay: garbage collections meanwhile are half of the CPU time, and
    later ones would look at them again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether a test may take minutes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def _watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that is marked `watched` if a callback of our servers took too much CPU time."""
    marker = request.node.get_closest_marker("watched")
    with Watchdog(marker.kwargs.get("most", MOST)).watching() as watchdog:
        yield
    found = watchdog.found(marker.kwargs.get("times", 1))
    assert not found, "\n".join(map(str, found))


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    return lambda what, much: record_property("figure", f"{what}: {much}")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    reports = [one for many in terminalreporter.stats.values() for one in many if getattr(one, "when", "") == "call"]
    figures = [value for one in reports for name, value in one.user_properties if name == "figure"]
    if figures:
        terminalreporter.section(
            "measured" if config.getoption("--long") else "measured (in short: --long for all of it)"
        )
        for line in figures:
            terminalreporter.line(line)
