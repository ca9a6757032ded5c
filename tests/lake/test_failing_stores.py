"""A store that denies access, or is full: one sentence, nothing local is changed, and the next call ships the rest."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from obstore.exceptions import GenericError

from omnirecord.cassette.open import import_file
from omnirecord.cli import main
from omnirecord.errors import LakeError
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from tests.support.cassettes import HEALTHY
from tests.support.front import Front, front
from tests.support.lakes import shipped
from tests.support.stores import bucket_url, shared_moto

pytestmark = pytest.mark.slow


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A server in front of moto, as the endpoint of the clients, which retry for a second only."""
    monkeypatch.setattr("omnirecord.lake.location._PATIENCE", timedelta(seconds=1))
    with front(shared_moto()["AWS_ENDPOINT_URL"]) as made:
        yield made


@pytest.fixture
def url(store: Front, monkeypatch: pytest.MonkeyPatch) -> str:
    """A lake with a recording."""
    found = bucket_url(shared_moto(), monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    return shipped(found, HEALTHY["text"]).url


def run(*words: object, code: int) -> Result:
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == code, done.output
    assert len(done.stderr.splitlines()) <= 1
    return done


def is_write(method: str, _path: str) -> bool:
    return method in ("PUT", "POST", "DELETE")


def cassette(folder: Path) -> Path:
    import_file(HEALTHY["turns"], folder / "turns.db")
    return folder / "turns.db"


def recordings(url: str) -> int:
    with LakeQuery(Lake(url)) as query:
        ((count,),) = query.run("SELECT count(*) FROM recordings").rows
    return int(count)


def test_without_the_right_to_write_a_lake_can_be_checked_and_asked(store: Front, url: str, tmp_path: Path) -> None:
    store.refuse = lambda *of: 403 if is_write(*of) else None
    told = run("lake", "check", url, code=0).stdout
    assert "conditional PUT: not tested, since nothing can be written there" in told
    assert run("lake", "sessions", url, code=0).stdout.count("\n") == 2
    path = cassette(tmp_path)
    before = path.read_bytes()
    done = run("ship", path, "--lake", url, code=2)
    assert "access denied: check the credentials in the environment and their rights" in done.stderr
    assert done.stdout == "1 not shipped\n"
    assert path.read_bytes() == before
    assert "access denied" in run("lake", "init", url, code=2).stderr
    store.refuse = lambda *_: None
    assert run("ship", path, "--lake", url, code=0).stdout.startswith("1 recording shipped")
    assert recordings(url) == 2


def test_a_store_that_denies_access_is_a_sentence_without_credentials(store: Front, url: str) -> None:
    store.refuse = lambda *_: 403
    for words in (["sessions", url], ["sql", url, "SELECT 1"], ["check", url], ["doctor", url]):
        said = run("lake", *words, code=2).stderr
        assert said.startswith(f"Error: {url}: access denied: check the credentials in the environment")
        assert "testing" not in said


def test_403_on_the_log_or_on_an_object_is_access_denied(
    store: Front, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("_delta_log", ".parquet"):
        store.refuse = lambda _method, target, part=part: 403 if part in target else None  # type: ignore[misc]
        for words in (
            ["lake", "sessions", url],
            ["lake", "sql", url, "SELECT count(DISTINCT raw) FROM events"],
            ["lake", "init", url],
            ["lake", "get", url, "0", "-o", tmp_path / "a.db"],
            ["ship", cassette(tmp_path), "--lake", url],
        ):
            if words[1] != "init" or part == "_delta_log":
                assert "access denied: check the credentials" in run(*words, code=2).stderr
    monkeypatch.setattr("omnirecord.lake.scan.WHOLE", 0)  # a large object is read in parts
    store.refuse = lambda _method, target: 403 if ".parquet" in target else None
    assert "access denied: check the credentials" in run("lake", "sessions", url, code=2).stderr
    store.refuse = lambda _method, target: 403 if "_delta_log" in target else None
    assert "the table recordings cannot be read: access denied" in run("lake", "check", url, code=1).stdout


def test_a_bucket_that_does_not_exist_is_called_missing(url: str) -> None:
    other = f"{url.removesuffix('/lake')}-other/lake"
    for words in (["lake", "init", other], ["lake", "sessions", other], ["ship", HEALTHY["text"], "--lake", other]):
        assert f"{other}: the bucket does not exist: make it, or check the URL" in run(*words, code=2).stderr


def test_a_full_disk_is_a_full_store(tmp_path: Path) -> None:
    said = "Unable to copy data to file: No space left on device (os error 28)"
    with pytest.raises(LakeError, match="the store is full: add space, and try again"), Lake(str(tmp_path)).failures():
        raise GenericError(said)


@pytest.mark.parametrize(
    "full_of", [".parquet", pytest.param("_delta_log", marks=pytest.mark.long)], ids=["objects", "commits"]
)
def test_a_full_store_gets_the_rest_with_the_next_call(full_of: str, store: Front, url: str, tmp_path: Path) -> None:
    path = cassette(tmp_path)
    before, room = path.read_bytes(), 3

    def refuse(method: str, target: str) -> int | None:
        nonlocal room
        if not is_write(method, target) or full_of not in target:
            return None
        room -= 1
        return 507 if room < 0 else None

    store.refuse = refuse
    done = run("ship", path, "--lake", url, code=2)
    assert "the store is full: add space, and try again" in done.stderr
    assert done.stdout == "1 not shipped\n"
    assert store.refused
    assert path.read_bytes() == before
    assert recordings(url) == 1
    store.refuse = lambda *_: None
    assert run("ship", path, "--lake", url, code=0).stdout.startswith("1 recording shipped")
    assert recordings(url) == 2
