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
    from tests.omnigent_rig.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server() -> AsyncIterator[Stack]:
    """A server. A test that starts a runner stops it. Tests that use it have `loop_scope="session"`."""
    import omnirecord
    from tests import omnigent_rig
    from tests.omnigent_rig.stack import Stack

    async with (
        omnirecord.replay(
            Path(omnigent_rig.__file__).parent / "model.jsonl.zst", only="model", match=["ignore conversation tools"]
        ) as model,
        Stack(f"{model.url}/v1") as stack,
    ):
        yield stack
        assert [one.why for one in model.unmatched] == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_stack(shared_server: Stack) -> Stack:
    """The server, and a runner that is connected to it. The runner stays for the next test."""
    if shared_server.runner is None:
        await shared_server.start_runner()
    return shared_server
