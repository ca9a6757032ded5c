"""The analyses of this version over a lake: the results of the single-cassette commands, in any number of processes."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from omnirecord.analysis.doctor.examine import examine
from omnirecord.analysis.stats import measured
from omnirecord.analysis.stats.values import stats_row
from omnirecord.analysis.validate import validation
from omnirecord.cassette.open import open_store
from omnirecord.cli import main
from omnirecord.lake import fleet
from omnirecord.lake.fleet import Job, Outcome, plan
from omnirecord.lake.layout import TABLES
from omnirecord.lake.location import Lake
from omnirecord.lake.reading import Snapshot
from omnirecord.lake.upkeep import Merged, merge, merges
from tests.support.cassettes import HEALTHY
from tests.support.lakes import shipped, split
from tests.support.stores import lake_url

__all__ = ["lake_url"]
ROOT = Path(__file__).parent.parent.parent
CASSETTES = [*sorted((ROOT / "cassettes").glob("*.jsonl")), *sorted((ROOT / "cassettes" / "corpus").glob("*.jsonl*"))]
Rows = list[dict[str, Any]]
ANALYSES = ("doctor", "stats", "validate")


@pytest.fixture(scope="module")
def cassettes(request: pytest.FixtureRequest) -> list[Path]:
    """All cassettes with `--long`, and otherwise an eighth of them."""
    return CASSETTES if request.config.getoption("--long") else CASSETTES[::8]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, cassettes: list[Path]) -> Lake:
    return shipped(str(tmp_path_factory.mktemp("fleet") / "lake"), *cassettes)


@pytest.fixture(scope="module")
def whole(lake: Lake) -> list[Outcome]:
    """The results of one process."""
    return outcomes(lake)


def told(message: str) -> None:
    raise AssertionError(message)


def outcomes(lake: Lake, *, jobs: int = 1, since: datetime | None = None) -> list[Outcome]:
    snapshot = Snapshot(lake)
    wanted = plan(lake, snapshot, since)
    return list(fleet.run(lake, snapshot, wanted, Job(ANALYSES), jobs, told))


def plain(rows: Any) -> Rows:
    return json.loads(json.dumps(list(rows)))  # type: ignore[no-any-return]


def as_text(found: list[Outcome]) -> dict[str, Counter[str]]:
    return {
        name: Counter(json.dumps(row, sort_keys=True) for one in found for row in one.rows[name]) for name in ANALYSES
    }  # fmt: skip


def compare(found: list[Outcome], paths: list[Path]) -> None:
    """Assert that the rows of each recording are those of the single-cassette commands."""
    by_id = {one.recording_id: one for one in found}
    for path in paths:
        with closing(open_store(path)) as store:
            (recording,) = store.recordings()
            one, mark = by_id.pop(recording.recording_id), {"recording_id": recording.recording_id}
            rows = plain(finding.row() | mark for finding in examine(store))
            for row in rows:
                del row["recording"]
            assert plain(one.rows["doctor"]) == rows, path.name
            assert plain(one.rows["stats"]) == plain(stats_row(each) | mark for each in measured(store)), path.name
            result = validation(store)
            problems = Counter[tuple[Any, ...]]()
            for row in one.rows["validate"]:
                problems[row["type"], row["path"], row["problem"]] += row["count"]
            assert problems == {(p.type, p.path, p.problem): p.count for p in result.problems}, path.name
            assert one.verdicts == dict(result.verdicts), path.name
    assert by_id == {}


def test_the_results_are_those_of_the_single_cassette_commands(whole: list[Outcome], cassettes: list[Path]) -> None:
    compare(whole, cassettes)


def test_the_results_are_the_same_after_a_compaction(lake_url: str) -> None:
    some = CASSETTES[:3]
    lake = shipped(lake_url, *some)
    for name in TABLES:
        for one in merges(lake, name, 1 << 20):
            list(merge(lake, one, Merged(), 1 << 20))

    compare(outcomes(lake), some)


def test_large_objects_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("omnirecord.lake.upkeep._GROUP_ROWS", 30)
    some = CASSETTES[:3]
    lake = shipped(str(tmp_path / "lake"), *some)
    for name in TABLES:
        for one in merges(lake, name, 1 << 20):
            list(merge(lake, one, Merged(), 1 << 20))
    monkeypatch.setattr("omnirecord.lake.scan._SMALL", 100)

    compare(outcomes(lake), some)


def test_several_processes_give_the_same_results_in_the_same_order(lake: Lake, whole: list[Outcome]) -> None:
    together = outcomes(lake, jobs=2)

    assert [one.recording_id for one in together] == [one.recording_id for one in whole]
    assert plain(vars_of(together)) == plain(vars_of(whole))


def vars_of(found: list[Outcome]) -> Iterator[dict[str, Any]]:
    for one in found:
        yield {"id": one.recording_id, "sessions": one.sessions, "rows": one.rows, "verdicts": one.verdicts}


def test_only_sessions_since_a_time_are_analysed(lake: Lake, whole: list[Outcome]) -> None:
    rows = [row for one in whole for row in one.rows["stats"]]
    starts = sorted(row["started_at"] for row in rows if row["session_id"] is not None and row["started_at"])
    since = datetime.fromisoformat(starts[len(starts) // 2]).astimezone(UTC)

    late = [row for one in outcomes(lake, since=since) for row in one.rows["stats"] if row["session_id"] is not None]

    assert {row["session_id"] for row in late} == {
        row["session_id"] for row in rows
        if row["session_id"] is not None and row["started_at"] and datetime.fromisoformat(row["started_at"]) >= since
    }  # fmt: skip


def _dies(_reader: Any, batch: Any, _job: Any, begun: Any) -> Iterator[Outcome]:
    for wanted in batch.wanted:
        begun(wanted.recording_id, ["a-session"])
        if wanted.recording_id == os.environ["DIES_AT"]:
            os.kill(os.getpid(), signal.SIGKILL)
        yield Outcome(wanted.recording_id, sessions=["s"])


def _worker_that_dies(connection: Any, url: str, job: Job) -> None:
    fleet.analysed = _dies  # type: ignore[assignment]
    fleet._work(connection, url, job)


def test_a_worker_that_dies_is_reported_with_its_session_and_the_others_go_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Snapshot(lake)
    wanted = plan(lake, snapshot)
    victim = wanted[len(wanted) // 2].recording_id
    monkeypatch.setenv("DIES_AT", victim)
    monkeypatch.setattr(fleet, "TARGET", _worker_that_dies)
    monkeypatch.setattr(fleet, "_most", lambda *_: 3)  # a batch of one recording is not read again one by one
    said = list[str]()

    found = list(fleet.run(lake, snapshot, wanted, Job(("stats",)), 2, said.append))

    assert said == [
        f"a worker was killed by signal 9 in recording {victim}, session a-session: its recordings are read again,"
        " one by one"
    ]  # fmt: skip
    assert len(found) == len(wanted)
    assert [(one.recording_id, one.failure) for one in found if one.failure] == [
        (victim, f"a worker was killed by signal 9 in recording {victim}, session a-session: it was not analysed")
    ]


def test_a_recording_that_cannot_be_read_is_a_failure_and_the_others_go_on(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *CASSETTES[:3])
    (victim, *_) = (tmp_path / "lake" / "events").rglob("*.parquet")
    victim.write_bytes(b"damaged")

    found = outcomes(lake)

    (failed,) = [one for one in found if one.failure is not None]
    assert failed.recording_id == victim.stem
    assert str(failed.failure).startswith(f"recording {victim.stem} cannot be analysed: ")
    assert len(found) == 3


# The commands.


def run(*words: str, code: int) -> str:
    result = CliRunner().invoke(main, ["lake", *words, "--jobs", "1"])
    assert result.exit_code == code, result.output
    return result.stdout


def test_doctor_prints_codes_and_the_worst_sessions(lake: Lake) -> None:
    text = run("doctor", lake.url, code=1)

    lines = text.splitlines()
    assert " findings in " in lines[0]
    assert lines[2].split() == ["severity", "code", "findings", "sessions"]
    severities = [line.split()[0] for line in lines[3 : lines.index("", 3)]]
    assert severities == sorted(severities, key=["error", "warning", "note"].index)


def test_a_session_in_two_recordings_is_counted_once(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), *split(HEALTHY["turns"], tmp_path))
    assert run("stats", lake.url, code=0).startswith("1 session, ")


def test_json_rows_have_the_recording(lake: Lake) -> None:
    for name, code in (("doctor", 1), ("stats", 0), ("validate", 0)):
        rows = [json.loads(line) for line in run(name, lake.url, "--json", code=code).splitlines()]
        assert all(row["recording_id"] for row in rows)
        assert all("session_id" in row for row in rows)


def test_stats_prints_medians_and_the_slowest_sessions(lake: Lake) -> None:
    lines = run("stats", lake.url, code=0).splitlines()

    assert lines[1].startswith("Median: first token after ")
    slowest = [float(line.split()[2].replace(",", "")) for line in lines[4:] if not line.startswith("…")]
    assert slowest == sorted(slowest, reverse=True)


def test_validate_takes_a_contract(lake: Lake) -> None:
    assert run("validate", lake.url, code=0).endswith(" events: everything fits\n")
    text = run("validate", lake.url, "--contract", "documented", code=1)
    assert text.splitlines()[0].split()[:3] == ["problem", "type", "path"]
    assert " invalid" in text.splitlines()[-1]


def test_an_unknown_contract_is_a_sentence(lake: Lake) -> None:
    result = CliRunner().invoke(main, ["lake", "validate", lake.url, "--contract", "none.json"])
    assert result.exit_code == 2
    assert "none.json" in result.output
