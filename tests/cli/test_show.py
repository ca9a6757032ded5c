"""`omnirecord show` as a person and a pipe meet it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from omnirecord.cassette.sqlite import Writer, rows
from omnirecord.model import Recording
from tests.support import forked
from tests.support.cassettes import Made, created, delta, heartbeat
from tests.support.command import invoke

ROOT = Path(__file__).parent.parent.parent
TOOL = str(ROOT / "cassettes" / "tool.jsonl")
RECORDING = rows.recording(Recording(1, "2026-01-01T00:00:00+00:00", "0", "omnigent", None))

HELLO = b'{"type": "message", "data": {"role": "user", "content": "Hello?"}}'


def show(*words: str) -> Result:
    return invoke("show", *words)


def on_a_terminal(*words: str, **environment: str) -> str:
    """What a terminal gets to see."""
    return forked.on_a_terminal("show", *words, COLUMNS="100", **environment)[0]


def test_a_pipe_gets_no_escapes_and_no_line_is_wider_than_asked_for() -> None:
    for width in (40, 80, 200):
        done = show(TOOL, "--width", str(width))
        assert done.exit_code == 0
        assert "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= width


@pytest.mark.parametrize("words", [["--width", "5"], ["--silence", "-1"], ["--silence", "nan"]])
def test_what_cannot_be_is_said(words: list[str]) -> None:
    done = show(TOOL, *words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {words[0]} ")
    assert "Traceback" not in done.stderr


def test_a_number_of_an_exchange_in_place_of_a_session_is_told_as_one() -> None:
    assert "4 is the number of an exchange, which `omnirecord request` prints" in show(TOOL, "4").stderr


def test_a_terminal_gets_colours_unless_it_wants_none() -> None:
    assert "\x1b[1m" in on_a_terminal(TOOL)
    assert "\x1b[3" not in on_a_terminal(TOOL, NO_COLOR="1")


def test_markup_in_a_session_is_text(tmp_path: Path) -> None:
    made = Made()
    made.stream("s", 0.0, (0.0, heartbeat()), (1.0, created()), (2.0, delta("[red]Hi[/red] [link=x]y[/link]\x1b[2J")))
    seen = on_a_terminal(str(made.save(tmp_path / "a.db")))
    assert "[red]Hi[/red] [link=x]y[/link]" in seen
    assert "\x1b[2J" not in seen


def test_an_empty_cassette_says_so(tmp_path: Path) -> None:
    with closing(Writer(tmp_path / "a.db")) as writer:
        writer.write([RECORDING])
    assert show(str(tmp_path / "a.db")).stdout == "no sessions\n"


def test_following_what_is_recorded_no_more_tells_all_of_it_and_ends() -> None:
    done = show(TOOL, "--follow")
    assert done.exit_code == 0
    assert "Assistant: The poem in poem.txt has three lines." in done.stdout
    assert "Why it stops here: Finished" in done.stdout
    (row,) = show(TOOL, "--follow", "--json").stdout.splitlines()
    assert json.loads(row)["ended"] == "completed"


def test_following_ends_with_ctrl_c_and_tells_what_came_before(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    with closing(Writer(db)) as writer:
        writer.write([RECORDING])
        made = Made()
        made.stream("s", 0.0, (0.0, heartbeat()), (1.0, created()), (2.0, delta("Hi")), ending="eof")
        made.post("/v1/sessions/s/events", 0.5, body=HELLO)
        made.stream("s", 3.0, (3.0, heartbeat()), (4.0, created()), (5.0, delta("Hi again")), ending="open")
        made.post("/v1/sessions/s/events", 3.5, body=HELLO)
        command = [sys.executable, "-m", "omnirecord", "show", str(db), "--follow"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
            for exchange in made._exchanges:
                writer.write(exchange.rows)
            assert following.stdout is not None
            first = following.stdout.readline()  # it has begun
            time.sleep(0.5)
            following.send_signal(signal.SIGINT)
            told, errors = following.communicate(timeout=20)
    assert following.returncode == 0
    assert "Traceback" not in errors
    assert "Hi again" in first + told


def test_it_ends_with_the_labels_and_the_version_of_the_server(tmp_path: Path) -> None:
    more = '"labels": {"branch": "main", "job": "17"}, "server_version": "0.19.1"}]}'
    path = tmp_path / "a.jsonl"
    path.write_text(Path(TOOL).read_text().replace("}]}", f", {more}", 1))
    *_, blank, last = show(str(path)).output.splitlines()
    assert (blank, last) == ("", "Recording 1 · server 0.19.1 · branch=main · job=17")

    listed = invoke("ls", path, "--recordings", "--json")
    row = json.loads(listed.output)
    assert (row["labels"], row["server_version"], row["run_id"]) == ({"branch": "main", "job": "17"}, "0.19.1", None)
    assert "branch=main job=17" in invoke("ls", path, "--recordings").output
