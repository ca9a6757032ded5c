"""Deltas that are taken at once tell the same as deltas one by one."""

from __future__ import annotations

from contextlib import closing

import pytest

from omnirecord.analysis.doctor import examine
from omnirecord.analysis.doctor.finding import Deltas
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED

PATHS = [*sorted(SHIPPED.glob("*.jsonl")), *sorted((SHIPPED / "troubled").glob("*.jsonl"))]


def told() -> list[object]:
    found: list[object] = []
    for path in PATHS:
        with closing(open_store(path)) as store:
            found.append((path.name, examine(store)))
    return found


def test_findings_do_not_depend_on_deltas_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    together = told()
    monkeypatch.setattr(Deltas, "takes", lambda _self, _frame, _data: False)
    assert together == told()
