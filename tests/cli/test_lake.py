"""`omnirecord lake` as scripts and people see it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import Result

from omnirecord.lake.layout import FORMAT_VERSION
from tests.support import forked
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED, Made, created, status
from tests.support.command import invoke
from tests.support.lake_sessions import without
from tests.support.lakes import shipped, split
from tests.support.stores import lake_url

__all__ = ["lake_url"]


def run(*words: str | Path, code: int = 0) -> Result:
    return invoke("lake", *words, code=code)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A lake with some recordings."""
    return shipped(str(tmp_path_factory.mktemp("cli") / "lake"), HEALTHY["turns"], TROUBLED["tool_hangs"]).url


def test_init_makes_a_lake_once_and_says_so(lake_url: str) -> None:
    assert run("init", lake_url).stdout.startswith(f"made the lake {lake_url}: omnirecord ship CASSETTE --lake ")
    assert f"{lake_url} is a lake already" in run("init", lake_url).stdout
    told = json.loads(run("init", lake_url, "--json").stdout)
    assert (told["url"], told["format"], told["is_new"]) == (lake_url, FORMAT_VERSION, False)


def test_check_tells_tables_rows_files_and_bytes(lake_url: str) -> None:
    shipped(lake_url, HEALTHY["text"])
    told = json.loads(run("check", lake_url, "--json").stdout)
    tables = {one["table"]: one for one in told["tables"]}
    assert (told["conditional_put"], told["problems"], told["advice"]) == (True, [], [])
    assert (tables["events"]["rows"], tables["events"]["files"], tables["events"]["orphans"]) == (73, 1, 0)
    assert tables["events"]["bytes"] > 1000
    assert "conditional PUT: yes" in run("check", lake_url).stdout


def test_check_counts_objects_without_a_commit_but_not_those_that_a_commit_removed(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], HEALTHY["tool"])
    lake.table("turns").optimize.compact()
    lake.objects.put("events/day=2026-11-25/01a210c9-d100-8297-b319-10df9c6359b1-0a0b0c0d.parquet", b"x")
    told = json.loads(run("check", lake.url, "--json").stdout)
    assert {one["table"]: one["orphans"] for one in told["tables"] if one["orphans"]} == {"events": 1}
    assert told["advice"] == [
        "1 objects are in no commit: a killed ship left them, or a running one commits them soon. They cost room only"
    ]


def test_check_names_a_table_and_a_column_that_are_missing_and_init_adds_them(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    for path in sorted(Path(lake.url, "tools").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    Path(lake.url, "tools").rmdir()
    log = Path(lake.url, "turns/_delta_log/00000000000000000000.json")
    log.write_text(log.read_text().replace('{\\"name\\":\\"model\\"', '{\\"name\\":\\"mode\\"'))
    told = run("check", lake.url, code=1).stdout
    assert f"the table tools is missing: omnirecord lake init {lake.url}" in told
    assert f"the table turns lacks the columns model: omnirecord lake init {lake.url}" in told
    run("init", lake.url)
    assert json.loads(run("check", lake.url, "--json").stdout)["problems"] == []


def test_check_names_a_table_with_a_damaged_log_and_goes_on_with_the_others(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    Path(lake.url, "tools/_delta_log/00000000000000000000.json").write_text("{")
    told = run("check", lake.url, code=1).stdout
    assert "the table tools cannot be read: a file of the lake is damaged: restore it from a copy of the lake" in told
    (line,) = [line for line in told.splitlines() if line.startswith("recordings ")]
    assert line.split()[2] == "1"
    tables = json.loads(run("check", lake.url, "--json", code=1).stdout)["tables"]
    assert [one["table"] for one in tables if one["failure"]] == ["tools"]


def test_check_names_a_table_whose_files_the_store_lacks(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "events").glob("day=*/*.parquet")
    path.unlink()
    done = run("check", lake.url, code=1)
    assert f"the table events names 1 file that the store lacks, the first is {path.parent.name}" in done.output


def test_check_advises_to_compact_many_small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"], HEALTHY["tool"])
    monkeypatch.setattr("omnirecord.lake.location._MANY", 1)
    told = run("check", lake.url).stdout
    assert "2 of 2 files of events are smaller than 1 MiB, which makes queries slow" in told
    assert told.endswith(f"omnirecord lake compact {lake.url}\n")


def test_check_of_an_empty_lake_says_how_to_fill_it(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    assert (
        f"no recording is in the lake yet: omnirecord ship CASSETTE --lake {lake.url}" in run("check", lake.url).stdout
    )
    assert run("sessions", lake.url).stdout.startswith(f"no session in {lake.url} yet: omnirecord ship CASSETTE")
    assert run("sessions", lake.url, "--json").stdout == ""


def test_sessions_are_lines_the_newest_first(url: str) -> None:
    head, *lines = run("sessions", url).stdout.splitlines()
    assert head.startswith("session   began (UTC)  asked first")
    assert [line.split()[0] for line in lines] == ["45d0d3b4", "df0bf511"]
    assert lines[0].endswith("tool-without-output")


def test_the_filters_of_sessions(url: str) -> None:
    (found,) = run(
        "sessions", url, "--finding", "tool-without-output", "--since", "2026-11-25", "--json"
    ).stdout.splitlines()
    assert json.loads(found)["asked"] == "Wait until the tide turns."
    assert run("sessions", url, "--model", "none*").stdout == f"no session of {url} matches\n"
    assert (
        len(run("sessions", url, "--status", "finished", "--status", "unfinished", "--json").stdout.splitlines()) == 2
    )
    done = run("sessions", url, "--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr.startswith("more sessions match: --limit 0 prints all")
    assert "Invalid value for '--status'" in run("sessions", url, "--status", "fine", code=2).stderr
    assert "--since" in run("sessions", url, "--since", "soon", code=2).stderr
    assert "--label" in run("sessions", url, "--label", "team", code=2).stderr


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_no_line_of_a_table_is_wider_than_the_terminal(columns: int, url: str, tmp_path: Path) -> None:
    for name in ("sessions", "stats", "doctor", "check"):
        errors, words = tmp_path / name, ["--jobs", "1"] * (name in ("stats", "doctor"))
        shown, _ = forked.on_a_terminal("lake", name, url, *words, errors=errors, COLUMNS=str(columns))
        lines = click.unstyle(shown).replace("\r", "").splitlines()
        heads = [n for n, line in enumerate(lines) if line.split()[:1] in (["session"], ["severity"], ["table"])]
        assert heads, shown
        for head in heads:
            rows = list(itertools.takewhile(lambda line: line and line[0] != "c", lines[head:]))
            assert len(rows) > 1
            assert max(map(len, rows)) <= columns, shown


def test_a_session_with_parts_in_several_recordings_says_how_many(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *split(HEALTHY["turns"], tmp_path), HEALTHY["text"])
    head, *lines = run("sessions", lake.url).stdout.splitlines()
    column = head.index("parts")
    assert {line.split()[0]: line[column : column + 5].strip() for line in lines} == {"df0bf511": "2", "717aee70": "1"}
    rows = map(json.loads, run("sessions", lake.url, "--json").stdout.splitlines())
    assert {len(row["recordings"]) for row in rows} == {1, 2}


def test_stats_count_the_sessions_without_a_first_token(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "agents" / "day.jsonl")
    said = run("stats", lake.url).stdout
    assert said.startswith("10 sessions, ")
    assert said.endswith("\n… and 8 without a streamed answer\n")


def test_an_unknown_code_of_a_finding_gets_a_warning_with_the_nearest_ones(url: str) -> None:
    done = run("sessions", url, "--finding", "tool-without-outputs")
    assert done.stderr == ("Warning: doctor has no finding tool-without-outputs: the nearest is tool-without-output\n")
    assert done.stdout == f"no session of {url} matches\n"
    assert run("sessions", url, "--finding", "tool-without-output").stderr == ""
    assert "docs/doctor.md lists all codes" in run("sessions", url, "--finding", "?", "--json").stderr


def test_init_of_a_file_says_that_a_lake_is_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    for words in (["init", path], ["sessions", path], ["init", path / "below"]):
        assert run(*words, code=2).stderr == f"Error: {path} is a file, and a lake is a folder: choose another path\n"


def test_sql_prints_every_format(url: str) -> None:
    sql = "SELECT code, count(*) AS n, list(severity) AS s FROM findings GROUP BY code ORDER BY code LIMIT 1"
    assert run("sql", url, sql).stdout.splitlines()[0].split() == ["code", "n", "s"]
    assert json.loads(run("sql", url, sql, "--json").stdout)["s"] == ["error"]
    assert list(csv.reader(io.StringIO(run("sql", url, sql, "--format", "csv").stdout)))[1][2] == '["error"]'
    assert (
        run("sql", url, "SELECT turn FROM turns WHERE turn = :n", "-p", "n", "3", "--format", "tsv").stdout
        == "turn\n3\n"
    )
    assert run("sql", url, "SELECT 1 WHERE false").stderr == "no row matches\n"


def test_sql_without_sql_lists_tables_and_views(url: str) -> None:
    assert run("sql", url).stdout.startswith("whole_sessions: One row per session, over all recordings")
    assert {json.loads(line)["name"] for line in run("sql", url, "--json").stdout.splitlines()} >= {"events", "turns"}


def test_a_mistake_in_sql_is_one_sentence(url: str) -> None:
    done = run("sql", url, "SELECT * FROM turn", "--json", code=2)
    assert json.loads(done.stderr)["error"].startswith("there is no table or view turn: did you mean turns?")


def test_get_writes_a_cassette_once(url: str, tmp_path: Path) -> None:
    output = tmp_path / "out.db"
    assert run("get", url, "df0b", "-o", output).stdout == (
        f"wrote {output}: session df0bf5115f684102831c8684348c2169, 112 events of 1 recording\n"
    )
    invoke("verify", output, "--timing", "instant", code=0)
    assert (
        f"{output} exists: choose another --output, or remove it"
        in run("get", url, "df0b", "-o", output, code=2).stderr
    )
    told = json.loads(run("get", url, "df0b", "-o", tmp_path / "a.jsonl.zst", "--json").stdout)
    assert (told["session_id"], told["exchanges"], told["events"]) == ("df0bf5115f684102831c8684348c2169", 19, 112)


def test_a_stream_without_a_session_comes_by_the_id_of_its_recording_and_its_number(tmp_path: Path) -> None:
    tape, output = Made(), tmp_path / "out.db"
    tape.get("/elsewhere", 0.0, b"{}")
    tape.stream("/feed", 0.5, (1.0, status("running")), (1.1, created()))
    tape.stream("s", 2.0, (2.1, status("idle")))
    lake = shipped(str(tmp_path / "lake"), tape.save(tmp_path / "tape.db"))
    rows = map(json.loads, run("sessions", lake.url, "--json").stdout.splitlines())
    (row,) = [row for row in rows if row["session_id"] is None]
    (recording,), stream = row["recordings"], str(row["stream"])
    done = run("get", lake.url, recording[:12], "--stream", stream, "-o", output)
    assert done.stdout == f"wrote {output}: stream {stream}, 2 events of 1 recording\n"
    (listed,) = invoke("ls", output, "--streams", "--json").stdout.splitlines()
    assert (json.loads(listed)["path"], json.loads(listed)["frames"]) == ("/feed", 2)
    invoke("verify", output, "--timing", "instant", code=0)
    more = ["-o", tmp_path / "more.db"]
    told = json.loads(run("get", lake.url, recording, "--stream", "2", "--json", *more).stdout)
    assert (told["session_id"], told["sessions"], told["events"]) == ("s", ["s"], 1)
    other = ["-o", tmp_path / "other.db"]
    assert (
        f"recording {recording} has no stream 9: there are 1, 2"
        in run("get", lake.url, recording, "--stream", "9", *other, code=2).stderr
    )
    wrong = run("get", lake.url, "zz", "--stream", "1", *other, code=2).stderr
    assert wrong == f"Error: no recording begins with 'zz': there are {recording}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["get", "URL", "zz", "-o", "x.db"], "no session begins with 'zz': there are "),
        (["get", "URL", "df1bf511", "-o", "x.db"], "no session begins with 'df1bf511': the nearest is df0bf5115f68"),
        (["get", "URL", "", "-o", "x.db"], "several sessions begin with '': there are "),
        (["get", "URL", "df0b", "-o", "x.txt"], "x.txt names no cassette: give it the suffix .db, .jsonl, .db.zst or"),
        (["get", "URL", "df0b", "-o", "none/x.db"], "cannot write none/x.db: No such file or directory"),
        (["get", "URL", "df0b"], "Missing option '-o'"),
        (["sessions", "nowhere"], "is no lake: make one with `omnirecord lake init"),
        (["sql", "nowhere"], "is no lake: make one with `omnirecord lake init"),
        (["check", "nowhere"], "is no lake: make one with `omnirecord lake init"),
        (["check", "http://x/y"], "http:// is no address of a lake"),
        (["check", "s3://me@bucket/y"], "the URL of a lake has no user, query or fragment"),
        (["chekc", "x"], "No such command 'chekc'. Did you mean omnirecord lake check?"),
        (["ls", "x"], "No such command 'ls'. Did you mean omnirecord lake sessions?"),
    ],
)
def test_an_error_is_one_sentence(
    words: list[str], said: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*(url if one == "URL" else one for one in words), code=2)
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["full.jsonl", "full.db"])
def test_a_full_disk_is_one_sentence(name: str, url: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/full")
    done = run("get", url, "df0b", "-o", tmp_path / name, code=2)
    assert "No space left on device" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_store_that_is_down_is_one_sentence_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "some-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setattr("omnirecord.lake.location._PATIENCE", __import__("datetime").timedelta(seconds=1))
    done = run("sessions", "s3://bucket/lake", code=2)
    assert done.stderr.startswith("Error: s3://bucket/lake: the store failed: try again, and nothing local was changed")
    assert "secret" not in done.stderr
    assert "some-key-id" not in done.stderr


def test_without_the_extra_each_command_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    without("obstore", monkeypatch)
    for words in (["init", "x"], ["check", "x"], ["sessions", "x"], ["sql", "x"], ["get", "x", "y", "-o", "z.db"]):
        assert 'install them with `pip install "omnirecord[lake]"`' in run(*words, code=2).stderr


def test_ctrl_c_ends_a_long_query(url: str) -> None:
    sql = "SELECT count(*) FROM range(1000000000) a, range(1000000000) b WHERE a.range % 7 = b.range % 11"
    words = [sys.executable, "-m", "omnirecord", "lake", "sql", url, sql]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        time.sleep(2)
        process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in errors
