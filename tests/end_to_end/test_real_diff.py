"""The same conversation, had twice with a real server: what differs between the two recordings is timing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

import omnirecord
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.scenarios import SCENARIOS
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"
ALIKE = ("text", "tool", "approval", "failed", "two_clients", "reconnect")
"""Not those with an interrupt or a sub-agent: how far an answer got before that, and how many summaries of a child the
server sends, is a matter of milliseconds."""

MOST = 6
"""Conversations that are had for one in which the server does not tell of a terminal."""


@dataclass
class Rig:
    stack: Stack
    folder: Path

    async def record(self, scenario: str, name: str) -> Path:
        db = self.folder / name
        async with Proxy(self.stack.url, db) as proxy:
            await SCENARIOS[scenario](proxy.url, self.stack.runner_id)
            async with asyncio.timeout(5):
                while proxy.open_exchanges:  # noqa: ASYNC110  # a test may look
                    await asyncio.sleep(0.01)
        return db

    async def record_alike(self, scenario: str, name: str) -> Path:
        """Once more where the server told of a terminal (`terminal_pending`), which it does where that took it long."""
        for attempt in range(MOST):
            db = await self.record(scenario, f"{name}-{attempt}.db")
            if "session.terminal_pending" not in types_in(db):
                return db
        pytest.fail(f"the server told of a terminal in {MOST} of {MOST} conversations")


def types_in(path: Path) -> set[str | None]:
    with omnirecord.open_cassette(path) as cassette:
        return {frame.type for stream in cassette.streams() for frame in stream.frames()}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rig]:
    async with Provider(SCRIPT) as provider, Stack(provider.url) as stack:
        await stack.start_runner()
        yield Rig(stack, tmp_path_factory.mktemp("diff"))


@pytest.mark.parametrize("name", ["text", "tool", "approval", "turns"])
async def test_two_shipped_recordings_of_a_conversation_differ_in_nothing_but_timing(name: str) -> None:
    found = omnirecord.diff(CASSETTES / f"{name}.jsonl", CASSETTES / "both_hops" / f"both_{name}.jsonl")
    assert [one for one in found if one.kind != "timing"] == []


@pytest.mark.long
@pytest.mark.timed  # a busy server tells of a terminal in every conversation
@pytest.mark.parametrize("scenario", ALIKE)
async def test_a_conversation_had_twice_differs_in_nothing_but_timing(rig: Rig, scenario: str) -> None:
    once, again = await rig.record_alike(scenario, f"{scenario}-1"), await rig.record_alike(scenario, f"{scenario}-2")
    for a, b in ((once, again), (CASSETTES / f"{scenario}.jsonl", once)):
        assert [one for one in omnirecord.diff(a, b) if one.kind != "timing"] == []


async def test_two_conversations_differ_in_what_was_asked() -> None:
    found = omnirecord.diff(CASSETTES / "text.jsonl", CASSETTES / "failed.jsonl")
    assert found[0].path == "turns[0].asked[0].text"
    assert {"turns[0].ended", "turns[0].error"} <= {one.path for one in found}
