"""The servers of the example, each an `async with`, and a function that runs a command."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from secrets import token_hex

from benchmarks.ports import free_port
from tests.omnigent_rig.provider import Answer, Provider
from tests.omnigent_rig.script import SCRIPT, TELL
from tests.omnigent_rig.stack import MARKER, Stack, kill_marked
from tests.support.process import Process
from tests.support.stores import accepting, make_bucket, moto

HERE = Path(__file__).parent
BUCKET = "recordings"
WITHIN = 60.0
"""Seconds that a server may take to start."""
_STARTED = time.monotonic()


def say(*lines: str) -> None:
    """Print a step, with the seconds since the start."""
    print(f"\n[{time.monotonic() - _STARTED:5.1f} s] {lines[0]}", *lines[1:], sep="\n", flush=True)


async def omnirecord(*words: str | Path) -> None:
    """Run a command of omnirecord, and print it with its output."""
    say("$ " + shlex.join(["omnirecord", *map(str, words)]))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "omnirecord", *map(str, words))
    if code := await process.wait():
        raise RuntimeError(f"omnirecord {words[0]} ended with exit code {code}")


@contextmanager
def nothing_left() -> Iterator[Path]:
    """Make a folder for the files. At the end, remove it and kill all processes that began here."""
    folder, marker = Path(tempfile.mkdtemp(prefix="omnirecord-lake-")), token_hex(8)
    os.environ[MARKER] = marker  # for all processes that begin here
    try:
        yield folder
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        kill_marked(marker)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def lake_on_s3() -> AsyncIterator[str]:
    """Run an S3 server with an empty lake in it. Its clients find it by variables of this process's environment."""
    with moto() as environment:
        os.environ.update(environment)
        make_bucket(BUCKET, environment)
        say(f"an S3 server runs at {environment['AWS_ENDPOINT_URL']}")
        await omnirecord("lake", "init", f"s3://{BUCKET}/lake")
        yield f"s3://{BUCKET}/lake"


@asynccontextmanager
async def omnigent() -> AsyncIterator[Stack]:
    """Run a real Omnigent, server and runner, whose model has a script."""
    async with Provider({**SCRIPT, TELL: story()}) as model, Stack(model.url) as stack:
        await stack.start_runner()
        say(f"Omnigent runs at {stack.url}, with a runner")
        yield stack


def story() -> Answer:
    """The answer during which a recorder is killed: 15 s of words."""
    told = SCRIPT[TELL]
    assert isinstance(told, Answer)
    return Answer(told.text[: len(told.text) // 4], delay_ms=100)


@asynccontextmanager
async def recorder(name: str, upstream: str, folder: Path, lake: str) -> AsyncIterator[Process]:
    """Run `omnirecord proxy`, which ships its recording to the lake."""
    options = ("--ship", lake, "--label", f"recorder={name}")
    async with Process(upstream, folder / f"{name}.db", *options) as process:
        say(f"$ omnirecord proxy --upstream {upstream} --db {name}.db {shlex.join(options)} --listen {process.url[7:]}")
        yield process


@asynccontextmanager
async def nginx(folder: Path, *recorders: str) -> AsyncIterator[str]:
    """Run nginx in front of the recorders."""
    port = free_port()
    new = ["@FOLDER@", "127.0.0.1:8080", "127.0.0.1:6868", "127.0.0.1:6869"]
    values = dict(zip(new, [str(folder), f"127.0.0.1:{port}", *(url[7:] for url in recorders)], strict=True))
    text = re.sub("|".join(map(re.escape, new)), lambda found: values[found[0]], (HERE / "nginx.conf").read_text())
    (folder / "nginx").mkdir()
    (folder / "nginx.conf").write_text(text)
    program = shutil.which("nginx") or "nginx"
    process = await asyncio.create_subprocess_exec(
        program,
        "-p",
        str(folder),
        "-e",
        str(folder / "nginx.log"),
        "-c",
        str(folder / "nginx.conf"),
        start_new_session=True,
    )
    try:
        await accepting(port, process, WITHIN)
        say(f"nginx runs at http://127.0.0.1:{port}, and hashes on the session id")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def replay(cassette: Path) -> AsyncIterator[str]:
    """Run `omnirecord serve`."""
    port = free_port()
    words = ["serve", str(cassette), "--timing", "instant", "--listen", f"127.0.0.1:{port}"]
    say("$ " + shlex.join(["omnirecord", *words]))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "omnirecord",
        *words,
        "--json",
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await accepting(port, process, WITHIN)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
