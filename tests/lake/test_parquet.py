"""The encoding of a table: statistics where they skip rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from omnirecord.lake.parquet import options
from omnirecord.lake.tables import SCHEMAS
from tests.support.cassettes import HEALTHY
from tests.support.lakes import shipped


def test_a_large_file_has_statistics_of_the_columns_that_skip_rows_only() -> None:
    stated = options("events", SCHEMAS["events"], 5000)["write_statistics"]
    assert set(stated) == {"recording_id", "session_id", "exchange", "stream", "at", "type", "verdict"}


def test_a_small_file_has_no_statistics_and_the_delta_log_has_them_all_the_same(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "events").glob("day=*/*.parquet")
    rows, group = pq.read_table(path), pq.read_metadata(path).row_group(0)
    assert all(group.column(number).statistics is None for number in range(group.num_columns))
    (action,) = pa.table(lake.table("events").get_add_actions(flatten=True)).to_pylist()
    assert action["num_records"] == rows.num_rows
    for name in ("recording_id", "session_id"):
        values = [value for value in rows[name].to_pylist() if value is not None]
        stated = action[f"null_count.{name}"], action[f"min.{name}"], action[f"max.{name}"]
        assert stated == (rows[name].null_count, min(values), max(values))
    assert action["min.at"] <= min(rows["at"].to_pylist()) <= max(rows["at"].to_pylist()) <= action["max.at"]


def test_a_file_of_few_rows_has_no_dictionaries(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "sessions").glob("day=*/*.parquet")
    group = pq.read_metadata(path).row_group(0)
    assert not any(group.column(number).has_dictionary_page for number in range(group.num_columns))
