"""Events whose bytes are not in the cassette: every command that hands on bytes says which, with exit code 1."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.support import forked, wire
from tests.support.cassettes import DONE, Made, delta, heartbeat
from tests.support.command import invoke
from tests.support.process import Process
from tests.support.wire import STREAM, Upstream, Wire, chunk, get

BEGINNING = heartbeat()
REST = delta("Hi", 3) + DONE
SIZE = 70_000_000
SAID = "stream 1, event 2: its 70,000,000 bytes are not in the cassette"


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    """As a recorder leaves it after an event that was larger than the limit."""
    tape = Made()
    tape.stream("s", 0.0, (0.0, BEGINNING), (1.0, b": large\n\n"), (2.0, REST), ending="done")
    path = tape.save(tmp_path / "small.db")
    invoke("export", path, "--format", "jsonl", "-o", tmp_path / "large.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "large.jsonl").read_text().splitlines()]
    for line in lines:
        if line.get("seq") == 2:
            line |= {"raw": None, "length": SIZE}
        elif "reads" in line:
            line["reads"][1][2] = SIZE
    (tmp_path / "large.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return tmp_path / "large.jsonl"


def test_the_body_of_a_stream_is_written_without_them(cassette: Path, tmp_path: Path) -> None:
    result = invoke("export", cassette, "--format", "sse", "-o", tmp_path / "a.sse")
    assert (tmp_path / "a.sse").read_bytes() == BEGINNING + REST
    assert result.stderr.splitlines()[-1] == f"omnirecord: {SAID}"
    assert result.exit_code == 1
    row = json.loads(invoke("export", cassette, "--format", "sse", "-o", tmp_path / "a.sse", "--json").stdout)
    assert row["missing"] == [{"stream": 1, "seq": 2, "length": SIZE}]


def test_the_text_form_is_written_with_their_length(cassette: Path, tmp_path: Path) -> None:
    result = invoke("export", cassette, "--format", "jsonl", "-o", tmp_path / "copy.jsonl")
    assert [json.loads(line) for line in (tmp_path / "copy.jsonl").read_text().splitlines()] == [
        json.loads(line) for line in cassette.read_text().splitlines()
    ]
    assert SAID in result.stderr
    assert result.exit_code == 1


def test_a_whole_cassette_lacks_nothing(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.0, BEGINNING), (2.0, REST), ending="done")
    result = invoke("export", tape.save(tmp_path / "a.db"), "--format", "jsonl", "-o", tmp_path / "a.jsonl", "--json")
    assert json.loads(result.stdout)["missing"] == []
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_replay_is_not_equal_to_what_is_missing(cassette: Path) -> None:
    result = invoke("verify", cassette)
    assert "a part cannot be compared" in result.stdout
    assert SAID in result.stdout
    assert result.exit_code == 1
    row = json.loads(invoke("verify", cassette, "--json").stdout)
    assert (row["equal"], row["missing"]) == (False, 1)


def test_a_server_says_what_it_leaves_out(cassette: Path) -> None:
    done = forked.run(["serve", cassette, "--listen", "127.0.0.1:0"], stopped_by=signal.SIGINT)
    assert f"{SAID}, and the replay leaves them out" in done.errors.decode()
    assert done.code == 0


@pytest.mark.slow
def test_an_event_over_64_mib_passes_and_is_named_as_missing(tmp_path: Path) -> None:
    piece = bytes([0x61]) * (1 << 20)

    async def serve(connection: Wire) -> None:
        await connection.request()
        await connection.send(STREAM + chunk(BEGINNING + b"data: "))
        for _ in range(65):
            await connection.send(chunk(piece))
        await connection.send(chunk(b"\n\n" + REST) + wire.END)

    async def record() -> None:
        async with Upstream(serve) as upstream, Process(upstream.url, tmp_path / "run.db") as proxy:
            answer = await wire.ask(proxy.url, get("/v1/sessions/s/stream"))
            assert (len(answer.body), answer.whole) == (len(BEGINNING + REST) + 65 * len(piece) + 8, True)
            assert (await proxy.end(signal.SIGINT))[0] == 0

    asyncio.run(record())
    result = invoke("export", tmp_path / "run.db", "--format", "sse", "-o", tmp_path / "a.sse")
    assert (tmp_path / "a.sse").read_bytes() == BEGINNING + REST
    assert f"event 2: its {65 * len(piece) + 8:,} bytes are not in the cassette" in result.stderr
    assert result.exit_code == 1
    invoke("verify", tmp_path / "run.db", code=1)
