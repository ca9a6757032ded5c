"""`omnirecord proxy --ship`, as a process: a store that fails delays no stream, and at the end the lake has it all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

import omnirecord
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite.writer import shipped_to
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from tests.support.cassettes import HEALTHY
from tests.support.front import front
from tests.support.stores import bucket_url, shared_moto

SESSION = "717aee700fc441c59c658a3c2f9a2430"
FIRST = b"response.completed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "rotation", [pytest.param([], marks=pytest.mark.long), ["--rotate", "1h"]], ids=["one file", "rotation"]
)
def test_a_proxy_ships_its_recording_though_the_store_failed_meanwhile(
    rotation: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, db = bucket_url(shared_moto(), monkeypatch), tmp_path / "run.db"
    Lake(url).init()
    with (
        front(shared_moto()["AWS_ENDPOINT_URL"]) as store,
        omnirecord.replay(HEALTHY["text"], timing="instant", no_gate=True) as upstream,
    ):
        store.refuse = lambda *_: 503
        monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
        words = [sys.executable, "-m", "omnirecord", "proxy", "--upstream", upstream.url, "--listen", "127.0.0.1:0"]
        words += ["--db", str(db), "--ship", url, "--label", "team=blue", "--json", *rotation]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            proxy = json.loads(process.stdout.readline())["url"]
            heard = b""
            with httpx.stream("GET", f"{proxy}/v1/sessions/{SESSION}/stream", timeout=60) as answer:
                for some in answer.iter_bytes():
                    heard += some
                    if FIRST in heard:
                        break
            store.refuse = lambda *_: None
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=120)
    monkeypatch.setenv("AWS_ENDPOINT_URL", shared_moto()["AWS_ENDPOINT_URL"])
    assert process.returncode == 0, said
    assert shipped_to(db), said
    with closing(open_store(db)) as cassette:
        (recording,) = cassette.recordings()
        frames = sum(1 for x in cassette.streams() for _ in cassette.frames(x))
    with LakeQuery(Lake(url)) as query:
        sql = "SELECT recording_id, labels, events FROM recordings"
        assert list(query.run(sql).rows) == [(recording.recording_id, {"team": "blue"}, frames)]
        ((text,),) = query.run("SELECT string_agg(raw, '' ORDER BY seq) FROM events").rows
    assert text.encode().startswith(heard[: heard.index(FIRST)])
