"""`omnirecord run` with unmodified programs: the clients of OpenAI and Anthropic, a test suite, and Node."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_run import LONGEST, run
from tests.support.later import later
from tests.support.model_clients import SCRIPT
from tests.support.providers import ModelApis

anthropic = later("anthropic")
openai = later("openai")

pytestmark = pytest.mark.slow

AGENT = """
import sys

import anthropic
import openai

word = sys.argv[1]
client = openai.OpenAI()
with client.responses.stream(model="m", input=word) as stream:
    print("".join(one.delta for one in stream if one.type == "response.output_text.delta"))

messages = [{"role": "user", "content": "Weather?"}]
call = client.chat.completions.create(model="m", messages=messages).choices[0].message
messages += [call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "sunny"}]
print(client.chat.completions.create(model="m", messages=messages).choices[0].message.content)
busy = [{"role": "user", "content": "Busy?"}]
print(client.chat.completions.create(model="m", messages=busy).choices[0].message.content)

if sys.argv[2:] != ["openai"]:
    hi = [{"role": "user", "content": "Hi"}]
    with anthropic.Anthropic().messages.stream(model="c", max_tokens=9, messages=hi) as stream:
        print("".join(stream.text_stream))
"""
SAID = b"Hello there, friend of the sea.\nIt is sunny in Rome.\nSorry for the wait.\nHello there, friend of the sea.\n"
NODE = """
const asked = {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"model": "m", "input": "Hi"}'}
const answer = await fetch(process.env.OPENAI_BASE_URL + "/responses", asked)
console.log((await answer.json()).output[0].content[0].text)
"""
SUITE = """
import openai

def test_an_answer():
    assert "sea" in openai.OpenAI().responses.create(model="m", input="Hi").output_text
"""


async def test_the_clients_of_openai_and_anthropic_are_recorded_and_replayed(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(AGENT)
    command = [sys.executable, str(program)]
    keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    async with ModelApis(SCRIPT) as provider:
        urls = {"OPENAI_BASE_URL": provider.url, "ANTHROPIC_BASE_URL": provider.url.removesuffix("/v1")}
        words = ["-o", "a.db", "--", *command, "Hi"]
        done = await asyncio.to_thread(run, tmp_path, *words, **keys, **urls)
        asked = len(provider.requests)
    assert (done.code, done.out, asked) == (0, SAID, 6), done.errors.decode()
    assert "recorded 6 exchanges (5 of openai, 1 of anthropic) into a.db" in done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--", *command, "Hi")
    assert (done.code, done.out) == (0, SAID), done.errors.decode()
    assert "6 requests expected, 6 made, 6 answered from the recording, 0 live, 0 missing" in done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--", *command, "Hi", "openai")
    assert (done.code, done.out) == (1, SAID[: SAID.rindex(b"Hello")])
    assert '1 request recorded, but not sent:\n  POST /v1/messages (call 1 of 1, exchange 6: "Hi")' in (
        done.errors.decode()
    )


async def test_a_program_that_calls_another_provider_too_is_recorded_on(tmp_path: Path) -> None:
    program = tmp_path / "agent.py"
    program.write_text(AGENT)
    command = [sys.executable, str(program), "Hi"]
    keys = {"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}
    async with ModelApis(SCRIPT) as provider:
        urls = {"OPENAI_BASE_URL": provider.url, "ANTHROPIC_BASE_URL": provider.url.removesuffix("/v1")}
        await asyncio.to_thread(run, tmp_path, "-o", "a.db", "--", *command, "openai", **keys, **urls)
        assert len(provider.requests) == 5
        words = ["--replay", "a.db", "--record", "new_episodes", "-o", "b.db", "--", *command]
        done = await asyncio.to_thread(run, tmp_path, *words, **keys, **urls)
        assert (done.code, done.out, len(provider.requests)) == (0, SAID, 6), done.errors.decode()
    assert "5 requests expected, 6 made, 5 answered from the recording, 1 live, 0 missing" in done.errors.decode()
    done = run(tmp_path, "--replay", "b.db", "--", *command)
    assert (done.code, done.out) == (0, SAID), done.errors.decode()


async def test_a_test_suite_is_recorded_and_then_runs_offline(tmp_path: Path) -> None:
    (tmp_path / "test_agent.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_agent.py"]
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", *command]
        done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url, OPENAI_API_KEY="k")
    assert done.code == 0, done.out.decode()
    assert "recorded 1 exchange (1 of openai) into a.db" in done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--", *command)
    assert done.code == 0, done.out.decode()
    (tmp_path / "test_agent.py").write_text(SUITE.replace('"Hi"', '"Hello"'))
    done = run(tmp_path, "--replay", "a.db", "--", *command)
    assert done.code == 1
    assert "item 1 (user): [-Hi-]{+Hello+}" in done.errors.decode()


def has_fetch() -> bool:
    """Whether there is a Node that has `fetch`."""
    command = ["node", "-e", "process.exit(typeof fetch === 'function' ? 0 : 1)"]
    return shutil.which("node") is not None and not subprocess.run(command, check=False, timeout=LONGEST).returncode


@pytest.mark.skipif("not has_fetch()", reason="there is no Node with fetch")
async def test_a_program_of_node_is_recorded_and_replayed(tmp_path: Path) -> None:
    command = ["--", "node", "--input-type=module", "-e", NODE]
    async with ModelApis(SCRIPT) as provider:
        done = await asyncio.to_thread(run, tmp_path, "-o", "a.db", *command, OPENAI_BASE_URL=provider.url)
    assert (done.code, done.out) == (0, b"Hello there, friend of the sea.\n"), done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", *command)
    assert (done.code, done.out) == (0, b"Hello there, friend of the sea.\n"), done.errors.decode()
