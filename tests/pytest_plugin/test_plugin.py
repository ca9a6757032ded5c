"""The pytest plugin, in suites of its own: what a test is replayed, what a failed one shows, what disturbs nobody."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.pytest_suite import OPTIONS, PLUGIN, TALKS, Suite, from_upstream
from tests.support.pytest_suite import suite as suite
from tests.support.pytest_suite import upstream as upstream
from tests.support.watchdog import slowness

pytest_plugins = ["pytester"]


def test_a_synchronous_client_is_replayed_to(suite: Suite) -> None:
    suite.file(test_it=TALKS)
    suite.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio_is_replayed_to(suite: Suite, mode: str) -> None:
    suite.ini(f"asyncio_mode={mode}")
    suite.file(
        test_it=f"""
        import pytest
        from client import atalk, talk

        pytestmark = [pytest.mark.omnirecord("talk.jsonl"), *([pytest.mark.asyncio] if {mode == "strict"} else [])]

        async def test_in_a_loop(omnirecord_server):
            assert "response.completed" in await atalk(omnirecord_server.url)
            omnirecord_server.assert_all_matched()

        async def test_in_a_loop_that_is_blocked(omnirecord_server):
            assert "response.completed" in talk(omnirecord_server.url)
    """
    )
    suite.run().assert_outcomes(passed=2)


def test_pytest_aiohttp_is_replayed_to(suite: Suite) -> None:
    suite.ini("asyncio_mode=auto")
    suite.file(
        test_it="""
        import pytest
        from aiohttp import web

        @pytest.mark.omnirecord("talk.jsonl")
        async def test_behind_an_app(omnirecord_server, aiohttp_client):
            from client import atalk
            async def handler(request):
                return web.Response(text=await atalk(omnirecord_server.url))
            app = web.Application()
            app.router.add_get("/", handler)
            client = await aiohttp_client(app)
            answer = await client.get("/")
            assert "response.completed" in await answer.text()
    """
    )
    suite.run().assert_outcomes(passed=1)


def test_each_test_has_a_cursor_of_its_own(suite: Suite) -> None:
    suite.file(
        test_it=TALKS
        + """
    @pytest.mark.omnirecord("talk.jsonl")
    @pytest.mark.parametrize("n", range(3))
    def test_again(omnirecord_server, n):
        assert "response.completed" in talk(omnirecord_server.url)
        omnirecord_server.assert_all_matched()
    """
    )
    suite.run().assert_outcomes(passed=4)


@(pytest.mark.long if find_spec("omnigent_client") else pytest.mark.slow)  # else `test_many.py` does the same
def test_two_workers_on_one_cassette_never_see_each_other(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest
        from client import talk

        @pytest.mark.omnirecord("talk.jsonl")
        @pytest.mark.parametrize("n", range(10))
        def test_talk(omnirecord_server, n):
            assert "response.completed" in talk(omnirecord_server.url)
            omnirecord_server.assert_all_matched()
            assert len(omnirecord_server.requests) == 3
    """
    )
    suite.run_apart("-n", "2").assert_outcomes(passed=10)


def test_time_that_is_frozen_does_not_stop_a_replay(suite: Suite) -> None:
    suite.file(
        test_it="""
        import freezegun, pytest, time
        from client import talk

        @pytest.mark.omnirecord("talk.jsonl", timing="original", speed=50)
        @pytest.mark.parametrize("real_asyncio", [True, False])
        def test_talk(omnirecord_server, real_asyncio):
            with freezegun.freeze_time("2026-01-01", real_asyncio=real_asyncio):
                before = time.time()
                assert "response.completed" in talk(omnirecord_server.url)
                assert time.time() == before

        @pytest.fixture
        def frozen():
            with freezegun.freeze_time("2026-01-01"):
                yield

        @pytest.mark.omnirecord("talk.jsonl", timing="original", speed=50)
        def test_frozen_before_the_server_is_there(frozen, omnirecord_server):
            assert "response.completed" in talk(omnirecord_server.url)
    """
    )
    suite.run().assert_outcomes(passed=3)


@pytest.mark.timed
def test_an_instant_test_takes_under_fifty_milliseconds_beside_the_clients_own(suite: Suite) -> None:
    text = Path(__file__).parent.parent.parent / "cassettes" / "text.jsonl"
    (suite.cassettes / "text.jsonl").write_bytes(text.read_bytes())
    suite.file(
        test_it="""
        import pytest, time

        TOOK = []

        @pytest.fixture
        def started():
            return time.perf_counter()

        @pytest.fixture
        def server(started, omnirecord_server):
            TOOK.append(time.perf_counter() - started)
            return omnirecord_server

        @pytest.mark.omnirecord("text.jsonl", allow_no_requests=True)
        @pytest.mark.parametrize("n", range(5))
        def test_talk(server, n):
            pass

        def test_took():
            assert min(TOOK) < 0.05
    """
    )
    suite.run().assert_outcomes(passed=6)


def test_a_test_that_passes_without_a_request_fails_unless_its_marker_allows_that(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest

        @pytest.mark.omnirecord("talk.jsonl")
        def test_it(omnirecord_server):
            omnirecord_server.assert_all_matched()

        @pytest.mark.omnirecord("talk.jsonl", allow_no_requests=True)
        def test_allowed(omnirecord_server):
            pass
    """
    )
    result = suite.run()
    result.assert_outcomes(failed=1, passed=1)
    output = result.stdout.str()
    assert "omnirecord: the test sent no request to omnirecord_server, so nothing was compared with" in output
    assert "allow_no_requests=True" in output
    assert "Traceback" not in output


def test_a_recording_without_a_request_fails_and_writes_no_cassette(suite: Suite, upstream: str) -> None:
    suite.file(test_it="def test_it(omnirecord_server): pass")
    result = suite.run(*from_upstream(upstream))
    result.assert_outcomes(failed=1)
    assert "the test sent no request to omnirecord_server, so nothing was recorded" in result.stdout.str()
    assert [one.name for one in suite.cassettes.rglob("*.jsonl")] == ["talk.jsonl"]


def test_a_test_that_fails_shows_its_cassette_and_what_differs(suite: Suite) -> None:
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl", match_on=[])
        def test_it(omnirecord_server):
            httpx.post(omnirecord_server.url + "/v1/sessions/s/events", json={"type": "interrupt"})
            assert httpx.get(omnirecord_server.url + "/v1/session/s").status_code == 200
    """
    )
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- omnirecord -*",
            "*cassettes/talk.jsonl, replayed at http://127.0.0.1:*",
            "2 requests came:",
            "  POST /v1/sessions/s/events -> 202",
            "  GET /v1/session/s -> 404",
            "1 request matched nothing:",
            "  GET /v1/session/s was never recorded; nearest recorded, as [[]-recorded-]{+asked+}:",
            "    GET /v1/[[]-sessions-]{+session+}/s",
            "1 request had other content than the recorded one:",
            "  POST /v1/sessions/s/events: type was 'message' when recorded, got 'interrupt'",
        ]
    )


def test_a_miss_is_told_once(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)  # with it, pytest repeats the whole message in its summary
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl")
        def test_it(omnirecord_server):
            httpx.get(omnirecord_server.url + "/v1/session/s")
            omnirecord_server.assert_all_matched()
    """
    )
    output = suite.run().stdout.str()
    assert output.count("GET /v1/session/s was never recorded") == 1
    assert output.count("GET /v1/[-sessions-]{+session+}/s\n") == 1
    assert "Captured log" not in output


def test_a_message_in_upper_case_fails_with_the_first_difference(suite: Suite) -> None:
    suite.file(test_it=TALKS.replace("talk(omnirecord_server.url)", "talk(omnirecord_server.url, 'MESSAGE')"))
    suite.ini("omnirecord_gate_timeout=1.5")
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "  POST /v1/sessions/s/events was recorded, but not with this body; *",
            "    body $.type: [[]-message-]{+MESSAGE+}",
        ]
    )
    result.stdout.fnmatch_lines(["*To ignore bodies: @pytest.mark.omnirecord(match_on=[[]])"])
    assert "--match" not in result.stdout.str()


@pytest.mark.parametrize("off", ["marker", "ini", "option"])
def test_bodies_need_not_count(suite: Suite, off: str) -> None:
    marker = '"talk.jsonl", match_on=[]' if off == "marker" else '"talk.jsonl"'
    talks = TALKS.replace('"talk.jsonl"', marker).replace("omnirecord_server.assert_all_matched()", "")
    suite.file(test_it=talks.replace("talk(omnirecord_server.url)", "talk(omnirecord_server.url, 'MESSAGE')"))
    suite.ini("omnirecord_match_on=method, path, query" if off == "ini" else "")
    options = ["--omnirecord-match-on=method,path,query"] if off == "option" else []
    suite.run(*options).assert_outcomes(passed=1)


def test_a_test_that_fails_shows_which_faults_struck(suite: Suite) -> None:
    faulted = '"talk.jsonl", faults="drop response.completed"'
    suite.file(test_it=TALKS.replace('"talk.jsonl"', faulted))
    result = suite.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- omnirecord -*", "fault that struck: drop response.completed*"])


def test_a_test_that_fails_shows_where_the_playhead_is(suite: Suite) -> None:
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl")
        def test_it(omnirecord_server):
            with httpx.stream("GET", omnirecord_server.url + "/v1/sessions/s/stream", timeout=0.2) as stream:
                list(stream.iter_text())
    """
    )
    where = "playhead: 0.100 s into s, behind frame 2 of stream 1 (session.presence)*"
    suite.run().stdout.fnmatch_lines(["*- omnirecord -*", where])


def test_a_test_without_our_fixture_shows_nothing_of_ours(suite: Suite) -> None:
    suite.file(test_it="def test_it(): assert False")
    assert "omnirecord -" not in suite.run().stdout.str()


def test_a_client_that_leaves_its_connections_open_disturbs_nobody(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest, socket

        @pytest.mark.omnirecord("talk.jsonl")
        @pytest.mark.parametrize("n", range(3))
        def test_it(omnirecord_server, n):
            host, port = omnirecord_server.url.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port))) as client:
                client.sendall(b"GET /v1/sessions/s/stream HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
                assert client.recv(8).startswith(b"HTTP/1.1")
                omnirecord_server.stop()
    """
    )
    suite.run().assert_outcomes(passed=3)


def test_another_fixture_that_fails_takes_nothing_along(suite: Suite) -> None:
    suite.file(
        test_it=TALKS.replace("(omnirecord_server)", "(omnirecord_server, broken)")
        + """
    @pytest.fixture
    def broken(omnirecord_server):
        yield
        raise ValueError("broken")

    @pytest.mark.omnirecord("talk.jsonl")
    def test_next(omnirecord_server):
        talk(omnirecord_server.url)
    """
    )
    result = suite.run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ValueError: broken*", "*- omnirecord -*"], consecutive=False)


def test_a_server_whose_thread_dies_fails_its_test_and_no_other(suite: Suite) -> None:
    suite.file(
        test_it="""
        import asyncio, pytest
        from client import talk

        def stop():
            asyncio.get_running_loop().stop()

        @pytest.mark.omnirecord("talk.jsonl")
        def test_dies(omnirecord_server):
            omnirecord_server._background.run(stop)
            talk(omnirecord_server.url)

        @pytest.mark.omnirecord("talk.jsonl")
        def test_next(omnirecord_server):
            assert "response.completed" in talk(omnirecord_server.url)
    """
    )
    result = suite.run()
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*omnirecord: the server's thread has ended: RuntimeError*"])


@pytest.mark.slow
def test_ctrl_c_ends_a_run_whose_client_waits(suite: Suite) -> None:
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl")
        def test_it(omnirecord_server):
            with httpx.stream("GET", omnirecord_server.url + "/v1/sessions/s/stream", timeout=60) as stream:
                print("listening", flush=True)
                list(stream.iter_text())
    """
    )
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-s", str(suite.path)]
    with subprocess.Popen(command, cwd=suite.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        assert run.stdout is not None
        next(line for line in run.stdout if "listening" in line)
        began = time.monotonic()
        run.send_signal(signal.SIGINT)
        output = run.stdout.read()
    assert run.returncode == pytest.ExitCode.INTERRUPTED
    assert time.monotonic() - began < 30, "the client waits for 60 s"
    assert "KeyboardInterrupt" in output
    assert "warning" not in output.lower()


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"omnirecord": PLUGIN}


COST = """
import sys, time
import httpx  # noqa: F401  # loaded once, not anew in each suite that runs in this process
import pytest
class Plugin:
    def pytest_configure(self, config):
        before = set(sys.modules)
        began = time.thread_time()
        config.pluginmanager.import_plugin("omnirecord.pytest_plugin")
        took = time.thread_time() - began
        print("COST", took, *sorted(set(sys.modules) - before))
pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", *sys.argv[1:]], plugins=[Plugin()])
"""


@pytest.mark.timed
def test_a_run_that_does_not_use_it_pays_less_than_ten_milliseconds_and_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    others = ("asyncio", "aiohttp", "anyio", "xdist", "hypothesispytest", "omnirecord")
    off = [word for name in others for word in ("-p", f"no:{name}")]
    command = [sys.executable, "-c", COST, *off, str(tmp_path)]
    best = float("inf")
    for _ in range(3):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        _, took, *modules = next(line for line in done.stdout.splitlines() if line.startswith("COST")).split()
        best = min(best, float(took))
        if best < 0.010:
            break
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded & {"aiohttp", "pydantic", "sqlite3", "jiter", "asyncio", "ssl", "socket", "rich", "click"} == set()
    assert {name for name in modules if name.startswith("omnirecord")} == {
        "omnirecord",
        "omnirecord.errors",
        "omnirecord.pytest_plugin",
        "omnirecord.pytest_plugin.keywords",
    }
    assert len(modules) < 10
    assert best < 0.010 * slowness()
