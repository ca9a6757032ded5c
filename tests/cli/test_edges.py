"""The rough edges of the command line and of the Python API: each ends in a sentence or does no harm."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from omnirecord.cassette.open import import_file
from omnirecord.cli.listen import stop_signal
from omnirecord.cli.stderr import log_to_stderr
from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.replayer.matching.key import Key, difference, in_order, key_of, line, nearest
from omnirecord.replayer.player.timeline import timing_of
from omnirecord.server.listener import parse_listen
from omnirecord.wire.limits import checked_seconds
from tests.support import forked
from tests.support.cassettes import SHIPPED, Made, completed, created, delta
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.watchdog import slowness

OMNIRECORD = [sys.executable, "-m", "omnirecord"]
ANYWHERE = ["--listen", "127.0.0.1:0"]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def cassette(tmp_path: Path) -> Path:
    shutil.copy(Path(__file__).parent.parent.parent / "cassettes" / "approval.jsonl", tmp_path / "session.jsonl")
    import_file(tmp_path / "session.jsonl", tmp_path / "session.db")
    return tmp_path / "session.db"


def commands(cassette: Path, upstream: str = NOBODY) -> dict[str, list[str]]:
    return {
        "proxy": [*OMNIRECORD, "proxy", "--upstream", upstream, "--db", str(cassette.parent / "new.db"), *ANYWHERE],
        "serve": [*OMNIRECORD, "serve", str(cassette), *ANYWHERE],
    }


@pytest.mark.parametrize("name", ["session.jsonl", "session.db", "link.db", "other.db"])
def test_an_export_overwrites_neither_its_input_nor_a_database(name: str, cassette: Path) -> None:
    text = cassette.with_suffix(".jsonl")
    import_file(text, cassette.with_name("other.db"))
    cassette.with_name("link.db").symlink_to(cassette)
    target = cassette.with_name(name)
    before = target.read_bytes()
    done = invoke("export", text if name == "session.jsonl" else cassette, "--format", "jsonl", "-o", target)
    assert done.exit_code == 2
    assert "choose another --output" in done.stderr
    assert target.read_bytes() == before


def test_an_export_overwrites_a_text(cassette: Path) -> None:
    target = cassette.with_name("old.jsonl")
    target.write_text("old")
    invoke("export", cassette, "--format", "jsonl", "-o", target, code=0)
    assert target.read_bytes() == cassette.with_suffix(".jsonl").read_bytes()


def test_an_output_whose_name_is_too_long_gets_a_sentence(cassette: Path) -> None:
    for length, code in ((255, 0), (256, 2)):
        done = invoke("export", cassette, "--format", "jsonl", "-o", cassette.with_name("x" * length))
        assert done.exit_code == code
    assert "File name too long" in done.stderr


def test_a_proxy_needs_no_stdout(cassette: Path) -> None:
    upstream = socket.create_server(("127.0.0.1", 0))
    words = commands(cassette, f"http://127.0.0.1:{upstream.getsockname()[1]}")["proxy"]
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *words, "--json"]
    with upstream, subprocess.Popen(shell, stderr=subprocess.PIPE, text=True) as server:
        deadline = time.monotonic() + 120  # a busy machine
        while not cassette.with_name("new.db").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=20)
    assert (server.returncode, errors) == (0, "")


READING = [
    ["ls"], ["events"], ["show"], ["show", "--json"], ["show", "--follow"], ["doctor"], ["validate"], ["stats"],
    ["tail"], ["search", "notes"], ["export", "--format", "jsonl"],
]  # fmt: skip


@each("words", READING)
def test_without_stdout_there_is_no_traceback(words: list[str], cassette: Path) -> None:
    done = forked.run([words[0], cassette, *words[1:]], has_stdout=False)
    assert done.code in (0, 2)
    assert b"Traceback" not in done.errors


INTERRUPTED = """
import os, signal, sys
from omnirecord.__main__ import run

class CtrlC:
    def find_spec(self, name, path=None, target=None):
        if name == "{}":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, CtrlC())
run()
"""


@pytest.mark.parametrize(
    ("while_importing", "words"),
    [
        ("omnirecord.cli.doctor", ["doctor"]), ("omnirecord.analysis.doctor", ["doctor"]),
        *(pytest.param(*case, marks=pytest.mark.long) for case in (
            ("omnirecord.analysis.transcript", ["show"]), ("omnirecord.analysis.stats", ["stats"]),
            ("omnirecord.analysis.validate", ["validate"]), ("omnirecord.analysis.diff", ["diff", "other.db"]),
            ("omnirecord.analysis.search", ["search", "notes"]), ("omnirecord.analysis.listing", ["events"]),
        )),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)  # fmt: skip
def test_ctrl_c_is_no_traceback_and_no_finding(while_importing: str, words: list[str], cassette: Path) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(while_importing), words[0], str(cassette), *words[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def in_encoding(encoding: str, *words: str | Path) -> str:
    command = [*OMNIRECORD, *map(str, words)]
    settings = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run(command, capture_output=True, env=settings, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode(encoding)


def test_where_stdout_has_not_all_characters_the_others_are_escapes(tmp_path: Path) -> None:
    said = "caf\u00e9 \u2026 \U0001f600"
    made = Made()
    made.stream("s", 1.0, (1.0, created()), (2.0, delta(said)), (3.0, completed()))
    text = made.save(tmp_path / "a.db")
    assert "caf\u00e9 \\u2026 \\ud83d\\ude00" in in_encoding("latin-1", "show", text)
    assert json.loads(in_encoding("latin-1", "show", "--json", text)) == json.loads(
        invoke("show", "--json", text).stdout
    )


@each("columns", ["0", "1", "20"])
@each("words", [["show"], ["doctor"], ["stats"], ["validate"], ["ls"], ["search", "notes"]])
def test_a_terminal_of_any_width_shows_something(words: list[str], columns: str, cassette: Path) -> None:
    errors = cassette.with_name("errors")
    shown, code = forked.on_a_terminal(words[0], cassette, *words[1:], errors=errors, COLUMNS=columns)
    assert (code, errors.read_bytes()) == (0, b"")
    assert len(shown.strip()) > len(columns)


def test_events_have_room_for_what_they_say_on_80_columns(tmp_path: Path) -> None:
    path = SHIPPED / "troubled" / "runner_killed.jsonl"
    shown, code = forked.on_a_terminal("events", path, "--type", "session.status", errors=tmp_path / "e", COLUMNS="80")
    assert (code, "failed runner" in shown) == (0, True)
    assert max(map(len, shown.splitlines()[1:])) <= 80


@pytest.mark.parametrize("words", [["events"], ["export", "--format", "sse"]], ids=str)
def test_who_reads_no_further_makes_nothing_wrong(words: list[str], cassette: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [*OMNIRECORD, words[0], str(cassette), *words[1:]]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("name", ["proxy", pytest.param("serve", marks=pytest.mark.long)])
async def test_junk_from_a_client_gets_a_line_and_no_traceback(name: str, cassette: Path) -> None:
    server = forked.Running(commands(cassette)[name][len(OMNIRECORD) :])
    try:
        line = (await server.readline()).decode()
        address = urlsplit(next(word for word in line.split()[::-1] if _is_ours(word)))
        for junk in (b"GET /a b HTTP/1.1\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x00\xff\r\n\r\n"):
            with socket.create_connection((address.hostname or "", address.port or 0), timeout=10) as client:
                client.sendall(junk)
                assert b" 400 " in client.recv(100)
        server.send_signal(signal.SIGTERM)
    except BaseException:
        server.kill()
        raise
    errors = (await server.communicate())[1].decode()
    assert server.returncode == 0
    assert "Traceback" not in errors
    assert all(line.startswith("omnirecord: ") for line in errors.splitlines())


def _is_ours(word: str) -> bool:
    return word.startswith("http://127.0.0.1:") and word != NOBODY


NESTED = """
import asyncio, signal, sys
from {module} import stop_signal

def again(frame, kind, what):
    if kind == "return" and frame.f_code.co_filename.endswith("threading.py"):
        sys.setprofile(None)
        signal.raise_signal(signal.SIGTERM)

async def main():
    with stop_signal(lambda: None) as stop:
        sys.setprofile(again)
        signal.raise_signal(signal.SIGTERM)
        await stop.wait()

asyncio.run(main())
"""


def test_a_signal_that_interrupts_the_handler_of_another_does_not_block_for_ever() -> None:
    code = NESTED.format(module=stop_signal.__module__)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("first", "name"), [(signal.SIGINT, "proxy"), (signal.SIGTERM, "serve"), (signal.SIGHUP, "proxy")]
)
def test_further_signals_do_not_change_the_exit_code(first: signal.Signals, name: str, cassette: Path) -> None:
    upstream = socket.create_server(("127.0.0.1", 0))
    words = commands(cassette, f"http://127.0.0.1:{upstream.getsockname()[1]}")[name]
    with (
        upstream,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server,
    ):
        assert server.stdout is not None
        server.stdout.readline()
        server.send_signal(first)
        while server.poll() is None:
            time.sleep(0.002)
            server.send_signal(signal.SIGTERM)
            server.send_signal(signal.SIGINT)
        _, errors = server.communicate(timeout=20)
    assert (server.returncode, errors) == (0, "")


@pytest.mark.parametrize(
    ("name", "said"), [("proxy", "0 exchanges; read it with: omnirecord show"), ("serve", "0 requests, 0 unmatched")]
)
def test_on_a_terminal_it_says_at_the_end_what_there_is(name: str, said: str, cassette: Path) -> None:
    words = commands(cassette)[name][len(OMNIRECORD) :]
    shown, code = forked.on_a_terminal(*words, stopped_behind=b" http://127.0.0.1:", COLUMNS="200")
    assert (said in shown, code) == (True, 0)


@each("port", ["²", "٣", "65536", "9" * 5000, "-1", ""])
def test_a_port_that_is_none_gets_a_sentence(port: str) -> None:
    with pytest.raises(UsageError, match="is no HOST:PORT"):
        parse_listen(f"127.0.0.1:{port}", allow_remote=False)


@each(
    "words",
    [
        ["--speed", "1e-320"], ["--speed", "nan"], ["--speed", "1e300"], ["--max-gap", "1e308"], ["--max-gap", "-1"],
        ["--max-gap", "nan"], ["--skip-gates-after", "-1"], ["--skip-gates-after", "nan"],
        ["--skip-gates-after", "1e308"], ["--skip-gates-after", "-1"],
    ],
)  # fmt: skip
def test_a_time_that_no_clock_can_keep_is_refused(words: list[str], cassette: Path) -> None:
    done = invoke("serve", cassette, *ANYWHERE, *words)
    assert done.exit_code == 2
    assert "must be" in done.stderr


def test_the_longest_gap_at_the_slowest_speed_is_a_number() -> None:
    assert timing_of(speed=1e-6, max_gap=1e9).gap(1 << 62) > 0
    assert timing_of(speed=1e9).gap(1 << 62) > 0
    assert checked_seconds("x", 0.5) == 0.5


def recorded(*requests: tuple[str, str]) -> list[Key]:
    return in_order(key_of(method, target) for method, target in requests)


def test_the_same_method_and_the_same_beginning_are_nearest() -> None:
    found = nearest(
        key_of("GET", "/v1/nothing"),
        recorded(
            ("POST", "/v1/sessions"), ("GET", "/assets/nothing.js"), ("GET", "/v1/sessions/conv_0123456789abcdef/items")
        ),
    )  # fmt: skip
    assert str(found[0]) == "GET /v1/sessions/conv_0123456789abcdef/items"


@pytest.mark.parametrize(
    "target", ["/v1/sessions/conv_5000/itms", "/" + "a" * 200_000, "/" * 200_000], ids=["short", "long", "deep"]
)
def test_a_miss_does_not_hold_up_the_others(target: str) -> None:
    many = recorded(*(("GET", f"/v1/sessions/conv_{n}/items") for n in range(10_000)))
    took = []
    for _ in range(3):
        began = time.thread_time()
        key = key_of("GET", target)
        found = [line(key, one) + difference(key, one) for one in nearest(key, many)]
        took.append(time.thread_time() - began)
    assert len(found) == 3
    assert min(took) < 0.15 * slowness()
    assert "conv_5000" in found[0] or len(target) > 1000


async def test_a_proxy_that_was_not_entered_does_no_harm(tmp_path: Path) -> None:
    proxy = Proxy(NOBODY, tmp_path / "x.db")
    await proxy.stop()
    with pytest.raises(UsageError, match="does not record yet"):
        _ = proxy.recording
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize("port", [-1, 65536])
async def test_a_port_out_of_range_gets_a_sentence(port: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose one from"):
        async with Proxy(NOBODY, tmp_path / "x.db", port=port):
            pass


def test_reading_ahead_by_less_than_nothing_gets_a_sentence() -> None:
    with pytest.raises(UsageError, match="read_ahead"):
        Proxy(NOBODY, read_ahead=-1)


def test_a_lack_of_threads_is_a_sentence_and_no_finding(cassette: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a traceback with exit code 1."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    result = invoke("verify", cassette, "--timing", "instant")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: cannot start a thread")


def test_a_miss_on_stderr_has_its_lines_and_no_other_record_has_several(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("omnirecord")
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    log_to_stderr()
    written: list[str] = []
    handler = logger.handlers[0]
    monkeypatch.setattr(handler, "handle", lambda record: written.append(handler.format(record)))
    text = "GET /a was never recorded:\n  GET /b\nomnirecord: forged \x1b[2J"
    logger.warning("%s", text, extra={"has_lines": True})
    logger.warning("%s", "one\ntwo")
    assert written == [
        "omnirecord: GET /a was never recorded:\n  GET /b\n  omnirecord: forged \\x1b[2J",
        "omnirecord: one\\ntwo",
    ]  # fmt: skip


def test_what_asyncio_logs_is_one_sentence_a_minute_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection that failed for want of memory had a traceback on stderr."""
    loggers = [logging.getLogger(name) for name in ("omnirecord", "asyncio")]
    for logger in loggers:
        monkeypatch.setattr(logger, "handlers", [])
        monkeypatch.setattr(logger, "propagate", logger.propagate)
        monkeypatch.setattr(logger, "level", logger.level)
    log_to_stderr()
    written: list[logging.LogRecord] = []
    monkeypatch.setattr(loggers[0].handlers[0], "handle", written.append)
    for _ in range(100):
        loggers[1].error("Fatal read error\ntransport: <...>", exc_info=MemoryError())
    (said,) = written
    assert said.getMessage().startswith("there is not enough memory: Fatal read error (")
    assert said.exc_info is None


def test_many_ctrl_c_end_a_command_with_130_and_no_traceback() -> None:
    begin = """
from threading import Timer
from omnirecord.__main__ import run
Timer(0.5, print, kwargs={"flush": True}).start()
run()
"""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    words = [sys.executable, "-c", begin, "query", str(SHIPPED / "text.jsonl"), endless]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None:
            process.send_signal(signal.SIGINT)
            time.sleep(0.001)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors
