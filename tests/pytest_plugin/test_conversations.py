"""A test keeps one conversation of a cassette with many."""

from __future__ import annotations

import shutil

from tests.support.cassettes import SHIPPED
from tests.support.pytest_suite import Suite
from tests.support.pytest_suite import suite as suite

pytest_plugins = ["pytester"]
ASKS = """
    import openai
    import pytest

    @pytest.mark.omnirecord("day.jsonl#8")
    def test_jokes(omnirecord_server):
        client = openai.OpenAI(base_url=omnirecord_server.urls["openai"] + "/v1", api_key="sk-1")
        messages = [{"role": "user", "content": "Tell me a joke."}]
        first = client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content
        messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "Another one."}]
        second = client.chat.completions.create(model="gpt-5", messages=messages).choices[0].message.content
        assert second == "Two snails walk into a bar."
        omnirecord_server.assert_all_matched()
        omnirecord_server.assert_all_played()
"""


def test_the_cassette_of_a_test_may_be_one_conversation(suite: Suite) -> None:
    shutil.copy(SHIPPED / "agents" / "day.jsonl", suite.cassettes)
    suite.file(test_it=ASKS)
    suite.run("--omnirecord-record=once").assert_outcomes(passed=1)


def test_a_conversation_of_a_missing_cassette_is_a_sentence(suite: Suite) -> None:
    suite.file(test_it=ASKS)
    suite.refuses("day.jsonl#8 does not exist")
