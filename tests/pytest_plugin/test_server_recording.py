"""The pytest plugin records: what is missing or all of it, only from tests that pass, and what it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import omnirecord
from tests.support.pytest_suite import RECORDED, TALKS, Suite, from_upstream
from tests.support.pytest_suite import suite as suite
from tests.support.pytest_suite import upstream as upstream
from tests.support.wire import nobody_listens

pytest_plugins = ["pytester"]


def test_a_cassette_that_is_missing_is_an_error_that_says_how_to_record_it(suite: Suite) -> None:
    suite.file(test_it=RECORDED)
    said = "does not exist: record it with `pytest 'test_it.py::test_it' --omnirecord-record=once --omnirecord-upstream"
    suite.refuses(said)
    suite.ini("omnirecord_upstream=http://127.0.0.1:9")
    suite.refuses("test_it.py::test_it' --omnirecord-record=once`")


@pytest.mark.parametrize("says", ["record='none'", "faults='drop [DONE]'"])
def test_a_missing_cassette_of_a_test_that_only_replays_is_for_another_one_to_record(suite: Suite, says: str) -> None:
    suite.file(test_it=TALKS.replace('"talk.jsonl"', f'"new.jsonl", {says}'))
    suite.refuses("new.jsonl does not exist, and this test does not record it: first run the test that does, with")


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


def test_a_function_of_the_marker_changes_and_leaves_out_exchanges(suite: Suite, upstream: str) -> None:
    hook = """
    def chosen(exchange):
        exchange["request"]["body"] = exchange["request"]["body"].replace("message", "masked")
        return exchange if exchange["stream"] or "events" in exchange["request"]["target"] else None
"""
    marked = TALKS.replace('"talk.jsonl"', '"new.jsonl", before_record=chosen')
    suite.file(test_it=marked.replace("    from client import talk\n", f"    from client import talk\n{hook}"))
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    with omnirecord.open_cassette(suite.cassettes / "new.jsonl") as cassette:
        targets = [x.request.target for x in cassette.exchanges()]
        assert targets == ["/v1/sessions/s/stream", "/v1/sessions/s/events"]
        assert b"masked" in cassette.body(cassette.exchanges()[1], "request")


def test_a_suffix_that_names_no_form_is_refused(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS.replace("talk.jsonl", "new.yaml"))
    suite.refuses("name it .jsonl, for git and review, or .db", *from_upstream(upstream))


@pytest.mark.parametrize("ending", ["pytest.skip()", "pytest.xfail()"])
def test_what_a_test_recorded_that_is_skipped_is_not_kept(suite: Suite, upstream: str, ending: str) -> None:
    suite.file(test_it=TALKS + f"        {ending}\n")
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    result = suite.run(*from_upstream(upstream, "all"))
    assert result.parseoutcomes().get("passed", 0) == 0
    assert (suite.cassettes / "talk.jsonl").read_bytes() == before
    assert [one.name for one in suite.cassettes.iterdir()] == ["talk.jsonl"]


@pytest.mark.parametrize("ending", ["assert False", "raise SystemExit"])
@pytest.mark.parametrize("name", ["talk.jsonl", "talk.db"])
def test_what_a_test_recorded_that_fails_is_kept_beside_its_cassette(
    suite: Suite, upstream: str, ending: str, name: str
) -> None:
    suite.file(test_it=TALKS.replace("talk.jsonl", name) + f"        {ending}\n")
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    failed = suite.cassettes / name.replace(".", ".failed.")
    result = suite.run(*from_upstream(upstream, "all"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"recorded, and kept since the test failed: {failed}", f"its cassette is *: *{name}"])
    assert (suite.cassettes / "talk.jsonl").read_bytes() == before
    with omnirecord.open_cassette(failed) as cassette:
        assert "response.completed" in [event.type for stream in cassette.streams() for event in stream.events()]


def test_a_test_that_passes_removes_what_its_failure_left(suite: Suite, upstream: str) -> None:
    failed = suite.cassettes / "talk.failed.jsonl"
    suite.file(test_it=TALKS + "        assert False\n")
    suite.run(*from_upstream(upstream, "all")).assert_outcomes(failed=1)
    assert failed.exists()
    suite.file(test_it=TALKS)
    suite.run(*from_upstream(upstream, "all")).assert_outcomes(passed=1)
    assert not failed.exists()


def test_a_fixture_that_fails_after_a_passed_test_keeps_the_recording_apart(suite: Suite, upstream: str) -> None:
    suite.file(
        test_it=TALKS.replace("(omnirecord_server)", "(omnirecord_server, broken)")
        + """
    @pytest.fixture
    def broken(omnirecord_server):
        talk(omnirecord_server.url)
        raise ValueError("broken")
    """
    )
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    suite.run(*from_upstream(upstream, "all")).assert_outcomes(errors=1)
    assert (suite.cassettes / "talk.jsonl").read_bytes() == before
    assert (suite.cassettes / "talk.failed.jsonl").exists()


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
    result.stdout.fnmatch_lines(["omnirecord: cannot write *test_it.jsonl: Not a directory*The recording is kept: *"])
    kept = re.search(r"omnirecord export (\S+) -o", result.stdout.str())
    assert kept is not None
    Path(kept[1]).unlink()


def test_an_upstream_that_does_not_answer_fails_the_test_and_makes_no_cassette(suite: Suite) -> None:
    suite.file(test_it=RECORDED)
    suite.run(*from_upstream("http://127.0.0.1:9")).assert_outcomes(failed=1)
    assert not (suite.cassettes / "test_it" / "test_it.jsonl").exists()


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
    suite.run(*from_upstream(upstream)).assert_outcomes(passed=1)
    assert (suite.path / "more" / "test_it" / "test_it.jsonl").exists()
    suite.run(*from_upstream(upstream), "--omnirecord-cassettes=others").assert_outcomes(passed=1)
    assert (suite.path / "others" / "test_it" / "test_it.jsonl").exists()


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


def test_what_a_test_recorded_of_which_a_part_failed_is_kept_apart(suite: Suite, upstream: str) -> None:
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
    names = sorted(path.name for path in suite.cassettes.rglob("*.jsonl"))
    assert len(names) == 2
    assert names[0].endswith(".failed.jsonl")
