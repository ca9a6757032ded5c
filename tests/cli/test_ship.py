"""`ship`: what it prints, and its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file
from omnirecord.cassette.sqlite.lock import RecorderLock
from omnirecord.lake.location import Lake
from tests.support.cassettes import SHIPPED, Made, status
from tests.support.command import invoke

TEXT = SHIPPED / "text.jsonl"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def lake(tmp_path: Path) -> str:
    url = str(tmp_path / "lake")
    Lake(url).init()
    return url


def run(*words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    result = invoke("ship", *words)
    return result.exit_code, result.stdout, result.stderr


def test_a_recording_is_shipped_and_then_it_is_there_already(lake: str) -> None:
    code, out, err = run(TEXT, "--lake", lake)
    assert (code, err) == (0, "")
    assert out.startswith(f"1 recording shipped to {lake}, 73 events, ")
    assert run(TEXT, "--lake", lake) == (0, "1 there already\n", "")


def test_a_label_for_a_recording_that_is_there_already_is_said_not_to_apply(lake: str) -> None:
    assert run(TEXT, "--lake", lake, "--label", "team=blue")[2] == ""
    code, out, err = run(TEXT, TEXT, "--lake", lake, "--label", "team=red")
    assert (code, out) == (0, "2 there already\n")
    assert err == "omnirecord: recordings that are in the lake already keep the labels that they have there\n"


def test_a_folder_is_shipped_with_its_subfolders_if_asked_to(lake: str, tmp_path: Path) -> None:
    for name in ("text", "a/b/tool"):
        path = tmp_path / "cassettes" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((SHIPPED / f"{path.stem}.jsonl").read_bytes())
    code, out, err = run(tmp_path / "cassettes", "--lake", lake)
    assert (code, err, out[:20]) == (0, "found 1 cassette\n", "1 recording shipped ")
    code, out, err = run(tmp_path / "cassettes", "--lake", lake, "--recursive")
    assert (code, err) == (0, "found 2 cassettes\n")
    assert out.startswith("1 recording shipped ")
    assert out.endswith("; 1 there already\n")


def test_json_has_an_object_per_recording(lake: str, tmp_path: Path) -> None:
    code, out, _ = run(TEXT, tmp_path / "none.db", "--lake", lake, "--json")
    second, first = sorted(map(json.loads, out.splitlines()), key=lambda row: row["status"])
    assert code == 1
    assert list(first) == ["recording_id", "path", "events", "bytes", "status", "message"]
    assert (first["status"], first["events"], first["message"]) == ("shipped", 73, None)
    assert (second["recording_id"], second["status"]) == (None, "failed")
    assert "does not exist" in second["message"]


def test_a_cassette_that_is_being_recorded_is_named_and_the_exit_code_is_1(lake: str, tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    import_file(TEXT, path)
    lock = RecorderLock(path)
    try:
        code, out, err = run(path, TEXT, "--lake", lake)
    finally:
        lock.release()
    assert code == 1
    assert err == f"omnirecord: {path} is being recorded: ship it when the recorder has closed it\n"
    assert out.endswith("; 1 cassette being recorded\n")


def test_a_folder_is_searched_and_a_part_of_a_cassette_is_refused(lake: str) -> None:
    assert run(SHIPPED, "--lake", lake, "--json")[1].count('"shipped"') == len(list(SHIPPED.glob("*.jsonl")))
    code, _, err = run(f"{TEXT}#717aee", "--lake", lake)
    assert (code, "a lake takes all of it" in err) == (2, True)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://x", "is no address of a lake"),
        ("s3://user:secret@bucket/x", "credentials come from the environment"),
        ("nowhere", "is no lake: make one with `omnirecord lake init"),
    ],
)
def test_a_lake_that_cannot_be_one_is_a_sentence_and_exit_code_2(url: str, said: str, tmp_path: Path) -> None:
    code, _, err = run(TEXT, "--lake", str(tmp_path / url) if url == "nowhere" else url)
    assert code == 2
    assert said in err
    assert "secret" not in err


def test_a_label_is_checked_before_anything_is_shipped(lake: str) -> None:
    code, _, err = run(TEXT, "--lake", lake, "--label", "team")
    assert (code, "is no label" in err) == (2, True)
    assert run(TEXT, "--lake", lake, "--label", "team=blue")[0] == 0


@pytest.mark.slow
def test_watch_ships_a_closed_cassette_and_ctrl_c_ends_with_the_sums(lake: str, tmp_path: Path) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    command = [sys.executable, "-m", "omnirecord", "ship", str(folder), "--lake", lake, "--watch", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        import_file(TEXT, folder / "run.db")
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["status"] == "shipped"
        import_file(SHIPPED / "tool.jsonl", folder / "run.db")
        assert json.loads(process.stdout.readline())["status"] in ("shipped", "there already")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


@pytest.mark.slow
def test_other_commands_import_nothing_of_the_lake() -> None:
    code = "import sys; from omnirecord.cli import main; print({'pyarrow', 'deltalake', 'obstore'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    """A cassette with one of two sessions of a recording."""
    tape = Made()
    for name in ("a", "b"):
        tape.stream(name, 1.0, (1.1, status("idle")))
    tape.save(tmp_path / "whole.db")
    words = ["export", tmp_path / "whole.db", "--format", "jsonl", "--session", "a", "-o", tmp_path / "part.jsonl"]
    invoke(*words, code=0)
    return tmp_path / "part.jsonl"


def test_a_part_of_a_recording_is_refused_in_each_form_and_the_others_are_shipped(
    lake: str, part: Path, tmp_path: Path
) -> None:
    assert json.loads(part.read_text().splitlines()[0])["recordings"][0]["part"] is True
    import_file(TEXT, tmp_path / "both.db")
    import_file(part, tmp_path / "both.db")
    for path in (part, tmp_path / "both.db"):
        code, out, err = run(path, "--lake", lake)
        assert code == 1
        assert f"{path} has a part of recording " in err
        assert "ship the whole cassette" in err
    assert out.startswith("1 recording shipped to ")
    code, out, err = run(tmp_path / "whole.db", part, tmp_path / "both.db", "--lake", lake)
    assert (code, err) == (0, "")
    assert out.endswith("; 3 there already\n")


@pytest.mark.usefixtures("part")
def test_what_lake_get_wrote_is_a_part_unless_it_is_all_of_the_recording(lake: str, tmp_path: Path) -> None:
    run(TEXT, tmp_path / "whole.db", "--lake", lake)
    other, words = str(tmp_path / "other"), ["lake", "get", lake]
    Lake(other).init()
    for session, refused in (("a", 1), ("717aee70", 0)):
        output = tmp_path / f"{session}.db"
        invoke(*words, session, "-o", output, code=0)
        assert run(output, "--lake", other)[0] == refused
    assert run(tmp_path / "a.db", "--lake", lake)[:2] == (0, "1 there already\n")
