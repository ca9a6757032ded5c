"""The shipped cassettes: whole, nobody's, and replayed as they are. What the troubled ones show: test_troubled.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from omnirecord.analysis.gather import whole_sessions
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import open_store
from omnirecord.replayer.server import Replay
from omnirecord.replayer.verify import Rerun, Verification, compare, verify
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED
from tests.support.whatwg import CHUNKINGS

NAMES = {
    "text", "tool", "approval", "interrupt", "failed", "two_clients", "reconnect", "subagent", "turns", "responses",
}  # fmt: skip
TROUBLED_NAMES = {
    "runner_killed", "runner_killed_early", "approval_unanswered", "approval_timed_out", "missed_end", "server_stopped",
    "server_killed", "child_unfinished", "tool_hangs", "provider_busy", "retries", "slow_reader",
}  # fmt: skip
LARGEST = {"slow_reader": 1_500_000}
"""In bytes; others have up to 300,000."""
IN_BYTES = 20_000
"""Bytes of the largest cassette that is played byte by byte without `--long`."""
LOCAL_PATH = re.compile(rb"(?<!omnirecord-home)/(?:root|home|Users|work|var/folders|private|usr/lib)/|[A-Z]:\\\\")

each = pytest.mark.parametrize("path", [*HEALTHY.values(), *TROUBLED.values()], ids=lambda path: path.stem)


def test_all_of_them_are_there_and_described() -> None:
    page = (SHIPPED / "README.md").read_text()
    assert set(HEALTHY) == NAMES
    assert set(TROUBLED) == TROUBLED_NAMES
    assert all(f"| `{name}` |" in page for name in NAMES | TROUBLED_NAMES)


@each
def test_it_is_small_enough_for_git(path: Path) -> None:
    assert path.stat().st_size < LARGEST.get(path.stem, 300_000)


@each
def test_no_path_of_anybodys_machine_is_in_it(path: Path) -> None:
    assert LOCAL_PATH.search(path.read_bytes()) is None


@each
def test_every_event_in_it_is_valid(path: Path) -> None:
    store = open_store(path)
    verdicts = {verdict for x in store.streams() for verdict in store.tally(x)[0]}
    store.close()
    assert verdicts <= {"valid", "sentinel"}


@each
def test_reading_and_writing_it_changes_no_byte(path: Path) -> None:
    store = open_store(path)
    written = b"".join(jsonl_bytes(store))
    store.close()
    assert written == path.read_bytes()


def test_the_shell_command_of_the_tool_cassette_ran() -> None:
    store = open_store(HEALTHY["tool"])
    (told,) = whole_sessions(store)
    store.close()
    ((tool,),) = (turn.tools for turn in told.turns)
    assert json.loads(tool.output or "{}")["stdout"] == "3 poem.txt\n"


def _is_long(path: Path, chunking: str) -> bool:
    if path.stem in LARGEST:
        return chunking != "random:1"
    return chunking == "byte" and path.stat().st_size > IN_BYTES


CUT = [
    pytest.param(
        path, chunking, id=f"{path.stem}-{chunking}",
        marks=[pytest.mark.long] * _is_long(path, chunking),
    )
    for path in [*HEALTHY.values(), *TROUBLED.values()]
    for chunking in CHUNKINGS
    if chunking != "byte" or path.stem not in LARGEST  # half a million writes
]  # fmt: skip


@pytest.mark.parametrize(("path", "chunking"), CUT)
async def test_its_streams_are_equal_however_they_are_cut(path: Path, chunking: str) -> None:
    result = Verification()
    store = open_store(path)
    async with Replay(path, timing="instant", hold_opens=True, chunks=chunking) as server:
        for recording in store.recordings():
            rerun = Rerun(store, recording.recording, server.url, streams_only=True)
            await rerun.run(longest_wait=1.0)
            for seen in rerun.streams.values():
                compare(store, seen, result)
    assert (result.differences, result.streams) == ([], len(store.streams()))
    store.close()


@each
async def test_its_replay_is_equal(path: Path) -> None:
    result = await verify(path, timing="instant")
    assert result.differences == []
    assert result.bytes > 0
