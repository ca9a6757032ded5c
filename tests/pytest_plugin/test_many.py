"""Many tests of a project like the example, with the real client: what one costs, and that none of them fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.later import later
from tests.support.pytest_suite import OPTIONS
from tests.support.watchdog import slowness

later("omnigent_client", "needs the 'real' dependency group, and Python >= 3.12")

pytest_plugins = ["pytester"]
pytestmark = [pytest.mark.real, pytest.mark.slow]
EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "chat-client"
MANY = """
    import asyncio
    import pytest
    from chat import StreamLost

    QUESTION, ANSWER = "What is a flight recorder?", "A flight recorder keeps what happened"
    often = pytest.mark.parametrize("n", range(TIMES))

    @often
    @pytest.mark.omnirecord("turn.jsonl")
    async def test_a_turn(chat, omnirecord_server, n):
        assert (await chat.ask(QUESTION)).startswith(ANSWER)
        omnirecord_server.assert_all_played()
        omnirecord_server.assert_all_matched()

    @often
    @pytest.mark.omnirecord("turn.jsonl")
    async def test_a_turn_that_is_stopped_in_the_middle(chat, omnirecord_server, n):
        asking = asyncio.create_task(chat.ask(QUESTION))
        await asyncio.to_thread(omnirecord_server.run_until, "response.output_text.delta", nth=3)
        omnirecord_server.play()
        assert (await asking).startswith(ANSWER)

    @often
    @pytest.mark.omnirecord("turn.jsonl", chunks="frame", faults="cut before response.completed")
    async def test_a_turn_that_is_lost(chat, n):
        chat.reconnects = 0
        with pytest.raises(StreamLost):
            await chat.ask(QUESTION)

    @often
    @pytest.mark.omnirecord("reconnect.jsonl", faults="cut after 2nd response.output_text.delta by reset")
    async def test_a_turn_that_is_gone_on_with(chat, omnirecord_server, n):
        assert (await chat.ask(QUESTION)).startswith(ANSWER)
        omnirecord_server.assert_all_played()
"""
COST = """
    import time
    from statistics import median
    import pytest

    SETUP, SERVER, TEARDOWN = [], [], []

    @pytest.fixture
    def omnirecord_config():
        yield {"cassette": "turn.jsonl"}
        TEARDOWN[-1] += time.perf_counter()  # after it was stopped

    @pytest.fixture
    def began(request):
        return time.perf_counter()

    @pytest.fixture
    def server(began, omnirecord_server):
        SETUP.append(time.perf_counter() - began)
        yield omnirecord_server
        TEARDOWN.append(-time.perf_counter())

    @pytest.mark.parametrize("n", range(20))
    async def test_a_turn(server, chat, n):
        assert await chat.ask("What is a flight recorder?")
        SERVER.append(server._background.run(time.thread_time))

    def test_what_it_took():
        took = [1000 * median(times) for times in (SETUP, SERVER, TEARDOWN)]
        print("ms to start, in the server's thread, to stop:", *(f"{one:.1f}" for one in took))
        assert sum(took) < LIMIT
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    for name in ("chat.py", "agents", "pyproject.toml", "tests"):
        copy = shutil.copytree if (EXAMPLE / name).is_dir() else shutil.copy
        copy(EXAMPLE / name, pytester.path / name)
    for path in (pytester.path / "tests").glob("test_*.py"):
        path.unlink()
    return pytester


def add(project: pytest.Pytester, source: str) -> None:
    project.makepyfile(test_it=source)
    (project.path / "test_it.py").rename(project.path / "tests" / "test_it.py")


@pytest.mark.long
def test_many_tests_in_several_workers_never_fail(project: pytest.Pytester) -> None:
    """Two workers on one cassette, and the real client, have tests of their own in `test_plugin.py` and the example."""
    add(project, MANY.replace("TIMES", "50"))
    project.runpytest_subprocess(*OPTIONS, "-n", "4").assert_outcomes(passed=200)


@pytest.mark.timed
@pytest.mark.long
def test_one_costs_less_than_fifty_milliseconds_beside_the_clients_own_time(project: pytest.Pytester) -> None:
    """At the most: what the server's thread computes while it starts is counted twice."""
    add(project, COST.replace("LIMIT", f"{50 * slowness():g}"))
    project.runpytest_subprocess(*OPTIONS, "-s").assert_outcomes(passed=21)
