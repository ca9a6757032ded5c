"""Transactions that leave the logs: no recording comes in twice, whoever ships it and whenever."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from omnirecord.cli import main
from omnirecord.errors import LakeError
from omnirecord.lake import ids as ids_module
from omnirecord.lake import location
from omnirecord.lake.commits import Commits
from omnirecord.lake.extract import Extract, extracted
from omnirecord.lake.ids import Ids, fold, lost_ids
from omnirecord.lake.layout import TABLES
from omnirecord.lake.location import Lake, table_states
from omnirecord.lake.lost import lost_in, repair
from omnirecord.lake.ship import Shipper
from omnirecord.lake.transactions import Transactions
from omnirecord.lake.upkeep import expire, shorten_log
from tests.lake.test_lost import lose
from tests.lake.test_ship import TEXTS, copies, counts, frames, open_store, process, ship
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.lakes import shipped
from tests.support.stores import lake_url

__all__ = ["lake_url"]
SOME = TEXTS[:2]


def folded(url: str) -> Lake:
    """A lake with recordings whose transactions have left the logs."""
    lake = shipped(url, *SOME)
    assert fold(lake) == len(SOME)
    list(shorten_log(lake, TABLES))
    return lake


def run(*words: str, code: int) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == code, done.output
    return done.stdout


def first() -> Extract:
    with closing(open_store(TEXTS[0])) as store:
        return extracted(store, store.recordings()[0])


def assert_once(lake: Lake, paths: list[Path] = SOME) -> None:
    assert counts(lake) == frames(paths)
    assert set(counts(lake, "recordings").values()) == {1}


def test_no_log_keeps_the_ids_of_complete_recordings_and_none_comes_in_twice(lake_url: str) -> None:
    lake = folded(lake_url)
    for name in TABLES:
        assert all(lake.table(name).transaction_version(one) is None for one in frames(SOME))
    assert {one.status for one in ship(lake, SOME)} == {"there already"}
    assert_once(lake)
    assert fold(lake) == 0
    assert [one.status for one in ship(lake, TEXTS[2:3])] == ["shipped"]
    assert fold(lake) == 1
    assert_once(lake, TEXTS[:3])


def test_a_checkpoint_has_no_transaction_of_a_folded_recording(tmp_path: Path) -> None:
    folded(str(tmp_path / "lake"))
    for name in TABLES:
        (path,) = (tmp_path / "lake" / name / "_delta_log").glob("*.checkpoint.parquet")
        assert {one["appId"] for one in pq.read_table(path)["txn"].to_pylist() if one} <= {"omnirecord-removals"}


@pytest.mark.parametrize("is_late", [False, True])
def test_a_shipper_that_began_before_the_fold_adds_nothing(lake_url: str, is_late: bool) -> None:
    lake, one = shipped(lake_url), first()
    with closing(Commits(lake)) as commits:
        assert commits.there([one.recording_id]) == set()
        for name in TABLES:
            commits._newest(name)
        commit = commits._commit

        def late(*given: object) -> None:
            """Another process ships the recording, and compacts, between the look and the commit."""
            commits._commit = commit  # type: ignore[method-assign]
            ship(Lake(lake_url), TEXTS[:1])
            fold(lake)
            list(shorten_log(lake, TABLES))
            commit(*given)  # type: ignore[arg-type]

        if is_late:
            commits._commit = late  # type: ignore[method-assign,assignment]
        else:
            ship(Lake(lake_url), TEXTS[:1])
            fold(lake)
        commits.add([one])
    assert_once(lake, TEXTS[:1])


def test_an_incomplete_recording_keeps_its_transactions(lake_url: str) -> None:
    lake, shipper = shipped(lake_url), Shipper(Lake(lake_url))
    add = shipper._commits._add

    def killed(name: str, extracts: list[Extract]) -> None:
        if name == "recordings":
            raise LakeError("killed")
        add(name, extracts)

    shipper._commits._add = killed  # type: ignore[method-assign,assignment]
    with pytest.raises(LakeError, match="killed"):
        list(shipper.ship(SOME))
    assert fold(lake) == 0
    assert {one.status for one in ship(lake, SOME)} == {"shipped"}
    assert_once(lake)


def test_a_fold_that_another_commit_overtakes_begins_again(lake_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shipped(lake_url, *SOME)
    are_expired, calls = ids_module._are_expired, Counter[str]()

    def first_fails(*given: object) -> bool:
        calls["calls"] += 1
        return calls["calls"] != 3 and are_expired(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(ids_module, "_are_expired", first_fails)
    assert fold(lake) == len(SOME)
    assert all(lake.table(name).transaction_version(one) is None for one in frames(SOME) for name in TABLES)
    assert {one.status for one in ship(lake, SOME)} == {"there already"}


def test_the_transactions_of_a_log_are_those_that_deltalake_finds(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *SOME)
    ids = [*frames(TEXTS[:3]), "omnirecord-removals"]
    kept = Transactions(lake)

    def assert_same() -> dict[str, int]:
        table = lake.table("events")
        given = {one: version for one in ids if (version := table.transaction_version(one)) is not None}
        assert given == kept.versions("events", table, ids) == Transactions(lake).versions("events", table, ids)
        return given

    assert set(assert_same().values()) == {0}
    old = lake.table("events")
    lose(lake, "events")
    list(repair(lake, lost_in(lake, table_states(lake))))
    assert 1 in assert_same().values()
    assert set(kept.versions("events", old, ids).values()) == {0}
    assert fold(lake) == 1
    assert 1 in assert_same().values()
    list(shorten_log(lake, TABLES))
    assert 1 in assert_same().values()
    assert set(kept.versions("events", old, ids).values()) == {0}
    ship(lake, TEXTS[:3])
    assert {0, 2} <= set(assert_same().values())


def test_what_has_expired_after_a_fold_does_not_come_back(lake_url: str) -> None:
    lake = folded(lake_url)
    list(expire(lake, location.datetime.max.date()))
    assert not counts(lake, "recordings")
    assert {one.status for one in ship(lake, SOME)} == {"there already"}


def test_a_repaired_recording_comes_in_again_after_a_fold(lake_url: str) -> None:
    lake = folded(lake_url)
    lose(lake, "events")
    (lost,) = lost_in(lake, table_states(lake))
    list(repair(lake, [lost]))
    assert Counter(one.status for one in ship(lake, SOME)) == {"shipped": 1, "there already": 1}
    assert_once(lake)
    assert fold(lake) == 0
    assert {one.status for one in ship(lake, SOME)} == {"there already"}


def test_a_lake_of_the_first_format_keeps_all_transactions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(location, "FORMAT_VERSION", 1)
        lake = Lake(str(tmp_path / "lake"))
        lake.init()
    ship(lake, SOME)
    assert fold(lake) == 0
    assert all(
        lake.table(name).transaction_version(one) == 0 for one in frames(SOME) for name in ("events", "recordings")
    )
    assert {one.status for one in ship(lake, SOME)} == {"there already"}
    assert_once(lake)


def test_a_version_that_does_not_know_stored_ids_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = folded(str(tmp_path / "lake"))
    monkeypatch.setattr(location, "FORMAT_VERSION", 1)
    with pytest.raises(LakeError, match="has lake format 2, this omnirecord reads up to 1: upgrade it"):
        ship(lake, SOME)
    assert_once(lake)


def test_lost_and_damaged_ids_are_named_and_stored_again(lake_url: str) -> None:
    lake = folded(lake_url)
    (path,) = Ids(lake).paths()
    of_ids = {"table": "ids", "day": None, "path": path.removeprefix("ids/"), "recordings": sorted(frames(SOME))}
    for change in (None, b"damaged"):
        (path,) = Ids(lake).paths()
        if change is None:
            lake.objects.delete(path)
            name = of_ids["path"].partition("/")[0] + "/"
        else:
            lake.objects.put(path, change)
            name = path.removeprefix("ids/")
            with pytest.raises(
                LakeError, match=f"{path} is damaged: restore it from a copy of the lake, or run omnirec"
            ):
                ship(lake, SOME)
            lose(lake, "events")
        row = json.loads(run("lake", "check", lake.url, "--deep", "--json", code=1))
        assert [one for one in row["lost"] if one["table"] == "ids"] == [{**of_ids, "path": name}]
        assert f"the ids of 2 recordings are lost, the first in ids/{name}. These could be" in str(row["problems"])
        told = run("lake", "repair", lake.url, *([] if change is None else ["--yes"]), code=0)
        assert f"ids/{name}: 2 recordings" in told
        statuses = Counter(one.status for one in ship(lake, SOME))
        assert statuses == ({"there already": 2} if change is None else {"there already": 1, "shipped": 1})
        assert_once(lake)


def test_a_recording_that_is_shipped_during_a_check_has_lost_no_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = folded(str(tmp_path / "lake"))
    read = Ids.of

    def and_ship(self: Ids, path: str) -> object:
        monkeypatch.setattr(Ids, "of", read)
        ship(lake, TEXTS[:3])
        return read(self, path)

    monkeypatch.setattr(Ids, "of", and_ship)
    assert lost_ids(lake) == {}
    assert len(counts(lake)) == 3


def test_a_look_reads_only_the_ids_of_about_the_same_time(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    ids = Ids(lake)
    some = [f"{number:06x}00-0000-7000-8000-000000000000" for number in range(100)]
    ids.add(some)
    assert Ids(lake).among([some[7], "unknown0"]) == {some[7]}
    looks = Ids(lake)
    looks.among(some[7:8])
    assert len(looks._read) == 1


def compaction(url: str) -> forked.Running:
    return forked.Running(["lake", "compact", url])


@pytest.mark.slow
def test_kills_of_shippers_and_compactions_lose_and_double_nothing(lake_url: str, tmp_path: Path, long: bool) -> None:
    folder = tmp_path / "cassettes"
    folder.mkdir()
    paths = copies(folder, sorted(SHIPPED.glob("*.jsonl"))[: None if long else 8])
    lake, chance = shipped(lake_url), random.Random(3)
    for _ in range(20 if long else 2):
        running = [process(lake_url, folder), compaction(lake_url), process(lake_url, folder)]
        time.sleep(chance.uniform(0.2, 2))
        for one in running:
            one.kill()
            one.join()
    assert process(lake_url, folder).join() == 0
    assert compaction(lake_url).join() == 0
    assert {one.status for one in ship(lake, paths)} == {"there already"}
    assert counts(lake) == frames(paths)
    assert set(counts(lake, "recordings").values()) == {1}
    assert all(lake.table("recordings").transaction_version(one) is None for one in frames(paths))
