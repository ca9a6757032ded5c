"""`omnirecord run` with agents that fail, stop, or change."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_run import PYTHON, run, variables
from tests.omnigent_rig.provider import Answer, ToolCall
from tests.support import forked
from tests.support.forked import Done
from tests.support.providers import ModelApis

pytestmark = pytest.mark.slow

AGENT = """
import json, os, sys, urllib.request
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
tools = [{"type": "function", "function": {"name": one, "parameters": {"type": "object"}}} for one in TOOLS]
messages = [{"role": "user", "content": sys.argv[1]}]
while True:
    body = json.dumps({"model": "m", "messages": messages, "tools": tools, **MORE}).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
        said = json.load(answer)["choices"][0]["message"]
    if not said.get("tool_calls"):
        break
    AT_TOOL
    messages.append(said)
    for call in said["tool_calls"]:
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "sunny"})
print(said["content"])
"""
SCRIPT = {
    "Weather?": ToolCall("weather", {"city": "Rome"}, then=Answer("It is sunny in Rome.")),
    "Snow?": ToolCall("weather", {"city": "Oslo"}, then=Answer("There is no snow.")),
    "Hi": Answer("Hello there."),
    "Which?": ToolCall("final_result", {"city": "Rome"}),
    "Twice?": ToolCall("weather", {"city": "Rome"}, then=ToolCall("weather", {"city": "Oslo"}, then=Answer("Twice."))),
}


def agent(at_tool: str = "pass", tools: tuple[str, ...] = ("weather",), **more: Any) -> list[str]:
    """Return the command of the agent. `at_tool`: a statement that it executes before a tool. `more`: arguments of its
    requests."""
    program = AGENT.replace("TOOLS", repr(tools)).replace("MORE", repr(more)).replace("AT_TOOL", at_tool)
    return [*PYTHON, program]


async def recorded(folder: Path, command: list[str], word: str) -> Done:
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--", *command, word]
        return await asyncio.to_thread(run, folder, *words, OPENAI_BASE_URL=provider.url)


def told(folder: Path, *words: str) -> list[dict[str, Any]]:
    """Return the rows of a command about a.db."""
    done = forked.run([words[0], "a.db", "--json", *words[1:]], folder, environment=variables())
    return [json.loads(line) for line in done.out.decode().splitlines()]


def ended(folder: Path) -> tuple[str, str]:
    (row,) = told(folder, "sessions")
    return row["conclusion"]["code"], row["conclusion"]["outcome"]


def found(folder: Path) -> list[tuple[str, str]]:
    return [(one["code"], one["severity"]) for one in told(folder, "doctor")]


async def test_an_agent_that_fails_in_its_tool_is_unfinished_and_the_end_says_its_exit_code(tmp_path: Path) -> None:
    done = await recorded(tmp_path, agent("raise RuntimeError('no network')"), "Weather?")
    errors = done.errors.decode()
    assert done.code == 1
    assert "omnirecord: the command ended with exit code 1\nomnirecord: recorded 1 exchange" in errors
    assert "No output of the tool weather since" in errors
    assert "nothing to report" not in errors
    assert ended(tmp_path) == ("tool_without_output", "unfinished")
    assert found(tmp_path) == [("tool-without-output", "error")]
    shown = forked.run(["show", "a.db"], tmp_path, environment=variables()).out.decode()
    assert shown.startswith("Unfinished: no output of the tool weather since")
    assert [one["ended"] for one in told(tmp_path, "query", "select ended from turns")] == ["unfinished"]


async def test_an_agent_that_a_signal_ends_is_unfinished(tmp_path: Path) -> None:
    done = await recorded(tmp_path, agent("os.kill(os.getpid(), 9)"), "Weather?")
    assert done.code == 137
    assert "the command ended with exit code 137, as by SIGKILL\n" in done.errors.decode()
    assert ended(tmp_path) == ("tool_without_output", "unfinished")


async def test_an_agent_that_ends_well_with_a_tool_call_is_finished_with_a_note(tmp_path: Path) -> None:
    done = await recorded(tmp_path, agent("break"), "Weather?")
    assert done.code == 0
    assert "omnirecord: the command ended" not in done.errors.decode()
    assert ended(tmp_path) == ("finished", "finished")
    assert found(tmp_path) == [("tool-without-output", "note")]


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (agent("sys.exit(3)", tools=("weather", "final_result")), "Which?"),
        (agent("sys.exit(3)", tool_choice="required"), "Weather?"),
        (agent("sys.exit(3)", tool_choice={"type": "function", "function": {"name": "weather"}}), "Weather?"),
    ],
    ids=["usual name", "only tool", "named tool"],
)
async def test_a_tool_whose_arguments_are_the_result_needs_no_output(
    tmp_path: Path, command: list[str], word: str
) -> None:
    done = await recorded(tmp_path, command, word)
    assert done.code == 3
    assert ended(tmp_path) == ("finished", "finished")
    assert found(tmp_path) == [("command-failed", "warning")]


async def test_an_agent_that_sends_the_output_is_finished(tmp_path: Path) -> None:
    done = await recorded(tmp_path, agent(), "Weather?")
    assert done.code == 0, done.errors.decode()
    assert ended(tmp_path) == ("finished", "finished")
    assert found(tmp_path) == []


async def test_a_provider_that_cannot_be_reached_is_named_and_its_call_is_forked(tmp_path: Path) -> None:
    words = ["-o", "a.db", "--", *agent(), "Weather?"]
    nowhere = "http://127.0.0.1:9/v1"
    done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=nowhere)
    errors = done.errors.decode()
    assert done.code == 1
    assert "Error: The provider could not be reached: http://127.0.0.1:9: Connection refused (exchange 1)\n" in errors
    assert "refused the call with 502" not in errors
    assert "omnirecord: omnirecord" not in errors
    assert ended(tmp_path) == ("model_failed", "failed")
    async with ModelApis(SCRIPT) as provider:
        words = ["fork", "a.db", "--from-call", "1", "--upstream", provider.url, "--set", "messages[0].content=Snow?"]
        words += ["-o", "b.db", "--", *agent(), "Weather?"]
        done = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables())
        assert (done.code, done.out) == (0, b"There is no snow.\n"), done.errors.decode()
        assert [body["messages"][0]["content"] for body in provider.requests] == ["Snow?"] * 2


async def extended(folder: Path, provider: ModelApis, cassette: str, command: list[str], word: str) -> Done:
    """Run the agent against a cassette and this provider, and append what the cassette lacks."""
    words = ["--replay", cassette, "--record", "new_episodes", "--", *command, word]
    return await asyncio.to_thread(run, folder, *words, OPENAI_BASE_URL=provider.url)


def replayed(folder: Path, cassette: str, command: list[str], word: str) -> Done:
    return run(folder, "--replay", cassette, "--", *command, word)


@pytest.mark.parametrize("cassette", ["a.db", "a.jsonl"])
async def test_a_changed_agent_passes_on_the_cassette_to_which_it_appended(tmp_path: Path, cassette: str) -> None:
    rainy = [*agent()[:-1], agent()[-1].replace("sunny", "rainy")]
    assert (await recorded(tmp_path, agent(), "Twice?")).code == 0
    if cassette == "a.jsonl":
        forked.run(["export", "a.db", "-o", "a.jsonl"], tmp_path, environment=variables())
        (tmp_path / "a.db").unlink()
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, cassette, rainy, "Twice?")
        assert (done.code, done.out, len(provider.requests)) == (0, b"Twice.\n", 2), done.errors.decode()
        errors = done.errors.decode()
        assert "2 requests recorded, and replaced by a live one:" in errors
        assert errors.count("To ignore such a difference: --match") == 1
    for _ in range(2):
        done = replayed(tmp_path, cassette, rainy, "Twice?")
        assert (done.code, done.out) == (0, b"Twice.\n"), done.errors.decode()
        assert "3 requests expected, 3 made, 3 answered from the recording, 0 live, 0 missing" in done.errors.decode()
    rows = forked.run(["sessions", cassette, "--json"], tmp_path, environment=variables()).out.decode().splitlines()
    assert [(json.loads(row)["model_calls"], json.loads(row)["asked"]) for row in rows] == [
        (3, "Twice?"),
        (2, "Twice?"),
    ]
    async with ModelApis(SCRIPT) as provider:  # the first program again: its calls are still there
        done = await extended(tmp_path, provider, cassette, agent(), "Twice?")
        assert (done.code, len(provider.requests)) == (0, 0), done.errors.decode()
    assert replayed(tmp_path, cassette, agent(), "Twice?").code == 0
    assert replayed(tmp_path, cassette, rainy, "Twice?").code == 1


async def test_a_changed_agent_may_make_fewer_calls_but_one_that_stops_early_fails(tmp_path: Path) -> None:
    assert (await recorded(tmp_path, agent(), "Twice?")).code == 0
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "a.db", agent("break"), "Twice?")
        assert (done.code, len(provider.requests)) == (1, 0)
        assert "2 requests recorded, but not sent:" in done.errors.decode()
        done = await extended(tmp_path, provider, "a.db", agent(), "Hi")
        assert (done.code, len(provider.requests)) == (0, 1), done.errors.decode()
        assert "3 requests recorded, and replaced by a live one:" in done.errors.decode()
    assert replayed(tmp_path, "a.db", agent(), "Hi").code == 0
