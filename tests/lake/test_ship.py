"""Shipping: each recording is in the lake once, whatever runs at the same time, is killed, or fails."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, Field, Schema
from deltalake.exceptions import CommitFailedError

from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite.lock import RecorderLock, recorder_is_alive
from omnirecord.cassette.sqlite.writer import shipped_to
from omnirecord.errors import LakeError
from omnirecord.lake.commits import Commits
from omnirecord.lake.extract import Extract, extracted
from omnirecord.lake.files import files_of
from omnirecord.lake.layout import SCHEMAS, TABLES, path_of
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.ship import Shipped, Shipper, locked
from omnirecord.lake.upkeep import remove
from omnirecord.lake.watch import Watcher
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.lakes import shipped
from tests.support.stores import bucket_url, each_lake_url, lake_url, shared_moto

__all__ = ["each_lake_url", "lake_url"]
TEXTS = sorted(SHIPPED.glob("*.jsonl"))[:4]


def made(url: str) -> Lake:
    return shipped(url)


def ship(lake: Lake, paths: list[Path], **options: Any) -> list[Shipped]:
    with closing(Shipper(lake, **options)) as shipper:
        return list(shipper.ship(paths))


def rows(lake: Lake, table: str) -> list[dict[str, Any]]:
    """All rows of a table."""
    found: list[dict[str, Any]] = []
    for path in committed(lake, table):
        found += pq.read_table(pa.BufferReader(bytes(lake.objects.get(path).bytes()))).to_pylist()
    return found


def committed(lake: Lake, table: str) -> set[str]:
    """The paths of the objects that the newest version of a table has."""
    return {f"{table}/{uri.partition(f'/{table}/')[2]}" for uri in lake.table(table).file_uris()}


def counts(lake: Lake, table: str = "events") -> Counter[str]:
    return Counter(row["recording_id"] for row in rows(lake, table))


def frames(paths: list[Path]) -> Counter[str]:
    """The frames of cassettes with one recording each, by the id of the recording."""
    found: Counter[str] = Counter()
    for path in paths:
        with closing(open_store(path)) as store:
            (recording,) = store.recordings()
            found[recording.recording_id] = sum(1 for x in store.streams() for _ in store.frames(x))
    return found


def copies(folder: Path, paths: list[Path] = TEXTS) -> list[Path]:
    """The same as databases."""
    made = []
    for path in paths:
        made.append(folder / f"{path.stem}.db")
        import_file(path, made[-1])
    return made


def test_a_recording_is_shipped_once_and_then_it_is_there_already(each_lake_url: str, tmp_path: Path) -> None:
    lake, paths = made(each_lake_url), copies(tmp_path, TEXTS[:2])
    first = ship(lake, paths)
    assert [one.status for one in first] == ["shipped"] * len(paths)
    assert [one.events for one in first] == list(frames(paths).values())
    assert {one.status for one in ship(lake, paths)} == {"there already"}
    assert counts(lake) == frames(paths)
    assert set(counts(lake, "recordings").values()) == {1}


def test_the_text_form_and_a_second_copy_are_the_same_recording(tmp_path: Path) -> None:
    lake, path = made(str(tmp_path / "lake")), TEXTS[0]
    (copy,) = copies(tmp_path, [path])
    found = ship(lake, [path, copy])
    assert [one.status for one in found] == ["shipped", "there already"]
    assert counts(lake) == frames([path])


@pytest.mark.slow
def test_shippers_at_the_same_time_ship_each_recording_once(lake_url: str, long: bool) -> None:
    lake = made(lake_url)
    texts = TEXTS if long else TEXTS[:2]
    found: list[Shipped] = []

    def one(seed: int) -> None:
        paths = list(texts)
        random.Random(seed).shuffle(paths)
        found.extend(ship(Lake(lake_url), paths))

    count = 8 if long else 3
    threads = [threading.Thread(target=one, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == count * len(texts)
    assert {one.status for one in found} <= {"shipped", "there already"}
    assert counts(lake) == frames(texts)
    assert set(counts(lake, "recordings").values()) == {1}


def process(url: str, folder: Path) -> forked.Running:
    return forked.Running(["ship", str(folder), "--lake", url])


def after_kills(url: str, folder: Path, kills: int, shippers: int, seed: int) -> Lake:
    """Run shippers on the same cassettes and kill one after the other at a random moment; the last ones end."""
    lake, chance = made(url), random.Random(seed)
    running = [process(url, folder) for _ in range(shippers)]
    for _ in range(kills):
        time.sleep(chance.uniform(0.1, 1.5))
        at = chance.randrange(shippers)
        running[at].kill()
        running[at].join()
        running[at] = process(url, folder)
    assert {one.join() for one in running} == {0}, [one.errors() for one in running]
    return lake


def assert_exact(lake: Lake, expected: Counter[str]) -> None:
    """Nothing is lost or doubled, and no object is without a commit."""
    assert counts(lake) == expected
    assert set(counts(lake, "recordings").values()) == {1}
    for table in TABLES:
        stored = {one["path"] for batch in lake.objects.list(f"{table}/") for one in batch}
        assert {path for path in stored if path.endswith(".parquet") and "_delta_log" not in path} == committed(
            lake, table
        )


@pytest.mark.slow
def test_killed_shippers_lose_and_double_nothing(lake_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    paths = copies(folder, sorted(SHIPPED.glob("*.jsonl"))[:8])
    assert_exact(after_kills(lake_url, folder, 1, 2, 1), frames(paths))


@pytest.mark.long
def test_a_hundred_kills_of_eight_shippers_lose_and_double_nothing(lake_url: str, tmp_path: Path) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    paths = copies(folder, [*sorted(SHIPPED.glob("*.jsonl")), *sorted((SHIPPED / "corpus").glob("*.jsonl"))])
    assert_exact(after_kills(lake_url, folder, 100, 8, 2), frames(paths))


def test_what_a_killed_shipper_left_is_completed(lake_url: str) -> None:
    lake, whole = made(lake_url), Shipper(Lake(lake_url))
    add = whole._commits._add
    done: list[str] = []

    def killed(name: str, extracts: Any) -> None:
        if name == "recordings":
            raise LakeError("killed before the last commit")
        add(name, extracts)
        done.append(name)

    whole._commits._add = killed  # type: ignore[method-assign]
    with pytest.raises(LakeError, match="killed"):
        list(whole.ship(TEXTS[:2]))
    assert "events" in done
    assert not rows(lake, "recordings")
    assert [one.status for one in ship(lake, TEXTS[:2])] == ["shipped", "shipped"]
    assert counts(lake) == frames(TEXTS[:2])


def test_an_object_that_is_there_without_a_commit_is_committed_as_it_is(lake_url: str) -> None:
    lake, shipper = made(lake_url), Shipper(Lake(lake_url))
    shipper._commits._commit = lambda *_: (_ for _ in ()).throw(LakeError("killed"))  # type: ignore[method-assign]
    with pytest.raises(LakeError, match="killed"):
        list(shipper.ship(TEXTS[:1]))
    assert not rows(lake, "events")
    ship(lake, TEXTS[:1])
    assert counts(lake) == frames(TEXTS[:1])


def test_an_object_of_another_shipper_is_committed_although_its_time_of_shipping_differs(lake_url: str) -> None:
    lake, killed = made(lake_url), Shipper(Lake(lake_url))
    add = killed._commits._commit
    killed._commits._commit = lambda table, *more: (  # type: ignore[method-assign]
        add(table, *more) if "/recordings" not in table.table_uri else (_ for _ in ()).throw(LakeError("killed"))
    )
    with pytest.raises(LakeError, match="killed"):
        list(killed.ship(TEXTS[:2]))
    ship(lake, TEXTS[:2])
    assert_exact(lake, frames(TEXTS[:2]))


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


def extract() -> Extract:
    with closing(open_store(TEXTS[0])) as store:
        return extracted(store, store.recordings()[0])


def removed_by_compact(lake: Lake) -> None:
    """Remove the objects that no commit names, as `compact` does when they are old."""
    for table in TABLES:
        remove(lake, table, timedelta(0))


def assert_readable(lake: Lake, one: Extract) -> None:
    assert counts(lake) == {one.recording_id: one.events}
    with LakeQuery(lake) as query:
        sql = "SELECT recording_id, count(*) FROM events SEMI JOIN recordings USING (recording_id) GROUP BY 1"
        assert list(query.rows(sql).rows) == [(one.recording_id, one.events)]
    assert all(file.recording_id == one.recording_id for file in files_of(lake, "events")[0])


def test_an_old_object_without_a_commit_is_not_committed(lake_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, one = made(lake_url), extract()
    for table, data in one.files.items():
        lake.objects.put(path_of(table, one.day, one.recording_id)[0], data)
    monkeypatch.setattr(Lake, "now", lambda _lake: datetime.now(UTC) + timedelta(hours=2))
    with closing(Commits(lake)) as commits:
        commits.add([one])
    assert path_of("events", one.day, one.recording_id)[0] not in committed(lake, "events")
    removed_by_compact(lake)
    assert_readable(lake, one)


def test_another_object_of_the_same_name_is_not_committed(lake_url: str) -> None:
    lake, one = made(lake_url), extract()
    path = path_of("events", one.day, one.recording_id)[0]
    lake.objects.put(path, b"of another version, or with secrets")
    with closing(Commits(lake)) as commits:
        commits.add([one])
    assert path not in committed(lake, "events")
    assert_readable(lake, one)


@pytest.mark.parametrize("is_before", [True, False])
def test_a_machine_that_sleeps_around_a_commit_stores_the_objects_again(lake_url: str, is_before: bool) -> None:
    lake, one, clock = made(lake_url), extract(), Clock()
    commits = Commits(lake, clock)
    commit = commits._commit

    def sleeps(table: DeltaTable, actions: list[Any], ids: list[str]) -> None:
        if not is_before:
            commit(table, actions, ids)
        commits._commit = commit  # type: ignore[method-assign]
        clock.ahead = 7200
        for action in actions:
            lake.objects.delete(f"events/{action.path}")
        if is_before:
            raise CommitFailedError("another shipper was first")

    commits._commit = sleeps  # type: ignore[method-assign]
    with closing(commits):
        commits._add("events", [one])
        commits.add([one])
    removed_by_compact(lake)
    assert_readable(lake, one)


def test_a_recording_whose_rows_were_removed_does_not_come_back(lake_url: str) -> None:
    lake = made(lake_url)
    ship(lake, TEXTS[:2])
    for table in TABLES:
        lake.table(table).delete()
    assert {one.status for one in ship(lake, TEXTS[:2])} == {"there already"}
    assert not rows(lake, "events")


def test_columns_of_a_newer_version_stay_and_are_null(lake_url: str) -> None:
    lake = made(lake_url)
    lake.table("events").alter.add_columns([Field("colour", "string")])
    assert [one.status for one in ship(lake, TEXTS[:1])] == ["shipped"]
    assert "colour" in {field.name for field in lake.table("events").schema().fields}
    assert counts(lake) == frames(TEXTS[:1])


def test_a_lake_of_an_older_version_gets_the_missing_columns_and_tables(lake_url: str) -> None:
    lake = made(lake_url)
    older = Lake(f"{lake_url}-older")
    if older.is_local:
        Path(older.url).mkdir()
        older = Lake(older.url)
    older.objects.put("omnirecord.json", bytes(lake.objects.get("omnirecord.json").bytes()))
    schema = pa.schema([field for field in SCHEMAS["recordings"] if field.name != "server_version"])
    DeltaTable.create(
        older.table_url("recordings"), Schema.from_arrow(schema), partition_by=["day"],
        storage_options=older.storage_options,
    )  # fmt: skip
    assert [one.status for one in ship(older, TEXTS[:1])] == ["shipped"]
    assert "server_version" in {field.name for field in older.table("recordings").schema().fields}
    assert counts(older) == frames(TEXTS[:1])


def test_a_damaged_and_a_busy_cassette_are_named_and_the_others_are_shipped(tmp_path: Path) -> None:
    lake, paths = made(str(tmp_path / "lake")), copies(tmp_path, TEXTS[:3])
    paths[0].write_bytes(paths[0].read_bytes()[:5000] + bytes(3000) + paths[0].read_bytes()[8000:])
    before = paths[0].read_bytes()
    lock = RecorderLock(paths[1])
    try:
        found = {one.path: one for one in ship(lake, paths)}
    finally:
        lock.release()
    assert [found[path].status for path in paths] == ["failed", "busy", "shipped"]
    assert str(paths[0]) in (found[paths[0]].message or "")
    assert "is being recorded" in (found[paths[1]].message or "")
    assert paths[0].read_bytes() == before
    assert set(counts(lake)) == set(frames(paths[2:]))


def test_a_cassette_that_cannot_be_opened_is_named_and_the_others_are_shipped(tmp_path: Path) -> None:
    lake, loop = made(str(tmp_path / "lake")), tmp_path / "loop.jsonl"
    loop.symlink_to(loop)
    with closing(Shipper(lake)) as shipper:
        found = {one.path: one for one in shipper.ship([loop, TEXTS[0]])}
    assert (found[loop].status, found[TEXTS[0]].status) == ("failed", "shipped")
    assert "is a symbolic link that leads in a circle" in (found[loop].message or "")


def test_the_lock_of_a_shipper_is_no_recorder_and_a_recorder_waits_for_it(tmp_path: Path) -> None:
    (path,) = copies(tmp_path, TEXTS[:1])
    with locked(path):
        assert not recorder_is_alive(path)
        waits = threading.Thread(target=import_file, args=[TEXTS[1], path])
        waits.start()
        waits.join(0.3)
        assert waits.is_alive()
        assert recorder_is_alive(path), "so a shipper without a recorder ends"
    waits.join(10)
    with closing(open_store(path)) as store:
        assert len(store.recordings()) == 2


def test_a_shipped_cassette_is_marked_until_a_recorder_opens_it(lake_url: str, tmp_path: Path) -> None:
    lake, (path,) = made(lake_url), copies(tmp_path, TEXTS[:1])
    ship(lake, [path])
    assert shipped_to(path) == {f"{lake.url}#{lake.marker().lake}"}
    import_file(TEXTS[1], path)
    assert not shipped_to(path)
    assert [one.status for one in ship(lake, [path])] == ["there already", "shipped"]
    assert shipped_to(path)


def test_labels_are_added_and_the_key_of_pseudonyms_and_meta_stay_at_home(tmp_path: Path) -> None:
    lake, (path,) = made(str(tmp_path / "lake")), copies(tmp_path, TEXTS[:1])
    ship(lake, [path], labels={"team": "blue"})
    (row,) = rows(lake, "recordings")
    assert dict(row["labels"])["team"] == "blue"
    stored = b"".join(one.read_bytes() for one in (tmp_path / "lake").rglob("*") if one.is_file())
    assert b"pseudonym" not in stored


def test_redact_masks_on_the_way_and_keeps_the_id(tmp_path: Path) -> None:
    secret = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789ABCD"
    lines = [json.loads(line) for line in TEXTS[0].read_text().splitlines()]
    posted = next(line for line in lines if line.get("request", {}).get("method") == "POST")
    posted["request"] |= {"body": json.dumps({"text": secret}), "headers": [["Content-Type", "application/json"]]}
    source = tmp_path / "secret.jsonl"
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    with closing(open_store(source)) as store:
        (recording,) = store.recordings()
    lake = made(str(tmp_path / "lake"))
    (one,) = ship(lake, [source], redact=True)
    assert (one.status, one.recording_id) == ("shipped", recording.recording_id)
    bodies = b"".join(row["request_body"] for row in rows(lake, "exchanges"))
    assert b"text" in bodies
    assert secret[12:].encode() not in bodies
    assert [row["redact"] for row in rows(lake, "recordings")] == ["content"]


def test_recordings_that_were_read_long_ago_are_committed_before_more_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omnirecord.lake.ship.BATCH_SECONDS", 0.0)
    lake = made(str(tmp_path / "lake"))
    with closing(Shipper(lake)) as shipper:
        next(shipper.ship(copies(tmp_path, TEXTS[:2])))
    assert len(rows(lake, "recordings")) == 1


@pytest.mark.slow
def test_a_store_that_goes_away_is_a_sentence_and_changes_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = copies(tmp_path, TEXTS[:2])
    lake = made(bucket_url(shared_moto(), monkeypatch))
    with closing(Shipper(lake)) as shipper:
        found = shipper.ship(paths[:1])
        assert next(found).status == "shipped"
        content = {path: path.read_bytes() for path in paths[1:]}
        shipper._commits._tables.clear()
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        gone = Lake(lake.url)
        shipper._commits._lake = gone
        with pytest.raises(LakeError, match="the store failed: try again, and nothing local was changed"):
            list(shipper.ship(paths[1:]))
    assert {path: path.read_bytes() for path in content} == content


def test_a_watcher_tells_once_that_the_lake_fails_and_once_that_it_works(tmp_path: Path) -> None:
    (path,) = copies(tmp_path, TEXTS[:1])
    lake, said, told = made(str(tmp_path / "lake")), [], []  # type: Lake, list[str], list[Shipped]
    away = tmp_path / "away"
    shutil.move(tmp_path / "lake", away)
    os.utime(path, (1, 1))
    watcher = Watcher(lambda: Shipper(lake), lambda: [path], told.append, said.append)
    pauses = [watcher.look() for _ in range(4)]
    assert pauses == [1.0, 2.0, 4.0, 8.0]
    assert len(said) == 1
    shutil.move(away, tmp_path / "lake")
    watcher.look()
    assert (len(said), said[-1]) == (2, "the lake works again")
    assert [one.status for one in told] == ["shipped"]
    assert watcher.left == []


def files_by_day(lake: Lake, table: str) -> Counter[str]:
    return Counter(one.day for one in files_of(lake, table)[0])


def test_small_recordings_of_one_call_share_an_object_in_each_table(lake_url: str) -> None:
    lake = made(lake_url)
    assert {one.status for one in ship(lake, TEXTS)} == {"shipped"}
    for table in TABLES:
        assert set(files_by_day(lake, table).values()) <= {1}
    assert counts(lake) == frames(TEXTS)
    assert {one.status for one in ship(lake, TEXTS)} == {"there already"}


def test_recordings_of_an_interrupted_call_are_in_the_lake_once_whoever_ships_them(lake_url: str) -> None:
    lake, whole = made(lake_url), Shipper(Lake(lake_url))
    add = whole._commits._add

    def killed(name: str, extracts: Any) -> None:
        if name in ("turns", "recordings"):
            raise LakeError("killed")
        add(name, extracts)

    whole._commits._add = killed  # type: ignore[method-assign]
    with pytest.raises(LakeError, match="killed"):
        list(whole.ship(TEXTS))
    assert [one.status for one in ship(lake, TEXTS[1:2])] == ["shipped"]
    assert Counter(one.status for one in ship(lake, TEXTS)) == {"shipped": len(TEXTS) - 1, "there already": 1}
    assert counts(lake) == frames(TEXTS)
    assert set(counts(lake, "recordings").values()) == {1}


def test_the_shipped_cassettes_take_few_bytes_an_event_with_their_logs(tmp_path: Path, long: bool) -> None:
    lake, paths = made(str(tmp_path / "lake")), [*sorted(SHIPPED.glob("*.jsonl")), *sorted(SHIPPED.glob("*/*.jsonl"))]
    if not long:
        paths = paths[::3]  # a log is a larger part of a smaller lake
    empty = sum(one.stat().st_size for one in Path(lake.url).rglob("*") if one.is_file())
    events = sum(one.events for one in ship(lake, paths))
    stored = sum(one.stat().st_size for one in Path(lake.url).rglob("*") if one.is_file())
    assert (stored - empty) / events < (150 if long else 250)
