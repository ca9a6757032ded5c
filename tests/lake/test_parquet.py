"""The encoding of a table: statistics where they skip rows."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tests.support.cassettes import HEALTHY
from tests.support.lakes import shipped


def test_a_file_has_statistics_of_the_columns_that_skip_rows_only(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "events").glob("day=*/*.parquet")
    group = pq.read_metadata(path).row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {one.path_in_schema for one in columns if one.statistics is not None} == {
        "recording_id", "session_id", "exchange", "stream", "at", "type", "verdict",
    }  # fmt: skip


def test_a_file_of_few_rows_has_no_dictionaries(tmp_path: Path) -> None:
    lake = shipped(str(tmp_path / "lake"), HEALTHY["text"])
    (path,) = Path(lake.url, "sessions").glob("day=*/*.parquet")
    group = pq.read_metadata(path).row_group(0)
    assert not any(group.column(number).has_dictionary_page for number in range(group.num_columns))
