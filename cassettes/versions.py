"""Records healthy scenarios with another version of Omnigent: server, runner and client are all of that version.

    uv venv --python 3.13 OLD && uv pip install --python OLD omnigent==0.10.0 omnigent-client==0.10.0 aiohttp
    python -m cassettes.versions OLD/bin/python FOLDER [SCENARIO…]

Each cassette is FOLDER/vVERSION_SCENARIO.jsonl. With `SCENARIO+runner` the runner dials
the server through the recorder, too.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cassettes.stacks import everyone_left, publish_small
from omnirecord.recorder.proxy.server import Proxy
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack

ROOT = Path(__file__).parent.parent
SCENARIOS = ("text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent", "turns")
_VERSION = "from importlib.metadata import version; print(version('omnigent'))"
_CLIENT = """\
import asyncio, sys
from tests.omnigent_rig.scenarios import SCENARIOS
asyncio.run(SCENARIOS[sys.argv[1]](*sys.argv[2:]))
"""


async def record(python: str, version: str, folder: Path, names: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="orv") as home:
        async with Provider(SCRIPT) as provider, Stack(provider.url, home=Path(home), python=python) as stack:
            for name in names:
                scenario, _, runner = name.partition("+")
                db = Path(home) / f"{name}.db"
                async with Proxy(stack.url, db) as proxy:
                    await stack.start_runner(proxy.url if runner else None)
                    client = await asyncio.create_subprocess_exec(
                        python,
                        "-c",
                        _CLIENT,
                        scenario,
                        proxy.url,
                        stack.runner_id,
                        cwd=home,
                        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": home},
                        stderr=asyncio.subprocess.PIPE,
                    )
                    _, errors = await client.communicate()
                    await stack.stop_runner()
                    await everyone_left(proxy)
                if client.returncode:
                    print(f"{version} {name}: {errors.decode()[-400:]}")  # noqa: T201
                publish_small(db, folder, f"v{version}_{name.replace('+', '_')}")


if __name__ == "__main__":
    found = subprocess.check_output([sys.argv[1], "-c", _VERSION], text=True).strip().replace(".", "_")
    asyncio.run(record(sys.argv[1], found, Path(sys.argv[2]), sys.argv[3:] or list(SCENARIOS)))
