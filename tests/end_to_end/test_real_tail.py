"""A real Omnigent session, followed by file and by URL while it is recorded, and searched: all see the same."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from omnirecord.analysis.listing import EventFilter, event_rows
from omnirecord.analysis.search import search
from omnirecord.cassette.open import open_store
from omnirecord.model import VERDICTS
from tests.cli.test_tail import Tail
from tests.omnigent_rig.scenarios import SCENARIOS
from tests.omnigent_rig.stack import Stack
from tests.support.process import ForkedProcess

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


def compared(rows: list[dict[str, Any]]) -> dict[tuple[int, int], Any]:
    """Each event once, but for when it was handed on: that may come after it was told."""
    found = {(row["stream"], row["seq"]): {**row, "sent_ns": None} for row in rows}
    assert len(found) == len(rows)
    return found


async def test_a_session_is_followed_by_file_and_by_url_and_both_print_the_same(
    tmp_path: Path, shared_stack: Stack
) -> None:
    db = tmp_path / "session.db"
    async with (
        ForkedProcess(shared_stack.url, db, "--control") as proxy,
        Tail(db, "--last", "1000") as by_file,
        Tail(proxy.url, "--last", "1000") as by_url,
    ):
        for name in ("approval", "two_clients"):
            await SCENARIOS[name](proxy.url, shared_stack.runner_id)
        assert (await proxy.end(signal.SIGINT))[0] == 0
        file, url = await by_file.rest(), await by_url.rest()

    store = open_store(db)
    recorded = compared(list(event_rows(store, EventFilter())))
    store.close()
    assert len(recorded) > 100
    assert {row["verdict"] for row in recorded.values()} <= set(VERDICTS)
    assert compared(file) == compared(url) == recorded

    found = search(db, '"recorder keeps what happened"')
    assert found.total == 1, "two clients heard it in pieces, and it was stored"
    assert found.hits[0].row["type"] == "response.output_text.delta"
    assert search(db, "summarise release").hits[0].row["session_id"]
