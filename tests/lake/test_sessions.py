"""`lake sessions`: all filters apply, and a limit gives the newest sessions, also of those in several recordings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from omnirecord.lake.layout import SCHEMAS
from omnirecord.lake.location import Lake
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.sessions import SHOWN, Wanted, sessions
from tests.support.cassettes import HEALTHY, TROUBLED, Made, status
from tests.support.front import Front, front
from tests.support.lake_sessions import again, changed, ship
from tests.support.lakes import shipped, split
from tests.support.stores import bucket_url, shared_moto

SOME = (HEALTHY["turns"], HEALTHY["tool"], HEALTHY["subagent"], TROUBLED["tool_hangs"])


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return shipped(str(tmp_path_factory.mktemp("some") / "lake"), *SOME, labels={"team": "blue"})


@pytest.fixture
def query(lake: Lake) -> Iterator[LakeQuery]:
    with LakeQuery(lake) as made:
        yield made


def chosen(query: LakeQuery, **filters: Any) -> set[str]:
    limit = filters.pop("limit", None)
    return {one["asked"] for one in sessions(query, Wanted(**filters), limit)}


def test_the_filters_of_sessions_all_apply(query: LakeQuery) -> None:
    every = chosen(query)
    assert len(every) == 5
    assert chosen(query, findings=["tool-without-output"]) == {"Wait until the tide turns."}
    assert chosen(query, statuses=["finished"]) < every
    assert chosen(query, labels={"team": "blue"}) == every
    assert chosen(query, labels={"team": "red"}) == set()
    assert chosen(query, models=["stand*", "x"]) == every
    assert chosen(query, models=["x"]) == set()
    assert chosen(query, since=datetime(2026, 11, 25, 20, 3, 50, tzinfo=UTC)) <= {"Wait until the tide turns."}
    assert chosen(query, findings=["tool-without-output"], statuses=["finished"]) == set()
    assert len(chosen(query, limit=2)) == 2


def test_sessions_and_get_do_not_load_the_query_engine_of_arrow(lake: Lake, tmp_path: Path) -> None:
    """It takes 15 ms of CPU time."""
    program = (
        "import sys; from omnirecord.cli import main; url, id_, path = sys.argv[1:];"
        "main(['lake', 'sessions', url, '--finding', 'tool-without-output', '--since', '2020-01-01'],"
        " standalone_mode=0);"
        "main(['lake', 'get', url, id_, '-o', path], standalone_mode=0); sys.exit('pyarrow.acero' in sys.modules)"
    )
    with LakeQuery(lake) as query:
        (session_id, *_) = (one["session_id"] for one in sessions(query, Wanted(), 1))
    words = [sys.executable, "-c", program, lake.url, session_id, str(tmp_path / "one.jsonl")]
    assert subprocess.run(words, check=False).returncode == 0


def test_the_rows_of_sessions_are_those_of_the_view(tmp_path: Path) -> None:
    parts = [*split(HEALTHY["subagent"], tmp_path), HEALTHY["text"], TROUBLED["tool_hangs"]]
    lake = shipped(str(tmp_path / "lake"), *parts)
    tape = Made()
    tape.stream("/feed", 0.5, (1.0, status("running")))
    shipped(lake.url, tape.save(tmp_path / "tape.db"))
    for _ in ("as shipped", "compacted"):
        with LakeQuery(lake) as query:
            expected = query.run(f"SELECT {', '.join(SHOWN)} FROM whole_sessions ORDER BY started_at DESC")
            assert list(sessions(query, Wanted())) == [dict(zip(SHOWN, row, strict=True)) for row in expected.rows]
        for name in SCHEMAS:
            lake.table(name).optimize.compact()


def test_a_limit_gives_the_newest_sessions_that_match(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"))
    names = ["tool_hangs", "text", "text", "text", "tool_hangs", "text", "text", "tool_hangs"]
    days = range(20, 28)
    ship(lake, [again(tmp_path, name, f"2026-11-{day}", day) for name, day in zip(names, days, strict=True)])
    with LakeQuery(lake) as query:
        every = list(sessions(query, Wanted(findings=["tool-without-output"])))
        assert [row["started_at"][:10] for row in every] == ["2026-11-27", "2026-11-24", "2026-11-20"]
        for limit in (1, 2, 3, 9):
            assert list(sessions(query, Wanted(findings=["tool-without-output"]), limit)) == every[:limit]
            assert list(sessions(query, Wanted(statuses=["unfinished"]), limit)) == every[:limit]


@pytest.fixture
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file of `sessions` is read at a time."""
    monkeypatch.setattr("omnirecord.lake.sessions._FILES", 1)
    monkeypatch.setattr("omnirecord.lake.sessions._ROWS", 1)


def of_many_days(folder: Path) -> Lake:
    """A lake with a recording a day. The session of the first day has its streams in the recording of the last day."""
    requests, streams = split(HEALTHY["subagent"], folder)
    first = changed(requests.read_text(), folder / "first.jsonl", "2026-11-20", {"team": "blue"}, None)
    last = changed(streams.read_text(), folder / "last.jsonl", "2026-11-27", {"team": "blue"}, None)
    names = ["tool_hangs", "text", "tool_hangs", "text", "text"]
    between = [again(folder, name, f"2026-11-{day}", day) for day, name in enumerate(names, 21)]
    lake = shipped(str(folder / "lake"))
    ship(lake, [first, *between, last])
    return lake


def assert_newest(lake: Lake) -> None:
    """Each limit gives the first rows of the view that match."""
    columns = ", ".join(SHOWN)
    with LakeQuery(lake) as query:
        result = query.run(f"SELECT {columns} FROM whole_sessions ORDER BY started_at DESC, session_id")
        every = [dict(zip(SHOWN, row, strict=True)) for row in result.rows]
    assert [len(one["recordings"]) for one in every].count(2) == 1
    hanging = [row for row in every if row["finding_code"] == "tool-without-output"]
    for wanted, expected in (
        (Wanted(), every),
        (Wanted(labels={"team": "blue"}), [row for row in every if row["labels"]]),
        (Wanted(findings=["tool-without-output"]), hanging),
        (Wanted(statuses=["finished"]), [row for row in every if row["outcome"] == "finished"]),
        (Wanted(models=["no*"]), []),
    ):
        with LakeQuery(lake) as query:
            for limit in (2, None) if expected is every else (2,):
                assert list(sessions(query, wanted, limit)) == expected[:limit], (wanted, limit)


@pytest.mark.usefixtures("few_at_a_time")
def test_a_session_is_where_its_first_part_began(tmp_path: Path) -> None:
    lake = of_many_days(tmp_path)
    assert_newest(lake)
    for name in SCHEMAS:
        lake.table(name).optimize.compact()
    assert_newest(lake)


@pytest.mark.usefixtures("few_at_a_time")
def test_a_lake_without_statistics_of_starts_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.lake.files.MEASURED", ("recording_id",))
    assert_newest(of_many_days(tmp_path))


@pytest.fixture
def store() -> Iterator[Front]:
    with front(shared_moto()["AWS_ENDPOINT_URL"]) as made:
        yield made


@pytest.mark.usefixtures("few_at_a_time")
def test_only_findings_of_the_newest_recordings_are_read(
    tmp_path: Path, store: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = bucket_url(shared_moto(), monkeypatch)
    lake = shipped(url)
    names = ["tool_hangs", "text", "text", "tool_hangs"]
    ship(lake, [again(tmp_path, name, f"2026-11-{day}", day) for day, name in enumerate(names, 21)])
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.url)
    paths = list[str]()
    store.refuse = lambda _method, path: paths.append(path) if ".parquet" in path else None

    with LakeQuery(Lake(url)) as query:
        assert len(list(sessions(query, Wanted(findings=["tool-without-output"]), 1))) == 1

    of = {name: sum(f"/{name}/" in path for path in paths) for name in ("findings", "recordings", "sessions")}
    assert of == {"findings": 1, "recordings": 1, "sessions": 2}  # the newest, and that of the day before
