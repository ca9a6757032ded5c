"""A test records and replays several upstreams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing

import pytest

import omnirecord
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED
from tests.support.pytest_suite import Suite, from_upstream
from tests.support.pytest_suite import suite as suite
from tests.support.pytest_suite import upstream as upstream

pytest_plugins = ["pytester"]
BOTH = SHIPPED / "both_hops" / "both_text.jsonl"
ASKS_BOTH = """
    import json
    from pathlib import Path
    import httpx
    import pytest
    from client import talk

    @pytest.mark.omnirecord("both.jsonl", contracts={"model": "openai-responses"})
    def test_both(omnirecord_server):
        assert "response.completed" in talk(omnirecord_server.url)
        body = json.loads(Path("body.json").read_text())
        answer = httpx.post(omnirecord_server.urls["model"] + "/v1/responses", json=body)
        assert "flight recorder" in answer.text
        omnirecord_server.assert_all_played()
"""


@pytest.fixture
def model() -> Iterator[str]:
    with omnirecord.replay(BOTH, timing="instant", only="model") as server:
        yield server.url


def body_of_model() -> str:
    for line in BOTH.read_text().splitlines():
        value = json.loads(line)
        if "request" in value and value["request"]["target"] == "/v1/responses":
            return str(value["request"]["body"])
    raise LookupError("no request to the model")


def test_a_test_records_two_upstreams_and_replays_them(suite: Suite, upstream: str, model: str) -> None:
    suite.file(test_it=ASKS_BOTH)
    (suite.path / "body.json").write_text(body_of_model())
    suite.run(*from_upstream(f"{upstream} model={model}")).assert_outcomes(passed=1)
    with closing(open_store(suite.cassettes / "both.jsonl")) as store:
        assert [(one.hop, one.contract) for one in store.recordings()] == [
            (None, "auto"),
            ("model", "openai-responses"),
        ]
    suite.run().assert_outcomes(passed=1)


def test_a_request_that_a_further_hop_lacks_fails_the_test(suite: Suite, upstream: str, model: str) -> None:
    suite.file(test_it=ASKS_BOTH)
    (suite.path / "body.json").write_text(body_of_model())
    suite.run(*from_upstream(f"{upstream} model={model}")).assert_outcomes(passed=1)
    suite.file(
        test_it=ASKS_BOTH.replace('"/v1/responses", json=body', '"/v1/other"').replace(
            'assert "flight recorder" in answer.text', ""
        )
    )
    result = suite.run()
    result.assert_outcomes(failed=1)
    assert "/v1/other" in result.stdout.str()


def test_two_upstreams_without_a_name_are_refused(suite: Suite, upstream: str) -> None:
    suite.file(test_it=ASKS_BOTH)
    sentence = "one of them needs a name, as in model=https://api.openai.com"
    suite.refuses(sentence, *from_upstream(f"{upstream} http://127.0.0.1:9"))


def test_contracts_that_are_no_dict_are_refused(suite: Suite) -> None:
    suite.file(test_it=ASKS_BOTH.replace('{"model": "openai-responses"}', '"auto"'))
    suite.refuses("contracts is a mapping of names to texts, not 'auto'")


def test_a_model_call_that_was_not_played_is_named_by_its_number_and_question(suite: Suite) -> None:
    (suite.cassettes / "both.jsonl").write_bytes(BOTH.read_bytes())
    suite.file(
        test_it="""
        import pytest

        @pytest.mark.omnirecord("both.jsonl", only="model")
        def test_it(omnirecord_server):
            omnirecord_server.assert_all_played()
        """
    )
    result = suite.run()
    result.stdout.fnmatch_lines(['*  POST /v1/responses (call 1 of *, exchange *: "*"*'])


def test_a_report_about_model_calls_has_no_playhead(suite: Suite) -> None:
    (suite.cassettes / "both.jsonl").write_bytes(BOTH.read_bytes())
    (suite.path / "body.json").write_text(body_of_model())
    suite.file(
        test_it="""
        from pathlib import Path
        import httpx, pytest

        @pytest.mark.omnirecord("both.jsonl", only="model")
        def test_it(omnirecord_server):
            body = Path("body.json").read_bytes()
            assert "data:" in httpx.post(omnirecord_server.url + "/v1/responses", content=body).text
            assert False
        """
    )
    suite.run().stdout.no_fnmatch_line("playhead: *")
