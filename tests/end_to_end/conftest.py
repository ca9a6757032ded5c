"""A real Omnigent server for all tests that leave it as it is: its start takes eight seconds of CPU time.

`tests/support/units.py` keeps these tests in one worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tests.omnigent_rig.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_server() -> AsyncIterator[Stack]:
    """A server. A test that starts a runner stops it. Tests that use it have `loop_scope="session"`."""
    from tests.omnigent_rig.provider import Provider
    from tests.omnigent_rig.script import SCRIPT
    from tests.omnigent_rig.stack import Stack

    async with Provider(SCRIPT) as provider, Stack(provider.url) as stack:
        yield stack


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared_stack(shared_server: Stack) -> Stack:
    """The server, and a runner that is connected to it. The runner stays for the next test."""
    if shared_server.runner is None:
        await shared_server.start_runner()
    return shared_server
