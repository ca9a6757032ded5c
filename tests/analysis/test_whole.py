"""The analyses in one pass tell the same as each of them alone."""

from __future__ import annotations

from contextlib import closing

import pytest

from omnirecord.analysis import whole
from omnirecord.analysis.query import Analysis
from omnirecord.analysis.validate import validation
from omnirecord.analysis.whole import Whole
from omnirecord.cassette.open import open_store
from tests.support.cassettes import SHIPPED
from tests.support.examples import a_third

PATHS = [path for part in (".", "troubled", "corpus") for path in sorted((SHIPPED / part).glob("*.jsonl"))]
TABLES = ("sessions", "turns", "tools", "approvals", "findings")


def differences(paths: list[object]) -> list[tuple[object, str]]:
    found: list[tuple[object, str]] = []
    for path in paths:
        with closing(open_store(str(path))) as store:
            alone, together = Analysis(store), Whole(store, 1)
            found += [
                (path, name) for name in TABLES
                if list(getattr(alone, name)()) != list(getattr(together, name)())
            ]  # fmt: skip
            if list(validation(store).problems) != together.problems():
                found.append((path, "problems"))
    return found


@pytest.mark.slow
def test_one_pass_tells_of_a_shipped_cassette_what_each_analysis_tells() -> None:
    assert differences(a_third(PATHS)) == []


def test_one_pass_tells_the_same_when_it_keeps_neither_payloads_nor_odd_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whole, "_PARSED", 0)
    monkeypatch.setattr(whole, "_ODD", -1)
    assert differences([SHIPPED / "subagent.jsonl", SHIPPED / "reconnect.jsonl"]) == []
