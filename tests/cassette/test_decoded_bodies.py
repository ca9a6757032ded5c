"""Compressed bodies: every reader gets their content, and only code that passes bytes on gets the bytes of the wire."""

from __future__ import annotations

import ast
import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import brotli
import pytest

import omnirecord
from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.search import search
from omnirecord.analysis.stats import measured
from omnirecord.analysis.transcript import lines_of
from omnirecord.analysis.transcript.follow import Following
from omnirecord.cassette.open import open_store
from omnirecord.replayer.player import GateRule
from omnirecord.replayer.player.plan import ReplayPlan
from omnirecord.ui.data import overview
from omnirecord.ui.events import exchange
from omnirecord.wire.content_coding import zstd
from tests.support.cassettes import ANSWER, JSON, Made, event, heartbeat, status
from tests.support.examples import each

PACKAGE = Path(__file__).parent.parent.parent / "omnirecord"
PASSES_BYTES_ON = {
    "analysis/forgetting.py": "looks for the id of a session in a body that is too large to be decoded",
    "cli/request.py": "prints a command that sends the request again with its header fields",
    "cassette/jsonl/format.py": "writes what was on the wire",
    "lake/extract.py": "stores what was on the wire",
    "replayer/player/plan.py": "answers with the recorded header fields",
    "cassette/open.py": "promises the bytes of the wire",
    "replayer/verify.py": "sends the request again with its header fields",
    "ui/events.py": "shows a command that sends the request again with its header fields",
}
"""The modules that take a body as it was on the wire, and why. Every other module takes `decoded_body`."""
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
TEXT = "Where is the lighthouse?"


def made(coding: str | None) -> Made:
    """A conversation whose bodies all have that content coding."""
    encode = CODINGS[coding] if coding else bytes
    coded = (("content-encoding", coding),) if coding else ()

    def body(value: Any) -> bytes:
        return encode(json.dumps(value).encode())

    taken = {"type": "message", "item_id": "i", "data": {"role": "user", "content": TEXT}}
    tape = Made()
    tape.get("/v1/sessions/s", 0.5, body({"id": "s", "status": "idle", "title": "A tale"}), headers=(*JSON, *coded))
    tape.stream(
        "s", 1.0, (1.0, heartbeat()), (2.4, event("session.input.consumed", conversation_id="s", data=taken)),
        (2.5, status("running")), *ANSWER, end=6.0,
    )  # fmt: skip
    message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": TEXT}]}}
    tape.post(
        "/v1/sessions/s/events", 2.0, until=2.2, status=202, body=body(message), answer=body({"item_id": "i"}),
        headers=(*JSON, *coded), sent=coded,
    )  # fmt: skip
    return tape


def told(tape: Made, folder: Path) -> dict[str, Any]:
    """What each reader makes of it, without the sizes on the wire."""
    path = tape.save(folder / "made.db")
    with closing(open_store(path)) as store:
        following = Following(None)
        following.look(store)
        numbers = list(measured(store))
        sessions = overview(store, "made")["sessions"]
        posted = next(x for x in store.exchanges() if x.request.method == "POST")
        found = {
            "show": [str(line) for line in lines_of(store, None)],
            "show --follow": [str(line) for line in following.news(last=True)],
            "stats": [(one.first_token_s, one.turns) for one in numbers],
            "doctor": [(one.code, one.message) for one in examine(store)],
            "asked": [one["asked"] for one in sessions],
            "page": {side: exchange(store, posted.exchange)[side]["body"] for side in ("request", "response")},
        }
    hits = search(path, "lighthouse").hits
    return {**found, "search": [(hit.row["data"], hit.row["raw"], hit.exchange) for hit in hits]}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_reader_tells_the_same_of_compressed_bodies(coding: str, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / coding).mkdir()
    plain = told(made(None), tmp_path / "plain")
    assert told(made(coding), tmp_path / coding) == plain
    assert plain["asked"] == [TEXT]
    assert plain["stats"][0][0] is not None
    assert any(TEXT in line and "1.50 s" in line for line in plain["show"])


@pytest.mark.parametrize("coding", CODINGS)
def test_a_cassette_with_compressed_bodies_does_not_differ_from_one_without(coding: str, tmp_path: Path) -> None:
    a, b = made(None).save(tmp_path / "a.db"), made(coding).save(tmp_path / "b.db")
    assert not [one for one in omnirecord.diff(a, b) if one.kind != "timing"]


@each("coding", CODINGS)
def test_a_replay_reads_compressed_lists_of_sessions(coding: str) -> None:
    tape, rows = made(coding), {"data": [{"id": "s", "title": "A tale"}]}
    answer = CODINGS[coding](json.dumps(rows).encode())
    tape.get("/v1/sessions", 7.0, answer, headers=(*JSON, ("content-encoding", coding)))
    assert [row for _, row in ReplayPlan(tape.store(), GateRule()).session_rows] == rows["data"]


def test_only_modules_that_pass_bytes_on_take_a_body_as_it_was_on_the_wire() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)) if ".body(" in text else ():
            takes = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "body"
            if takes and "store" in ast.unparse(node.func.value):  # type: ignore[attr-defined]
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == PASSES_BYTES_ON.keys()
