"""`fork`: a command against a recording up to one model call, and against the live provider from there on."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from omnirecord import open_cassette
from omnirecord import record as record_proxy
from omnirecord.cli.fork import _upstreams
from omnirecord.errors import UsageError
from omnirecord.forks.point import Hop, Point, call_of_turn
from omnirecord.providers.variables import is_trusted
from tests.cli.test_run import LONGEST, PYTHON, run, variables
from tests.omnigent_rig.provider import Answer, Failure, InTurn, Step
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.forked import Done
from tests.support.hop_tapes import model_hop
from tests.support.providers import ModelApis, Raw

AGENT = """
import json, os, sys, threading, urllib.error, urllib.request
def ask(word):
    body = json.dumps({"model": "m", "input": word}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/responses"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    for _ in range(3):
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["output"][-1]["content"][0]["text"]
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                return f"status {error.code}"
    return "given up"
said = {}
for words in sys.argv[1:]:
    threads = [threading.Thread(target=lambda word=word: said.setdefault(word, ask(word))) for word in words.split("+")]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print(*(said.pop(word) for word in words.split("+")), flush=True)
"""
SCRIPT: dict[str, Step] = {
    "Hi": Answer("Hello."),
    "Bye": Answer("Goodbye."),
    "One": Answer("1."),
    "Two": Answer("2."),
    "Busy?": InTurn((Failure("Slow down.", 429, "rate_limit_exceeded"), Answer("Sorry."))),
    "No": Failure("I will not.", 400),
}


_KEPT: dict[tuple[str, ...], bytes] = {}
"""Recordings by the words of the agent."""


async def record(folder: Path, *words: str) -> None:
    """Put a recording of the agent into a.db. It is made once."""
    if words not in _KEPT:
        async with ModelApis(SCRIPT) as provider:
            command = ["-o", "a.db", "--", *PYTHON, AGENT, *words]
            done = await asyncio.to_thread(run, folder, *command, OPENAI_BASE_URL=provider.url)
        assert done.code == 0, done.errors.decode()
        _KEPT[words] = (folder / "a.db").read_bytes()
    (folder / "a.db").write_bytes(_KEPT[words])


async def fork(folder: Path, *options: str, words: tuple[str, ...], of: str = "a.db") -> tuple[Done, list[Any]]:
    """Fork the agent. Return the end of the command, and the inputs of the calls that the provider got."""
    async with ModelApis(SCRIPT) as provider:
        command = ["fork", of, *options, "--upstream", provider.url, "--", *PYTHON, AGENT, *words]
        done = await asyncio.to_thread(forked.run, command, folder, environment=variables())
    return done, [body["input"] for body in provider.requests]


def failed(done: Done) -> str:
    """Return what a command that did not start said."""
    assert (done.code, done.out) == (2, b"")
    return done.errors.decode()


@pytest.mark.parametrize(("call", "due"), [(1, ["Hi", "Bye", "Bye"]), (2, ["Bye", "Bye"]), (3, ["Bye"])])
async def test_the_recording_answers_the_calls_before_the_fork_and_the_provider_the_others(
    tmp_path: Path, call: int, due: list[str]
) -> None:
    words = ("Hi", "Bye", "Bye")
    await record(tmp_path, *words)
    done, asked = await fork(tmp_path, "--from-call", str(call), "-o", "b.db", words=words)
    assert (done.code, done.out, asked) == (0, b"Hello.\nGoodbye.\nGoodbye.\n", due)
    counts = f"3 made, {call - 1} answered from the recording, {len(due)} live, 0 missing\n"
    assert counts in done.errors.decode()
    assert done.errors.decode().endswith("omnirecord: compare it with: omnirecord diff a.db b.db\n")
    with open_cassette(tmp_path / "b.db") as cassette:
        found = [x.answered_from for x in cassette.exchanges()]
    assert found == [*range(1, call), *[None] * len(due)]


async def test_a_turn_of_a_conversation_begins_with_its_first_call(tmp_path: Path) -> None:
    day = str(SHIPPED / "agents" / "day.jsonl")
    assert [call_of_turn(f"{day}#5", turn) for turn in (1, 2)] == [1, 3]
    with pytest.raises(UsageError, match=r"day\.jsonl has 10 conversations: name one, as in day\.jsonl#1"):
        call_of_turn(day, 1)
    await record(tmp_path, "Hi", "Hi", "Bye")
    done, asked = await fork(tmp_path, "--from-turn", "1", "-o", "b.db", words=("Hi",), of="a.db#2")
    assert (done.code, asked) == (0, ["Hi"])
    assert "forked a.db#2 at call 1: " in done.errors.decode()


async def test_a_conversation_of_several_with_equal_requests_is_forked_alone(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Hi", "Bye")
    done, asked = await fork(tmp_path, "--from-call", "1", "-o", "b.db", words=("Hi",), of="a.db#2")
    assert (done.code, asked) == (0, ["Hi"])
    assert "0 requests expected, 1 made, 0 answered from the recording, 1 live" in done.errors.decode()
    with open_cassette(tmp_path / "b.db") as cassette:
        assert {one.labels["fork.of"] for one in cassette.recordings()} == {"a.db#2"}
    error = failed(forked.run(["fork", "a.db#4", "--from-call", "1", "--", "true"], tmp_path))
    assert "the cassette has no conversation 4: there are #1 to #3" in error


async def test_a_recording_of_a_proxy_is_forked(tmp_path: Path) -> None:
    db = tmp_path / "a.db"
    async with ModelApis(SCRIPT) as provider, record_proxy(provider.url.removesuffix("/v1"), db) as proxy:
        agent = [*PYTHON, AGENT, "Hi", "Bye"]
        around = variables(OPENAI_BASE_URL=f"{proxy.url}/v1")
        await asyncio.to_thread(subprocess.run, agent, env=around, check=True, capture_output=True, timeout=LONGEST)
    done, asked = await fork(tmp_path, "--from-call", "2", "--contract", "auto", "-o", "b.db", words=("Hi", "Bye"))
    assert (done.code, done.out, asked) == (0, b"Hello.\nGoodbye.\n", ["Bye"]), done.errors.decode()


async def test_the_cassette_says_which_variable_has_the_address(tmp_path: Path) -> None:
    program = AGENT.replace("OPENAI_BASE_URL", "MY_MODEL")
    async with ModelApis(SCRIPT) as provider:
        words = ["--env", "MY_MODEL", "-o", "a.db", "--", *PYTHON, program, "Hi", "Bye"]
        await asyncio.to_thread(run, tmp_path, *words, MY_MODEL=provider.url)
        command = ["fork", "a.db", "--from-call", "2", "-o", "b.db", "--", *PYTHON, program, "Hi", "Bye"]
        done = await asyncio.to_thread(forked.run, command, tmp_path, environment=variables())
        assert (done.code, done.out) == (0, b"Hello.\nGoodbye.\n"), done.errors.decode()


async def test_an_equal_prompt_after_the_fork_goes_to_the_provider(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "b.db", words=("Hi", "Bye", "Hi"))
    assert (done.code, asked) == (0, ["Bye", "Hi"])


async def test_a_refused_call_before_the_fork_is_refused_again_and_one_after_it_by_the_provider(tmp_path: Path) -> None:
    words = ("Hi", "Busy?", "Bye")
    await record(tmp_path, *words)
    done, asked = await fork(tmp_path, "--from-call", "3", "-o", "3.db", words=words)
    assert (done.code, done.out, asked) == (0, b"Hello.\nSorry.\nGoodbye.\n", ["Bye"])
    assert "3 requests expected, 4 made, 3 answered from the recording, 1 live" in done.errors.decode()
    done, asked = await fork(tmp_path, "--from-call", "2", "--model", "m2", "-o", "2.db", words=words)
    assert (done.code, done.out, asked) == (0, b"Hello.\nSorry.\nGoodbye.\n", ["Busy?", "Busy?", "Bye"])
    assert "the change is in 3 of 3 live calls: --model m2" in done.errors.decode()


async def test_calls_side_by_side_are_each_answered_from_where_they_belong(tmp_path: Path) -> None:
    words = ("Hi", "One+Two", "Bye")
    await record(tmp_path, *words)
    done, asked = await fork(tmp_path, "--from-call", "4", "-o", "4.db", words=words)
    assert (done.code, done.out, asked) == (0, b"Hello.\n1. 2.\nGoodbye.\n", ["Bye"])
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "2.db", words=words)
    assert (done.code, done.out, sorted(asked)) == (0, b"Hello.\n1. 2.\nGoodbye.\n", ["Bye", "One", "Two"])


async def test_another_request_before_the_fork_is_refused_with_the_word_and_nothing_goes_to_the_provider(
    tmp_path: Path,
) -> None:
    await record(tmp_path, "Hi", "Bye")
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "b.db", words=("Ho", "Bye"))
    assert (done.code, asked) == (1, [])
    errors = done.errors.decode()
    assert "1 request expected, 2 made, 0 answered from the recording, 0 live, 2 matching nothing, 1 missing" in errors
    assert "POST /v1/responses is refused, because an earlier call matched nothing" in errors
    assert "item 1 (user): [-Hi-]{+Ho+}" in errors
    assert '1 request recorded, but not sent:\n  POST /v1/responses (call 1 of 2, exchange 1: "Hi")\n' in errors


async def test_a_fork_that_is_not_reached_fails_and_so_does_one_without_a_call(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "b.db", words=("Hi",))
    assert (done.code, asked) == (1, [])
    assert "Call 2 was not made, so no call went to the provider\n" in done.errors.decode()
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "c.db", words=())
    assert (done.code, asked, (tmp_path / "c.db").exists()) == (1, [], False)
    assert "This is an error: the command sent no request to the addresses in" in done.errors.decode()


async def test_a_fork_at_the_call_of_a_program_that_started_again_names_the_call_that_it_repeats(
    tmp_path: Path,
) -> None:
    agent = AGENT.replace('"input": word', '"input": json.loads(word)')
    said = [("user", "Hi"), ("assistant", "Hello."), ("user", "Bye"), ("assistant", "Goodbye."), ("user", "One")]
    items = [{"role": role, "content": text} for role, text in said]
    first, second, third = (json.dumps(items[:count]) for count in (1, 3, 5))
    async with ModelApis(SCRIPT) as provider:
        server = {"OPENAI_BASE_URL": provider.url}
        words = ["-o", "a.db", "--", *PYTHON, agent, first, second, second, third]
        assert (await asyncio.to_thread(run, tmp_path, *words, **server)).code == 0
        words = ["fork", "a.db", "--from-call", "3", "-o", "b.db", "--", *PYTHON, agent, first, second, third]
        done = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables(**server))
    told = "Call 3 was not made, and 1 other call went to the provider without the change. It repeats call 2, since"
    assert f"{told} the program started again. Fork at call 2\n" in done.errors.decode()
    assert done.code == 1
    words = ["run", "--replay", "a.db", "--", *PYTHON, agent, first, second, third]
    done = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables())
    told = (
        "omnirecord: call 3 of #1 repeats call 2, as the recorded program started again: a replay expects this, too\n"
    )
    assert (done.code, told in done.errors.decode()) == (1, True), done.errors.decode()


async def test_a_live_call_that_fails_fails_the_fork(tmp_path: Path) -> None:
    await record(tmp_path, "Hi")
    done, asked = await fork(tmp_path, "--from-call", "1", "--set", "input=No", "-o", "b.db", words=("Hi",))
    assert (done.code, done.out, asked) == (1, b"status 400\n", ["No"])
    assert "A live call failed: m: 400 refused: invalid_request_error: I will not." in done.errors.decode()


async def test_a_provider_that_ignores_the_chosen_model_fails_the_fork(tmp_path: Path) -> None:
    whole = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": []}
    said = {"type": "message", "id": "i", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]}  # fmt: skip
    answer = Raw(json.dumps(whole | {"output": [said]}).encode(), headers={"Content-Type": "application/json"})
    await record(tmp_path, "Hi")
    async with ModelApis({"Hi": answer}) as provider:
        words = ["fork", "a.db", "--from-call", "1", "--upstream", provider.url, "-o", "b.db", "--model"]
        command = ["--", *PYTHON, AGENT, "Hi"]
        done = await asyncio.to_thread(forked.run, [*words, "m2", *command], tmp_path, environment=variables())
    assert (done.code, done.out) == (1, b"Hello.\n"), done.errors.decode()
    assert "The model m2 was asked, and m answered\n" in done.errors.decode()


async def test_the_new_cassette_says_what_it_was_forked_from(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    await fork(tmp_path, "--from-call", "2", "--set", "input=Hi", "--label", "a=b", "-o", "b.db", words=("Hi", "Bye"))
    with open_cassette(tmp_path / "a.db") as cassette:
        origin = next(one for one in cassette.recordings() if one.hop == "openai")
    with open_cassette(tmp_path / "b.db") as cassette:
        recording = next(one for one in cassette.recordings() if one.hop == "openai")
    assert recording.labels == {
        "a": "b",
        "fork.of": "a.db",
        "fork.recording": origin.recording_id,
        "fork.call": "2",
        "fork.change": "--set input=Hi",
        "command.exit_code": "0",
    }


async def test_show_draws_the_fork_and_diff_compares_from_there_on(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    await fork(tmp_path, "--from-call", "2", "--set", "input=One", "-o", "b.db", words=("Hi", "Bye"))
    lines = forked.run(["show", "b.db", "--width", "200"], tmp_path).out.decode().splitlines()
    drawn = lines.index("-- forked from a.db at call 2, with --set input=One: live from here on")
    assert [line.endswith("from the recording") for line in lines if " = 200 completed" in line] == [True, False]
    asked = [number for number, line in enumerate(lines) if "You: " in line]
    assert asked[0] < drawn < asked[1]
    rows = map(json.loads, forked.run(["show", "b.db", "--json"], tmp_path).out.splitlines())
    assert [call["answered_from"] for row in rows for call in row["model_calls"]] == [1, None]
    done = forked.run(["diff", "a.db", "b.db"], tmp_path)
    assert (done.code, done.out.decode().splitlines()[0]) == (
        1,
        "2 differences: 2 in calls, from call 1 of #2 on, where the fork begins",
    )
    await fork(tmp_path, "--from-call", "2", "--set", "input=One", "-o", "c.db", words=("Hi", "Bye"))
    done = forked.run(["diff", "b.db", "c.db"], tmp_path)
    assert done.out == b"no difference in 1 model call, from call 1 of #2 on, where the fork begins\n"


async def test_a_changed_fork_says_the_command_that_replays_it_with_the_program_that_made_it(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    changes = ("--from-call", "2", "--set", "input=One", "--set", "temperature=0", "-o", "b.db")
    done, _ = await fork(tmp_path, *changes, words=("Hi", "Bye"))
    last = done.errors.decode().splitlines()[-1]
    rules = "--match 'ignore conversation messages' --match 'ignore conversation settings'"
    replay = f"omnirecord run --replay b.db {rules} -- "
    assert last.startswith(f"omnirecord: replay it with: {replay}")
    words = [*shlex.split(replay)[1:], *PYTHON, AGENT, "Hi", "Bye"]
    again = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables())
    assert (again.code, again.out) == (0, b"Hello.\n1.\n"), again.errors.decode()


async def test_an_edited_body_replaces_that_of_the_call(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    (tmp_path / "new.json").write_text(json.dumps({"model": "m", "input": "One", "temperature": 0}))
    done, asked = await fork(tmp_path, "--from-call", "2", "--edit", "new.json", "-o", "b.db", words=("Hi", "Bye"))
    assert (done.code, done.out, asked) == (0, b"Hello.\n1.\n", ["One"]), done.errors.decode()


async def test_several_branches_are_compared(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    options = ("--from-call", "2", "--set", "input=One", "--repeat", "2", "-o", "b.db")
    done, asked = await fork(tmp_path, *options, words=("Hi", "Bye"))
    assert (done.code, asked) == (0, ["One", "One"])
    assert done.errors.decode().splitlines()[-5] == "From call 2 on:"
    heads, *rows = [line.split("  ") for line in done.errors.decode().splitlines()[-4:]]
    found = [[cell.strip() for cell in row if cell] for row in rows]
    assert [cell.strip() for cell in heads if cell] == ["branch", "ended", "calls", "tools", "tokens", "time", "answer"]
    assert [(row[0], row[1], row[2], row[-1]) for row in found] == [
        ("recorded", "completed, exit 0", "1", "Goodbye."),
        ("1", "completed, exit 0", "1", "1."),
        ("2", "completed, exit 0", "1", "as branch 1"),
    ]
    assert (tmp_path / "b-1.db").exists()
    assert (tmp_path / "b-2.db").exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all_branches(tmp_path: Path, how: signal.Signals) -> None:
    await record(tmp_path, "Hi", "Bye")
    agent = [*PYTHON, f"{AGENT}\nimport time; time.sleep({LONGEST})", "Hi"]
    async with ModelApis(SCRIPT) as provider:
        options = ["--from-call", "1", "--repeat", "3", "-o", "b.db", "--upstream", provider.url]
        command = ["fork", "a.db", *options, "--", *agent]
        done = await asyncio.to_thread(forked.run, command, tmp_path, how, environment=variables())
    errors = done.errors.decode()
    assert (done.code, done.out, len(provider.requests)) == (128 + how, b"Hello.\n", 1), errors
    assert f"omnirecord: {how.name} ended the fork before branch 2 of 3\n" in errors
    assert [line.split()[0] for line in errors.splitlines()[-3:]] == ["branch", "recorded", "1"]
    assert not (tmp_path / "b-2.db").exists()
    with open_cassette(tmp_path / "b-1.db") as cassette:
        assert {one.labels["command.signal"] for one in cassette.recordings()} == {how.name}


async def test_the_table_says_that_a_tool_ended_the_program(tmp_path: Path) -> None:
    call = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"}
    whole = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": [call]}
    answer = Raw(json.dumps(whole).encode(), headers={"Content-Type": "application/json"})
    crashing = [*PYTHON, AGENT, "Hi"]  # it takes the text of the answer, which has none
    async with ModelApis({"Hi": answer}) as provider:
        await asyncio.to_thread(run, tmp_path, "-o", "a.db", "--", *crashing, OPENAI_BASE_URL=provider.url)
        options = ["--from-call", "1", "--repeat", "1", "-o", "b.db", "--upstream", provider.url]
        done = await asyncio.to_thread(
            forked.run, ["fork", "a.db", *options, "--", *crashing], tmp_path, environment=variables()
        )
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in done.errors.decode().splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["recorded", "unfinished, exit 1"], ["1", "unfinished, exit 1"]]


async def test_with_json_a_row_each_is_the_end_of_stderr_and_stdout_is_that_of_the_command(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    options = ("--from-call", "2", "--set", "input=One", "--json", "-o", "b.db")
    done, _ = await fork(tmp_path, *options, words=("Hi", "Bye"))
    assert (done.code, done.out) == (0, b"Hello.\n1.\n"), done.errors.decode()
    assert [one[:5] for one in compared(done.errors, 2)] == [
        ("recorded", None, 0, 1, "Goodbye."),
        ("1", "b.db", 0, 1, "1."),
    ]
    done, _ = await fork(tmp_path, *options[:-1], "c.db", "--repeat", "2", words=("Hi", "Bye"))
    assert done.out == b"Hello.\n1.\n" * 2
    assert compared(done.errors, 3)[1:] == [("1", "c-1.db", 0, 1, "1.", None), ("2", "c-2.db", 0, 1, "1.", "1")]
    done, _ = await fork(tmp_path, *options[:-1], "d.db", words=())
    assert compared(done.errors, 2)[1] == ("1", None, 1, 0, None, None)


def compared(lines: bytes, count: int) -> list[tuple[Any, ...]]:
    """Return the last rows of an output."""
    names = ("branch", "cassette", "exit_code", "calls", "answer", "alike")
    return [tuple(map(json.loads(line).get, names)) for line in lines.splitlines()[-count:]]


async def test_without_a_command_json_is_an_object_with_the_variables_and_then_the_rows(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    words = ["fork", "a.db", "--from-call", "1", "--json", "-o", "b.db"]
    done = await asyncio.to_thread(forked.run, words, tmp_path, signal.SIGINT, environment=variables())
    first, *_ = map(json.loads, done.out.splitlines())
    assert list(first) == ["variables"]
    assert first["variables"]["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert compared(done.out, 2) == [
        ("recorded", None, 0, 2, "Goodbye.", None),
        ("1", None, 1, 0, None, None),
    ]


async def test_json_behind_the_command_is_an_option_of_the_command(tmp_path: Path) -> None:
    words = ["fork", "none.db", "--from-call", "1", "--", "true", "--json"]
    assert failed(forked.run(words, tmp_path)).startswith("Error: ")


async def test_a_fault_is_injected_before_and_after_the_fork(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    options = ("--from-call", "2", "--fault", "answer first 3 POST /v1/responses with 503", "-o", "b.db")
    done, asked = await fork(tmp_path, *options, words=("Hi", "Bye"))
    assert (done.out, asked) == (b"given up\nGoodbye.\n", ["Bye"])
    options = ("--from-call", "2", "--fault", "answer 2nd POST /v1/responses with 503", "-o", "c.db")
    done, asked = await fork(tmp_path, *options, words=("Hi", "Bye"))
    assert (done.code, done.out, asked) == (0, b"Hello.\nGoodbye.\n", ["Bye"])
    assert "1 live, 1 answered by a fault, 0 missing" in done.errors.decode()


async def test_a_text_cassette_and_a_fork_are_forked(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    forked.run(["export", "a.db", "-o", "a.jsonl"], tmp_path)
    await fork(tmp_path, "--from-call", "2", "--set", "input=One", "-o", "b.db", words=("Hi", "Bye"), of="a.jsonl")
    done, asked = await fork(tmp_path, "--from-call", "2", "-o", "c.db", words=("Hi", "One"), of="b.db")
    assert (done.code, done.out, asked) == (0, b"Hello.\n1.\n", ["One"]), done.errors.decode()


async def test_mistakes_are_said_before_the_command_starts(tmp_path: Path) -> None:
    await record(tmp_path, "Hi")
    (tmp_path / "empty.jsonl").write_text('{"omnirecord": 1, "recordings": []}\n')

    def error(*words: str, of: str = "a.db") -> str:
        return failed(forked.run(["fork", of, *words], tmp_path, environment=variables()))

    assert "give --from-call N or --from-turn N" in error("--", "true")
    assert "give --from-call N or --from-turn N" in error("--from-call", "1", "--from-turn", "1", "--", "true")
    assert "--message is for --from-turn and a session" in error("--from-call", "1", "--message", "x", "--", "true")
    assert "--from-turn 2: the conversation has 1 turn\n" in error("--from-turn", "2", "--", "true")
    assert "the request of a program, use --set" in error("--from-turn", "1", "--message", "x", "--", "true")
    assert "empty.jsonl has no session and no conversation" in error("--from-turn", "1", of="empty.jsonl")
    both = str(SHIPPED / "both_hops" / "both_turns.jsonl")
    assert "leave out the command, and start the runner" in error("--from-turn", "1", "--", "true", of=both)
    assert "--from-call 2: the cassette has 1 model call" in error("--from-call", "2", "--", "true")
    assert "--from-call 0: the cassette has 1 model call" in error("--from-call", "0", "--", "true")
    assert "--model m changes nothing" in error("--from-call", "1", "--model", "m", "--", "true")
    assert "--set x: the request has no such field" in error("--from-call", "1", "--set", "x=1", "--", "true")
    assert "--edit no.json cannot be read" in error("--from-call", "1", "--edit", "no.json", "--", "true")
    assert "--repeat runs a command" in error("--from-call", "1", "--repeat", "2")
    assert "a.db exists already" in error("--from-call", "1", "-o", "a.db", "--", "true")
    assert "--upstream x=: the cassette has no such hop: openai" in error(
        "--from-call", "1", "--upstream", "x=http://127.0.0.1:1", "--", "true"
    )
    assert "holds no model calls" in error("--from-call", "1", "--", "true", of="empty.jsonl")
    assert "the command nothing-of-this-name was not found" in failed_with(
        127, forked.run(["fork", "a.db", "--from-call", "1", "--", "nothing-of-this-name"], tmp_path)
    )


def test_several_sessions_need_a_port_of_the_model_that_stays(tmp_path: Path) -> None:
    words = ["fork", SHIPPED / "both_hops" / "both_turns.jsonl", "--from-turn", "3", "--repeat", "2"]
    done = forked.run([*words, "--upstream", "http://127.0.0.1:1"], tmp_path)
    assert "with --repeat, give --listen model=127.0.0.1:PORT" in failed(done)


async def test_no_api_key_goes_to_a_server_that_only_the_cassette_names(tmp_path: Path) -> None:
    await record(tmp_path, "Hi")
    forked.run(["export", "a.db", "-o", "a.jsonl"], tmp_path)
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    head = json.loads(lines[0])
    for one in head["recordings"]:
        one["upstream"] = "https://api.openai.com.stranger.example"
    (tmp_path / "a.jsonl").write_text("\n".join([json.dumps(head), *lines[1:], ""]))
    words = ["fork", "a.jsonl", "--from-call", "1", "--", "true"]
    said = failed(forked.run(words, tmp_path, environment=variables()))
    assert "give --upstream https://api.openai.com.stranger.example" in said
    assert is_trusted("https://api.openai.com/v1")
    assert not is_trusted("http://api.openai.com")


def test_upstream_replaces_a_server_that_is_no_model_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    nothing: frozenset[int] = frozenset()
    recorded = {
        "openai": Hop("https://api.openai.com", ["/v1/responses"]),
        "tools": Hop("https://stranger.example", ["/mcp"]),
    }
    point = Point(1, "a.db", "openai", "/v1/responses", b"", nothing, nothing, nothing, nothing, "r", recorded)
    with pytest.raises(UsageError, match=r"give --upstream tools=https://stranger\.example"):
        _upstreams(point, [])
    assert _upstreams(point, ["tools=http://127.0.0.1:1/"]) == {
        "openai": "https://api.openai.com",
        "tools": "http://127.0.0.1:1",
    }


PROCESSES = Path("/proc")
"""Only Linux has it."""


def failed_with(code: int, done: Done) -> str:
    assert done.code == code
    return done.errors.decode()


def unblocked(pid: int, number: signal.Signals) -> set[int]:
    """The threads of a process that do not block a signal."""
    found = set()
    for thread in (PROCESSES / str(pid) / "task").iterdir():
        status = dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines())
        if not int(status["SigBlk"], 16) >> (number - 1) & 1:
            found.add(int(thread.name))
    return found


async def test_without_a_command_the_addresses_are_printed_and_a_signal_ends_the_fork(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    async with ModelApis(SCRIPT) as provider:
        words = [sys.executable, "-m", "omnirecord", "fork", "a.db", "--from-call", "2", "--upstream", provider.url]
        process = subprocess.Popen(  # noqa: ASYNC220
            [*words, "-o", "b.db"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=variables()
        )
        try:
            assert process.stdout is not None
            names = {}
            while "COHERE" not in names and "OLLAMA_API_BASE" not in names:
                line = (await asyncio.to_thread(process.stdout.readline)).decode()
                name, _, value = line.strip().partition("=")
                assert name, "the fork ended"
                names[name] = value
            if PROCESSES.exists():
                assert unblocked(process.pid, signal.SIGINT) <= {process.pid}  # another thread would take the signal
            agent = [*PYTHON, AGENT, "Hi", "Bye"]
            said = await asyncio.to_thread(
                subprocess.run, agent, env=variables(OPENAI_BASE_URL=names["OPENAI_BASE_URL"]),
                capture_output=True, timeout=LONGEST, check=True,
            )  # fmt: skip
            process.send_signal(signal.SIGINT)
            _, errors = await asyncio.to_thread(process.communicate, timeout=LONGEST)
        finally:
            process.kill()
    assert (said.stdout, len(provider.requests), process.returncode) == (b"Hello.\nGoodbye.\n", 1, 0)
    assert b"2 made, 1 answered from the recording, 1 live, 0 missing" in errors


async def test_a_call_that_never_got_an_answer_is_made_live_by_a_fork_from_it(tmp_path: Path) -> None:
    made = model_hop(0)
    asked = {"model": "m", "input": "Hi"}
    made.post("/v1/responses", 1.0, until=2.0, body=asked, ending="client_left", answered=False)
    made.save(tmp_path / "a.db")
    done, live = await fork(tmp_path, "--from-call", "1", "-o", "b.db", words=("Hi",))
    assert (done.code, live) == (0, ["Hi"]), done.errors.decode()


async def test_a_fork_of_one_of_two_equal_runs_says_how_to_fork_the_program_of_both(tmp_path: Path) -> None:
    await record(tmp_path, "Bye", "Hi", "Hi")
    done, asked = await fork(tmp_path, "--from-call", "1", "-o", "b.db", words=("Bye", "Hi", "Hi"), of="a.db#3")
    assert (done.code, asked) == (1, [])
    assert (
        "If the program makes the calls of the others, too: omnirecord fork a.db --from-call 3\n"
        in done.errors.decode()
    )


async def test_of_several_conversations_the_fork_says_which_call_it_means(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye")
    done, _ = await fork(tmp_path, "--from-call", "2", "-o", "b.db", words=("Hi", "Bye"))
    assert done.errors.decode().startswith("omnirecord: call 2 of a.db is call 1 of a.db#2\n")
    done, _ = await fork(tmp_path, "--from-call", "1", "-o", "c.db", words=("Hi", "Bye"), of="a.db#2")
    assert " is call " not in done.errors.decode()
    errors = done.errors.decode()
    assert errors.endswith("omnirecord: compare it with: omnirecord diff 'a.db#2' c.db\n")
    assert "2 made, 1 answered from the recording (1 of them beside the expected ones), 1 live, 0 missing" in errors
    done, _ = await fork(
        tmp_path, "--from-call", "1", "--set", "input=One", "-o", "d.db", words=("Hi", "Bye"), of="a.db#2"
    )
    for origin in ("a.db", "a.db#2"):
        first, _, heading, *_ = forked.run(["diff", origin, "d.db"], tmp_path).out.decode().splitlines()
        assert first == "2 differences: 2 in calls, from call 1 of #2 on, where the fork begins"
        assert heading == "  call 1 of #2"


async def test_a_secret_of_the_change_is_masked(tmp_path: Path) -> None:
    await record(tmp_path, "Hi")
    secrets = ("sk-proj-SeventeenSecretsOfOpenAi00", "EighteenSecrets1234567890abcdef")
    changes = ("--set", f"input=My key is {secrets[0]}", "--set", f"metadata.api_key={secrets[1]}")
    done, asked = await fork(tmp_path, "--from-call", "1", *changes, "-o", "b.db", words=("Hi",))
    assert asked == [f"My key is {secrets[0]}"]
    assert not any(one in done.errors.decode() for one in secrets)
    with open_cassette(tmp_path / "b.db") as cassette:
        labels = [one.labels for one in cassette.recordings()]
    assert all(one["fork.change"].count("***") >= 2 for one in labels)
    assert not any(one in str(labels) for one in secrets)


async def test_a_live_call_takes_no_place_of_a_call_before_the_fork(tmp_path: Path) -> None:
    await record(tmp_path, "Hi", "Bye", "One")
    done, asked = await fork(tmp_path, "--from-call", "3", "-o", "b.db", words=("Hi", "One"))
    assert (done.code, asked) == (1, ["One"])
    assert "2 requests expected, 2 made, 1 answered from the recording, 1 live, 1 missing" in done.errors.decode()


async def test_the_table_of_branches_has_the_costs_that_the_provider_states(tmp_path: Path) -> None:
    def priced(usd: float) -> dict[str, Step | Raw]:
        usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "cost": usd}
        said = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}]
        body = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": said, "usage": usage}
        return {"Hi": Raw(json.dumps(body).encode(), headers={"Content-Type": "application/json"})}

    command = ["--", *PYTHON, AGENT, "Hi"]
    async with ModelApis(priced(0.00125)) as provider:
        await asyncio.to_thread(run, tmp_path, "-o", "a.db", *command, OPENAI_BASE_URL=provider.url)
    async with ModelApis(priced(0.5)) as provider:
        words = [
            "fork",
            "a.db",
            "--from-call",
            "1",
            "--repeat",
            "1",
            "-o",
            "b.db",
            "--upstream",
            provider.url,
            *command,
        ]
        done = await asyncio.to_thread(forked.run, words, tmp_path, environment=variables())
    rows = [[cell.strip() for cell in line.split("  ") if cell] for line in done.errors.decode().splitlines()[-3:]]
    assert [row[5] for row in rows] == ["cost", "$0.00125", "$0.5"]
    shown = forked.run(["show", "a.db"], tmp_path, environment=variables()).out.decode()
    assert "$0.0013" in shown
    query = ["query", "a.db", "select cost_usd from sessions", "--json"]
    assert json.loads(forked.run(query, tmp_path).out) == {"cost_usd": 0.00125}
