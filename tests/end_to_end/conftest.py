"""A real Omnigent server for all tests that leave it as it is: its start takes eight seconds of CPU time.

Its model is a replay of `tests/omnigent_rig/model.jsonl.zst`. A prompt that this cassette lacks fails its turn. The
tools of a request do not count: they depend on what is connected to the server.

`tests/support/units.py` keeps these tests in one worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from omnirecord.replayer.server import Replay
    from tests.omnigent_rig.stack import Stack

_WOKEN = "[System: sub-agent"
"""In what the server itself asks of an agent whose sub-agent has ended. On a busy machine it asks once more, after the
agent has read the result and the test has ended."""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_model() -> AsyncIterator[Replay]:
    """The model of that server."""
    import omnirecord
    from tests import omnigent_rig

    cassette = Path(omnigent_rig.__file__).parent / "model.jsonl.zst"
    how = {"only": "model", "match": ["ignore conversation tools"], "allow_no_requests": True}
    async with omnirecord.replay(cassette, **how) as model:
        yield model
        assert [one.why for one in model.unmatched if _WOKEN not in one.why] == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server(shared_model: Replay) -> AsyncIterator[Stack]:
    """A server. A test that starts a runner stops it. Tests that use it have `loop_scope="session"`."""
    from tests.omnigent_rig.stack import Stack

    async with Stack(f"{shared_model.url}/v1", imports=["anthropic"]) as stack:  # a harness does when its turn fails
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_stack(shared_server: Stack) -> Stack:
    """The server, and a runner that is connected to it. The runner stays for the next test."""
    if shared_server.runner is None:
        await shared_server.start_runner()
    return shared_server
