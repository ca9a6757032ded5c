from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from chat import Chat, start
from omnigent_client import OmnigentClient

from omnirecord.pytest_plugin import Server

AGENTS = Path(__file__).parent.parent / "agents"


@pytest.fixture
def agent() -> str:
    """Which agent a test talks to: override it in a module."""
    return "helper"


@pytest.fixture
async def chat(omnirecord_server: Server, agent: str) -> AsyncIterator[Chat]:
    """A session of the test's own: a new one while recording, the recorded one ever after."""
    async with OmnigentClient(omnirecord_server.url) as client:
        yield await start(client, AGENTS / f"{agent}.yaml")
