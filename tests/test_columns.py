"""A column is declared once: one entry in `omnirecord.columns`, and one value where the row is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cassettes import HEALTHY
from tests.support.lakes import split

WITH_TWO_MORE = """
import json, sys
from contextlib import closing
from pathlib import Path
from omnirecord import columns

def declare(name, *column):
    table = columns.TABLES[name]
    columns.TABLES[name] = table._replace(columns=(*table.columns, columns.Column(*column)))

declare("sessions", "questions", int, "Number of questions", "sum")
declare("turns", "begin", str, "First word of the answer", "longest")

from omnirecord.analysis import query, sessions as of_cassettes
from omnirecord.cassette.open import open_store
from omnirecord.lake.location import Lake
from omnirecord.lake.page_data import LakeAnswers
from omnirecord.lake.query import LakeQuery
from omnirecord.lake.sessions import Wanted, sessions
from omnirecord.lake.ship import Shipper

columns, turn_row = of_cassettes.Summary.columns, query._turn_row
of_cassettes.Summary.columns = lambda one: columns(one) | {"questions": 2}
query._turn_row = lambda turn, measures: turn_row(turn, measures) | {"begin": turn.text.split()[0]}

url, *paths = sys.argv[1:]
found = {}
with closing(open_store(paths[0])) as store, closing(query.query_of(store)) as asked:
    found["query"] = [list(asked.run(f"SELECT {sql}").rows) for sql in ("questions FROM sessions", "begin FROM turns")]
lake = Lake(url)
lake.init()
with closing(Shipper(lake)) as shipper:
    assert [one.status for one in shipper.ship(map(Path, paths))] == ["shipped"] * len(paths)
with LakeQuery(lake) as asked:
    found["sql"] = [list(asked.run(f"SELECT {sql}").rows) for sql in (
        "questions FROM sessions", "questions FROM whole_sessions", "begin FROM whole_turns")]
    found["lake sessions"] = [one["questions"] for one in sessions(asked, Wanted())]
found["page"] = [one["questions"] for one in LakeAnswers(lake).answer("sessions", {})["sessions"]]
print(json.dumps(found))
"""


@pytest.mark.parametrize("parts", [1, 2])
def test_a_column_that_is_declared_and_computed_is_in_every_answer(parts: int, tmp_path: Path) -> None:
    paths = [HEALTHY["text"]] if parts == 1 else split(HEALTHY["text"], tmp_path)
    words = [sys.executable, "-c", WITH_TWO_MORE, str(tmp_path / "lake"), *map(str, paths)]
    done = subprocess.run(words, capture_output=True, check=True)
    found = json.loads(done.stdout)
    assert found["query"][0] == [[2]]
    assert found["sql"] == [[[2]] * parts, [[2 * parts]], [["A"]]]
    assert found["lake sessions"] == found["page"] == [2 * parts]
