"""A lake with sessions of several days, labels and server versions, and a session whose texts are hostile."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import omnirecord
from omnirecord.cassette.open import open_store
from omnirecord.lake.location import Lake
from omnirecord.lake.page import LakeViewer
from omnirecord.lake.ship import Shipper
from omnirecord.server.listener import Background
from tests.support.cassettes import HEALTHY, TROUBLED, Made, completed, created, event, lines, status

RECORDED = (
    ("turns", "2026-11-20", {"team": "blue", "env": "ci"}, "0.19.0"),
    ("approval", "2026-11-20", {"team": "red"}, "0.19.0"),
    ("tool_hangs", "2026-11-21", {"team": "blue"}, "0.19.1"),
    ("runner_killed", "2026-11-23", {"team": "blue", "env": "ci"}, "0.19.1"),
    ("subagent", "2026-11-24", {}, None),
    ("two_clients", "2026-11-24", {"team": "red"}, "0.20.0"),
)
"""Shipped cassettes: name, day, labels, server version."""
EVIL_ID = "../<b>%2e#?&=\u202e"
EVIL = "<script>window.owned=1</script><img src=x onerror='window.owned=2'>\u202eevil\x1b[2J"


def filled(url: str, folder: Path) -> Lake:
    """Return a new lake with `RECORDED`."""
    lake = Lake(url)
    lake.init()
    ship(lake, [dated(folder, *one) for one in RECORDED])
    return lake


def ship(lake: Lake, paths: list[Path]) -> None:
    """Ship cassettes. Fails if one is not shipped."""
    with closing(Shipper(lake)) as shipper:
        assert {one.status for one in shipper.ship(paths)} == {"shipped"}


def dated(folder: Path, name: str, day: str, labels: dict[str, str], version: str | None) -> Path:
    """Return a shipped cassette as if it had been recorded on another day, with labels."""
    text = {**HEALTHY, **TROUBLED}[name].read_text()
    return changed(text, folder / f"{name}-{day}.jsonl", day, labels, version)


def changed(text: str, path: Path, day: str, labels: dict[str, Any], version: str | None) -> Path:
    """Write a text form with another day, labels and server version; return its path."""
    head, rest = text.split("\n", 1)
    value = json.loads(head)
    for one in value["recordings"]:
        one["started_at"] = day + one["started_at"][10:]
        one["labels"] = labels
        if version is not None:
            one["server_version"] = version
    path.write_text(f"{json.dumps(value)}\n{rest}")
    return path


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process import the lake again, as if a package of its extra were not installed."""
    if loaded := sys.modules.get("omnirecord.lake"):
        monkeypatch.setattr(omnirecord, "lake", loaded)  # put back for later tests: the import below replaces it
    for module in [name for name in sys.modules if name.startswith("omnirecord.lake")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)


@contextmanager
def showing_lake(url: str) -> Iterator[str]:
    """The address of the page on a lake."""
    viewer = LakeViewer(url)
    background = Background(viewer)
    background.start()
    try:
        yield viewer.address
    finally:
        background.stop()


def again(
    folder: Path, name: str, day: str, number: int, labels: dict[str, str] | None = None, version: str | None = None
) -> Path:
    """Return a copy of a cassette with session ids of its own."""
    text = {**HEALTHY, **TROUBLED}[name].read_text()
    ids = {found: f"{number:04x}{found[4:]}" for found in re.findall(r"[0-9a-f]{32}", text)}
    text = re.sub(r"[0-9a-f]{32}", lambda found: ids[found[0]], text)
    return changed(text, folder / f"{name}-{number}.jsonl", day, labels or {}, version)


def drifted(folder: Path, day: str = "2026-11-24", version: str = "0.20.0") -> Path:
    """Return a cassette with events that differ from the contract."""
    tape, name = Made(), f"drifted-{day}"
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": name})
    reads = [status("running"), created(), event("response.novel", x=1), event("session.status"), completed()]
    tape.stream(name, 0.5, *[(1.0 + n / 10, read) for n, read in enumerate(reads)])
    return _saved(tape, folder / name, day, {}, version)


def hostile(folder: Path) -> Path:
    """Return a cassette whose session id, question and labels are what a page might act upon."""
    tape = Made()
    message = {"type": "message", "data": {"role": "user", "content": [{"type": "input_text", "text": EVIL}]}}
    tape.post("/v1/sessions", 0.0, until=0.1, status=201, answer={"id": "HOSTILE"})
    tape.post("/v1/sessions/HOSTILE/events", 1.0, body=message, answer={"item_id": "i"})
    tape.stream(
        "HOSTILE", 0.5, *[(2.0 + n / 10, one) for n, one in enumerate((status("running"), created(), completed()))]
    )
    path = _saved(tape, folder / "hostile", "2026-11-24", {"team": EVIL[:40], "q": "a=b&c#d"}, EVIL[:40])
    path.write_text(path.read_text().replace("HOSTILE", json.dumps(EVIL_ID)[1:-1]))
    return path


def _saved(tape: Made, path: Path, day: str, labels: dict[str, str], version: str | None) -> Path:
    tape.save(path.with_suffix(".db"))
    with closing(open_store(path.with_suffix(".db"))) as store:
        text = "".join(f"{line}\n" for line in lines(store))
    return changed(text, path.with_suffix(".jsonl"), day, labels, version)
