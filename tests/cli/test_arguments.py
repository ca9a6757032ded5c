"""What holds for every command: `--json`, errors as JSON, `-`, and `CASSETTE#SESSION`."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from omnirecord.cassette.open import import_file, open_store
from omnirecord.cli import main
from omnirecord.cli.arguments import CassetteType
from tests.support import forked
from tests.support.cassettes import HEALTHY, SHIPPED, TROUBLED, Made, child, created
from tests.support.command import invoke
from tests.support.command import rows as objects
from tests.support.examples import each

LEAVES: dict[str, click.Command] = {
    **{name: one for name, one in main.commands.items() if not isinstance(one, click.Group)},
    **{f"{group.name} {name}": one for group in main.commands.values() if isinstance(group, click.Group)
       for name, one in group.commands.items()},
}  # fmt: skip
"""Every command by the words that call it."""
COMMANDS = [name for name in LEAVES if name != "run"]
"""Without `run`, whose arguments are a command: `test_run`."""
SERVERS = ("serve", "ui", "fork")
"""The commands that Ctrl-C ends."""
MORE = {
    "diff": ["{cassette}"], "export": ["--format", "jsonl"], "fork": ["--from-call", "1"],
    "import": ["--db", "{folder}/made.db"],
    "request": ["{number}"], "scrub": ["--check"], "search": ["sound"], "serve": ["--listen", "127.0.0.1:0"],
    "ui": ["--no-browser"], "verify": ["--timing", "instant"],
}  # fmt: skip
"""What a command needs beside a cassette; a new one that needs nothing needs no row."""
PARENT, CHILD = "9a9099329a1f4e17b8103828f2125a3b", "c6dde6498cf3476ebdda786dfb6f4cfa"
WITH_CALLS = SHIPPED / "both_hops" / "both_subagent.jsonl", "0973b691cec442b48dc75d6bf26f80a2"


def subagent(name: str) -> tuple[Path, str]:
    """Return a cassette for a command, and a session in it. `fork` needs model calls."""
    return WITH_CALLS if name == "fork" else (HEALTHY["subagent"], CHILD)


def takes_cassette(name: str) -> bool:
    return any(isinstance(one.type, CassetteType) for one in LEAVES[name].params)


READERS = [name for name in COMMANDS if takes_cassette(name) and name != "ship"]
"""Without `ship`, which takes whole files only: `test_ship`."""


def more(name: str, folder: Path, number: int = 1) -> list[str]:
    return [word.format(cassette=HEALTHY["tool"], folder=folder, number=number) for word in MORE.get(name, [])]


def run(*words: str | Path, stdin: bytes | None = None) -> Result:
    return invoke(*words, input=stdin)


def failure(result: Result) -> dict[str, Any]:
    """The object that a failed command with `--json` ends stderr with; stdout has nothing."""
    assert result.stdout == ""
    found = json.loads(result.stderr.splitlines()[-1])
    assert list(found) == ["error", "exit_code"]
    assert found["exit_code"] == result.exit_code
    return dict(found)


def done(name: str, cassette: str | Path, folder: Path, stdin: Path | None = None, number: int = 1) -> forked.Done:
    words = [name, cassette, *more(name, folder, number), "--json"]
    return forked.run(words, folder, signal.SIGINT if name in SERVERS else None, stdin=stdin)


def test_every_command_but_those_that_record_reads_a_cassette() -> None:
    others = {name for name in COMMANDS if not name.startswith("lake ")} - set(READERS)
    assert others == {"proxy", "demo", "ship", "config"}


@each("name", COMMANDS)
def test_every_command_has_json(name: str) -> None:
    assert any("--json" in one.opts for one in LEAVES[name].params)


@each("name", COMMANDS)
def test_a_wrong_call_of_any_command_is_an_object_with_json(name: str) -> None:
    assert "--no-such" in failure(run(*name.split(), "--json", "--no-such"))["error"]


@each("name", READERS)
def test_a_missing_cassette_is_an_object_with_json(name: str, tmp_path: Path) -> None:
    found = failure(run(name, tmp_path / "none.db", *more(name, tmp_path), "--json"))
    assert "none.db does not exist" in found["error"]
    assert found["exit_code"] == 2


def test_an_unknown_command_is_an_object_too() -> None:
    assert "No such command" in failure(run("shwo", "--json"))["error"]


@each("name", READERS)
def test_every_command_reads_a_cassette_from_standard_input(name: str, tmp_path: Path) -> None:
    found = done(name, "-", tmp_path, stdin=subagent(name)[0])
    assert found.code in (0, 1), found.errors
    assert b"stdin" not in found.out + found.errors
    assert not (tmp_path / "-").exists()


@each("name", READERS)
def test_every_command_takes_one_session_of_a_cassette(name: str, tmp_path: Path) -> None:
    cassette, session = subagent(name)
    found = done(name, f"{cassette}#{session[:3]}", tmp_path, number=6)
    assert found.code in (0, 1), found.errors
    rows = [json.loads(line) for line in found.out.splitlines()]
    assert {row.get("session_id", session) for row in rows} <= {session, None}
    assert rows or name in ("doctor", "validate", "scrub")


@each("name", [name for name in READERS if name != "diff"])
def test_a_session_that_is_not_there_gets_a_sentence_with_the_nearest(name: str, tmp_path: Path) -> None:
    result = run(name, f"{HEALTHY['subagent']}#9a9199", *more(name, tmp_path))
    assert result.exit_code in (1, 2)
    assert f"no session begins with '9a9199': the nearest is {PARENT}" in result.stderr


@pytest.mark.parametrize("form", ["db", "jsonl", "db.zst"])
def test_standard_input_may_be_a_cassette_of_any_form(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{form}"
    if form == "db":
        import_file(HEALTHY["text"], path)
    else:
        assert run("export", HEALTHY["text"], "-o", path).exit_code == 0
    assert run("ls", "-", "--json", stdin=path.read_bytes()).stdout == run("ls", HEALTHY["text"], "--json").stdout


def test_a_raw_body_on_standard_input_is_read_as_a_stream(tmp_path: Path) -> None:
    body = run("export", HEALTHY["text"], "--format", "sse").stdout_bytes
    assert len(run("events", "-", "--json", stdin=body).stdout.splitlines()) == 73
    result = run("import", "-", "--db", tmp_path / "x.db", "--json", stdin=body)
    assert json.loads(result.stdout) == {
        "file": "standard input", "db": str(tmp_path / "x.db"), "exchanges": 1, "frames": 73
    }  # fmt: skip


def test_the_copy_of_standard_input_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run("show", "-", stdin=HEALTHY["text"].read_bytes()).exit_code == 0
    assert run("show", "-", stdin=b"no cassette").exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_standard_input_is_said_by_its_name() -> None:
    assert "standard input is empty" in run("ls", "-", stdin=b"").stderr
    assert "standard input is no cassette" in run("ls", "-", stdin=b"{}").stderr
    assert "standard input can be read only once" in run("diff", "-", "-", stdin=HEALTHY["text"].read_bytes()).stderr
    assert "standard input: none of " in run("scrub", "--check", "-", stdin=HEALTHY["text"].read_bytes()).stdout


def test_a_terminal_as_standard_input_is_refused() -> None:
    ours, theirs = os.openpty()
    found = forked.run(["ls", "-"], stdin=Path(os.ttyname(theirs)))
    os.close(ours)
    os.close(theirs)
    assert (found.code, b"is a terminal here" in found.errors) == (2, True)


def test_a_file_that_is_called_dash_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", HEALTHY["text"], "--format", "jsonl", "-o", "./-").exit_code == 0
    assert (tmp_path / "-").read_bytes() == HEALTHY["text"].read_bytes()
    assert run("ls", "./-", "--json").stdout == run("ls", HEALTHY["text"], "--json").stdout


@pytest.mark.parametrize("name", ["proxy", "import", "demo"])
def test_a_cassette_is_not_recorded_into_a_pipe(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"proxy": ["--upstream", "http://127.0.0.1:1"], "import": [HEALTHY["text"]], "demo": []}[name]
    result = run(name, *words, "--db", "-")
    assert (result.exit_code, "--db needs a file" in result.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--format", "jsonl"], ["--format", "sse"], ["--format", "zst"]], ids=lambda w: w[1])
def test_an_export_to_dash_is_the_export_to_stdout(words: list[str], tmp_path: Path) -> None:
    plain = forked.run(["export", HEALTHY["text"], *words], tmp_path)
    dash = forked.run(["export", HEALTHY["text"], *words, "-o", "-", "--json"], tmp_path)
    assert (dash.code, dash.out) == (0, plain.out)
    row = json.loads(dash.errors)
    assert row == {"output": None, "format": words[1], "bytes": len(plain.out), "session_id": None, "missing": []}
    assert list(tmp_path.iterdir()) == []


def test_a_scrubbed_copy_on_stdout_has_its_report_on_stderr(tmp_path: Path) -> None:
    tape = Made()
    tape.post("/v1/sessions", 0.0, answer={"id": "s"}, body={"text": "sk-ant-api03-" + "a" * 80})
    found = forked.run(["scrub", tape.save(tmp_path / "x.db"), "-o", "-", "--json"], tmp_path)
    assert found.code == 0
    assert found.out.startswith(b"SQLite format 3\0")
    assert json.loads(found.errors)["count"] == 1


@pytest.mark.parametrize("words", [["export", "{}", "--format", "zst", "-o", "-"], ["scrub", "{}", "-o", "-"]])
def test_no_binary_goes_to_a_terminal(words: list[str], tmp_path: Path) -> None:
    db = tmp_path / "x.db"
    import_file(HEALTHY["text"], db)
    said, code = forked.on_a_terminal(*(word.format(db) for word in words), errors=tmp_path / "errors")
    assert (code, said) == (2, "")
    assert b"terminal" in (tmp_path / "errors").read_bytes()


def test_an_export_says_in_json_what_it_wrote(tmp_path: Path) -> None:
    for name in ("x.jsonl", "x.db.zst", "x.html"):
        (row,) = objects("export", HEALTHY["text"], "-o", tmp_path / name)
        assert row["output"] == str(tmp_path / name)
        assert row["bytes"] == (tmp_path / name).stat().st_size


def test_a_demo_says_in_json_how_it_went(tmp_path: Path) -> None:
    found = forked.run(["demo", "--json", "--db", tmp_path / "demo.db"], tmp_path)
    row = json.loads(found.out)
    assert (row["db"], row["streams"], row["equal"], found.errors) == (str(tmp_path / "demo.db"), 1, True, b"")


def test_a_finding_says_in_json_what_explains_it() -> None:
    found = objects("doctor", TROUBLED["runner_killed"])
    codes = {one["code"] for one in found}
    assert {one["because"] for one in found} <= codes | {None}
    assert any(one["because"] for one in found)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A cassette with a session that has a sub-agent, and another session."""
    path = tmp_path / "two#1.db"
    import_file(HEALTHY["tool"], path)
    import_file(HEALTHY["subagent"], path)
    return path


def test_an_export_of_a_session_is_a_cassette_with_its_sub_agents(two: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    row = json.loads(run("export", f"{two}#9a", "--format", "jsonl", "-o", one, "--json").stdout)
    assert row["session_id"] == PARENT
    by_option = run("export", two, "--session", "9a", "--format", "jsonl").stdout_bytes
    assert one.read_bytes() == by_option
    assert [row["session_id"] for row in objects("ls", one)] == [PARENT, CHILD]
    assert [row["exchange"] for row in objects("ls", f"{two}#9a", "--exchanges")] == list(range(8, 16))
    assert [row for row in objects("show", one) if row["session_id"] == PARENT] == objects("show", f"{two}#9a")
    verified = forked.run(["verify", one, "--timing", "instant", "--json"])
    assert (verified.code, json.loads(verified.out)["streams"]) == (0, 2)


def test_a_session_and_all_below_it_are_exported_and_no_incident_of_another_recording(tmp_path: Path) -> None:
    tape = Made()
    tape.stream("s", 0.0, (0.1, created()), (0.2, child("c")))
    tape.stream("c", 1.0, (1.1, child("g", "c")))
    tape.stream("g", 2.0, (2.1, created()))
    tape.stream("other", 3.0, (3.1, created()))
    tape.incident(0.5, "the disk was full")
    with closing(open_store(tape.save(tmp_path / "x.db"), "s")) as store:
        assert [x.session_id for x in store.exchanges()] == ["s", "c", "g"]
        assert [x.stream for x in store.streams()] == [1, 2, 3]
        assert len(store.incidents()) == 1


def test_two_names_for_the_session_are_one_too_many(two: Path) -> None:
    result = run("show", f"{two}#9a", "c6")
    assert (result.exit_code, "name it once" in result.stderr) == (2, True)
    assert run("show", f"{two}#9a", "9a").exit_code == 0


def test_a_file_whose_name_has_the_mark_is_itself(two: Path) -> None:
    assert len(run("ls", two, "--json").stdout.splitlines()) == 3
    assert len(run("ls", f"{two}#c6", "--json").stdout.splitlines()) == 1


def test_an_id_that_is_too_short_gets_all_that_begin_so(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/sessions/s2", 9.0)
    tape.get("/v1/sessions/s3", 9.0)
    said = run("show", f"{tape.save(tmp_path / 'x.db')}#s").stderr
    assert "several sessions begin with 's': there are s2, s3" in said
    tape.get("/v1/sessions/s", 9.0)
    assert run("show", f"{tape.save(tmp_path / 'y.db')}#s").exit_code == 0


def test_a_session_of_a_scrubbed_copy_is_the_only_one(two: Path, tmp_path: Path) -> None:
    assert run("scrub", f"{two}#c6", "-o", tmp_path / "safe.db").exit_code == 0
    assert [row["session_id"] for row in objects("ls", tmp_path / "safe.db")] == [CHILD]
