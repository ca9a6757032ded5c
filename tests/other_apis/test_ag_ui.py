"""AG-UI: an agent that sends the events of `ag-ui-protocol` with its encoder."""

from __future__ import annotations

import json
from pathlib import Path

import omnirecord
from omnirecord.replayer.server import Replay
from tests.support.later import later

later("ag_ui")
agents = later("tests.other_apis.ag_ui_agent")

SHIPPED = Path(__file__).parent.parent.parent / "cassettes" / "generic" / "ag_ui.jsonl"
QUESTION = "What is the weather in Oslo?"


async def test_a_run_is_recorded_and_replayed(tmp_path: Path) -> None:
    db = tmp_path / "ag_ui.db"
    async with agents.agent() as url:
        direct = await agents.ask(url, QUESTION)
        async with omnirecord.record(url, db=db, contract="none") as proxy:
            assert await agents.ask(proxy.url, QUESTION) == direct
            failed = await agents.ask(proxy.url, agents.FAILS)
    assert (direct[-1]["type"], failed[-1]["type"]) == ("RUN_FINISHED", "RUN_ERROR")
    for timing in ("original", "compressed", "instant"):
        async with Replay(db, timing=timing) as server:
            assert await agents.ask(server.url, QUESTION) == direct
            assert await agents.ask(server.url, agents.FAILS) == failed
            assert (server.unmatched, server.unplayed) == ([], [])


def test_of_a_stream_that_no_contract_knows_doctor_names_the_run_that_failed() -> None:
    assert [(one.code, one.stream, one.seqs) for one in omnirecord.doctor(SHIPPED)] == [("request-failed", 2, (8,))]
    checked = omnirecord.validate(SHIPPED)
    assert (checked.contract, checked.events, checked.problems) == ("none", 25, ())


def test_the_union_of_the_package_fits_the_recording(tmp_path: Path) -> None:
    from ag_ui.core import Event
    from pydantic import TypeAdapter

    path = tmp_path / "events.json"
    path.write_text(json.dumps(TypeAdapter(Event).json_schema()))
    checked = omnirecord.validate(SHIPPED, path)
    assert (checked.events, checked.problems) == (25, ())
    assert "REASONING_START" in checked.unseen
