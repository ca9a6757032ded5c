"""A lake that an attacker wrote: a sentence and no hang, and no file outside of it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from omnirecord.errors import LakeError
from omnirecord.lake.location import MARKER, Lake, table_states
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.upkeep import expiring
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.lakes import shipped


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    shipped(str(tmp_path / "lake"), next(iter(sorted(SHIPPED.glob("*.jsonl")))))
    return tmp_path / "lake"


def rename(table: Path, path: str) -> None:
    """Let the log of a table name another path for each of its files."""
    for log in (table / "_delta_log").glob("*.json"):
        rows = [json.loads(line) for line in log.read_text().splitlines()]
        for row in rows:
            if "add" in row:
                row["add"]["path"] = path
        log.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.mark.parametrize("path", ["../../etc/passwd", "day=1/../../x", "/etc/passwd", "file:///etc/passwd", "a\0b"])
def test_a_log_names_no_file_outside_of_its_table(path: str, lake: Path) -> None:
    rename(lake / "events", path)
    with LakeQuery(Lake(str(lake))) as query, pytest.raises(LakeError, match="outside of the table"):
        query.files("events")
    failures = {one.table: one.failure for one in table_states(Lake(str(lake)))}
    assert "outside of the table" in (failures["events"] or "")
    rename(lake / "recordings", path)
    with pytest.raises(LakeError, match="outside of the table"):
        expiring(Lake(str(lake)), date.max)


def into_a_pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def into_a_device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("change", [into_a_pipe, pytest.param(into_a_device, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "name", [MARKER, "recordings/_delta_log/_last_checkpoint", "recordings/_delta_log/{log}", "recordings/{data}"]
)
def test_a_pipe_or_a_device_in_a_lake_is_never_read(name: str, change: Callable[[Path], None], lake: Path) -> None:
    log = max((lake / "recordings/_delta_log").glob("*.json")).name
    data = str(next((lake / "recordings").rglob("*.parquet")).relative_to(lake / "recordings"))
    change(lake / name.format(log=log, data=data))
    for words in (["lake", "sessions", str(lake)], ["lake", "check", str(lake)]):
        found = forked.run(words)
        assert found.code in (1, 2)
        assert b"no regular file" in found.out + found.errors
        assert b"Traceback" not in found.errors


@pytest.mark.parametrize("content", ["[" * 200_000, '{"lake": 1, "format": "1", "created_at": 1, "created_by": 1}'])
def test_a_marker_that_is_none_is_a_sentence(content: str, lake: Path) -> None:
    (lake / MARKER).write_text(content)
    with pytest.raises(LakeError, match="is damaged"):
        Lake(str(lake)).marker()


def test_a_log_of_brackets_is_a_sentence(lake: Path) -> None:
    for log in (lake / "recordings/_delta_log").glob("*.json"):
        log.write_text("[" * 200_000)
    found = forked.run(["lake", "sessions", str(lake)])
    assert (found.code, found.errors.count(b"\n")) == (2, 1)
