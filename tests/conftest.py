"""What takes minutes runs with `--long`; what is measured is told behind the run."""

from __future__ import annotations

import atexit
import gc
import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from hypothesis import settings

from omnirecord.__main__ import WithoutPandas
from tests.support.examples import SHARE
from tests.support.watchdog import MOST, Watchdog

if TYPE_CHECKING:
    from tests.support import browsing, sse_clients

# How long an example takes says more about what else the machine does; work that grows too fast has tests of its own.
settings.register_profile("omnirecord", deadline=None, max_examples=SHARE)
settings.register_profile("long", deadline=None, max_examples=100)

# No test makes a pseudonym key in the home folder of a developer; processes that tests start inherit this.
_STATE = tempfile.mkdtemp(prefix="tests-of-omnirecord-")
os.environ["XDG_STATE_HOME"] = _STATE
os.environ.pop("OMNIRECORD_PSEUDONYM_KEY", None)
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)

# As in a command. Otherwise, each worker that converts a value of pyarrow imports an installed pandas.
sys.meta_path.insert(0, WithoutPandas)

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
    "end_to_end/test_acceptance.py", "end_to_end/test_rig.py",
    "end_to_end/test_real_tail.py", "end_to_end/test_real_validate.py", "end_to_end/test_real_web_ui.py",
    "end_to_end/test_real_offline.py", "end_to_end/test_lake_tutorial.py", "lake/test_page.py", "cli/test_tail.py",
    "lake/test_upkeep.py", "lake/test_query.py", "ui/test_page.py", "ui/test_page_live.py", "ui/test_page_calls.py",
    "ui/test_page_layout.py", "end_to_end/hostile/test_hostile_bombs.py",
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
    real, heavy = set(), set()
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if item.path in watched:
            item.add_marker(pytest.mark.watched(most=_MOST_ELSEWHERE))
        # Not autouse, which costs each test a third of a millisecond. The cases of a test share the list.
        is_watched = isinstance(item, pytest.Function) and (item.path in watched or "watched" in marks)
        if is_watched and "_watched" not in item.fixturenames:
            item.fixturenames.insert(0, "_watched")
        if config.getoption("--long"):
            item.add_marker(pytest.mark.timeout(3600))  # s: a hundred kills take a quarter of an hour
        elif "long" in marks:
            item.add_marker(pytest.mark.skip(reason="one more of what is tested already: runs with --long"))
        if "real" in marks:
            real.add(item.path)
        if not marks.isdisjoint(_HEAVY):
            heavy.add(item.path)
    rank = {path: (first.get(path, len(first)), path not in real, path not in heavy) for path in paths}
    items.sort(key=lambda item: rank[item.path])


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Thousands of tests are a million objects that stay: garbage collections meanwhile are half of the CPU time, and
    later ones would look at them again."""
    gc.disable()
    try:
        _import_share(session.config)
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _import_share(config: pytest.Config) -> None:
    """In a new clone, let each worker compile its share of the test files first, and read the others from the cache.
    Otherwise all workers would compile all files, in the same order at the same time."""
    worker = getattr(config, "workerinput", None)
    if worker is None or config.getoption("file_or_dir"):
        return
    number, count = int(worker["workerid"].removeprefix("gw")), worker["workercount"]
    for path in sorted(_TESTS.rglob("test_*.py"))[number::count]:
        with suppress(Exception, pytest.skip.Exception):  # the collection imports it again, and reports the error
            importlib.import_module(".".join(path.relative_to(_TESTS.parent).with_suffix("").parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[object]:
    """A command that a test runs in this process sets the loggers. The next test has them as before."""
    loggers = [logging.getLogger(name) for name in ("omnirecord", "asyncio")]
    before = [(one.handlers[:], one.level, one.propagate) for one in loggers]
    try:
        return (yield)
    finally:
        for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
            one.handlers[:], one.propagate = handlers, propagate
            one.setLevel(level)


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether a test may take minutes."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def _watched(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that is marked `watched` if a callback of our servers took too much CPU time."""
    importlib.import_module("omnirecord.analysis.diff.differences")  # a replay imports it at its first miss
    marker = request.node.get_closest_marker("watched")
    with Watchdog(marker.kwargs.get("most", MOST)).watching() as watchdog:
        yield
    found = watchdog.found(marker.kwargs.get("times", 1))
    assert not found, "\n".join(map(str, found))


@pytest.fixture
def _installed_modules_stay(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let a run of `pytester` in this process remove only the modules of its project from `sys.modules`.

    It would remove all modules that it imports first. The next import of such a package makes its classes again, but
    its extension module keeps the former classes. `cryptography` then finds no extension of a certificate.
    """
    from _pytest.pytester import SysModulesSnapshot

    projects = tmp_path_factory.getbasetemp()

    def is_of_a_project(module: ModuleType | None) -> bool:
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(Path(place).is_relative_to(projects) for place in places if place)

    class Snapshot(SysModulesSnapshot):
        def __init__(self, preserve: object = None) -> None:  # noqa: ARG002  # pytester's signature
            known = frozenset(sys.modules)
            super().__init__(lambda name: name not in known and not is_of_a_project(sys.modules[name]))

    monkeypatch.setattr("_pytest.pytester.SysModulesSnapshot", Snapshot)


@pytest.fixture
def pytester(_installed_modules_stay: None, pytester: pytest.Pytester) -> pytest.Pytester:
    return pytester


@pytest.fixture(scope="session")
def shared_browser() -> Iterator[browsing.SharedBrowser]:
    from tests.support.browsing import SharedBrowser

    shared = SharedBrowser()
    yield shared
    shared.close()


@pytest.fixture
def browser(shared_browser: browsing.SharedBrowser) -> Iterator[Any]:
    """A browser for a test that is not asynchronous."""
    with shared_browser.lent() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_async_browser() -> AsyncIterator[sse_clients.SharedBrowser]:
    from tests.support.sse_clients import SharedBrowser

    shared = SharedBrowser()
    yield shared
    await shared.close()


@pytest_asyncio.fixture(loop_scope="session")
async def async_browser(shared_async_browser: sse_clients.SharedBrowser) -> Any:
    """A browser for an asynchronous test, which has `loop_scope="session"`."""
    return await shared_async_browser.lend()


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
