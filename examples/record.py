"""Records the cassettes of the examples again: their own tests, run with `--omnirecord-record=all` against a real
Omnigent whose model is a scripted stand-in.

    python -m examples.record            all of it
    python -m examples.record -k turn    what pytest is told
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path

from cassettes.stacks import HOME
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack

HERE = Path(__file__).parent


async def record(words: list[str]) -> int:
    shutil.rmtree(HOME, ignore_errors=True)
    async with Provider(SCRIPT) as provider, Stack(provider.url, home=HOME) as stack:
        await stack.start_runner()
        options = ["--omnirecord-record=all", f"--omnirecord-upstream={stack.url}", *words]
        pytest = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", *options, cwd=HERE / "chat-client"
        )
        result = await pytest.wait()
    shutil.rmtree(HOME, ignore_errors=True)
    return result


if __name__ == "__main__":
    sys.exit(asyncio.run(record(sys.argv[1:])))
