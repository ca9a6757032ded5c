"""`auto`: the path of a request decides on the contract of its stream."""

from __future__ import annotations

import subprocess
import sys

import pytest

from omnirecord import UsageError
from omnirecord.cassette.contracts import NAMES, load
from tests.support.examples import each

AUTO = load("auto")


@each(
    ("target", "name"),
    [
        ("/v1/responses", "openai-responses"),
        ("/v1/responses?stream=true", "openai-responses"),
        ("/openai/responses/", "openai-responses"),
        ("/v1/responses/resp_1?stream=true&starting_after=5", "openai-responses"),
        ("/v1/chat/completions", "openai-chat"),
        ("/openai/deployments/gpt/chat/completions?api-version=1", "openai-chat"),
        ("/v1/messages", "anthropic-messages"),
        ("/v1/messages?beta=true", "anthropic-messages"),
        ("/v1/completions", "none"),
        ("/v1/sessions/conv_1/stream", "none"),
        ("/mcp", "none"),
        ("/", "none"),
        ("*", "none"),
    ],
)
def test_the_end_of_the_path_decides(target: str, name: str) -> None:
    assert AUTO.of(target) is load(name)


@each("name", [name for name in NAMES if name != "auto"])
def test_every_other_contract_is_that_of_every_path(name: str) -> None:
    contract = load(name)
    assert contract.name == name
    assert contract.of("/v1/responses") is contract


def test_a_name_that_is_no_contract_is_refused_with_all_names() -> None:
    with pytest.raises(UsageError, match="openai-chat, anthropic-messages, auto, none, or the path of"):
        load("no-such-contract")


def test_the_models_of_an_api_are_imported_when_a_path_needs_them() -> None:
    code = (
        "import sys; from omnirecord.cassette.contracts import load; load('auto').of('/v1/messages');"
        "print(*sorted(name.rpartition('.')[2] for name in sys.modules if name.startswith('omnirecord.providers.')))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["anthropic_messages"]
