"""The pytest plugin, in suites of its own: what a test gets, what is refused, what is recorded, what is shown."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import httpx  # noqa: F401  # loaded once, not anew in each suite that runs in this process
import pytest

import omnirecord
import omnirecord.testing.report
import omnirecord.testing.serving  # loaded once, not anew in each suite that runs in this process
from omnirecord.exporting import jsonl_bytes
from tests.cassettes import conversation
from tests.wire import nobody_listens

pytest_plugins = ["pytester"]
PLUGIN = "omnirecord.pytest_plugin"
IS_INSTALLED = any(one.value == PLUGIN for one in entry_points(group="pytest11"))
OPTIONS = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-W", "error", "--strict-markers"]
OPTIONS += ["-o", "asyncio_default_fixture_loop_scope=function"]
OPTIONS += [] if IS_INSTALLED else ["-p", PLUGIN]
CLIENT = """
import httpx

def talk(url, says="message"):
    with httpx.Client(base_url=url, timeout=5) as client:
        client.post("/v1/sessions")
        with client.stream("GET", "/v1/sessions/s/stream") as stream:
            client.post("/v1/sessions/s/events", json={"type": says})
            return "".join(stream.iter_text())

async def atalk(url):
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        await client.post("/v1/sessions")
        async with client.stream("GET", "/v1/sessions/s/stream") as stream:
            await client.post("/v1/sessions/s/events", json={"type": "message"})
            return "".join([text async for text in stream.aiter_text()])
"""
TALKS = """
    import pytest
    from client import talk

    @pytest.mark.omnirecord("talk.jsonl")
    def test_talk(omnirecord_server):
        assert "response.completed" in talk(omnirecord_server.url)
        omnirecord_server.assert_all_matched()
"""
RECORDED = """
    from client import talk

    def test_it(omnirecord_server):
        assert "response.completed" in talk(omnirecord_server.url)
        omnirecord_server.assert_all_matched()
"""


class Suite:
    """A project with tests of its own and a cassette, `cassettes/talk.jsonl`."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self._pytester = pytester
        self.path = pytester.path
        self.cassettes = self.path / "cassettes"
        self.cassettes.mkdir()
        (self.path / "client.py").write_text(CLIENT)
        (self.cassettes / "talk.jsonl").write_bytes(b"".join(jsonl_bytes(conversation("eof").store())))
        pytester.syspathinsert()
        self.ini("")

    def file(self, **files: str) -> None:
        self._pytester.makepyfile(**files)

    def ini(self, lines: str) -> None:
        self._pytester.makeini(f"[pytest]\n{lines}\n")

    def run(self, *options: str) -> pytest.RunResult:
        return self._pytester.runpytest_inprocess(*OPTIONS, *options)

    def run_apart(self, *options: str) -> pytest.RunResult:
        return self._pytester.runpytest_subprocess(*OPTIONS, *options)

    def refuses(self, sentence: str, *options: str) -> None:
        """Run, and have one error at the setup of a test that says this, without a traceback."""
        result = self.run(*options)
        result.assert_outcomes(errors=1)
        output = result.stdout.str()
        assert sentence in " ".join(output.split())
        assert "Traceback" not in output
        assert "During handling" not in output
        assert "def omnirecord_server" not in output


@pytest.fixture
def suite(pytester: pytest.Pytester) -> Suite:
    return Suite(pytester)


@pytest.fixture
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server to record from."""
    cassette = conversation("eof").save(tmp_path_factory.mktemp("upstream") / "talk.db")
    with omnirecord.replay(cassette, timing="instant") as server:
        yield server.url


def from_upstream(url: str, mode: str = "once") -> list[str]:
    return [f"--omnirecord-record={mode}", f"--omnirecord-upstream={url}"]


# Replaying


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


@pytest.mark.slow
def test_two_workers_on_one_cassette_never_see_each_other(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest
        from client import talk

        @pytest.mark.omnirecord("talk.jsonl")
        @pytest.mark.parametrize("n", range(20))
        def test_talk(omnirecord_server, n):
            assert "response.completed" in talk(omnirecord_server.url)
            omnirecord_server.assert_all_matched()
            assert len(omnirecord_server.requests) == 3
    """
    )
    suite.run_apart("-n", "2").assert_outcomes(passed=20)


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
    text = Path(__file__).parent.parent / "cassettes" / "text.jsonl"
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

        @pytest.mark.omnirecord("text.jsonl")
        @pytest.mark.parametrize("n", range(5))
        def test_talk(server, n):
            pass

        def test_took():
            assert min(TOOK) < 0.05
    """
    )
    suite.run().assert_outcomes(passed=6)


# What a test asks for


def test_the_closest_marker_wins_key_by_key(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest

        pytestmark = pytest.mark.omnirecord("talk.jsonl", timing="original", speed=2)

        @pytest.mark.omnirecord(speed=4)
        class TestIt:
            @pytest.mark.omnirecord(max_gap=1)
            def test_all_three(self, omnirecord_server):
                timing = omnirecord_server._server.timing
                assert (timing.speed, timing.max_gap, timing.instant) == (4, 1, False)

            @pytest.mark.omnirecord(timing="instant", speed=None)
            def test_none_takes_back(self, omnirecord_server):
                assert omnirecord_server._server.timing.instant
    """
    )
    suite.run().assert_outcomes(passed=2)


LAYERS = """
    import pytest

    @pytest.fixture(scope="module")
    def omnirecord_config():
        return {config}

    @pytest.mark.omnirecord("talk.jsonl", {marker})
    def test_it(omnirecord_server):
        timing = omnirecord_server._server.timing
        mode = "instant" if timing.instant else "compressed" if timing.max_gap else "original"
        assert mode == "{mode}"
"""


@pytest.mark.parametrize(
    ("option", "ini", "marker", "config", "mode"),
    [
        ("", "", "", "{}", "instant"),
        ("original", "", "", "{}", "original"),
        ("original", "compressed", "", "{}", "compressed"),
        ("original", "compressed", "timing='original'", "{}", "original"),
        ("original", "compressed", "timing='original'", "{'timing': 'instant'}", "instant"),
    ],
)
def test_an_option_is_beaten_by_the_ini_file_that_by_a_marker_and_that_by_the_fixture(
    suite: Suite, option: str, ini: str, marker: str, config: str, mode: str
) -> None:
    suite.file(test_it=LAYERS.format(marker=marker, config=config, mode=mode))
    suite.ini(f"omnirecord_timing={ini}" if ini else "")
    suite.run(*([f"--omnirecord-timing={option}"] if option else [])).assert_outcomes(passed=1)


def test_an_option_that_does_not_count_is_said(suite: Suite) -> None:
    suite.file(test_it=TALKS)
    suite.ini("omnirecord_record=none")
    result = suite.run("--omnirecord-record=all")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["omnirecord: --omnirecord-record does not count, *-o omnirecord_record=* beats both"])


@pytest.mark.parametrize(
    ("marker", "sentence"),
    [
        ("'talk.jsonl', timming='instant'", "the omnirecord marker has no 'timming': did you mean 'timing'?"),
        ("'talk.jsonl', speed=2", "speed and max_gap go with timing='original' or 'compressed'"),
        ("'talk.jsonl', timing='original', speed=-1", "speed -1 must be over 0"),
        ("'talk.jsonl', gates='POST'", "--gate 'POST' is no 'METHOD GLOB'"),
    ],
)
def test_a_slip_in_a_marker_is_a_sentence(suite: Suite, marker: str, sentence: str) -> None:
    suite.file(test_it=TALKS.replace('"talk.jsonl"', marker))
    suite.refuses(sentence)


def test_a_slip_in_a_marker_fails_a_test_that_does_not_use_the_fixture_too(suite: Suite) -> None:
    suite.file(test_it="import pytest\n\n@pytest.mark.omnirecord(recrod='all')\ndef test_it(): pass\n")
    suite.refuses("did you mean 'record'?")


def test_the_fixture_can_be_parametrized(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest
        from client import talk

        @pytest.mark.parametrize("omnirecord_config", [{"speed": 50}, {"speed": 100}])
        @pytest.mark.omnirecord("talk.jsonl", timing="original")
        def test_it(omnirecord_server, omnirecord_config):
            assert omnirecord_server._server.timing.speed == omnirecord_config["speed"]
            assert "response.completed" in talk(omnirecord_server.url)
    """
    )
    suite.run().assert_outcomes(passed=2)


@pytest.mark.parametrize("config", ["{'timming': 'instant'}", "'instant'"])
def test_a_slip_in_the_fixture_is_a_sentence(suite: Suite, config: str) -> None:
    suite.file(test_it=LAYERS.format(marker="", config=config, mode="instant"))
    suite.refuses("omnirecord_config")


@pytest.mark.parametrize("where", ["option", "ini"])
def test_a_slip_in_an_option_or_the_ini_file_ends_the_run(suite: Suite, where: str) -> None:
    suite.ini("omnirecord_record=new" if where == "ini" else "")
    result = suite.run(*(["--omnirecord-record=new"] if where == "option" else []))
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "cannot mix a recorded past with a live server" in result.stderr.str()


def test_the_marker_options_and_fixtures_are_listed(suite: Suite) -> None:
    suite.run("--markers").stdout.fnmatch_lines(["@pytest.mark.omnirecord(cassette, *record, timing*"])
    suite.run("--help").stdout.fnmatch_lines(["*--omnirecord-record=none|once|all*"])
    suite.run("--fixtures").stdout.fnmatch_lines(["omnirecord_server*", "omnirecord_config*"], consecutive=False)


# Cassettes and recording


def test_a_cassette_that_is_missing_is_an_error_that_says_how_to_record_it(suite: Suite) -> None:
    suite.file(test_it=RECORDED)
    said = "does not exist: record it with `pytest 'test_it.py::test_it' --omnirecord-record=once --omnirecord-upstream"
    suite.refuses(said)
    suite.ini("omnirecord_upstream=http://127.0.0.1:9")
    suite.refuses("test_it.py::test_it' --omnirecord-record=once`")


@pytest.mark.parametrize("says", ["record='none'", "faults='drop [DONE]'"])
def test_a_missing_cassette_of_a_test_that_only_replays_is_for_another_one_to_record(suite: Suite, says: str) -> None:
    suite.file(test_it=TALKS.replace('"talk.jsonl"', f'"new.jsonl", {says}'))
    suite.refuses("new.jsonl does not exist, and this test does not record it: run the one that does, first, with")


def test_what_came_is_known_while_a_test_is_recorded_too(suite: Suite, upstream: str) -> None:
    suite.file(
        test_it=RECORDED
        + """
        came = [(one.method, one.target, one.status) for one in omnirecord_server.requests]
        assert came == [
            ("POST", "/v1/sessions", 201),
            ("GET", "/v1/sessions/s/stream", 200),
            ("POST", "/v1/sessions/s/events", 202),
        ]
    """
    )
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)


def test_a_test_is_recorded_once_and_then_replayed(suite: Suite, upstream: str) -> None:
    suite.file(test_it=RECORDED)
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    cassette = suite.cassettes / "test_it" / "test_it.jsonl"
    recorded = cassette.read_bytes()
    suite.run(*from_upstream("http://127.0.0.1:9")).assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)
    assert cassette.read_bytes() == recorded
    assert [one.name for one in cassette.parent.iterdir()] == ["test_it.jsonl"]


def test_record_all_records_anew(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS)
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    suite.run(*from_upstream(upstream, "all")).assert_outcomes(passed=1)
    assert (suite.cassettes / "talk.jsonl").read_bytes() != before
    suite.run().assert_outcomes(passed=1)


def test_a_cassette_is_written_in_the_form_that_its_suffix_names(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS.replace("talk.jsonl", "new.db"))
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    assert (suite.cassettes / "new.db").read_bytes().startswith(b"SQLite")
    suite.run().assert_outcomes(passed=1)


def test_what_looks_like_a_secret_is_masked_where_a_test_asks_for_that(suite: Suite, upstream: str) -> None:
    marker = '"new.jsonl", redact="content", redact_patterns="response.output_"'
    suite.file(test_it=TALKS.replace('"talk.jsonl"', marker))
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    text = (suite.cassettes / "new.jsonl").read_text()
    assert "event: response.output_****.*****" in text
    assert "response.output_text" not in text


def test_a_suffix_that_names_no_form_is_refused(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS.replace("talk.jsonl", "new.yaml"))
    suite.refuses("name it .jsonl, for git and review, or .db", *from_upstream(upstream))


@pytest.mark.parametrize("ending", ["assert False", "pytest.skip()", "pytest.xfail()", "raise SystemExit"])
def test_what_a_test_recorded_that_does_not_pass_is_not_kept(suite: Suite, upstream: str, ending: str) -> None:
    suite.file(test_it=TALKS + f"        {ending}\n")
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    result = suite.run(*from_upstream(upstream, "all"))
    assert result.parseoutcomes().get("passed", 0) == 0
    assert (suite.cassettes / "talk.jsonl").read_bytes() == before
    assert [one.name for one in suite.cassettes.iterdir()] == ["talk.jsonl"]


def test_a_server_that_was_not_there_takes_the_place_of_no_recording(suite: Suite) -> None:
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl")
        def test_it(omnirecord_server):
            assert httpx.get(f"{omnirecord_server.url}/v1/info").status_code != 200
        """
    )
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    result = suite.run(*from_upstream(nobody_listens(), "all"))
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*talk.jsonl was left as it was: 1 of its requests did not reach the upstream*"])
    assert (suite.cassettes / "talk.jsonl").read_bytes() == before


def test_nothing_to_record_from_is_an_error_that_says_how_to_name_it(suite: Suite) -> None:
    suite.file(test_it=RECORDED)
    suite.refuses("give --omnirecord-upstream=URL, put omnirecord_upstream into", "--omnirecord-record=once")


def test_the_upstream_is_a_fixture_that_is_asked_for_only_when_something_is_recorded(suite: Suite) -> None:
    suite.file(
        conftest="""
        import omnirecord, pytest
        from pathlib import Path

        @pytest.fixture(scope="session")
        def omnirecord_upstream():
            with omnirecord.replay(Path(__file__).parent / "cassettes" / "talk.jsonl", timing="instant") as server:
                print("the upstream is up")
                yield server.url
        """,
        test_it=RECORDED,
        test_that=TALKS,
    )
    result = suite.run("--omnirecord-record=once", "-s")
    result.assert_outcomes(passed=2)
    assert result.stdout.str().count("the upstream is up") == 1
    result = suite.run("--omnirecord-record=once", "-s")
    result.assert_outcomes(passed=2)
    assert "the upstream is up" not in result.stdout.str()


def test_an_upstream_may_live_in_the_loop_of_the_test(suite: Suite) -> None:
    suite.ini("asyncio_mode=auto")
    suite.file(
        test_it="""
        import httpx, pytest
        from aiohttp import web

        async def hello(request):
            return web.Response(text="hello")

        @pytest.fixture
        async def omnirecord_upstream(aiohttp_server):
            app = web.Application()
            app.router.add_get("/", hello)
            return (await aiohttp_server(app)).make_url("/")

        async def test_it(omnirecord_server):
            async with httpx.AsyncClient() as client:
                assert (await client.get(omnirecord_server.url)).text == "hello"
    """
    )
    suite.run("--omnirecord-record=all").assert_outcomes(passed=1)
    suite.run().assert_outcomes(passed=1)


def test_a_folder_that_cannot_be_made_is_a_sentence(suite: Suite, upstream: str) -> None:
    suite.file(test_it=RECORDED)
    (suite.path / "tapes").write_text("")
    result = suite.run(*from_upstream(upstream), "--omnirecord-cassettes=tapes")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["omnirecord: cannot write *test_it.jsonl: Not a directory"])


def test_an_upstream_that_does_not_answer_fails_the_test_and_keeps_nothing(suite: Suite) -> None:
    suite.file(test_it=RECORDED)
    suite.run(*from_upstream("http://127.0.0.1:9")).assert_outcomes(failed=1)
    assert not (suite.cassettes / "test_it").exists()


def test_what_a_recording_server_has_no_playhead_for_is_refused(suite: Suite, upstream: str) -> None:
    suite.file(test_it=RECORDED + "        assert omnirecord_server.is_recording\n        omnirecord_server.pause()\n")
    result = suite.run(*from_upstream(upstream))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*this test is being recorded, and a live server has no playhead*record='none'"])


def test_faults_are_not_recorded(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS.replace('"talk.jsonl"', '"new.jsonl", faults=["drop [DONE]"]'))
    suite.refuses("a live server makes no faults to order", *from_upstream(upstream))


def test_the_folder_of_cassettes_can_be_chosen(suite: Suite, upstream: str) -> None:
    suite.file(test_it=RECORDED)
    suite.run(*from_upstream(upstream), "--omnirecord-cassettes=tapes").assert_outcomes(passed=1)
    assert (suite.path / "tapes" / "test_it" / "test_it.jsonl").exists()
    suite.ini("omnirecord_cassettes=more")
    suite.run(*from_upstream(upstream), "--omnirecord-cassettes=tapes").assert_outcomes(passed=1)
    assert (suite.path / "more" / "test_it" / "test_it.jsonl").exists()


def test_every_test_of_a_suite_has_a_cassette_of_its_own(suite: Suite, upstream: str) -> None:
    suite.file(
        test_it="""
        import pytest
        from client import talk

        @pytest.mark.parametrize("what", ["a/b", "a b", "A", "a", "x" * 300, ""], ids=str)
        def test_it(omnirecord_server, what):
            talk(omnirecord_server.url)

        class TestIt:
            def test_it(self, omnirecord_server):
                talk(omnirecord_server.url)
    """
    )
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=7)
    names = [one.name for one in (suite.cassettes / "test_it").iterdir()]
    assert len({name.lower() for name in names}) == 7
    assert {"TestIt.test_it.jsonl", "test_it[a].jsonl"} < set(names)
    suite.run().assert_outcomes(passed=7)


def test_what_is_recorded_while_time_is_frozen_has_its_times(suite: Suite, upstream: str) -> None:
    suite.file(
        test_it="""
        import freezegun, pytest
        from client import talk

        @pytest.fixture
        def frozen():
            with freezegun.freeze_time("2026-01-01"):
                yield

        def test_it(frozen, omnirecord_server):
            talk(omnirecord_server.url)
    """
    )
    suite.run_apart(*from_upstream(upstream)).assert_outcomes(passed=1)
    lines = (suite.cassettes / "test_it" / "test_it.jsonl").read_text().splitlines()
    starts = [json.loads(line)["request"]["at_ns"] for line in lines if line.startswith('{"exchange"')]
    assert len(set(starts)) == 3
    assert all(0 <= start < 60e9 for start in starts)


# When something goes wrong


def test_a_test_that_fails_shows_its_cassette_and_what_differs(suite: Suite) -> None:
    suite.file(
        test_it="""
        import httpx, pytest

        @pytest.mark.omnirecord("talk.jsonl")
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
            "2 came, the last: GET /v1/session/s -> 404",
            "1 request matched nothing:",
            "  GET /v1/session/s was never recorded; nearest recorded: GET /v1/sessions/s (differs in path*",
            "1 request said something else than the recorded one:",
            "  POST /v1/sessions/s/events: type was 'message' when recorded, got 'interrupt'",
        ]
    )


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


def test_a_test_that_fails_while_it_is_recorded_says_that_nothing_is_kept(suite: Suite, upstream: str) -> None:
    suite.file(test_it=RECORDED + "        assert False\n")
    result = suite.run(*from_upstream(upstream))
    result.stdout.fnmatch_lines(["recording at http://*/test_it.jsonl is written only when the test passes"])


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
    assert time.monotonic() - began < 5
    assert "KeyboardInterrupt" in output
    assert "warning" not in output.lower()


# What it costs


def test_the_entry_point_is_the_plugin() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
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
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded & {"aiohttp", "pydantic", "sqlite3", "jiter", "asyncio", "ssl", "socket", "rich", "click"} == set()
    assert {name for name in modules if name.startswith("omnirecord")} == {
        "omnirecord", "omnirecord._version", "omnirecord.errors", "omnirecord.pytest_plugin",
    }  # fmt: skip
    assert len(modules) < 10
    assert best < 0.010


def test_what_a_test_recorded_of_which_a_part_failed_is_not_kept(suite: Suite, upstream: str) -> None:
    suite.file(
        test_parts="""
        import unittest
        import pytest
        from client import talk

        class TestParts(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _serve(self, omnirecord_server):
                self.url = omnirecord_server.url

            def test_it(self):
                talk(self.url)
                for number in range(3):
                    with self.subTest(number=number):
                        assert number != 1
        """
    )
    assert suite.run(*from_upstream(upstream)).ret == 1
    assert [path.name for path in suite.cassettes.rglob("*.jsonl")] == ["talk.jsonl"]
