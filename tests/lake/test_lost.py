"""Lost files: queries answer without them and say so, `check` and `repair` name their recordings, and these are
complete when they are shipped again. A wrong clock loses nothing."""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from omnirecord.cassette.open import import_file, open_store
from omnirecord.cli import main
from omnirecord.errors import LakeError
from omnirecord.lake import location
from omnirecord.lake.commits import Commits
from omnirecord.lake.extract import extracted
from omnirecord.lake.files import File, files_of
from omnirecord.lake.layout import TABLES, path_of
from omnirecord.lake.location import CLOCK, Lake, table_states
from omnirecord.lake.lost import incomplete, lost_in, missing_now, repair
from omnirecord.lake.page_data import LakeAnswers
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.ship import Shipper
from omnirecord.lake.upkeep import Merged, merge, merges, remove
from tests.lake.test_upkeep import SHIPPED, compact, content, shipped
from tests.support import forked
from tests.support.cassettes import HEALTHY
from tests.support.stores import bucket_url, each_lake_url, lake_url, moto

__all__ = ["each_lake_url", "lake_url"]
SOME = SHIPPED[:4]


def lose(lake: Lake, name: str, which: int = 0) -> File:
    """Delete an object that the log of a table names."""
    file = files_of(lake, name)[0][which]
    lake.objects.delete(f"{name}/{file.path}")
    return file


def run(*words: object, code: int) -> Result:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == code, done.output
    return done


def rows_of(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_check_deep_names_the_recordings_of_a_lost_file(lake_url: str) -> None:
    shipped(lake_url, SOME)
    lake = Lake(lake_url)
    lost = lose(lake, "events")
    (found,) = rows_of(run("lake", "check", lake.url, "--deep", "--json", code=1))
    assert found["lost"] == [
        {"table": "events", "day": lost.day, "path": lost.path, "recordings": [lost.recording_id]}
    ]  # fmt: skip
    assert found["incomplete"] == []
    told = run("lake", "check", lake.url, "--deep", code=1).stdout
    assert f"  events/{lost.path}: 1 recording\n    {lost.recording_id}\n" in told
    assert f"run omnirecord lake repair {lake.url}" in told
    assert "lost" not in rows_of(run("lake", "check", lake.url, "--json", code=1))[0]


@pytest.mark.parametrize("words", [("check", "--deep"), ("repair", "--yes")])
def test_a_deep_look_opens_the_log_of_each_table_once(
    words: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(tmp_path / "lake"))
    shipped(lake.url)
    opened = Counter[str]()

    class Counted(location.DeltaTable):
        def __init__(self, url: str, **options: Any) -> None:
            opened[Path(url).name] += 1
            super().__init__(url, **options)

        def transaction_version(self, app_id: str) -> int | None:
            raise AssertionError(f"reads the log for {app_id}")

    monkeypatch.setattr(location, "DeltaTable", Counted)
    run("lake", *words, lake.url, code=0)
    more = {"recordings": 2} if words[0] == "repair" else {}  # the repair itself
    assert opened == dict.fromkeys(TABLES, 1) | more


def test_a_lost_merged_file_is_lost_for_the_recordings_with_rows_in_it(lake_url: str) -> None:
    shipped(lake_url, SHIPPED)
    lake = Lake(lake_url)
    compact(lake)
    with LakeQuery(lake) as query:
        recordings = set(query.recordings())
        with_findings = {id_ for (id_,) in query.run("SELECT DISTINCT recording_id FROM findings").rows}
    assert 1 < len(with_findings) < len(recordings)
    lose(lake, "findings")
    lose(lake, "recordings")
    of = {one.table: set(one.recordings) for one in lost_in(lake, table_states(lake))}
    assert of == {"findings": with_findings, "recordings": recordings}


def test_queries_answer_without_a_lost_file_and_say_so(each_lake_url: str) -> None:
    shipped(each_lake_url, SOME)
    lake = Lake(each_lake_url)
    lost = lose(lake, "events")
    lost_turns = lose(lake, "turns", 1)
    url = lake.url
    events = {"missing": [{"table": "events", "path": lost.path}]}
    turns = {"missing": [{"table": "turns", "path": lost_turns.path}]}
    sentence = (
        f"Warning: the answer is not complete, since 1 file of {url} is missing or damaged: omnirecord lake check"
        f" --deep {url}"
    )

    done = run("lake", "sql", url, "SELECT DISTINCT recording_id FROM events", "--json", code=0)
    *found, last = rows_of(done)
    assert (len(found), last) == (3, events)
    assert sentence in done.stderr
    assert sentence in run("lake", "sql", url, "SELECT count(*) FROM events", code=0).stderr
    assert rows_of(run("lake", "sql", url, "SELECT count(*) AS n FROM recordings", "--json", code=0)) == [{"n": 4}]

    assert len(rows_of(run("lake", "sessions", url, "--json", code=0))) == 4
    assert rows_of(run("lake", "search", url, "poem OR a OR the", "--json", code=0))[-1] == turns
    if lake.is_local:
        done = run("lake", "stats", url, "--jobs", 2, "--json", code=2)
        *found, last = rows_of(done)
        assert last == events
        assert len({one["recording_id"] for one in found} - {lost.recording_id}) == 3
        assert (
            f"recording {lost.recording_id} cannot be analysed: the file events/{lost.path} is missing" in done.stderr
        )


def test_get_writes_what_is_there_of_a_session_and_ends_with_1(lake_url: str, tmp_path: Path) -> None:
    shipped(lake_url, SOME)
    lake = Lake(lake_url)
    lost = lose(lake, "events")
    (session,) = (
        one["session_id"] for one in rows_of(run("lake", "sessions", lake.url, "--json", code=0))
        if one["recordings"] == [lost.recording_id]
    )  # fmt: skip
    done = run("lake", "get", lake.url, session, "-o", tmp_path / "a.db", "--json", code=1)
    (row,) = rows_of(done)
    assert row["missing"] == [{"table": "events", "path": lost.path}]
    assert (row["events"], row["exchanges"] > 0) == (0, True)
    assert "the answer is not complete" in done.stderr
    lose(lake, "sessions")
    done = run("lake", "get", lake.url, session, "-o", tmp_path / "b.db", code=2)
    assert "the answer is not complete" in done.stderr


def test_the_page_says_that_files_are_missing(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    lake = Lake(url)
    assert LakeAnswers(lake).answer("sessions", {})["missing"] is None
    lose(lake, "sessions")
    answers = LakeAnswers(lake)
    found = answers.answer("sessions", {})
    assert found["total"] == 3
    assert "1 file of" in found["missing"]
    list(repair(lake, lost_in(lake, table_states(lake))))
    assert answers.answer("sessions", {"renew": "1"})["missing"] is None


def test_a_file_that_left_its_table_during_a_query_is_no_lost_file(lake_url: str) -> None:
    shipped(lake_url, SOME)
    lake = Lake(lake_url)
    with LakeQuery(lake) as query:
        query.open("sessions", "recordings")
        compact(lake)
        for name in ("sessions", "recordings"):
            remove(lake, name, timedelta(0))
        query.scan("sessions")
    with pytest.raises(LakeError, match="left the table during the query"):
        missing_now(lake)


def test_after_a_repair_a_recording_can_be_shipped_again_and_is_complete(lake_url: str, long: bool) -> None:
    shipped(lake_url, SOME)
    lake = Lake(lake_url)
    before = without_shipping(content(lake))
    for number, name in enumerate(2 * TABLES if long else ("events", "recordings", "turns")):
        if number >= (len(TABLES) if long else 1):
            compact(lake)
        if not files_of(lake, name)[0]:
            continue
        lose(lake, name)
        again = f"left the lake. Ship the cassettes again: omnirecord ship CASSETTE --lake {lake.url}"
        assert again in run("lake", "repair", lake.url, "--yes", code=0).stdout
        assert "shipped" in shipped(lake_url, SOME)
        assert without_shipping(content(lake)) == before, name
        assert set(shipped(lake_url, SOME)) == {"there already"}


def without_shipping(of: dict[str, Any]) -> dict[str, Any]:
    """The rows of all tables, without the time of shipping."""
    kept = ("recording_id", "events", "sessions", "exchanges")
    rows = [{name: json.loads(row)[name] for name in kept} for row in of["recordings"].elements()]
    return {**of, "recordings": sorted(rows, key=lambda row: row["recording_id"])}


def test_a_recording_with_rows_in_two_merged_files_is_not_doubled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.lake.upkeep._GROUP_ROWS", 20)
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    lake = Lake(url)
    before = without_shipping(content(lake))
    (wanted,) = merges(lake, "events")
    list(merge(lake, wanted, Merged(), 500))
    files = files_of(lake, "events")[0]
    assert any(one.most == other.least for one in files for other in files if one != other)
    for _ in range(3):
        lose(lake, "events", len(files_of(lake, "events")[0]) // 2)
        list(repair(lake, lost_in(lake, table_states(lake))))
        shipped(url, SOME)
        assert without_shipping(content(lake)) == before


def test_after_a_repair_the_other_recordings_stay_and_the_lost_one_is_named(lake_url: str) -> None:
    shipped(lake_url, SOME)
    lake = Lake(lake_url)
    compact(lake)
    shipped(lake_url, SHIPPED[4:5])
    (lost,) = (one for one in files_of(lake, "events")[0] if one.recording_id is not None)
    lake.objects.delete(f"events/{lost.path}")
    rows = rows_of(run("lake", "repair", lake.url, "--yes", "--json", code=0))
    assert [(row["table"], row["recordings"], row["dry_run"]) for row in rows] == [
        ("events", [lost.recording_id], False)
    ]
    with LakeQuery(lake) as query:
        assert len(query.recordings()) == 4
        assert lost.recording_id not in query.recordings()
    assert incomplete(lake, table_states(lake)) == [lost.recording_id]
    assert (
        "not complete: 1 recording. Ship their cassettes again"
        in run("lake", "check", lake.url, "--deep", code=0).stdout
    )
    assert run("lake", "repair", lake.url, "--yes", code=0).stdout == "\nlost: 0 files\n"


def test_a_file_of_another_size_is_lost(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    lake = Lake(url)
    before = without_shipping(content(lake))
    for which in (0, 1):
        path = tmp_path / "lake" / "events" / files_of(lake, "events")[0][which].path
        path.write_bytes(path.read_bytes()[: 100 * which])
    assert "names 2 damaged files" in run("lake", "check", url, code=1).stdout
    run("lake", "repair", url, "--yes", code=0)
    shipped(url, SOME)
    assert without_shipping(content(lake)) == before


def damage(lake: Lake, name: str, which: int = 0) -> File:
    """Change bytes of a file, and keep its size."""
    file = files_of(lake, name)[0][which]
    path = Path(lake.url, name, file.path)
    path.write_bytes(path.read_bytes()[:100] + bytes(file.size - 300) + path.read_bytes()[-200:])
    return file


def test_a_damaged_file_of_the_same_size_is_lost(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    lake = Lake(url)
    before = without_shipping(content(lake))
    events, sessions, recordings = damage(lake, "events"), damage(lake, "sessions", 1), damage(lake, "recordings", 2)
    done = run("lake", "sql", url, "SELECT DISTINCT recording_id FROM events", "--json", code=0)
    *rows, last = rows_of(done)
    assert len(rows) == 3
    assert {"table": "events", "path": events.path} in last["missing"]
    assert "missing or damaged" in done.stderr
    *rows, last = rows_of(run("lake", "sessions", url, "--json", code=0))
    assert [row["server_version"] for row in rows].count(None) >= 1
    assert {(one["table"], one["path"]) for one in last["missing"]} == {
        ("sessions", sessions.path), ("recordings", recordings.path)
    }  # fmt: skip

    run("lake", "check", url, code=0)
    (row,) = rows_of(run("lake", "check", url, "--deep", "--json", code=1))
    lost = {(one["table"], one["path"], *one["recordings"]) for one in row["lost"]}
    assert lost == {
        ("events", events.path, events.recording_id), ("sessions", sessions.path, sessions.recording_id),
        ("recordings", recordings.path, recordings.recording_id),
    }  # fmt: skip
    assert f"the table events names 1 damaged file, the first is {events.path}: restore" in str(row["problems"])
    run("lake", "repair", url, "--yes", code=0)
    run("lake", "check", url, "--deep", code=0)
    assert Counter(shipped(url, SOME)) == {"shipped": 3, "there already": 1}
    assert without_shipping(content(lake)) == before


def test_forget_refuses_a_damaged_file_which_may_hold_the_session(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    (gone, *_) = (row["session_id"] for row in rows_of(run("lake", "sessions", url, "--json", code=0)))
    damage(Lake(url), "exchanges")
    assert "is damaged: restore it from a copy of the lake, or run" in run("lake", "forget", url, gone, code=2).stderr


def test_repair_asks_on_a_terminal_and_needs_yes_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME[:1])
    lake = Lake(url)
    assert run("lake", "repair", url, code=0).stdout == "\nlost: 0 files\n"
    lose(lake, "events")
    version = lake.table("recordings").version()
    assert "confirm with --yes" in run("lake", "repair", url, code=2).stderr
    assert "nothing was changed: --dry-run" in run("lake", "repair", url, "--dry-run", code=0).stdout
    monkeypatch.setattr(import_module("omnirecord.cli.lake"), "is_terminal", lambda _stream: True)
    words = ["lake", "repair", url]
    refused = CliRunner().invoke(main, words, input="n\n")
    assert (refused.exit_code, lake.table("recordings").version()) == (1, version)
    assert "Remove these recordings from the lake?" in refused.output
    assert CliRunner().invoke(main, words, input="y\n").exit_code == 0
    assert lake.table("recordings").version() > version


def test_a_compaction_leaves_out_a_lost_file_and_says_so(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    lake = Lake(url)
    lose(lake, "events")
    damage(lake, "turns")
    done = run("lake", "compact", url, code=0)
    assert f"Warning: 2 files could not be merged: omnirecord lake check --deep {url} names them" in done.stderr
    assert [len(files_of(lake, name)[0]) for name in ("events", "turns")] == [2, 2]


@pytest.mark.slow
def test_a_repair_or_a_compaction_that_is_killed_at_any_moment_can_be_repeated(
    lake_url: str, long: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    url, lot = lake_url, random.Random(30)
    shipped(url, SOME)
    lake = Lake(url)
    rounds = (40 if lake.is_local else 12) if long else 2
    before = without_shipping(content(lake))
    landed = {"repair": 0, "compact": 0}
    window = dict.fromkeys(landed, 0.1)
    """About how long each command lasts after its first write, in s: it is killed at a moment of that time."""
    for number in range(rounds):
        for name in lot.sample(TABLES, 3):
            if files := files_of(lake, name)[0]:
                lake.objects.delete(f"{name}/{lot.choice(files).path}")
        command = ("repair", "--yes") if number % 2 == 0 else ("compact", "--target-size", "1MiB")
        lasted = killed(lake, command, lot.uniform(0, window[command[0]]))
        landed[command[0]] += lasted is None
        window[command[0]] = 1.5 * window[command[0]] if lasted is None else 1.2 * lasted
        list(repair(lake, lost_in(lake, table_states(lake))))
        if number % 3 == 0:
            compact(lake)
        shipped(url, SOME)
        assert without_shipping(content(lake)) == before, number
    for name in TABLES:
        remove(lake, name, timedelta(0))
    assert without_shipping(content(lake)) == before
    with capsys.disabled():
        sys.stdout.write(f"kills that landed: {landed}\n")


def killed(lake: Lake, command: tuple[str, ...], after: float) -> float | None:
    """Run a command and kill it so many seconds after its first write to the lake, or after 30 s. Return None if it was
    still running then, else how long it went on after that write, in s."""
    lake.objects.put(CLOCK, b"before")
    before = lake.objects.head(CLOCK)["e_tag"]
    process = forked.Running(["lake", command[0], lake.url, *command[1:]])
    until = time.monotonic() + 30
    while time.monotonic() < until and process.returncode is None:
        if lake.objects.head(CLOCK)["e_tag"] != before:
            break
        time.sleep(0.001 if lake.is_local else 0.02)
    written_at = time.monotonic()
    while time.monotonic() < written_at + after and process.returncode is None:
        time.sleep(0.001)
    lasted = None if process.returncode is None else time.monotonic() - written_at
    process.kill()
    process.join()
    return lasted


# Clocks


@pytest.fixture(scope="module")
def store_behind() -> Iterator[dict[str, str]]:
    """A store whose clock is 8 days behind: the clock of this machine is 8 days ahead."""
    with moto(days_behind=8) as found:
        yield found


@pytest.mark.slow
def test_a_clock_that_is_8_days_ahead_removes_nothing_that_a_shipper_is_about_to_commit(
    store_behind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(bucket_url(store_behind, monkeypatch))
    shipped(lake.url, [])
    commits = Commits(lake)
    commit = commits._commit

    def commit_after_a_compaction(table: Any, *of: Any) -> None:
        assert remove(Lake(lake.url), table.table_uri.rstrip("/").rpartition("/")[2]) == []
        commit(table, *of)

    monkeypatch.setattr(commits, "_commit", commit_after_a_compaction)
    monkeypatch.setattr(commits, "_look", lambda *_: None)
    with closing(commits), closing(open_store(HEALTHY["text"])) as store:
        made = extracted(store, store.recordings()[0])
        commits.add([made])
    assert not any(one.missing_files for one in table_states(lake))
    assert content(lake)["events"].total() == made.events


@pytest.mark.slow
def test_an_object_without_a_commit_is_removed_by_its_age_in_the_store(
    store_behind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(bucket_url(store_behind, monkeypatch))
    shipped(lake.url, [])
    lake.objects.put(path_of("events", "2026-11-27", "01a210c9-d100-8297-b319-10df9c6359b1")[0], b"1")
    assert remove(lake, "events", timedelta(days=7)) == []
    monkeypatch.setattr(lake, "skew", lambda: timedelta(0))
    assert len(remove(lake, "events", timedelta(days=7))) == 1


@pytest.mark.slow
def test_a_wrong_clock_is_said(store_behind: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url = bucket_url(store_behind, monkeypatch)
    shipped(url, [])
    sentence = f"the clock of this machine is 192 hours ahead of the clock of {url}: set it"
    import_file(HEALTHY["text"], tmp_path / "one.db")
    said = run("ship", tmp_path / "one.db", "--lake", url, code=0).stderr
    assert sentence in said
    assert sentence in run("lake", "expire", url, "--older-than", "90d", code=0).output


def test_the_right_clock_is_not_mentioned(lake_url: str, tmp_path: Path) -> None:
    shipped(lake_url, [])
    import_file(HEALTHY["text"], tmp_path / "one.db")
    for words in (["ship", tmp_path / "one.db", "--lake", lake_url], ["lake", "compact", lake_url]):
        assert "the clock of" not in run(*words, code=0).output


def test_a_day_expires_by_the_clock_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = str(tmp_path / "lake")
    shipped(url, SOME)
    began = min(datetime.fromisoformat(one.day) for one in files_of(Lake(url), "events")[0]).replace(tzinfo=UTC)
    age = datetime.now(UTC) - began
    monkeypatch.setattr(Lake, "now", lambda _lake: datetime.now(UTC) - timedelta(days=8))
    days = max(1, age.days - 3)
    told = run("lake", "expire", url, "--older-than", f"{days}d", "--dry-run", code=0)
    assert "no day before" in told.stdout
    assert "192 hours ahead of" in told.stderr


def test_a_shipper_stores_an_object_again_that_was_removed_during_its_commit(lake_url: str) -> None:
    shipped(lake_url, [])
    lake = Lake(lake_url)
    with closing(Shipper(lake)) as shipper:
        commit = shipper._commits._commit

        def removed(table: Any, actions: list[Any], ids: list[str]) -> None:
            commit(table, actions, ids)
            name = table.table_uri.rstrip("/").rpartition("/")[2]
            for action in actions:
                lake.objects.delete(f"{name}/{action.path}")

        shipper._commits._commit = removed  # type: ignore[method-assign]
        assert [one.status for one in shipper.ship([HEALTHY["text"]])] == ["shipped"]
    assert not any(one.missing_files for one in table_states(lake))


def test_a_shipper_whose_objects_are_removed_again_and_again_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "lake")
    Lake(url).init()
    is_there = Commits._is_there
    monkeypatch.setattr(Commits, "_is_there", lambda *of: is_there(*of) and of[1] != "events")
    done = run("ship", HEALTHY["text"], "--lake", url, code=2)
    assert "was removed 5 times while it was shipped: check the clocks" in done.stderr
    assert done.stdout == "1 not shipped\n"
    monkeypatch.undo()
    assert run("ship", HEALTHY["text"], "--lake", url, code=0).stdout.startswith("1 recording shipped")
    assert content(Lake(url))["events"].total() == 73


# Foreign files


def test_files_that_omnirecord_did_not_write_stay_and_are_named(lake_url: str) -> None:
    shipped(lake_url, SOME[:2])
    lake = Lake(lake_url)
    foreign = ["events/notes.txt", "events/day=2026-11-27/backup.parquet"]
    for path in foreign:
        lake.objects.put(path, b"mine")
    compact(lake)
    assert not {f"events/{path}" for path in remove(lake, "events", timedelta(0))}.intersection(foreign)
    assert all(map(lake.has, foreign))
    told = run("lake", "check", lake.url, code=0).stdout
    assert "the folder of the table events has 2 files that omnirecord did not write, the first is day=" in told
    (row,) = rows_of(run("lake", "check", lake.url, "--json", code=0))
    (events,) = (one for one in row["tables"] if one["table"] == "events")
    assert events["foreign_files"] == sorted(path.removeprefix("events/") for path in foreign)
    assert events["orphans"] == 0
