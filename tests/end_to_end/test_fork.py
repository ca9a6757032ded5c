"""`omnirecord fork` with unmodified programs and the SDKs of four model APIs, before a scripted provider.

The log of the provider shows which calls it got: those from the fork on.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord import open_cassette
from omnirecord.cassette.conversations import placed_calls
from omnirecord.cassette.open import open_store
from tests.cli.test_run import run, variables
from tests.omnigent_rig.provider import Provider
from tests.support import forked
from tests.support.fork_agents import AGENTS, SAID, SCRIPT, Agent
from tests.support.forked import Done
from tests.support.gemini import GeminiApi
from tests.support.providers import ModelApis

pytestmark = pytest.mark.slow
AGENT = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.name)


@asynccontextmanager
async def provider_of(agent: Agent) -> AsyncIterator[tuple[Provider, dict[str, str]]]:
    """A new provider, and the variables of the program."""
    provider = GeminiApi(SCRIPT) if agent.name == "gemini" else ModelApis(SCRIPT)
    async with provider:
        url = provider.url if agent.name != "messages" else provider.url.removesuffix("/v1")
        yield provider, {agent.variable: url, agent.key: "key"}


_KEPT: dict[str, bytes] = {}
"""Recordings by the name of the agent."""


async def record(folder: Path, agent: Agent) -> None:
    """Put a recording of an agent into a.db. It is made once."""
    (folder / "agent.py").write_text(agent.program)
    if agent.name not in _KEPT:
        async with provider_of(agent) as (provider, settings):
            words = ["-o", "a.db", "--", sys.executable, "agent.py"]
            done = await asyncio.to_thread(run, folder, *words, **settings)
        assert (done.code, done.out.decode(), len(provider.requests)) == (0, SAID, 4), done.errors.decode()
        _KEPT[agent.name] = (folder / "a.db").read_bytes()
    (folder / "a.db").write_bytes(_KEPT[agent.name])


async def fork(folder: Path, agent: Agent, *words: str, program: str = "agent.py") -> tuple[Done, list[dict[str, Any]]]:
    """Return the end of a fork, and the bodies of the requests that the provider got."""
    async with provider_of(agent) as (provider, settings):
        command = ["fork", "a.db", *words, "--", sys.executable, program]
        done = await asyncio.to_thread(forked.run, command, folder, environment=variables(**settings))
    return done, provider.requests


@AGENT
async def test_the_provider_gets_the_calls_from_the_fork_on_with_the_change_and_no_other(
    tmp_path: Path, agent: Agent
) -> None:
    """Call 3 is refused once, and sent again."""
    await record(tmp_path, agent)
    changes = {1: f"{agent.question}=Snow?", 2: f"{agent.output}=rainy", 3: f"{agent.question}=Hi"}
    said = {1: "There is no snow.\nSorry for the wait.\n", 2: SAID, 3: "It is sunny in Rome.\nHello there.\n"}
    due = {1: 3, 2: 3, 3: 1}
    for call, change in changes.items():
        done, asked = await fork(tmp_path, agent, "--from-call", str(call), "--set", change, "-o", f"{call}.db")
        errors = done.errors.decode()
        assert (done.code, done.out.decode(), len(asked)) == (0, said[call], due[call]), errors
        word = change.partition("=")[2]
        assert all(word in json.dumps(body) for body in asked)
        assert f"the change is in {due[call]} of {due[call]} live call" in errors
        assert f"{call - 1} answered from the recording, {due[call]} live, 0 missing" in errors
        with open_cassette(tmp_path / f"{call}.db") as cassette:
            answered = [x.answered_from for x in cassette.exchanges()]
        assert answered == [*range(1, call), *[None] * due[call]]


@pytest.mark.parametrize(
    "agent",
    [pytest.param(one, id=one.name, marks=() if one.name == "gemini" else pytest.mark.long) for one in AGENTS],
)
async def test_a_fork_with_another_first_message_has_the_conversations_of_its_origin(
    tmp_path: Path, agent: Agent
) -> None:
    await record(tmp_path, agent)
    first = agent.question.replace("[-1]", "[0]")
    done, _ = await fork(tmp_path, agent, "--from-call", "2", "--set", f"{first}=Snow?", "-o", "b.db")
    assert done.code == 0, done.errors.decode()
    origin, of_fork = (conversations(tmp_path / name) for name in ("a.db", "b.db"))
    assert of_fork == origin


def conversations(cassette: Path) -> list[int]:
    with closing(open_store(cassette)) as store:
        return [place.conversation for _, place in placed_calls(store)]


@AGENT
async def test_another_model_gets_the_calls_from_the_fork_on(tmp_path: Path, agent: Agent) -> None:
    await record(tmp_path, agent)
    done, asked = await fork(tmp_path, agent, "--from-call", "2", "--model", "m2", "-o", "b.db")
    assert (done.code, done.out.decode(), len(asked)) == (0, SAID, 3), done.errors.decode()
    rule = "ignore conversation model"
    assert f"omnirecord run --replay b.db --match '{rule}' -- " in done.errors.decode()
    if agent.name == "gemini":  # which has the model in the path
        words = ["--replay", "b.db", "--match", rule, "--", sys.executable, "agent.py"]
        again = await asyncio.to_thread(run, tmp_path, *words, **{agent.variable: "http://127.0.0.1:9"})
        assert (again.code, again.out.decode()) == (0, SAID), again.errors.decode()
    with open_cassette(tmp_path / "b.db") as cassette:
        targets = [x.request.target for x in cassette.exchanges() if x.answered_from is None]
    models = [target.partition("models/")[2].partition(":")[0] for target in targets]
    assert models == ["m2"] * 3 if agent.name == "gemini" else [body["model"] for body in asked] == ["m2"] * 3
