"""`scrub --forget`: a session leaves a cassette with all that belongs to it, and nothing else changes."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.forgetting import names_of
from omnirecord.cassette.export import write_lines
from omnirecord.cassette.jsonl import values
from omnirecord.cassette.open import open_store
from omnirecord.cassette.sqlite import Writer
from omnirecord.cassette.sqlite.writer import mark, number_made
from tests.support.cassettes import SHIPPED
from tests.support.command import invoke

BOTH_HOPS = SHIPPED / "both_hops"
FIRST, SECOND = "1e3ed69dbf0e4de0986e1df5de788de3", "a1b82b4706044908b3332d53ef72b460"
CHILD = "0973b691cec442b48dc75d6bf26f80a2"
"""The session of `both_text`, that of `both_subagent`, and the sub-agent of the latter."""
OTHER_RUN = "01a2202d-0000-7000-8000-000000000000"
PLANTED = "Ms Erika Mustermann, 1964?"
ASKED = "What is a flight recorder?"
"""The question of the first session, which the answers of both hops quote."""


def run(*words: str | Path, code: int = 0) -> str:
    result = invoke("scrub", *words, code=code)
    return result.output


def lines(*paths: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A cassette with two sessions and both hops; `PLANTED` is in events, bodies and model calls of the first one."""
    path = tmp_path / "two.db"
    planted = tmp_path / "planted.jsonl"
    planted.write_text((BOTH_HOPS / "both_text.jsonl").read_text().replace(ASKED, PLANTED))
    words = ["import", str(planted), str(BOTH_HOPS / "both_subagent.jsonl"), "--db", str(path)]
    invoke(*words, code=0)
    planted.unlink()
    return path


def of(path: Path) -> list[dict[str, Any]]:
    with closing(open_store(path)) as store:
        return list(json.loads(json.dumps(list(values(store)))))


def assert_forgotten(path: Path, before: list[dict[str, Any]]) -> None:
    """Check that nothing of the first session is in a folder, and that the rest is as before."""
    for one in path.parent.iterdir():
        data = one.read_bytes()
        assert PLANTED.encode() not in data, one
        assert FIRST.encode() not in data, one
    after = of(path)
    assert [one["recording"] for one in after[0]["recordings"]] == [3, 4]
    assert not any(one.get("part") for one in after[0]["recordings"])
    assert after[1:] == [one for one in before[1:] if _is_second(one, before)]


def _is_second(value: dict[str, Any], before: list[dict[str, Any]]) -> bool:
    recording_of = {one["exchange"]: one["recording"] for one in before if "request" in one}
    exchange_of = {one["stream"]: one["exchange"] for one in before if "request" in one and one["stream"] is not None}
    if "incident" in value:
        return bool(value["recording"] > 2)
    exchange = value["exchange"] if "exchange" in value else exchange_of[value["stream"]]
    return bool(recording_of[exchange] > 2)


@pytest.mark.parametrize("form", [".db", ".jsonl", ".db.zst", ".jsonl.zst"])
def test_a_session_leaves_a_cassette_with_its_model_calls_and_the_rest_stays(form: str, two: Path) -> None:
    before = of(two)
    path = two.parent / "folder" / f"session{form}"
    path.parent.mkdir()
    words = ["export", str(two), "--format", "jsonl" if "jsonl" in form else "zst", "-o", str(path)]
    if form == ".db":
        shutil.copy(two, path)
    else:
        invoke(*words, code=0)

    said = json.loads(run(path, "--forget", FIRST[:8], "--json"))

    assert (said["sessions"], said["exchanges"], said["recordings"]) == ([FIRST], 8, [1, 2])
    assert_forgotten(path, before)


def test_the_log_and_the_search_index_of_a_cassette_forget_too(two: Path) -> None:
    before = of(two)
    with closing(Writer(two)) as writer:
        writer.connection.execute("UPDATE recordings SET run_id = ? WHERE recording = 3", (OTHER_RUN,))
        kept = two.parent / "killed"
        kept.mkdir()
        for one in two.parent.glob("two.db*"):
            if not one.name.endswith("-lock"):
                shutil.copy(one, kept / one.name)
    path = kept / "two.db"
    assert (kept / "two.db-wal").stat().st_size  # of a killed recorder
    invoke("search", path, "Mustermann", code=0)
    before[0]["recordings"][2]["run_id"] = OTHER_RUN

    run(path, "--forget", FIRST)

    assert [one.name for one in kept.iterdir()] == ["two.db"]
    assert_forgotten(path, before)


def test_a_sub_agent_leaves_with_its_session_and_alone_its_parent_is_named(two: Path) -> None:
    said = run(two, "--forget", CHILD)
    assert "removed 1 session with 2 exchanges" in said
    assert f"the session {SECOND}, which started it, stays and may quote it" in said
    run(two, "--forget", SECOND)

    for one in (SECOND, CHILD):
        assert one.encode() not in two.read_bytes()


def test_an_exchange_that_lists_all_sessions_is_removed_too(two: Path, tmp_path: Path) -> None:
    path = tmp_path / "listed.jsonl"
    before = of(two)
    model = next(one for one in before if one.get("exchange") and one["recording"] == 3 and one["stream"] is None)
    listed = {
        **model,
        "exchange": 901,
        "session_id": None,
        "response": {**model["response"], "body": f'[{{"id":"{SECOND}"}}]'},
    }
    other = {**model, "exchange": 902, "session_id": None, "response": {**model["response"], "body": f'["{SECOND}0"]'}}
    feed: list[dict[str, Any]] = [
        {**model, "exchange": 903, "kind": "sse", "stream": 903, "session_id": None,
         "request": {**model["request"], "target": "/feed"}, "response": {**model["response"], "body": None}},
        {"stream": 903, "seq": 1, "raw": "data: {}\n\n"}, {"stream": 903, "reads": [[10, None, 10]]},
    ]  # fmt: skip
    for one in (listed, other, feed[0]):
        one["request"] = {**one["request"], "target": "/v1/other", "body": ""}
    write_lines([*before, listed, other, *feed], path, is_text=True, is_compressed=False)

    run(path, "--forget", SECOND)

    after = of(path)
    assert [one["exchange"] for one in after if one.get("exchange", 0) > 900] == [902, 903]
    assert [one["recording"] for one in after[0]["recordings"]] == [1, 2, 3]


def test_a_rotated_file_keeps_its_number(two: Path) -> None:
    with closing(Writer(two)) as writer:
        mark(writer.connection, two.name, 7)
    run(two, "--forget", FIRST)
    assert number_made(two) == 7


def test_a_copy_without_secrets_can_lack_a_session(two: Path, tmp_path: Path) -> None:
    before = two.read_bytes()
    copy = tmp_path / "folder" / "copy.jsonl"
    copy.parent.mkdir()
    run(two, "--forget", FIRST, "-o", copy)
    assert two.read_bytes() == before
    assert_forgotten(copy, of(two))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--forget", "nothing"), "no session begins with 'nothing'"),
        (("--forget", FIRST, "--check"), "--check lists secrets and changes nothing"),
        (("--forget", FIRST, "--forget", SECOND), "has nothing but these sessions: remove the file"),
    ],
)
def test_what_cannot_be_forgotten_is_a_sentence_and_changes_nothing(
    words: tuple[str, ...], said: str, two: Path
) -> None:
    before = of(two)
    assert said in run(two, *words, code=2)
    assert of(two) == before


def test_a_cassette_that_is_recorded_is_left_alone(two: Path) -> None:
    with closing(Writer(two)):
        assert "is being recorded" in run(two, "--forget", FIRST, code=2)


def test_it_asks_on_a_terminal(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.cli.scrub.is_terminal", lambda _stream: True)
    before = two.read_bytes()
    result = invoke("scrub", two, "--forget", FIRST, input="n\n")
    assert result.exit_code == 1
    assert FIRST in result.output
    assert two.read_bytes() == before
    invoke("scrub", two, "--forget", FIRST, input="y\n", code=0)


def test_of_several_cassettes_those_without_the_session_stay(two: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.jsonl"
    shutil.copy(BOTH_HOPS / "both_tool.jsonl", other)
    before = other.read_bytes()
    assert run(two, other, "--forget", FIRST).count("removed") == 1
    assert other.read_bytes() == before
    assert "no session of these cassettes begins with 'nothing'" in run(two, other, "--forget", "nothing", code=2)


def test_an_id_is_found_as_a_word() -> None:
    names = names_of(["abc", "conversation-2"])
    texts = (b'"abc"', b"/abc/", b"abcd", b"x-abc", b"conversation-2", b"conversation-21")
    assert [one for one in texts if names.search(one)] == [b'"abc"', b"/abc/", b"conversation-2"]


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_the_old_cassette_or_the_new_one(two: Path, long: bool) -> None:
    before, lot = of(two), random.Random(30)
    original = two.read_bytes()
    folder = two.parent / "folder"
    folder.mkdir()
    path = folder / "two.db"
    for _ in range(20 if long else 2):
        path.write_bytes(original)
        command = [sys.executable, "-m", "omnirecord", "scrub", str(path), "--forget", FIRST]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            begun = time.monotonic()
            while process.poll() is None and time.monotonic() - begun < 0.4 + lot.random():
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
        if any("exchange" in one and one.get("session_id") == FIRST for one in of(path)):
            assert of(path) == before
            run(path, "--forget", FIRST)
        for one in folder.iterdir():
            if one.is_dir():
                shutil.rmtree(one)  # of the killed process; the next command removes it after a minute
        assert_forgotten(path, before)
