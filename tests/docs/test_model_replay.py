"""The page about replays of a model is true: its test passes, its miss and its faults are those of the code."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.faults.verbs import parse_fault
from omnirecord.replayer.matching.rules import Rules
from tests.omnigent_rig.provider import Answer
from tests.replayer.matching.test_conversations import ask, lookup, request
from tests.support.providers import ModelApis
from tests.support.pytest_suite import OPTIONS

pytest_plugins = ["pytester"]
PAGE = (Path(__file__).parent.parent.parent / "docs" / "model-replay.md").read_text()
BLOCKS = re.findall(r"```\w*\n(.*?)```", PAGE, re.DOTALL)


async def recorded(path: Path) -> None:
    """Record one model call, as the hop `model`."""
    db = path.with_suffix(".db")
    path.parent.mkdir(parents=True)
    async with ModelApis({"Weather in Rome?": Answer("It is sunny in Rome.")}) as provider:
        url = provider.url.removesuffix("/v1")
        async with Proxy(url, db, upstreams={"model": url}) as proxy, httpx.AsyncClient(trust_env=False) as http:
            body = {"model": "gpt-5", "input": "Weather in Rome?"}
            assert (await http.post(f"{proxy.urls['model']}/v1/responses", json=body)).status_code == 200
    with closing(open_store(db)) as store:
        path.write_bytes(b"".join(jsonl_bytes(store)))


@pytest.mark.slow
def test_the_test_of_the_page_passes(pytester: pytest.Pytester) -> None:
    (code,) = (block for block in BLOCKS if "def test_" in block)
    asyncio.run(recorded(pytester.path / "cassettes" / "agent.jsonl"))
    pytester.makepyfile(code)
    pytester.runpytest_inprocess(*OPTIONS).assert_outcomes(passed=1)


def test_the_miss_of_the_page_is_told_so() -> None:
    (miss,) = (block for block in BLOCKS if "not with this conversation" in block)
    found = lookup(ask("Tell me of the sea."), ask("Weather in Rome?"), ask("Weather in Rome?", model="n"))
    assert found.miss(request(ask("Weather in Oslo?"))).text() == miss.rstrip()


def test_the_faults_and_rules_of_the_page_are_read() -> None:
    faults = re.findall(r"^\| `(\w+ .+?)` \|", PAGE, re.MULTILINE)
    assert len(faults) >= 7
    assert all(parse_fault(one) for one in faults)
    assert all(Rules.parse(one) for one in re.findall(r"--match '([^']+)'", PAGE))
