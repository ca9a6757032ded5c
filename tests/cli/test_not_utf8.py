"""A stream with bytes that are not UTF-8: recorded exactly, shown by every command, and judged `malformed`."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import Result

from omnirecord import open_cassette
from omnirecord.cassette.framing import Framer
from tests.support import wire
from tests.support.cassettes import CONTRACT, DONE, delta, event, heartbeat
from tests.support.command import invoke
from tests.support.process import ForkedProcess
from tests.support.wire import STREAM, Upstream, Wire, chunk, connected, get

BAD = delta("caf~ au lait ", 2).replace(b"~", b"\xe9")
"""Latin-1: 0xE9 is no UTF-8 before a space."""
RESPONSE = {"id": "r", "status": "in_progress", "model": "m", "created_at": 1}
FRAMES = [
    heartbeat(), event("response.created", response=RESPONSE), delta("Un ", 1), BAD, delta("please.", 3),
    BAD.replace(b": 2", b": 4"),
    event("response.completed", response={**RESPONSE, "status": "completed"}).replace(b'"m"', b'"m\xff"'),
    b": a comment \xff\n\n", DONE,
]  # fmt: skip
BODY = b"".join(FRAMES)
MESSAGE = b'{"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": "hello"}]}}'
POST = b"POST /v1/sessions/s/events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
POST += b"Content-Length: %d\r\n\r\n%b" % (len(MESSAGE), MESSAGE)


async def serve(connection: Wire) -> None:
    line, _, _ = await connection.request()
    if line.startswith(b"POST"):
        await connection.send(b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}")
        return
    await connection.send(STREAM)
    for frame in FRAMES:
        await connection.send(chunk(frame))
        await asyncio.sleep(0.01)
    await connection.send(wire.END)


async def record(db: Path, *options: str) -> tuple[bytes, str]:
    """What a client gets through `omnirecord proxy`, and its stderr, with the live view."""
    async with Upstream(serve) as upstream, ForkedProcess(upstream.url, db, *options, json=False) as proxy:
        await wire.ask(proxy.url, POST)
        async with connected(proxy.url, get("/v1/sessions/s/stream")) as client:
            _, headers = await client.head()
            body, _ = await client.body(headers)
        await asyncio.sleep(1)  # the view is drawn by a clock of its own
        proxy.process.send_signal(signal.SIGINT)
        _, errors = await proxy.process.communicate()
        return body, errors.decode()


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, str]:
    db = tmp_path_factory.mktemp("not-utf8") / "run.db"
    return db, *asyncio.run(record(db))


@pytest.fixture
def db(taken: tuple[Path, bytes, str], tmp_path: Path) -> Path:
    return Path(shutil.copy(taken[0], tmp_path))


def run(*words: str | Path) -> Result:
    result = invoke(*words)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_client_and_the_live_view_get_it(taken: tuple[Path, bytes, str]) -> None:
    _, body, told = taken
    assert body == BODY
    assert "malformed  response.output_text.delta is not UTF-8: 0xE9 at byte 115" in told
    assert "caf\ufffd au lait please." in told
    assert "turn       completed" in told


def test_it_is_malformed_with_the_type_and_the_place_of_the_byte() -> None:
    framer = Framer(None, CONTRACT)
    judged = [one.judgement for one in framer.feed(0, BODY)]
    verdicts = [one.verdict for one in judged]
    assert verdicts == ["valid"] * 3 + ["malformed", "valid", "malformed", "malformed", "comment", "sentinel"]
    assert judged[3].type == "response.output_text.delta"
    assert judged[3].sequence_number == 2
    assert [issue.message for issue in judged[3].issues] == ["is not UTF-8: 0xE9 at byte 115"]


@pytest.mark.parametrize(
    "words",
    [
        ["tail", "{}"], ["tail", "{}", "--verbose"], ["tail", "{}", "--json"], ["events", "{}"],
        ["events", "{}", "--json"], ["show", "{}"], ["show", "{}", "--follow"], ["show", "{}", "--json"],
        ["search", "{}", "caf"], ["diff", "{}", "{}"], ["ls", "{}", "--streams"], ["sessions", "{}"], ["stats", "{}"],
        ["query", "{}", "select * from events"], ["export", "{}", "--format", "jsonl"],
    ],
)  # fmt: skip
def test_every_command_takes_it(db: Path, words: list[str]) -> None:
    result = run(*(word.format(db) for word in words))
    assert result.exit_code == 0, result.output
    assert result.stdout


def test_the_malformed_events_are_found_and_shown(db: Path) -> None:
    rows = [json.loads(line) for line in run("events", db, "--json", "--verdict", "malformed").stdout.splitlines()]
    assert [row["seq"] for row in rows] == [4, 6, 7]
    assert rows[0]["data"]["delta"] == "caf\ufffd au lait "
    assert set(rows[0]["raw"]) == {"base64"}
    assert rows[0]["issues"] == [{"path": "", "message": "is not UTF-8: 0xE9 at byte 115"}]
    assert "\n                             is not UTF-8: 0xE9 at byte 115\n" in run("events", db).stdout
    shown = run("show", db).stdout
    assert "Un caf\ufffd au lait please.caf\ufffd au lait" in shown
    assert "completed after" in shown
    found = run("doctor", db)
    assert found.exit_code == 1
    assert "2 events of type response.output_text.delta with bytes that are not UTF-8" in found.stdout
    checked = run("validate", db)
    assert checked.exit_code == 1
    assert "3 malformed" in checked.stdout


def test_every_copy_has_the_same_bytes_and_verdicts(db: Path, tmp_path: Path) -> None:
    copies = [tmp_path / name for name in ("a.jsonl", "b.db", "c.db", "d.zst")]
    assert run("export", db, "--format", "jsonl", "-o", copies[0]).exit_code == 0
    assert run("import", copies[0], "--db", copies[1]).exit_code == 0
    assert run("scrub", db, "-o", copies[2]).exit_code == 0
    assert run("export", db, "--format", "zst", "-o", copies[3]).exit_code == 0
    for one in (db, *copies):
        assert run("export", one, "--format", "sse", "--stream", "1").stdout_bytes == BODY
        rows = run("events", one, "--json").stdout.splitlines()
        assert [json.loads(row)["verdict"] for row in rows].count("malformed") == 3
        with open_cassette(one) as cassette:
            (stream,) = cassette.streams()
            assert len(list(stream.events())) == len(rows) - 2  # without the comment and [DONE]
    assert run("export", copies[1], "--format", "jsonl").stdout == copies[0].read_text()
    assert run("diff", db, copies[0]).exit_code == 0


def test_a_replay_has_the_same_bytes(db: Path) -> None:
    result = run("verify", db, "--json")
    assert json.loads(result.stdout)["equal"] is True


def test_the_page_has_the_events(db: Path, tmp_path: Path) -> None:
    assert run("export", db, "--format", "html", "-o", tmp_path / "page.html").exit_code == 0


def test_a_masked_stream_keeps_the_invalid_bytes(tmp_path: Path) -> None:
    body, _ = asyncio.run(record(tmp_path / "run.db", "--redact", "content", "--quiet"))
    assert body == BODY
    assert run("export", tmp_path / "run.db", "--format", "sse", "--stream", "1").stdout_bytes == BODY
