"""What names a recording: its ids in all files of a run, its labels, and the version of the server."""

from __future__ import annotations

import gzip
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.cassette.sqlite.writer import mark_shipped, shipped_to
from omnirecord.model import Recording
from omnirecord.omnigent.contract import load
from omnirecord.recorder import files as file_module
from omnirecord.recorder.frames import FrameMaker
from omnirecord.recorder.operations import BodyData, Ended, Messaged, Op, Requested, Responded
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.rows import RowMaker
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.redactor import Redactor
from omnirecord.wire.limits import Rotation
from tests.support import wire
from tests.support.wire import answering, ask, get, recorded

VERSIONS = ("0.19.1", "0.20.0")


def recordings(db: Path) -> list[Recording]:
    with closing(open_store(db)) as store:
        return store.recordings()


def asks(thread: RecorderThread, target: str = "/x", body: bytes = b"{}") -> None:
    recorder = thread.begin_exchange("GET", target, ())
    recorder.respond("http", 200, "OK", ())
    recorder.body("response", body)
    recorder.end("eof")


async def test_the_files_of_one_run_share_its_id_its_labels_and_the_version_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "LEAST_AGE", 0.0)
    thread = RecorderThread(tmp_path / "run.db", "http://a", rotation=Rotation(size=1), labels={"branch": "main"})
    for body in (json.dumps({"server_version": version}).encode() for version in VERSIONS):
        before = thread.file
        asks(thread, "/v1/info", body)
        await wire.eventually(lambda before=before: thread.file is not before)
    thread.stop()
    found = [recordings(path) for path in sorted(tmp_path.glob("run-*.db"))]
    assert [one.server_version for (one,) in found] == ["0.19.1", "0.20.0", "0.20.0"]
    assert {(one.run_id, tuple(one.labels.items())) for (one,) in found} == {
        (found[0][0].run_id, (("branch", "main"),))
    }
    assert len({one.recording_id for (one,) in found}) == 3


async def test_a_recording_that_goes_on_in_a_new_file_has_a_new_id_in_the_same_run(tmp_path: Path) -> None:
    db, moved = tmp_path / "run.db", tmp_path / "moved.db"
    thread = RecorderThread(db, "http://a", labels={"a": "1"})
    asks(thread, "/v1/info", b'{"server_version": "0.19.1"}')
    await wire.eventually(lambda: recordings(db)[0].server_version)
    db.rename(moved)
    await wire.eventually(db.exists)
    thread.stop()
    (old,), (new,) = recordings(moved), recordings(db)
    assert (new.recording, new.run_id, new.labels, new.server_version) == (1, old.run_id, {"a": "1"}, "0.19.1")
    assert new.recording_id != old.recording_id


def test_two_runs_have_two_ids_in_one_file_which_is_no_longer_marked_as_shipped(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    RecorderThread(db, "http://a").stop()
    assert mark_shipped(db, "s3://lake")
    RecorderThread(db, "http://a").stop()
    one, other = recordings(db)
    assert len({one.recording_id, other.recording_id, one.run_id, other.run_id}) == 4
    assert shipped_to(db) == frozenset()


def test_the_value_of_a_label_with_the_name_of_a_secret_does_not_reach_the_disk(tmp_path: Path) -> None:
    db = tmp_path / "run.db"
    RecorderThread(db, "http://a", labels={"api_key": "hunter2-hunter2"}).stop()
    assert recordings(db)[0].labels["api_key"].startswith("omnirecord-redacted-")
    assert b"hunter2" not in wire.bytes_on_disk(db)


async def test_the_proxy_keeps_labels_and_the_version_that_an_answer_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIRECORD_LABELS", "job=17,branch=other")
    body = gzip.compress(b'{"server_version": "0.19.1"}')
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    async with recorded(answering(head % len(body) + body), tmp_path, labels={"branch": "main"}) as (proxy, _):
        await ask(proxy.url, get("/v1/info"))
    (value,) = recordings(tmp_path / "run.db")
    assert (value.labels, value.server_version) == ({"branch": "main", "job": "17"}, "0.19.1")


def test_a_bad_label_is_told_before_anything_is_opened(tmp_path: Path) -> None:
    for make in (
        lambda: Proxy("http://a", tmp_path / "a.db", labels=["x"]),
        lambda: omnirecord.record("http://a", tmp_path / "a.db", labels={"a b": "1"}),
    ):
        with pytest.raises(omnirecord.UsageError, match="label"):
            make()
    assert list(tmp_path.iterdir()) == []


# One exchange, by its operations.


def version_of(*ops: Op) -> str | None:
    with closing(Writer(None)) as writer:
        maker = RowMaker(1, Redactor(b"key"), FrameMaker(writer, 1, load("omnigent")))
        writer.write([rows.recording(Recording(1, "2026-01-01T00:00:00Z", "0", "omnigent", None))])
        writer.write(maker.rows(ops))
        (stored,) = writer.connection.execute("SELECT server_version FROM recordings").fetchone()
        assert stored == maker.server_version
        return stored


def answer(target: str, body: bytes, status: int = 200, method: str = "GET", number: int = 1) -> list[Op]:
    return [
        Requested(number, "client", 1, method, target, ()),
        Responded(number, "http", None, 2, status, "", ()),
        *(BodyData(number, "response", body[at : at + 5]) for at in range(0, len(body), 5)),
        Ended(number, 9, "eof"),
    ]


def tunnel(target: str, *messages: tuple[Any, Any]) -> list[Op]:
    made = (Messaged(1, n, 3, way, 1, json.dumps(value).encode()) for n, (way, value) in enumerate(messages))
    return [Requested(1, "runner", 1, "GET", target, ()), Responded(1, "websocket", None, 2, 101, "", ()), *made]


def begins(version: str) -> dict[str, str]:
    return {"kind": "request", "body": json.dumps({"session_init": {"server_version": version}})}


TUNNEL = "/v1/runners/r/tunnel"
HELLO = ("up", {"kind": "hello", "runner_version": "0.1"})


@pytest.mark.parametrize(
    ("ops", "version"),
    [
        (answer("/v1/info", b'{"server_version": "0.19.1"}'), "0.19.1"),
        (answer("/api/version", b'{"version": "0.19.1"}'), "0.19.1"),
        (answer("/v1/info", b'{"server_version": "0.19.1"}', status=404), None),
        (answer("/v1/info", b'{"server_version": "0.19'), None),
        (answer("/v1/sessions", b'{"id": "s", "server_version": "6"}', method="POST"), None),
        (tunnel(TUNNEL, HELLO, ("down", begins("0.19.1")), ("down", begins("6.6.6"))), "0.19.1"),
        (tunnel(TUNNEL, HELLO, ("up", begins("6.6.6"))), None),
        (tunnel("/v1/sessions/updates", ("down", begins("6.6.6"))), None),
    ],
)
def test_the_version_is_read_where_the_server_tells_it(ops: list[Op], version: str | None) -> None:
    assert version_of(*ops) == version


def test_a_server_that_is_replaced_has_its_last_version() -> None:
    told = (json.dumps({"version": one}).encode() for one in VERSIONS)
    first, second = (answer("/api/version", body, number=number) for number, body in enumerate(told, 1))
    assert version_of(*first, *second) == "0.20.0"
