"""Deltas that are taken at once tell the same as deltas one by one."""

from __future__ import annotations

from contextlib import closing

import pytest

from omnirecord.analysis.doctor import examine
from omnirecord.analysis.doctor.finding import Deltas
from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.turns.draft import Draft
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED

PATHS = [*sorted(SHIPPED.glob("*.jsonl")), *sorted((SHIPPED / "troubled").glob("*.jsonl"))]


def told() -> list[object]:
    found: list[object] = []
    for path in PATHS:
        with closing(open_store(path)) as store:
            found.append((path.name, examine(store), list(whole_sessions(store))))
    return found


def test_findings_and_turns_do_not_depend_on_deltas_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    together = told()
    monkeypatch.setattr(Deltas, "takes", lambda _self, _frame, _data: False)
    monkeypatch.setattr(Draft, "goes_on", lambda _self, _at_ns, _data: False)
    assert together == told()
