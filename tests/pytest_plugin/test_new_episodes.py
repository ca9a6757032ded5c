"""The pytest plugin with `record="new_episodes"`: the cassette answers, the upstream answers the rest."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import omnirecord
from omnirecord.server.listener import Background
from tests.omnigent_rig.provider import Answer
from tests.support.providers import ModelApis
from tests.support.pytest_suite import Suite, from_upstream
from tests.support.pytest_suite import suite as suite

pytest_plugins = ["pytester"]

TEST = """
    import httpx

    def ask(url, text):
        body = {"model": "m", "input": text}
        answer = httpx.post(f"{url}/v1/responses", json=body, trust_env=False).json()
        return answer["output"][-1]["content"][0]["text"]

    def test_it(omnirecord_server):
        for word in WORDS:
            assert ask(omnirecord_server.url, word) == f"{word}."
        omnirecord_server.assert_all_matched()
"""


@pytest.fixture
def provider() -> Iterator[ModelApis]:
    scripted = ModelApis({word: Answer(f"{word}.") for word in ("One", "Two", "Three")})
    serving = Background(scripted)
    serving.start()
    yield scripted
    serving.stop()


def asks(suite: Suite, *words: str, then: str = "") -> None:
    suite.file(test_it=TEST.replace("WORDS", repr(words)) + then)


def new(provider: ModelApis) -> list[str]:
    return from_upstream(provider.url.removesuffix("/v1"), "new_episodes")


def asked(provider: ModelApis) -> list[str]:
    return [body["input"] for body in provider.requests]


@pytest.mark.parametrize("form", ["jsonl", "db"])
def test_a_request_that_is_missing_is_recorded_into_the_cassette_of_a_test_that_passes(
    suite: Suite, provider: ModelApis, form: str
) -> None:
    marker = f'pytestmark = __import__("pytest").mark.omnirecord("talk-2.{form}")'
    asks(suite, "One", then=f"\n    {marker}\n")
    suite.run(*new(provider)).assert_outcomes(passed=1)  # the first recording
    asks(suite, "One", "Two", then=f"\n    {marker}\n")
    done = suite.run(*new(provider), "-rP")
    done.assert_outcomes(passed=1)
    done.stdout.fnmatch_lines(
        [
            "recorded: POST /v1/responses -> 200 (exchange 1)",
            "live: POST /v1/responses -> 200 (new exchange 2)",
            "*- omnirecord: new episodes -*",
            "test_it.py::test_it: 1 recorded, 1 live",
            "0 of 1 tests were answered from their cassettes",
        ]
    )
    assert asked(provider) == ["One", "Two"]
    done = suite.run(*new(provider))
    done.stdout.fnmatch_lines(["1 of 1 tests were answered from their cassettes"])
    suite.run().assert_outcomes(passed=1)
    assert asked(provider) == ["One", "Two"]
    with omnirecord.open_cassette(suite.cassettes / f"talk-2.{form}") as cassette:
        assert len(cassette.exchanges()) == 2


def test_live_answers_of_a_test_that_fails_are_kept_beside_its_cassette(suite: Suite, provider: ModelApis) -> None:
    asks(suite, "One")
    suite.run(*new(provider)).assert_outcomes(passed=1)
    cassette = suite.cassettes / "test_it" / "test_it.jsonl"
    before = cassette.read_bytes()
    asks(suite, "One", "Two", then="        assert False\n")
    done = suite.run(*new(provider))
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        ["live answers are kept since the test failed: *test_it.failed.jsonl", "  POST /v1/responses -> 200 (live)"]
    )
    assert cassette.read_bytes() == before
    assert (cassette.parent / "test_it.failed.jsonl").exists()


def test_a_test_with_faults_gets_no_live_answer(suite: Suite, provider: ModelApis) -> None:
    marker = 'pytestmark = __import__("pytest").mark.omnirecord("a.jsonl", record="new_episodes", faults=FAULTS)'
    asks(suite, "One", then=f"\n    {marker.replace('FAULTS', '[]')}\n")
    suite.run(*new(provider)).assert_outcomes(passed=1)
    asks(suite, "One", "Two", then=f"\n    {marker.replace('FAULTS', repr('slow POST /v1/responses by 1ms'))}\n")
    suite.run(*new(provider)).assert_outcomes(failed=1)
    assert asked(provider) == ["One"]
