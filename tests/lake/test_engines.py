"""The statements of `docs/lake-engines.md`: five engines give the same answers to three queries."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omnirecord.lake.layout import TABLES
from omnirecord.lake.upkeep import Merged, merge, merges
from tests.support.lakes import shipped
from tests.support.stores import lake_url

__all__ = ["lake_url"]
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "lake-engines.md").read_text()
QUERIES = dict(re.findall(r"```sql (\S+)\n(.*?)```", PAGE, re.DOTALL))
STATEMENTS = dict(re.findall(r"```python (\S+)\n(.*?)```", PAGE, re.DOTALL))
PACKAGES = {
    "duckdb": "duckdb",
    "polars": "polars",
    "datafusion": "datafusion",
    "clickhouse": "chdb",
    "spark": "pyspark",
}
_P95 = re.compile(r"quantile_cont\((\S+), 0\.95\)")
DIALECTS = {
    "clickhouse": lambda sql: _P95.sub(r"quantileExactInclusive(0.95)(\1)", sql),
    "spark": lambda sql: _P95.sub(r"percentile(\1, 0.95)", sql).replace("VARCHAR", "STRING"),
}
_SPARK = "--master local[2] --conf spark.sql.shuffle.partitions=2 --conf spark.ui.enabled=false pyspark-shell"
"""Less work for a few rows."""
_PROGRAM = """
import json, sys
lake, statement, queries = json.load(sys.stdin)
for sql in queries:
    names = {"lake": lake, "sql": sql}
    exec(statement, names)
    print("ANSWER", json.dumps(names["rows"]))
"""


def filled(url: str, folder: Path) -> None:
    """Make a lake with findings, turns, and differences from a contract; a part of it is compacted."""
    drifted, text = folder / "drifted.jsonl", (ROOT / "cassettes" / "tool.jsonl").read_text()
    drifted.write_text(text.replace('"contract": "omnigent"', '"contract": "documented"', 1))
    healthy = [ROOT / "cassettes" / f"{name}.jsonl" for name in ("failed", "text", "tool", "turns")]
    troubled = [ROOT / "cassettes" / "troubled" / f"{name}.jsonl" for name in ("child_unfinished", "turn_unfinished")]
    lake = shipped(url, *healthy, *(path for path in troubled if path.exists()))
    for name in TABLES:
        for one in merges(lake, name, 1 << 20):
            list(merge(lake, one, Merged(), 1 << 20))
    shipped(url, drifted)


def answers(engine: str, url: str, folder: Path) -> list[list[list[Any]]] | str:
    """The answers of an engine, or why it cannot be asked here. It runs in a process of its own."""
    if importlib.util.find_spec(PACKAGES[engine]) is None:
        return f"{PACKAGES[engine]} is not installed"
    if engine == "spark":
        if shutil.which("java") is None:
            return "there is no Java: apt-get install default-jre-headless"
        if "://" in url:
            return "Spark reads S3 with the hadoop-aws jar only"
    queries = [DIALECTS.get(engine, str)(sql) for sql in QUERIES.values()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _PROGRAM], input=json.dumps([url, STATEMENTS[engine], queries]),
        capture_output=True, text=True, cwd=folder, timeout=900,
        env={**os.environ, "AWS_ALLOW_HTTP": "true", "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_SUBMIT_ARGS": _SPARK},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    return [_plain(json.loads(line.removeprefix("ANSWER "))) for line in lines]


def _plain(rows: list[Any]) -> list[list[Any]]:
    """Rows as lists, numbers rounded; ClickHouse gives a line of JSON for each, with large integers as text."""
    lists = [json.loads(row) if isinstance(row, str) else row for row in rows]
    return sorted(([_value(value) for value in row] for row in lists), key=str)


def _value(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value):
        return int(value)
    return round(value, 4) if isinstance(value, float) else value  # DataFusion has 6 digits


def test_all_engines_give_the_same_answers(lake_url: str, tmp_path: Path, figure: Any) -> None:
    filled(lake_url, tmp_path)
    found = {engine: answers(engine, lake_url, tmp_path) for engine in STATEMENTS}

    asked = {engine: rows for engine, rows in found.items() if not isinstance(rows, str)}
    for engine, why in found.items():
        figure(f"{engine} over {lake_url.partition('://')[0] if '://' in lake_url else 'a folder'}",
               why if isinstance(why, str) else "asked")  # fmt: skip
    assert all(len(rows) == len(QUERIES) and all(rows) for rows in asked.values())
    assert all(rows == asked["duckdb"] for rows in asked.values()), asked
    if len(asked) == 1:
        pytest.skip(f"only DuckDB is here: {found}")


def test_the_page_has_a_statement_for_each_engine() -> None:
    assert list(STATEMENTS) == list(PACKAGES)
    assert list(QUERIES) == ["findings", "first-token", "drift"]
