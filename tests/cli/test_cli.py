"""The command line as scripts see it: outputs, exit codes, and a sentence for whatever is wrong."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from omnirecord.cassette.open import import_file
from tests.support import forked
from tests.support.cassettes import conversation
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.hop_tapes import model_hop
from tests.support.nobody import NOBODY, is_readable_as_nobody

CASSETTES = Path(__file__).parent.parent.parent / "cassettes"
EVENT_KEYS = [
    "recording", "stream", "session_id", "seq", "offset_ns", "sent_ns", "at", "event", "type", "sequence_number",
    "verdict", "issues", "data", "raw", "hop",
]  # fmt: skip
STREAM_KEYS = [
    "recording", "stream", "session_id", "party", "party_name", "method", "path", "status", "started_at", "duration_s",
    "frames", "events", "bytes", "ending", "verdicts", "hop",
]  # fmt: skip
EXCHANGE_KEYS = [
    "recording", "exchange", "kind", "session_id", "party", "party_name", "method", "path", "status", "started_at",
    "duration_s", "request_bytes", "response_bytes", "ending", "request_cut", "hop", "answered_from",
]  # fmt: skip
SESSION_KEYS = [
    "recording", "session_id", "started_at", "duration_s", "streams", "exchanges", "events", "last_status", "ending",
    "parent_session_id", "conclusion", "hop",
]  # fmt: skip


def rows(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(params=["db", pytest.param("jsonl", marks=pytest.mark.long)])
def cassette(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A real session as a database, and with `--long` as text, too."""
    text = tmp_path / "session.jsonl"
    shutil.copy(CASSETTES / "approval.jsonl", text)
    if request.param == "jsonl":
        return text
    import_file(text, tmp_path / "session.db")
    return tmp_path / "session.db"


def test_ls_json_has_a_row_for_each_session(cassette: Path) -> None:
    (row,) = rows(invoke("ls", cassette, "--json"))
    assert list(row) == SESSION_KEYS
    assert (row["streams"], row["last_status"], row["ending"]) == (1, "idle", "client_left")


def test_ls_streams_json_counts_frames_bytes_and_verdicts(cassette: Path) -> None:
    (row,) = rows(invoke("ls", cassette, "--streams", "--json"))
    assert list(row) == STREAM_KEYS
    assert row["verdicts"] == {"valid": row["frames"]}
    assert row["bytes"] == len(invoke("export", cassette, "--format", "sse").stdout_bytes)


def test_ls_exchanges_json_has_a_row_for_each_request(cassette: Path) -> None:
    found = rows(invoke("ls", cassette, "--exchanges", "--json"))
    assert all(list(row) == EXCHANGE_KEYS for row in found)
    assert [row["kind"] for row in found].count("sse") == 1


def test_ls_has_a_column_for_the_hop_if_there_are_several(tmp_path: Path) -> None:
    made = conversation()
    made.another_recording(hop="model")
    made.post("/v1/responses", 1.0, body="{}")
    path = made.save(tmp_path / "both.db")
    assert [row["hop"] for row in rows(invoke("ls", path, "--exchanges", "--json"))][-2:] == [None, "model"]
    head, *_, last = invoke("ls", path, "--exchanges").stdout.splitlines()
    assert (head.split()[:2], last.split()[1]) == (["no", "hop"], "model")
    assert "hop" not in invoke("ls", CASSETTES / "approval.jsonl", "--exchanges").stdout.splitlines()[0]


def test_ls_has_a_column_for_the_hop_if_only_a_hop_with_a_name_has_exchanges(tmp_path: Path) -> None:
    head, first = invoke("ls", model_hop(1).save(tmp_path / "model.db"), "--exchanges").stdout.splitlines()
    assert (head.split()[1], first.split()[1]) == ("hop", "model")


def test_events_json_has_all_keys_in_order(cassette: Path) -> None:
    found = rows(invoke("events", cassette, "--json"))
    assert all(list(row) == EVENT_KEYS for row in found)
    assert [row["seq"] for row in found] == list(range(1, len(found) + 1))
    assert found[0]["type"] == found[0]["event"] == "session.heartbeat"
    assert found[0]["at"].endswith("Z")


def test_events_can_be_narrowed_by_type_verdict_stream_and_session(cassette: Path) -> None:
    deltas = rows(invoke("events", cassette, "--type", "*.delta", "--json"))
    assert {row["type"] for row in deltas} == {"response.output_text.delta"}
    assert rows(invoke("events", cassette, "--verdict", "invalid", "--json")) == []
    assert rows(invoke("events", cassette, "--stream", "1", "--json"))
    assert rows(invoke("events", cassette, "--session", deltas[0]["session_id"][:8], "--json"))


@pytest.mark.parametrize(("option", "value"), [("--stream", "2"), ("--session", "nobody")])
def test_events_of_what_is_not_there_is_a_mistake(cassette: Path, option: str, value: str) -> None:
    result = invoke("events", cassette, option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there are" in result.stderr


def test_a_proxy_in_front_of_itself_is_refused_and_makes_no_cassette(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["--upstream", f"http://localhost:{port}", "--listen", f"127.0.0.1:{port}", "--db", tmp_path / "x.db"]
    result = invoke("proxy", *words)
    assert (result.exit_code, "own address" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_a_person_gets_a_table_and_lines(cassette: Path) -> None:
    assert "session" in invoke("ls", cassette).stdout.splitlines()[0]
    assert "response.elicitation_request" in invoke("events", cassette).stdout
    assert invoke("events", cassette, "--verdict", "invalid").stdout == "no events\n"


def test_text_there_and_back_is_the_same(cassette: Path, tmp_path: Path) -> None:
    first = invoke("export", cassette, "--format", "jsonl").stdout_bytes
    (tmp_path / "there.jsonl").write_bytes(first)
    invoke("import", tmp_path / "there.jsonl", "--db", tmp_path / "back.db", code=0)
    assert invoke("export", tmp_path / "back.db", "--format", "jsonl").stdout_bytes == first


def test_a_raw_body_there_and_back_is_the_same(cassette: Path, tmp_path: Path) -> None:
    invoke("export", cassette, "--format", "sse", "-o", tmp_path / "body.sse", code=0)
    invoke("import", tmp_path / "body.sse", "--db", tmp_path / "back.db", code=0)
    body = (tmp_path / "body.sse").read_bytes()
    assert invoke("export", tmp_path / "back.db", "--format", "sse").stdout_bytes == body


def test_verify_says_equal_with_its_figures(cassette: Path) -> None:
    (row,) = rows(invoke("verify", cassette, "--timing", "instant", "--json"))
    errors = ["timing_error_ms", "first_byte_error_ms", "first_event_error_ms"]
    assert list(row) == ["streams", "calls", "bytes", "equal", "missing", *errors]
    for error in errors:
        assert list(row[error]) == ["p50", "p99", "max"]
    assert (row["streams"], row["equal"], row["missing"]) == (1, True, 0)
    lines = invoke("verify", cassette, "--timing", "instant").stdout.splitlines()
    told = ["timing error", "error of the time to the first byte", "error of the time to the first event"]
    assert [line.partition(": p50 ")[0] for line in lines[1:]] == told


@pytest.mark.parametrize("words", [("verify", str(CASSETTES / "text.jsonl"), "--timing", "instant"), ("demo",)])
def test_a_replay_that_is_stuck_is_a_sentence(words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.replayer.verify.STUCK_AFTER", 0.0)
    result = invoke(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: the ")
    assert "did not finish: no byte came for 0 s; still open: /" in result.stderr


def wrong_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that are no usable cassette, each with what the sentence has to say."""
    lines = (CASSETTES / "approval.jsonl").read_text().splitlines(keepends=True)
    texts = {
        "prose.txt": "Dear diary,\n", "empty.jsonl": "", "other.jsonl": '{"a": 1}\n',
        "line17.jsonl": "".join([*lines[:16], lines[16][:40] + "\n", *lines[17:]]),
        "cut.jsonl": "".join(lines)[:-30],
        "newer.jsonl": lines[0].replace('"omnirecord": 1', '"omnirecord": 2'),
    }  # fmt: skip
    says = {
        "prose.txt": "no cassette", "empty.jsonl": "no cassette", "other.jsonl": "no cassette",
        "line17.jsonl": "line 17", "cut.jsonl": f"line {len(lines)}", "newer.jsonl": "upgrade omnirecord",
    }  # fmt: skip
    for name, content in texts.items():
        (folder / name).write_text(content)
        yield folder / name, says[name]
    yield from wrong_databases(folder)
    yield folder, "is a directory"
    yield folder / "nowhere.db", "does not exist"


def wrong_databases(folder: Path) -> Iterator[tuple[Path, str]]:
    import_file(CASSETTES / "approval.jsonl", folder / "good.db")
    data = (folder / "good.db").read_bytes()
    (folder / "cut.db").write_bytes(data[: len(data) // 2])
    (folder / "newer.db").write_bytes(data)
    with sqlite3.connect(folder / "newer.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with sqlite3.connect(folder / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE cats (name)")
    foreign.close()
    yield folder / "cut.db", "damaged"
    yield folder / "newer.db", "upgrade omnirecord"
    yield folder / "foreign.db", "no cassette"


COMMANDS = [
    ["ls"],
    ["events"],
    ["show"],
    ["show", "--follow"],
    ["doctor"],
    ["validate"],
    ["stats"],
    ["search", "word"],
    ["tail"],
    ["verify"],
    ["export", "--format", "jsonl"],
    ["serve", "--listen", "127.0.0.1:0"],
]


@each("command", COMMANDS)
def test_a_wrong_file_gets_one_sentence_and_is_left_as_it_was(command: list[str], tmp_path: Path) -> None:
    for path, says in wrong_files(tmp_path):
        if command[0] in ("doctor", "stats") and path.is_dir():
            continue  # they read the cassettes in a folder
        before = path.read_bytes() if path.is_file() else None
        result = invoke(command[0], path, *command[1:])
        assert result.exit_code == 2, f"{path.name}: {result.output}"
        assert says in result.stderr, f"{path.name}: {result.stderr}"
        assert len(result.stderr.splitlines()) == 1
        assert result.stdout == ""
        assert (path.read_bytes() if path.is_file() else None) == before


def test_a_failed_import_leaves_the_cassette_as_it_was(tmp_path: Path) -> None:
    broken = {path.name: path for path, _ in wrong_files(tmp_path)}["line17.jsonl"]
    before = (tmp_path / "good.db").read_bytes()
    assert "line 17" in invoke("import", broken, "--db", tmp_path / "good.db").stderr
    assert (tmp_path / "good.db").read_bytes() == before
    invoke("import", broken, "--db", tmp_path / "new.db", code=2)
    assert not (tmp_path / "new.db").exists()


@is_readable_as_nobody
def test_a_file_without_permission_gets_a_sentence(cassette: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        folder.chmod(0o755)
        shutil.copy(cassette, folder / cassette.name)
        (folder / cassette.name).chmod(0)
        for path in (folder / cassette.name, tmp_path_factory.getbasetemp() / "locked" / "x.db"):
            result = run_as_nobody("ls", path)
            assert (result.returncode, result.stdout) == (2, "")
            assert "permission" in result.stderr.lower() or "does not exist" in result.stderr
            assert len(result.stderr.splitlines()) == 1, result.stderr
    finally:
        shutil.rmtree(folder)


def run_as_nobody(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as another user if this one is root, who may read every file."""
    code = (
        "import os\n"
        "from omnirecord.cli import main\n"
        f"os.geteuid() == 0 and os.setuid({NOBODY})\n"
        f"main({[str(word) for word in words]!r})"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--upstream", "127.0.0.1:6767"], "needs a scheme"),
        (["--upstream", "http://user:pw@localhost:1"], "user or password"),
        (["--upstream", "ftp://localhost"], "needs a scheme"),
        (["--upstream", "http://localhost:99999"], "no URL"),
        (["--upstream", "http://localhost:1", "--listen", "6868"], "no HOST:PORT"),
        (["--upstream", "http://localhost:1", "--listen", "0.0.0.0:0"], "--allow-remote"),
        (["--upstream", "http://localhost:1", "--contract", "nothing"], "contract"),
        (["--upstream", "http://localhost:1", "--db", "."], "is a directory"),
        (["--upstream", "http://localhost:1", "--db", "nowhere/x.db"], "make the folder first"),
    ],
)
def test_a_proxy_that_cannot_be_gets_one_sentence(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke("proxy", "--listen", "127.0.0.1:0", *words, code=2)
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@each(
    "words",
    [["--timing", "instant", "--speed", "2"], ["--timing", "instant", "--max-gap", "1"], ["--speed", "0"],
     ["--max-gap", "-1"], ["--gate", "POST"], ["--no-gate", "--gate", "POST /x"], ["--listen", "host:"]],
)  # fmt: skip
def test_a_replay_that_cannot_be_gets_one_sentence(words: list[str], cassette: Path) -> None:
    result = invoke("serve", cassette, "--listen", "127.0.0.1:0", *words, code=2)
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_a_port_in_use_gets_a_sentence_from_both_servers(cassette: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for words in (["serve", cassette], ["proxy", "--upstream", "http://127.0.0.1:1", "--db", tmp_path / "p.db"]):
            result = invoke(*words, "--listen", listen)
            assert (result.exit_code, "is in use" in result.stderr) == (2, True)
    assert not (tmp_path / "p.db").exists()


def test_a_second_recorder_on_one_file_is_refused_and_without_a_terminal_the_first_is_quiet(tmp_path: Path) -> None:
    upstream = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{upstream.getsockname()[1]}"
    words = ["proxy", "--upstream", url, "--db", str(tmp_path / "one.db"), "--listen", "127.0.0.1:0"]
    with upstream, Started(*words) as (first, _):
        result = invoke(*words)
        assert (result.exit_code, "another omnirecord" in result.stderr) == (2, True)
        first.send_signal(signal.SIGINT)
        _, errors = first.communicate(timeout=10)
        assert (first.returncode, errors) == (0, "")


def test_the_ready_line_is_json_where_asked_and_sigterm_is_the_end(cassette: Path, tmp_path: Path) -> None:
    for words, keys in (
        (["serve", cassette], ["url", "cassette"]),
        (["proxy", "--upstream", "http://127.0.0.1:1", "--db", tmp_path / "p.db"], ["url", "db", "upstream"]),
    ):
        done = forked.run([*words, "--listen", "127.0.0.1:0", "--json"], stopped_by=signal.SIGTERM)
        assert list(json.loads(done.out.splitlines()[0])) == keys
        assert done.code == 0


class Started:
    """A command in a process of its own, once it has printed its first line."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __enter__(self) -> tuple[subprocess.Popen[str], str]:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "omnirecord", *self._words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        return self._process, self._process.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
