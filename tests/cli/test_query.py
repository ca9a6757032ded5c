"""`omnirecord query` as scripts and people see it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite import Writer
from tests.cassette.sqlite.test_store import begun, received
from tests.support import forked
from tests.support.cassettes import HEALTHY, TROUBLED, Made, delta, heartbeat
from tests.support.command import invoke
from tests.support.examples import each

CASSETTE = HEALTHY["approval"]
SESSION = "04cc962c53894fceb438253de1a3c240"


run = partial(invoke, "query")


def test_a_table_is_the_default() -> None:
    done = run(CASSETTE, "SELECT session_id, outcome, output_tokens, finding_code FROM sessions")
    assert done.stdout.splitlines() == [
        "session_id                        outcome   output_tokens  finding_code",
        f"{SESSION}  finished  32             -",
    ]
    assert (done.exit_code, done.stderr) == (0, "")


def test_json_has_one_object_per_row_and_says_the_same_by_both_names() -> None:
    sql = "SELECT turn, ended, cost_usd FROM turns"
    done = run(CASSETTE, sql, "--json")
    assert done.stdout == run(CASSETTE, sql, "--format", "json").stdout
    assert json.loads(done.stdout) == {"turn": 1, "ended": "completed", "cost_usd": None}


@pytest.mark.parametrize(("form", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_csv_and_tsv_come_back_as_they_were(form: str, delimiter: str) -> None:
    sql = "SELECT 'a,\"b\"' AS one, 'c\td' AS two, 'e\nf' AS three, NULL AS four, 1.5 AS five"
    text = run(CASSETTE, sql, "--format", form).stdout
    assert list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) == [
        ["one", "two", "three", "four", "five"], ['a,"b"', "c\td", "e\nf", "", "1.5"]
    ]  # fmt: skip


def test_bytes_are_text_or_else_base64_in_json_and_a_literal_elsewhere() -> None:
    sql = "SELECT x'6869' AS a, x'ff00' AS b"
    assert json.loads(run(CASSETTE, sql, "--json").stdout) == {"a": "hi", "b": {"base64": "/wA="}}
    assert run(CASSETTE, sql, "--format", "csv").stdout == "a,b\nhi,x'ff00'\n"


def test_columns_of_one_name_are_all_there() -> None:
    assert json.loads(run(CASSETTE, "SELECT 1 AS a, 2 AS a, 3 AS a", "--json").stdout) == {"a": 1, "a_2": 2, "a_3": 3}


def test_no_row_is_said_on_stderr_and_is_no_failure() -> None:
    done = run(CASSETTE, "SELECT * FROM events WHERE seq > 1000", "--format", "csv")
    assert (done.exit_code, done.stderr) == (0, "no row matches\n")
    assert done.stdout.startswith("stream,seq,")
    assert run(CASSETTE, "SELECT * FROM events WHERE seq > 1000").stdout == ""


@each(
    ("text", "kind"),
    [("3", "integer"), ("-3", "integer"), ("0.5", "real"), ("007", "text"), ("1e5", "text"), ("1.10", "text"),
     ("99999999999999999999", "text"), ("", "text"), ("ab", "text")],
)  # fmt: skip
def test_a_parameter_is_a_number_only_if_it_is_written_as_one(text: str, kind: str) -> None:
    done = run(CASSETTE, "SELECT typeof(:a) AS kind, :a AS value", "-p", "a", text, "--format", "csv")
    assert list(csv.reader(io.StringIO(done.stdout)))[1] == [kind, text]


def test_a_number_finds_text_and_text_finds_text(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("1234", 1.0, (1.0, delta("Hi")), end=2.0)
    cassette = tape.save(tmp_path / "a.db")
    done = run(
        cassette, "SELECT session_id FROM events WHERE session_id = :s AND seq = :n", "-p", "s", "1234", "-p", "n", 1
    )
    assert done.stdout.split() == ["session_id", "1234"]


def test_sql_and_cassettes_come_from_standard_input() -> None:
    assert run(CASSETTE, "-", input="SELECT count(*) AS n\nFROM events -- all\n").stdout.split() == ["n", "30"]
    done = run("-", "SELECT count(*) AS n FROM events", input=CASSETTE.read_bytes())
    assert done.stdout.split() == ["n", "30"]
    twice = run("-", "-", input=CASSETTE.read_bytes())
    assert (twice.exit_code, twice.stderr.startswith("Error: - is given twice")) == (2, True)


def test_every_form_of_a_cassette_answers_the_same(tmp_path: Path) -> None:
    import_file(CASSETTE, tmp_path / "a.db")
    for output in ("a.db.zst", "a.jsonl.zst"):
        invoke("export", tmp_path / "a.db", "-o", tmp_path / output)
    before = (tmp_path / "a.db").read_bytes()
    sql = "SELECT t.text, e.type, f.code FROM turns t, events e LEFT JOIN findings f USING (session_id) WHERE e.seq = 9"
    told = {run(path, sql, "--json").stdout for path in (CASSETTE, *(tmp_path / name for name in
            ("a.db", "a.db.zst", "a.jsonl.zst")), f"{CASSETTE}#04cc")}  # fmt: skip
    assert len(told) == 1
    assert json.loads(told.pop())["type"] is not None
    assert (tmp_path / "a.db").read_bytes() == before


def test_without_sql_the_tables_and_views_are_listed() -> None:
    lines = run(CASSETTE).stdout.splitlines()
    assert lines[0].startswith("sessions: One row per session")
    assert max(map(len, lines)) <= 100
    assert {"turns", "tools", "approvals", "findings", "events", "streams", "requests"} <= {
        line.partition(":")[0] for line in lines
    }
    rows = [json.loads(line) for line in run(CASSETTE, "--json").stdout.splitlines()]
    assert rows[0]["name"] == "sessions"
    assert "asked" in rows[0]["columns"]
    assert "sessions,asked" in run(CASSETTE, "--format", "csv").stdout.splitlines()


MISTAKES = [
    ("SELECT * FROM sesions", r"there is no table or view sesions: did you mean sessions\? There are sessions, turns,"),
    ("SELECT * FROM zzz", r"there is no table or view zzz\. There are sessions, turns,"),
    ("SELECT asekd FROM sessions", r"there is no column asekd: did you mean asked\? sessions has recording,"),
    ("SELECT t.txt FROM turns t", r"there is no column t\.txt: did you mean text\? turns has recording,"),
    ("SELECT nope FROM events", r"there is no column nope\. events has stream,"),
    ("SELECT * FORM events", r"the SQL has a syntax error near 'FORM': did you mean FROM\?"),
    ("SELCT 1", r"the SQL begins with 'SELCT', which is no statement: did you mean SELECT\?"),
    ("sessions", r'sessions is a table or view, and no SQL: write "SELECT \* FROM sessions"'),
    ("", r"the SQL is empty: begin it with SELECT"),
    (" -- only a comment", r"the SQL is empty: begin it with SELECT"),
    ("SELECT * FROM events WHERE", r"the SQL ends too early: complete the statement"),
    ("SELECT 1; SELECT 2", r"the SQL has more than one statement: give one"),
    ("SELECT nope(1)", r"SQLite has no function nope"),
    ("SELECT json_extract('{', '$.a')", r"SQLite cannot run this query: malformed JSON"),
    ("SELECT 'a\0b'", r"SQLite cannot run this query: .*null character"),
    ("SELECT '\udcff'", r"the SQL is not UTF-8, or a parameter"),
    ("DELETE FROM events", r"DELETE changes data, and a query only reads: begin it with SELECT or WITH"),
    ("PRAGMA table_info(events)", r"PRAGMA is not available in a query: `omnirecord query CASSETTE` lists"),
    ("ATTACH 'a.db' AS a", r"ATTACH is not available in a query"),
    ("SELECT load_extension('a')", r"the function load_extension is not available in a query"),
    ("SELECT * FROM events WHERE seq = :n", r"the SQL has :n, and it has no value: add -p n VALUE"),
    ("SELECT ?", r"the SQL has a parameter without a name: write :name instead of \?"),
]


@each(("sql", "said"), MISTAKES)
def test_a_mistake_is_one_sentence(sql: str, said: str) -> None:
    done = run(CASSETTE, sql)
    assert (done.exit_code, done.stdout) == (2, "")
    assert re.match(f"Error: {said}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def test_a_parameter_that_the_sql_lacks_is_a_mistake() -> None:
    said = run(CASSETTE, "SELECT :a, ':c'", "-p", "a", "1", "-p", "c", "1").stderr
    assert said == "Error: the SQL has no :c: it has :a\n"
    assert "it has no parameter" in run(CASSETTE, "SELECT 1", "-p", "c", "1").stderr


def test_two_formats_are_a_mistake() -> None:
    said = run(CASSETTE, "SELECT 1", "--json", "--format", "csv").stderr
    assert json.loads(said) == {"error": "--json and --format csv are two formats: give one", "exit_code": 2}


def test_a_table_fits_the_terminal_and_names_the_columns_that_do_not(tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    shown, code = forked.on_a_terminal("query", CASSETTE, "SELECT * FROM turns", errors=errors, COLUMNS="80")
    lines = shown.splitlines()
    assert (code, len(lines), max(map(len, lines)) <= 80) == (0, 2, True)
    assert re.match(r"no room for \d+ columns: .*, last_event_ns \(--format json prints them\)$", errors.read_text())


def test_control_characters_are_escapes_on_a_terminal_and_as_they_are_in_a_csv_file() -> None:
    sql = "SELECT char(27) || '[2J' AS a"
    for form in ("table", "csv", "tsv", "json"):
        shown, _ = forked.on_a_terminal("query", CASSETTE, sql, "--format", form)
        assert "\x1b[2J" not in shown  # the progress line has escapes of its own
        assert "[2J" in shown
    assert run(CASSETTE, sql, "--format", "csv").stdout == "a\n\x1b[2J\n"
    assert "\x1b" not in run(CASSETTE, sql).stdout


def test_a_long_value_is_cut_in_a_table_alone() -> None:
    sql = "SELECT replace(hex(zeroblob(500)), '0', 'a') AS a, 1 AS b"
    assert max(map(len, run(CASSETTE, sql).stdout.splitlines())) == 203
    assert len(json.loads(run(CASSETTE, sql, "--json").stdout)["a"]) == 1000


def test_what_is_in_no_event_yet_is_said(tmp_path: Path) -> None:
    with closing(Writer(tmp_path / "begun.db")) as writer:
        writer.write(begun() + received([heartbeat(), delta("Hello")]))
        done = run(tmp_path / "begun.db", "SELECT count(*) AS n FROM events")
    size = len(heartbeat() + delta("Hello"))
    assert done.stdout.split() == ["n", "0"]
    assert done.stderr == f"{size} received bytes are in no event yet: `omnirecord events` decodes them\n"


FOR_EVER = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n) SELECT {} FROM n"


@pytest.mark.slow
@pytest.mark.parametrize("words", [["count(*)"], ["a", "--format", "csv"]], ids=["no row", "rows"])
def test_ctrl_c_ends_a_query_that_does_not_end(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    code = (
        "import signal, sqlite3, threading, time\nfrom omnirecord.cli import main\n"
        "import omnirecord.cassette.sqlite.query as query\nrun = query.Query._execute\n"
        "def begun(self, sql, *more):\n"
        "    if not sql.startswith('EXPLAIN'): threading.Timer(0.2, signal.raise_signal, [signal.SIGINT]).start()\n"
        "    return run(self, sql, *more)\n"
        "query.Query._execute = begun\nmain()\n"
    )
    command = [sys.executable, "-c", code, "query", str(TROUBLED["tool_hangs"]), FOR_EVER.format(words[0]), *words[1:]]
    with (tmp_path / "out").open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, timeout=60, env=os.environ, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, b"")


def test_a_table_without_an_end_shows_its_rows_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "omnirecord", "query", str(CASSETTE), FOR_EVER.format("a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        head, *rows = (process.stdout.readline().split() for _ in range(1500))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (head, rows[0], rows[-1]) == ([b"a"], [b"1"], [b"1499"])
    assert (process.returncode, errors) == (128 + signal.SIGINT, b"")


def test_a_long_table_has_one_head_and_widths_for_each_portion() -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1500)"
    lines = run(CASSETTE, f"{numbers} SELECT iif(i > 1000, 'wider', 'w') AS a, i AS b FROM n").stdout.splitlines()
    assert (len(lines), lines[0], lines[1], lines[1500]) == (1501, "a  b", "w  1", "wider  1500")


def test_an_infinite_number_is_a_number_in_json() -> None:
    done = run(CASSETTE, "SELECT 1e999 AS a, -1e999 AS b, 1e999 - 1e999 AS c", "--json")
    assert json.loads(done.stdout, parse_constant=pytest.fail) == {
        "a": sys.float_info.max, "b": -sys.float_info.max, "c": None
    }  # fmt: skip
