"""What a test asks of the pytest plugin, by option, ini file, marker and fixture; and slips, which get a sentence."""

from __future__ import annotations

import pytest

from tests.support.pytest_suite import TALKS, Suite, from_upstream
from tests.support.pytest_suite import suite as suite
from tests.support.pytest_suite import upstream as upstream

pytest_plugins = ["pytester"]


def test_the_closest_marker_wins_key_by_key(suite: Suite) -> None:
    suite.file(
        test_it="""
        import pytest

        pytestmark = pytest.mark.omnirecord("talk.jsonl", timing="original", speed=2, allow_no_requests=True)

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

    @pytest.mark.omnirecord("talk.jsonl", allow_no_requests=True, {marker})
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
        ("", "compressed", "", "{}", "compressed"),
        ("original", "compressed", "", "{}", "original"),
        ("original", "compressed", "timing='instant'", "{}", "instant"),
        ("original", "compressed", "timing='original'", "{'timing': 'instant'}", "instant"),
    ],
)
def test_an_option_beats_the_ini_file_a_marker_beats_both_and_the_fixture_beats_all(
    suite: Suite, option: str, ini: str, marker: str, config: str, mode: str
) -> None:
    suite.file(test_it=LAYERS.format(marker=marker, config=config, mode=mode))
    suite.ini(f"omnirecord_timing={ini}" if ini else "")
    suite.run(*([f"--omnirecord-timing={option}"] if option else [])).assert_outcomes(passed=1)


def test_record_all_on_the_command_line_records_though_the_ini_file_says_none(suite: Suite, upstream: str) -> None:
    suite.file(test_it=TALKS)
    suite.ini("omnirecord_record=none\nomnirecord_upstream=http://127.0.0.1:9")
    before = (suite.cassettes / "talk.jsonl").read_bytes()
    suite.run(*from_upstream(upstream, "all")).assert_outcomes(passed=1)
    assert (suite.cassettes / "talk.jsonl").read_bytes() != before


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
    assert "record 'new' is none of none, once, all, new_episodes" in result.stderr.str()


def test_the_marker_options_and_fixtures_are_listed(suite: Suite) -> None:
    suite.run("--markers").stdout.fnmatch_lines(["@pytest.mark.omnirecord(cassette, *record, timing*"])
    suite.run("--help").stdout.fnmatch_lines(["*--omnirecord-record=none|once|all*"])
    for name in ("omnirecord_server", "omnirecord_config"):
        suite.run("--fixtures").stdout.fnmatch_lines([f"{name}*"])
