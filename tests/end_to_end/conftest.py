"""A real Omnigent server for all tests that leave it as it is: its start takes ten seconds of CPU time.

`tests/support/units.py` keeps these tests in one worker.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest_asyncio

if TYPE_CHECKING:
    from tests.omnigent_rig.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_stack() -> AsyncIterator[Stack]:
    """A server and a runner that is connected to it. Tests that use it have `loop_scope="session"`."""
    from tests.omnigent_rig.provider import Provider
    from tests.omnigent_rig.script import SCRIPT
    from tests.omnigent_rig.stack import Stack

    async with Provider(SCRIPT) as provider, Stack(provider.url) as stack:
        await stack.start_runner()
        yield stack
