"""A session of a real Omnigent, brought to a turn with the recorded answers of its model, and then forked."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from benchmarks.ports import free_port
from omnirecord import open_cassette
from tests.cli.test_run import variables
from tests.omnigent_rig.provider import Answer
from tests.omnigent_rig.stack import Stack
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.providers import ModelApis

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]
TURNS = SHIPPED / "both_hops" / "both_turns.jsonl"


async def test_two_sessions_go_on_from_a_turn_with_another_message_and_an_edited_request(
    shared_server: Stack, tmp_path: Path
) -> None:
    """Three turns were recorded, each approved first, the second with a tool."""
    port = free_port()
    body = forked.run(["request", str(TURNS), "21", "--body", "request", "-o", "-"], tmp_path).out
    (tmp_path / "edited.json").write_text(json.dumps({**json.loads(body), "temperature": 0}))
    await shared_server.stop_runner()
    await shared_server.start_runner(env={"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1"})
    try:
        async with ModelApis({"Tell me a joke.": Answer("A snail walks into a bar.")}) as provider:
            words = ["fork", str(TURNS), "--from-turn", "3", "--message", "Tell me a joke.", "--model", "m2"]
            words += ["--upstream", shared_server.url, "--upstream", f"model={provider.url}", "-o", "new.db"]
            words += ["--listen", f"model=127.0.0.1:{port}", "--json", "--repeat", "2", "--edit", "edited.json"]
            done = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables())
    finally:
        await shared_server.stop_runner()
    errors = done.errors.decode()
    assert done.code == 0, errors
    assert [(body["model"], body["temperature"]) for body in provider.requests] == [("m2", 0)] * 2
    assert "omnirecord: turn 3 ended with response.completed; the session is " in errors
    assert "3 answered from the recording" in errors
    assert "0 missing\n" in errors
    variables_row, ended, _, again, recorded, branch, other = map(json.loads, done.out.splitlines())
    assert variables_row["variables"]["OPENAI_BASE_URL"] == f"http://127.0.0.1:{port}/v1"
    assert (ended["turn"], ended["ended"], ended["session_id"] in errors) == (3, "response.completed", True)
    assert again["session_id"] != ended["session_id"]
    assert (recorded["branch"], recorded["calls"]) == ("recorded", 1)
    assert (branch["cassette"], branch["calls"], branch["answer"]) == ("new-1.db", 1, "A snail walks into a bar.")
    assert (other["cassette"], other["alike"]) == ("new-2.db", "1")
    with open_cassette(tmp_path / "new-1.db") as cassette:
        calls = [x.answered_from is None for x in cassette.exchanges() if x.request.target == "/v1/responses"]
    assert calls == [False, False, False, True]
    shown = forked.run(["show", "new-1.db", "--width", "200"], tmp_path).out.decode()
    told = "--message 'Tell me a joke.', --edit, --model m2: live from here on\n"
    drawn = shown.index(f"  -- forked from both_turns.jsonl at turn 3, with {told}")
    assert shown.index("The poem in poem.txt has three lines.") < drawn < shown.index("You: Tell me a joke.")
    compared = forked.run(["diff", str(TURNS), "new-2.db"], tmp_path).out.decode().splitlines()
    assert compared[0].endswith(", from turn 3 on, where the fork begins")
    assert {line for line in compared if line.startswith("  turn")} == {"  turn 3"}
