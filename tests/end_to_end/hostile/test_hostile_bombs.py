"""A bomb for the proxy and for each command, with the memory that processes take for it."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.cassette.open import open_store
from tests.end_to_end.hostile.harness import Harness, Peak
from tests.support.bombs import EVENT, MIB, cassette
from tests.support.wire import Wire, connected, get

BOUND = 300 * MIB
_ROOT = Path(__file__).parents[3]

COMMANDS = [
    ["ls"], ["ls", "--streams"], ["events", "--type", "no"], ["show"], ["doctor"], ["stats"], ["search", "x"],
    ["validate"], ["export", "--format", "sse", "-o", "x.sse"], ["export", "--format", "jsonl", "-o", "x.jsonl"],
    ["export", "-o", "x.db.zst"], ["export", "--format", "html", "-o", "x.html"], ["scrub", "--check"],
]  # fmt: skip


RUN = """
import json, sys
from click.testing import CliRunner
from omnirecord.cli import main
from tests.support.cost import begin_peak, peak

for words in json.loads(sys.argv[1]):
    begin_peak()
    done = CliRunner().invoke(main, words)
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    print(json.dumps([done.exit_code, done.stderr, peak()]))
"""


def measured(commands: list[list[str]], folder: Path, space: int | None = None) -> Iterator[tuple[int, str, int]]:
    """Run commands in a process of their own. Yield the exit code of each, its stderr, and the most memory that the
    process had for it, in bytes. `space`: the address space that it may have."""

    def bounded() -> None:
        if space is not None:
            resource.setrlimit(resource.RLIMIT_AS, (space, space))

    process = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)], cwd=folder, capture_output=True, text=True, timeout=300,
        preexec_fn=bounded, check=False, env=os.environ | {"PYTHONPATH": str(_ROOT)},
    )  # fmt: skip
    assert (process.returncode, process.stderr) == (0, "")
    for line in process.stdout.splitlines():
        code, errors, megabytes = json.loads(line)
        yield code, errors, int(megabytes * MIB)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """128 MiB of events in less than a megabyte, of which no frames were made."""
    folder = tmp_path_factory.mktemp("bomb")
    return cassette(folder / "a.db", gzip.compress(EVENT * (128 * MIB // len(EVENT)), 1))


@pytest.fixture(scope="module")
def outcomes(bomb: Path) -> dict[str, tuple[int, str, int]]:
    """The outcome of each of the commands, run one after the other."""
    commands = [[words[0], "a.db", *words[1:], "--max-decoded", "3MiB"] for words in COMMANDS]
    return dict(zip(map(" ".join, COMMANDS), measured(commands, bomb.parent), strict=True))


@pytest.mark.slow
async def test_a_proxy_takes_no_more_memory_for_a_bomb_than_its_limit(tmp_path: Path) -> None:
    body = gzip.compress(EVENT * (256 * MIB // len(EVENT)), 1)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(body)}\r\n"

    async def upstream(conn: Wire) -> None:
        await conn.request()
        await conn.send(f"{head}Content-Encoding: gzip\r\n\r\n".encode() + body)

    async with Harness(tmp_path, "--max-decoded", "16MiB") as harness:
        async with (
            harness.with_upstream(upstream),
            connected(harness.proxy.url, get("/bomb")) as client,
            Peak(harness.pid) as memory,
        ):
            await client.head()
            harness.answer_again()
            (found,) = await harness.recorded(patience=300)
            with closing(open_store(harness.db)) as store:
                while not store.stopped_at(found):
                    await asyncio.sleep(0.05)
                    store.refresh()
        assert found.response_bytes == len(body)
        errors = await harness.stop()
    assert "stream 1: decoded up to 16 MiB of events, the limit (--max-decoded)" in errors
    assert memory.most < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_takes_more_memory_for_a_bomb_than_its_limit(
    outcomes: dict[str, tuple[int, str, int]], words: list[str]
) -> None:
    code, errors, peak = outcomes[" ".join(words)]
    assert code in (0, 1, 2)
    assert errors or words[-1].endswith(".zst"), "a limit that is reached is said"
    assert peak < BOUND


@pytest.mark.slow
def test_where_memory_ends_one_sentence_says_so(tmp_path: Path) -> None:
    event = EVENT.replace(b'"}', b'", "note": "' + b"x" * 65_000 + b'"}')  # memory ends after a few of them
    cassette(tmp_path / "a.db", gzip.compress(event * (128 * MIB // len(event)), 1))
    ((code, errors, _),) = measured([["diff", "a.db", "a.db", "--max-decoded", "1TB"]], tmp_path, space=150 * MIB)
    assert code == 2
    assert "there is not enough memory" in errors
    assert "damaged" not in errors
