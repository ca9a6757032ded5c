"""`python -m tests.omnigent_rig [SCENARIO…]`: run scenarios against a live stack, print what was seen."""

from __future__ import annotations

import asyncio
import sys
import time
from itertools import groupby

import click

from tests.omnigent_rig import scenarios
from tests.omnigent_rig.driver import Seen
from tests.omnigent_rig.provider import Provider
from tests.omnigent_rig.responses_standin import ResponsesStandin
from tests.omnigent_rig.scenarios import SCENARIOS
from tests.omnigent_rig.script import SCRIPT
from tests.omnigent_rig.stack import Stack


def show(name: str, seen: Seen, seconds: float) -> None:
    click.echo(f"\n{name} ({seconds:.1f} s): {seen.text[:80]!r}")
    for title, part in (
        ("", seen),
        *(("child", c) for c in seen.children),
        *(("other", o) for o in seen.others),
    ):
        runs = [(kind, len(list(run))) for kind, run in groupby(part.types)]
        click.echo(f"   {title} " + ", ".join(f"{kind} x{n}" if n > 1 else kind for kind, n in runs))


async def main(names: list[str]) -> None:
    started = time.monotonic()
    async with Provider(SCRIPT) as provider, Stack(provider.url) as stack:
        await stack.start_runner()
        click.echo(f"started in {time.monotonic() - started:.1f} s at {stack.url}")
        for name in names or SCENARIOS:
            started = time.monotonic()
            show(name, await SCENARIOS[name](stack.url, stack.runner_id), time.monotonic() - started)
    async with ResponsesStandin() as standin:
        show("responses_query", await scenarios.responses_query(standin.url), 0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
