"""A mistake on the command line is one sentence with the right word; work that takes long shows how far it is."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnirecord.cassette.open import import_file
from omnirecord.cli import main
from omnirecord.cli.stderr import busy, progress
from tests.support.cassettes import HEALTHY
from tests.support.examples import each

SSE = b'event: session.heartbeat\ndata: {"type": "session.heartbeat"}\n\n'


def said(*words: str) -> str:
    """Stderr of a call that is refused."""
    result = CliRunner().invoke(main, list(words), prog_name="omnirecord")
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


@each(
    ("words", "sentence"),
    [
        ("record", "No such command 'record'. Did you mean omnirecord proxy? Try: omnirecord --help"),
        ("replay a.jsonl", "No such command 'replay'. Did you mean omnirecord serve? Try: omnirecord --help"),
        ("prox", "No such command 'prox'. Did you mean omnirecord proxy? Try: omnirecord --help"),
        ("zzz", "No such command 'zzz'. Try: omnirecord --help"),
        (
            "serve a --port 1",
            "No such option '--port'. Did you mean '--listen [NAME=]HOST:PORT'? Try: omnirecord serve --help",
        ),
        ("proxy --url u", "No such option '--url'. Did you mean '--upstream [NAME=]URL'? Try: omnirecord proxy --help"),
        ("proxy", "Missing option '--upstream'. Try: omnirecord proxy --help"),
        (
            "show a.jsonl --session 04",
            "No such option '--session': name the session as in: omnirecord show session.db#04cc."
            " Try: omnirecord show --help",
        ),
        (
            "serve --session 04 a.jsonl",
            "No such option '--session': name the session as in: omnirecord serve session.db#04cc."
            " Try: omnirecord serve --help",
        ),
        (
            "doctor --cassette a.db",
            "No such option '--cassette': write CASSETTE without it, as in: omnirecord doctor CASSETTE [SESSION]."
            " Try: omnirecord doctor --help",
        ),
        ("recrd", "No such command 'recrd'. Did you mean omnirecord proxy? Try: omnirecord --help"),
        ("ls a.jsonl --sream", "No such option '--sream'. Did you mean '--streams'? Try: omnirecord ls --help"),
    ],
)
def test_a_wrong_word_gets_one_sentence_with_the_right_one(words: str, sentence: str) -> None:
    assert said(*words.split()) == f"Error: {sentence}\n"


def test_every_error_has_one_form(tmp_path: Path) -> None:
    assert said("show", str(tmp_path / "none.db")).startswith("Error: ")
    assert said("proxy", "--upstream", "ftp://x").startswith("Error: ")


@each("command", ["show", "doctor", "serve", "ls", "validate"])
def test_the_body_of_a_stream_has_to_be_imported_first(tmp_path: Path, command: str) -> None:
    body = tmp_path / "a body.sse"
    body.write_bytes(SSE)
    hint = f"import it first, with `omnirecord import '{body}' --db '{tmp_path / 'a body.db'}'`"
    assert hint in said(command, str(body))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """Makes stderr a terminal. Called by the test: pytest gives it another stderr than its fixtures."""

    def made() -> Terminal:
        found = Terminal()
        monkeypatch.setattr("sys.stderr", found)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "100")
        return found

    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as `progress` sees it."""
    now = [0.0]
    monkeypatch.setattr("omnirecord.cli.stderr.monotonic", lambda: now[0])
    return now


def ticking(clock: list[float], number: int, every: float) -> Iterator[int]:
    for n in range(number):
        clock[0] += every
        yield n


def test_what_takes_under_half_a_second_shows_nothing(terminal: Callable[[], Terminal], clock: list[float]) -> None:
    out = terminal()
    assert list(progress(ticking(clock, 100, 0.004), "reading", total=100)) == list(range(100))
    with busy("reading"):
        pass
    assert out.getvalue() == ""


@pytest.mark.parametrize(("total", "shown"), [(100, "%"), (None, "reading")])
def test_what_takes_longer_shows_how_far_it_is(
    terminal: Callable[[], Terminal], clock: list[float], total: int | None, shown: str
) -> None:
    out = terminal()
    assert list(progress(ticking(clock, 100, 0.1), "reading [it]", total=total)) == list(range(100))
    assert shown in out.getvalue()
    assert "reading [it]" in out.getvalue()


def test_there_is_no_bar_where_stderr_is_no_terminal(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    assert len(list(progress(ticking(clock, 100, 1.0), "reading"))) == 100
    assert out.getvalue() == ""


@pytest.mark.parametrize(
    "words", [["events", "--limit"], ["tail", "-n"], ["search", "x", "--limit"]], ids=lambda w: w[0]
)
def test_a_number_of_forty_digits_is_refused(words: list[str]) -> None:
    command, *rest = words
    *before, option = rest
    assert "is not in the range" in said(command, str(HEALTHY["text"]), *before, option, "9" * 40)


def test_an_unknown_collation_in_a_cassette_is_a_sentence(tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    import_file(HEALTHY["text"], db)
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        changed = "replace(sql, 'TEXT', 'TEXT COLLATE unknown')"
        connection.execute(f"UPDATE sqlite_master SET sql = {changed} WHERE name = 'recordings'")
        connection.commit()
    assert "no such collation sequence: unknown" in said("query", str(db), "SELECT 1 FROM events")
