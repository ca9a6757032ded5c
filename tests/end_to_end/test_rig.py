"""The rig itself: troubles told to their end, and the raw tail against what the client saw.

Every scenario is told to its end in `test_acceptance.py`, where it is recorded.
"""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("omnigent", reason="needs the 'real' dependency group")

from tests.omnigent_rig.driver import Tail, tail
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.responses_standin import ResponsesStandin
from tests.omnigent_rig.scenarios import SCENARIOS, responses_query
from tests.omnigent_rig.script import EXPLAIN, SCRIPT
from tests.omnigent_rig.stack import Stack
from tests.omnigent_rig.troubles import TROUBLES, Bench

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize(
    ("name", "last"), [("missed_end", "session.presence"), ("approval_timed_out", "session.status")]
)
async def test_a_trouble_that_breaks_nothing_is_told_to_its_end(shared_stack: Stack, name: str, last: str) -> None:
    async def stop() -> None:
        raise AssertionError("nothing is recorded")

    seen = await TROUBLES[name](Bench(shared_stack.url, Provider({}), shared_stack, stop))
    assert seen.types[-1] == last
    assert seen.text


async def test_a_tail_has_the_bytes_of_what_the_client_saw(shared_stack: Stack) -> None:
    async with AsyncExitStack() as open_tails:
        tails: list[Tail] = []

        async def join(session_id: str) -> None:
            tails.append(await open_tails.enter_async_context(tail(shared_stack.url, session_id)))

        seen = await SCENARIOS["text"](shared_stack.url, shared_stack.runner_id, joined=join)
        events = [json.loads(line[6:]) for line in tails[0].body.splitlines() if line.startswith(b"data: {")]
    spoken = [event["delta"] for event in seen.events if event["type"] == "response.output_text.delta"]
    assert [event["delta"] for event in events if event["type"] == "response.output_text.delta"] == spoken
    assert [at for at, _ in tails[0].reads] == sorted(at for at, _ in tails[0].reads)


async def test_the_older_way_to_ask() -> None:
    async with ResponsesStandin() as standin:
        seen = await responses_query(standin.url)
    assert seen.text == getattr(SCRIPT[EXPLAIN], "text", None)
