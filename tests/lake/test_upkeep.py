"""Compaction and expiry: no row is lost or doubled, whatever runs at the same time or is killed."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from omnirecord.cli import main
from omnirecord.errors import LakeError
from omnirecord.lake.files import files_of
from omnirecord.lake.layout import TABLES
from omnirecord.lake.location import Lake
from omnirecord.lake.upkeep import (
    RETAIN,
    Merged,
    expire,
    expiring,
    first_day_kept,
    merge,
    merges,
    remove,
    shorten_log,
)
from tests.support import forked
from tests.support.lakes import statuses
from tests.support.stores import each_lake_url, lake_url

__all__ = ["each_lake_url", "lake_url"]
ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted((ROOT / "cassettes").glob("*.jsonl"))[:6]
MODEL_CALLS = sorted((ROOT / "cassettes" / "corpus").glob("model_*.jsonl"))[:2]
"""Cassettes of another day."""
NOW = timedelta(0)


def shipped(url: str, paths: list[Path] = SHIPPED[:4]) -> list[str]:
    """Ship cassettes; return the status of each recording."""
    return statuses(url, *paths)


def rows_of(lake: Lake, name: str) -> pa.Table:
    """All rows of the newest version of a table, in the order of recordings."""
    files, schema = files_of(lake, name)
    read = [
        pq.read_table(pa.BufferReader(bytes(lake.objects.get(f"{name}/{one.path}").bytes()))) for one in files
    ]  # fmt: skip
    own = [field for field in schema if field.name != "day"]
    if not read:
        return pa.schema(own).empty_table()
    rows = pa.concat_tables([one.select([field.name for field in own]).cast(pa.schema(own)) for one in read])
    keys = [key for key in ("recording_id", "exchange", "seq", "n", "message") if key in rows.column_names]
    return rows.sort_by([(key, "ascending") for key in keys])


def content(lake: Lake) -> dict[str, Counter[str]]:
    """All rows of all tables, as text."""
    return {
        name: Counter(json.dumps(row, default=str, sort_keys=True) for row in rows_of(lake, name).to_pylist())
        for name in TABLES
    }  # fmt: skip


def compact(lake: Lake, target: int = 1 << 20) -> Merged:
    result = Merged()
    for name in TABLES:
        for one in merges(lake, name, target):
            for _ in merge(lake, one, result, target):
                pass
    return result


def objects(lake: Lake, name: str) -> set[str]:
    found = (one["path"] for some in lake.objects.list(prefix=f"{name}/") for one in some)
    return {path for path in found if "/day=" in path}


def test_compaction_keeps_every_row_and_merges_each_day_into_one_object(lake_url: str) -> None:
    shipped(lake_url)
    lake = Lake(lake_url)
    before, days = content(lake), {one.day for one in files_of(lake, "events")[0]}

    result = compact(lake)

    assert content(lake) == before
    assert len(files_of(lake, "events")[0]) == len(days)
    assert result.into < result.objects
    assert compact(lake) == Merged()


def test_the_row_groups_of_a_merged_object_have_disjoint_ranges_of_recordings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.lake.upkeep._GROUP_ROWS", 60)
    url = str(tmp_path / "lake")
    shipped(url)
    shipped(url, SHIPPED[4:])
    lake = Lake(url)
    compact(lake)
    shipped(url, MODEL_CALLS)
    compact(lake)

    for one in files_of(lake, "events")[0]:
        ids = pq.read_table(tmp_path / "lake" / "events" / one.path, partitioning=None)["recording_id"].to_pylist()
        assert ids == sorted(ids)
        assert (one.least, one.most) == (ids[0], ids[-1])


def test_a_row_group_of_events_ends_with_a_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.lake.upkeep._GROUP_ROWS", 120)
    url = str(tmp_path / "lake")
    shipped(url, SHIPPED[:6])
    compact(Lake(url))

    groups = 0
    for one in files_of(Lake(url), "events")[0]:
        file = pq.ParquetFile(tmp_path / "lake" / "events" / one.path)
        found = [file.read_row_group(number, ["recording_id"]) for number in range(file.num_row_groups)]
        groups += len(found)
        assert (file.metadata.row_group(0).column(0).statistics is not None) == (len(found) > 1)
        for rows, after in pairwise(found):
            is_same = rows["recording_id"][-1] == after["recording_id"][0]
            assert rows.num_rows == 120 if is_same else rows.num_rows >= 120 // 4
    assert groups > 4


def test_an_object_ends_at_the_target_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.lake.upkeep._GROUP_ROWS", 20)
    url = str(tmp_path / "lake")
    shipped(url)
    lake = Lake(url)
    before = content(lake)

    compact(lake, 10_000)

    sizes = [one.size for one in files_of(lake, "exchanges")[0]]
    assert len(sizes) > 1
    assert content(lake) == before


def test_what_was_compacted_expired_and_vacuumed_does_not_come_back(lake_url: str) -> None:
    some = SHIPPED[:2]
    assert set(shipped(lake_url, some)) == {"shipped"}
    lake = Lake(lake_url)
    assert compact(lake).objects
    assert set(shipped(lake_url, some)) == {"there already"}

    assert list(expire(lake, date(2100, 1, 1)))
    for name in TABLES:
        remove(lake, name, NOW)
    assert list(shorten_log(lake, TABLES)) == list(TABLES)

    assert objects(lake, "events") == set()
    assert set(shipped(lake_url, some)) == {"there already"}
    assert not any(content(lake).values())


def test_a_recording_is_refused_too_if_only_a_checkpoint_is_left_of_the_log(tmp_path: Path) -> None:
    url, log = str(tmp_path / "lake"), tmp_path / "lake" / "events" / "_delta_log"
    shipped(url)
    lake = Lake(url)
    list(expire(lake, date(2100, 1, 1)))
    for name in TABLES:  # as if 30 days had passed
        lake.table(name).alter.set_table_properties({"delta.logRetentionDuration": "interval 0 days"})
    list(shorten_log(lake, TABLES))

    assert len(list(log.glob("*.json"))) == 1
    assert set(shipped(url)) == {"there already"}
    assert not any(content(lake).values())


def test_two_compactions_at_once_double_no_row(each_lake_url: str) -> None:
    shipped(each_lake_url, SHIPPED[:2])
    lake = Lake(each_lake_url)
    before = rows_of(lake, "events")
    (first, *_) = merges(lake, "events", 1 << 20)
    one, other = Merged(), Merged()
    slow = merge(lake, first, one, 1 << 20)
    next(slow)  # it has read the table

    assert len(list(merge(Lake(each_lake_url), first, other, 1 << 20))) == len(first.files)
    list(slow)

    assert one == Merged()
    assert other.objects == len(first.files)
    assert rows_of(lake, "events") == before
    assert len(objects(lake, "events")) == len(first.files) + len(files_of(lake, "events")[0])


def test_a_plan_that_is_older_than_another_compaction_doubles_no_row(lake_url: str) -> None:
    shipped(lake_url)
    lake = Lake(lake_url)
    before, plans = content(lake), [one for name in TABLES for one in merges(lake, name, 1 << 20)]
    assert compact(Lake(lake_url)).objects

    late = Merged()
    for one in plans:
        list(merge(lake, one, late, 1 << 20))

    assert late == Merged()
    assert content(lake) == before


def test_an_expiry_during_a_compaction_brings_nothing_back(lake_url: str) -> None:
    shipped(lake_url)
    lake = Lake(lake_url)
    (first, *_) = merges(lake, "events", 1 << 20)
    slow = merge(lake, first, Merged(), 1 << 20)
    next(slow)

    list(expire(Lake(lake_url), date(2100, 1, 1)))
    list(slow)

    assert not any(content(lake).values())


def test_shippers_and_compactions_at_once_lose_no_row(tmp_path: Path, long: bool) -> None:
    """With `--long`, two compactions run, and more recordings are shipped."""
    alone, url = str(tmp_path / "alone"), str(tmp_path / "lake")
    some = SHIPPED if long else SHIPPED[:4]
    shipped(alone, some)
    shipped(url, SHIPPED[:2])
    done, errors = threading.Event(), list[BaseException]()

    def compacting() -> None:
        try:
            while not done.is_set():
                compact(Lake(url))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=compacting) for _ in range(2 if long else 1)]
    for thread in threads:
        thread.start()
    try:
        for path in some[2:]:
            shipped(url, [path])
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert errors == []
    lake = Lake(url)
    assert counts(lake) == counts(Lake(alone))
    assert {name: sum(found.values()) for name, found in content(lake).items()} == counts(lake)


def counts(lake: Lake) -> dict[str, int]:
    return {name: rows_of(lake, name).num_rows for name in TABLES}


@pytest.mark.slow
@pytest.mark.parametrize(
    "how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)], ids=["kill -9", "Ctrl-C"]
)
def test_a_compaction_that_is_killed_at_any_moment_leaves_a_consistent_lake(
    how: signal.Signals, tmp_path: Path, long: bool
) -> None:
    url, lot = str(tmp_path / "lake"), random.Random(18)
    shipped(url, SHIPPED[:1])
    lake = Lake(url)
    expected: dict[str, int] = {}
    for number in range(20 if long else 1):
        some = [SHIPPED[1 + number % (len(SHIPPED) - 1)]]
        shipped(url, some)
        expected = counts(lake)
        process = forked.Running(["lake", "compact", url, "--target-size", "1MiB"])
        begun = time.monotonic()
        while process.returncode is None and time.monotonic() - begun < 0.1 + lot.random():
            time.sleep(0.01)
        process.send_signal(how)
        process.join()
        assert counts(lake) == expected, number

    compact(lake)
    assert counts(lake) == expected
    for name in TABLES:
        remove(lake, name, NOW)
    assert counts(lake) == expected
    assert {name: len(objects(lake, name)) for name in TABLES} == {
        name: len(files_of(lake, name)[0]) for name in TABLES
    }  # fmt: skip


def test_an_interrupted_merge_leaves_no_object(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url)
    lake = Lake(url)
    before = objects(lake, "events")
    for one in merges(lake, "events", 1 << 20):
        merge(lake, one, Merged(), 1 << 20).close()

    assert objects(lake, "events") == before


def test_orphans_and_removed_objects_stay_until_they_are_old(lake_url: str) -> None:
    shipped(lake_url)
    lake = Lake(lake_url)
    lake.objects.put("events/day=2026-11-27/01a210c9-d100-8297-b319-10df9c6359b1-0a0b0c0d.parquet", b"")
    compact(lake)

    assert remove(lake, "events", RETAIN, dry_run=True) == []
    assert remove(lake, "events", timedelta(hours=1)) == []
    assert len(remove(lake, "events", NOW)) >= 1
    assert remove(lake, "events", NOW) == []
    assert objects(lake, "events") == {f"events/{one.path}" for one in files_of(lake, "events")[0]}
    assert rows_of(lake, "events").num_rows > 0


def test_only_whole_days_expire() -> None:
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    assert first_day_kept(timedelta(days=1), now) == date(2026, 11, 26)
    assert first_day_kept(timedelta(hours=11), now) == date(2026, 11, 27)


def test_expiry_takes_the_days_before_a_day_and_no_others(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, [*SHIPPED[:2], *MODEL_CALLS])
    lake = Lake(url)
    days = sorted({one.day for one in files_of(lake, "recordings")[0]})
    assert len(days) > 1
    until = date.fromisoformat(days[-1])
    assert {one.day for one in expiring(lake, until)} == set(days[:-1])

    list(expire(lake, until))

    assert {one.day for name in TABLES for one in files_of(lake, name)[0]} == {days[-1]}
    assert expiring(lake, until) == []


def of_day(day: str, folder: Path, number: int = 0) -> Path:
    """A cassette of a recorder with another clock."""
    head, *rest = SHIPPED[number].read_text().splitlines()
    value = json.loads(head)
    (one,) = value["recordings"]
    made = {
        **one,
        "started_at": f"{day}T12:00:00+00:00",
        "recording_id": f"0{number}e3a1f1-0000-7000-8000-000000000000",
    }
    path = folder / f"{day}-{number}.jsonl"
    path.write_text("\n".join([json.dumps({**value, "recordings": [made]}), *rest]))
    return path


def arrived(lake: Path, days: int) -> None:
    """Let all objects of a lake in a folder have arrived that many days ago."""
    for path in lake.rglob("*.parquet"):
        os.utime(path, (time.time() - days * 86400,) * 2)


@pytest.mark.parametrize("day", ["2001-01-01", pytest.param("2099-12-31", marks=pytest.mark.long)])
def test_a_recording_with_an_impossible_day_expires_by_its_arrival(day: str, tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, [of_day(day, tmp_path)])
    lake = Lake(url)
    before = content(lake)
    until = first_day_kept(timedelta(days=90))
    assert expiring(lake, until) == []
    list(expire(lake, until))
    assert content(lake) == before
    words = ["lake", "expire", url, "--older-than", "90d"]
    said = CliRunner().invoke(main, words).output
    assert f"{day}: 1 recording of a wrong clock arrived on {until} or later, and stay" in said

    arrived(tmp_path / "lake", 92)
    shipped(url, [of_day(day, tmp_path, 1)])
    assert {(one.day, one.rows) for one in expiring(lake, until) if one.table == "recordings"} == {(day, 1)}
    list(expire(lake, until))

    assert [one.day for one in files_of(lake, "recordings")[0]] == [day]
    assert counts(lake) == counts(Lake(shipped_alone(tmp_path, of_day(day, tmp_path, 1))))


def shipped_alone(folder: Path, path: Path) -> str:
    url = str(folder / "alone")
    shipped(url, [path])
    return url


def test_an_object_of_an_impossible_day_is_merged_once(tmp_path: Path) -> None:
    url = str(tmp_path / "lake")
    shipped(url, [of_day("2001-01-01", tmp_path), of_day("2001-01-01", tmp_path, 1)])
    lake = Lake(url)
    assert compact(lake).into
    merged = {path for name in TABLES for path in objects(lake, name) if "merged-" in path}
    shipped(url, [of_day("2001-01-01", tmp_path, 2)])
    compact(lake)
    assert merged <= {f"{name}/{one.path}" for name in TABLES for one in files_of(lake, name)[0]}


def test_a_lake_that_fails_says_so_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="lake init"):
        merges(Lake(str(tmp_path / "none")), "events")


# The commands.


@pytest.fixture
def folder_lake(tmp_path: Path) -> str:
    url = str(tmp_path / "lake")
    shipped(url)
    return url


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["lake", *words])
    assert result.exit_code == code, result.output
    return result.stdout


def test_compact_prints_a_row_for_each_table_that_changed(folder_lake: str) -> None:
    planned = [json.loads(line) for line in run("compact", folder_lake, "--dry-run", "--json").splitlines()]
    assert {row["into"] for row in planned} == {0}

    rows = [json.loads(line) for line in run("compact", folder_lake, "--json").splitlines()]

    assert [(row["table"], row["objects"], row["rows"]) for row in rows] == [
        (row["table"], row["objects"], row["rows"]) for row in planned
    ]
    assert all(0 < row["into"] < row["objects"] and not row["dry_run"] for row in rows)
    assert run("compact", folder_lake) == "nothing to merge and nothing to remove\n"


def test_expire_says_what_it_removes(folder_lake: str) -> None:
    text = run("expire", folder_lake, "--older-than", "1h", "--dry-run")
    assert "nothing was changed: --dry-run" in text
    rows = [json.loads(line) for line in run("expire", folder_lake, "--older-than", "36500d", "--json").splitlines()]
    assert rows == []
    assert run("expire", folder_lake, "--older-than", "36500d").startswith("no day before 19")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compact", "--retain", "1min"), "--retain 1min is too short"),
        (("compact", "--target-size", "2h"), "--target-size '2h' cannot be used: give a size as in 128MiB"),
        (("expire", "--older-than", "soon"), "--older-than 'soon' cannot be used: give a duration as in 90d"),
    ],
)
def test_an_unusable_option_is_a_sentence(words: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["lake", *words, "a-lake"])
    assert result.exit_code == 2
    assert said in result.output


def test_expire_asks_on_a_terminal(folder_lake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("omnirecord.cli.lake"), "is_terminal", lambda _stream: True)
    monkeypatch.setattr("omnirecord.lake.upkeep.first_day_kept", lambda *_: date(2100, 1, 1))
    lake, words = Lake(folder_lake), ["lake", "expire", folder_lake, "--older-than", "1d"]

    refused = CliRunner().invoke(main, words, input="n\n")
    assert refused.exit_code == 1
    assert "Remove them from the lake?" in refused.output
    assert rows_of(lake, "recordings").num_rows == 4

    agreed = CliRunner().invoke(main, [*words, "--yes", "--json"])
    assert {json.loads(line)["table"] for line in agreed.stdout.splitlines()} >= {"events", "recordings"}
    assert not any(content(lake).values())
