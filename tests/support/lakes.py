"""Lakes for tests: cassettes shipped to one, and a cassette split over two proxies."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any
from zlib import crc32

import pyarrow.parquet as pq

from omnirecord.lake.layout import LINKED
from omnirecord.lake.location import Lake
from omnirecord.lake.ship import Shipper
from tests.support.cassettes import SHIPPED

Labels = tuple[tuple[str, str], ...]


def shipped(url: str, *paths: Path, labels: dict[str, str] | None = None) -> Lake:
    """Return the lake at a URL, made if it is new, with the recordings of these cassettes."""
    assert set(statuses(url, *paths, labels=labels)) <= {"shipped", "there already"}
    return Lake(url)


def statuses(url: str, *paths: Path, labels: dict[str, str] | None = None) -> list[str]:
    """Make the lake at a URL if it is new, ship cassettes, and return the status of each recording.

    A new lake is a copy of one with the shipped cassettes among these, or of an empty one, in a bucket too: this
    process makes each such lake once.
    """
    if _is_there(url):
        return _ship(url, paths, labels)
    is_copy = all(path.is_relative_to(SHIPPED) for path in paths)
    given = None if labels is None or not is_copy else tuple(labels.items())
    lake, found = _lake_of(paths if is_copy else (), given)
    if "://" in url:
        _upload(lake, url)
    else:
        shutil.copytree(lake, url)
    return list(found) if is_copy else _ship(url, paths, labels)


def as_an_older_version(lake: Path) -> None:
    """Remove from a lake in a folder what versions before `model_calls` did not ship."""
    shutil.rmtree(lake / "model_calls")
    for path in (lake / "recordings").rglob("*.parquet"):
        rows = pq.read_table(path, partitioning=None)
        pq.write_table(rows.drop_columns([LINKED]), path)
        log = next(one for one in (lake / "recordings" / "_delta_log").glob("*.json") if path.name in one.read_text())
        text = log.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines:
            if "add" in line and line["add"]["path"].endswith(path.name):
                line["add"]["size"] = path.stat().st_size
        log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _is_there(url: str) -> bool:
    return any(Lake(url).objects.list(chunk_size=1)) if "://" in url else Path(url).exists()


def _upload(folder: Path, url: str) -> None:
    objects = Lake(url).objects
    for path in folder.rglob("*"):
        if path.is_file():
            objects.put(str(path.relative_to(folder)), path.read_bytes())


@cache
def _lake_of(paths: tuple[Path, ...], labels: Labels | None) -> tuple[Path, list[str]]:
    folder = Path(tempfile.mkdtemp(prefix="lake-of-omnirecord-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder / "lake", _ship(str(folder / "lake"), paths, None if labels is None else dict(labels))


def _ship(url: str, paths: Collection[Path], labels: dict[str, str] | None) -> list[str]:
    lake = Lake(url)
    if not _is_there(url):
        lake.init()
    if not paths:
        return []
    with closing(Shipper(lake, labels=labels)) as shipper:
        return [one.status for path in paths for one in shipper.ship([path])]  # each recording in its own objects


def split(
    cassette: Path,
    folder: Path,
    is_second: Callable[[dict[str, Any]], bool] = lambda x: x["kind"] == "sse",
    seed: str = "",
) -> tuple[Path, Path]:
    """Return a cassette as two proxies behind a load balancer record it: one has the requests, one the streams.

    `is_second`: whether the second one has an exchange. `seed`: the ids of its recordings follow from it.
    """
    head, *values = [json.loads(line) for line in cassette.read_text().splitlines()]
    requests: list[dict[str, Any]] = []
    streams: list[dict[str, Any]] = []
    part = requests
    for value in values:
        if "request" in value:
            part = streams if is_second(value) else requests
        part.append(value)
    return (
        _written(folder / "requests.jsonl", _head(head, "1", seed), requests),
        _written(folder / "streams.jsonl", _head(head, "2", seed), streams),
    )


def _head(head: dict[str, Any], digit: str, seed: str) -> dict[str, Any]:
    of = f"{crc32(seed.encode()) & 0xFFFF:04x}"
    recordings = [
        {**one, "recording_id": f"01a2144{digit}-{of}-7000-8000-{one['recording']:012d}"} for one in head["recordings"]
    ]
    return {**head, "recordings": recordings}


def _written(path: Path, head: dict[str, Any], values: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in (head, *values)))
    return path
