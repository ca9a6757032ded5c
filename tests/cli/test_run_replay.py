"""`run --replay`: what its verdict counts, and `--record new_episodes`."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

import omnirecord
from omnirecord.cassette.sqlite import Writer, rows
from tests.cli.test_run import AGENT, PYTHON, SCRIPT, recording, replayed_run, run, variables
from tests.omnigent_rig.provider import Answer
from tests.support import forked
from tests.support.forked import Done
from tests.support.providers import ModelApis

NEW = ("--record", "new_episodes")
TOLERANT = f"try:\n  exec({AGENT!r})\nexcept OSError: pass"


async def extended(
    folder: Path, provider: ModelApis, *words: str, options: tuple[str, ...] = (), program: str = AGENT
) -> Done:
    """Run the agent against a.db and this provider."""
    command = ["--replay", "a.db", *NEW, *options, "--", *PYTHON, program, *words]
    return await asyncio.to_thread(run, folder, *command, OPENAI_BASE_URL=provider.url)


def asked(provider: ModelApis) -> list[str]:
    return [body["input"] for body in provider.requests]


async def test_a_call_that_is_missing_goes_to_the_provider_and_into_a_new_cassette(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    before = (tmp_path / "a.db").read_bytes()
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "Hi", "Weather?", options=("-o", "new.db"))
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
        assert asked(provider) == ["Weather?"]
    assert done.errors.decode().startswith(
        "omnirecord: replayed a.db, recorded into new.db: 1 request expected, 2 made, 1 answered from the recording,"
        " 1 live, 0 missing\n"
        "2 requests:\n"
        "  recorded: POST /v1/responses -> 200 (exchange 1)\n"
        "  live: POST /v1/responses -> 200 (new exchange 2)\n"
        "    POST /v1/responses was recorded, but not with this conversation; nearest recorded, as"
    )
    assert "tokens by the provider's count: 80 in" in done.errors.decode()
    assert (tmp_path / "a.db").read_bytes() == before
    for _ in range(2):
        done = run(tmp_path, "--replay", "new.db", "--", *PYTHON, AGENT, "Hi", "Weather?")
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()


async def test_without_a_new_cassette_it_is_appended_and_no_unused_provider_gets_a_recording(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    async with ModelApis(SCRIPT) as provider:
        for live in (1, 0):
            done = await extended(tmp_path, provider, "Hi", "Weather?")
            assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
            assert f"recorded into a.db: {2 - live} request" in done.errors.decode()
            assert f"{live} live, 0 missing" in done.errors.decode()
        assert asked(provider) == ["Weather?"]
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        assert [(one.recording, one.hop) for one in cassette.recordings()] == [(1, "openai"), (2, "openai")]
    assert replayed_run(tmp_path, "Hi", "Weather?").code == 0


async def test_a_provider_that_the_recording_lacks_is_recorded_beside_it(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    body = '{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Weather?"}]}'
    other = AGENT.replace("OPENAI_BASE_URL", "ANTHROPIC_BASE_URL").replace('+ "/responses"', '+ "/v1/messages"')
    other = other.replace('json.dumps({"model": "m", "input": word})', repr(body)).replace(
        '["output"][-1]["content"]', '["content"]'
    )
    async with ModelApis(SCRIPT) as provider:
        words = ["--replay", "a.db", *NEW, "-o", "new.db", "--", *PYTHON, f"{AGENT}\n{other}", "Hi"]
        base = provider.url.removesuffix("/v1")
        done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url, ANTHROPIC_BASE_URL=base)
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
    words = ["--replay", "new.db", "--", *PYTHON, f"{AGENT}\n{other}", "Hi"]
    done = run(tmp_path, *words)
    assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()


async def test_a_call_that_is_not_recorded_takes_the_place_of_none(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "Weather?", options=("--except", "*"))
    assert (done.code, asked(provider)) == (1, ["Weather?"])
    assert "  live: POST /v1/responses -> 200 (not recorded)\n" in done.errors.decode()
    assert "1 request recorded, but not sent:\n" in done.errors.decode()
    assert "omnirecord: nothing was recorded: 1 request passed unrecorded" in done.errors.decode()
    assert replayed_run(tmp_path, "Hi").code == 0


async def test_a_changed_call_takes_the_place_of_the_recorded_one_but_a_call_that_is_not_made_fails(
    tmp_path: Path,
) -> None:
    await recording(tmp_path, "Hi", "Weather?")
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "Hi", "My key", options=("-o", "new.db"))
        assert done.code == 0, done.errors.decode()
        assert "1 answered from the recording, 1 live, 0 missing" in done.errors.decode()
        assert (
            "1 request recorded, and replaced by a live one:\n"
            '  POST /v1/responses (call 2 of 2, exchange 2: "Weather?")\n' in done.errors.decode()
        )
        done = await extended(tmp_path, provider, "Hi")
        assert done.code == 1
        assert "1 answered from the recording, 0 live, 1 missing" in done.errors.decode()


async def test_a_live_call_that_fails_and_a_command_without_calls_never_pass(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "Hi", "No", options=("-o", "b.db"), program=TOLERANT)
        assert done.code == 1
        assert "1 request live, and failed:\n  POST /v1/responses -> 400\n" in done.errors.decode()
        done = await extended(tmp_path, provider, "Hi", options=("-o", "c.db"), program="print(1)")
        assert done.code == 1
        assert "This is an error: the command sent no request to the addresses in" in done.errors.decode()
        assert not (tmp_path / "c.db").exists()
        await provider.__aexit__()
        done = await extended(tmp_path, provider, "Hi", "No", options=("-o", "d.db"), program=TOLERANT)
        assert done.code == 1
        assert "1 request live, and failed:\n  POST /v1/responses -> 502\n" in done.errors.decode()


async def test_a_replay_counts_faults_and_requests_that_are_sent_more_often_than_recorded(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    fault = ("--fault", "answer 1st POST /v1/responses with 429")
    program = f"for _ in range(2):\n  try:\n    exec({AGENT!r}); break\n  except OSError: pass"
    done = run(tmp_path, "--replay", "a.db", *fault, "--", *PYTHON, program, "Hi")
    assert done.code == 0, done.errors.decode()
    assert "1 request expected, 2 made, 1 answered from the recording, 0 live, 1 answered by a fault, 0 missing" in (
        done.errors.decode()
    )
    done = replayed_run(tmp_path, "Hi", "Hi")
    assert (done.code, done.out) == (1, b"Hello there.\nHello there.\n")
    assert "1 request expected, 2 made, 1 answered from the recording, 0 live, 1 sent more often than recorded" in (
        done.errors.decode()
    )
    assert "1 request sent more often than recorded:\n  POST /v1/responses -> 200\n" in done.errors.decode()


async def test_the_cassette_says_which_variable_had_the_address_of_a_server(tmp_path: Path) -> None:
    program = AGENT.replace("OPENAI_BASE_URL", "MY_MODEL")
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--env", "MY_MODEL", "--", *PYTHON, program, "Hi"]
        done = await asyncio.to_thread(run, tmp_path, *words, MY_MODEL=provider.url)
        assert (done.code, done.out) == (0, b"Hello there.\n"), done.errors.decode()
        done = run(tmp_path, "--replay", "a.db", "--", *PYTHON, program, "Hi")
        assert (done.code, done.out) == (0, b"Hello there.\n"), done.errors.decode()
        words = ["--replay", "a.db", *NEW, "--", *PYTHON, program, "Hi", "Weather?"]
        done = await asyncio.to_thread(run, tmp_path, *words, MY_MODEL=provider.url)
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        assert {one.hop for one in cassette.recordings()} == {"MY_MODEL"}


async def test_an_upstream_is_named_with_or_without_the_path_of_the_recorded_requests(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    async with ModelApis(SCRIPT) as provider:
        for number, url in enumerate([provider.url, provider.url.removesuffix("/v1"), f"openai={provider.url}"]):
            words = [
                "--replay",
                "a.db",
                *NEW,
                "-o",
                f"{number}.db",
                "--upstream",
                url,
                "--",
                *PYTHON,
                AGENT,
                "Weather?",
            ]
            done = await asyncio.to_thread(run, tmp_path, *words)
            assert done.out == b"Sunny.\n", done.errors.decode()


async def test_secrets_of_live_calls_are_masked_as_by_proxy(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    async with ModelApis(SCRIPT) as provider:
        done = await extended(tmp_path, provider, "Hi", "My key", options=("-o", "b.db", "--redact", "content"))
    assert done.code == 0, done.errors.decode()
    assert b"SeventeenSecrets" not in (tmp_path / "b.db").read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (NEW, "--record new_episodes adds to a recording: give --replay CASSETTE as well\n"),
        (("--replay", "a.db", "-o", "b.db"), "a replay records nothing, and connects to no server: leave out -o, or"),
        (("--replay", "a.db", *NEW, "-o", "a.db"), "a.db exists already, and a new cassette is written: name another"),
        (("--replay", "a.jsonl#1", *NEW), "a.jsonl#1: exchanges are appended to a whole .db or .jsonl only. Name"),
    ],
)
async def test_a_mistake_gets_one_sentence(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    await recording(tmp_path, "Hi")
    omnirecord.scrub(tmp_path / "a.db", tmp_path / "a.jsonl")
    done = run(tmp_path, *words, "--", "true")
    assert done.code == 2
    assert done.errors.decode().startswith(f"Error: {said}")
    assert done.errors.count(b"\n") == 1


CHAT = AGENT.replace("for word", "said = []\nfor word").replace(
    'json.dumps({"model": "m", "input": word})',
    'json.dumps({"model": "m", "input": said + [{"role": "user", "content": word}]})',
) + ('    said += [{"role": "user", "content": word}]\n    said += [{"role": "assistant", "content": ANSWERS[word]}]\n')
CHAT = f"ANSWERS = {{'Hi': 'Hello there.', 'Weather?': 'Sunny.', 'My key': ''}}\n{CHAT}"
"""The agent as one conversation."""


async def test_a_conversation_that_is_chosen_by_its_number_is_expected_whole_though_it_was_replaced(
    tmp_path: Path,
) -> None:
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--", *PYTHON, CHAT, "Hi", "Weather?"]
        assert (await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)).code == 0
        done = await extended(tmp_path, provider, "Weather?", "Hi", program=CHAT)
        assert (done.code, done.out) == (0, b"Sunny.\nHello there.\n"), done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--", *PYTHON, CHAT, "Weather?", "Hi")
    assert (done.code, done.out) == (0, b"Sunny.\nHello there.\n"), done.errors.decode()
    for said, code, counts in (
        (("Hi", "Weather?"), 0, "2 requests expected, 2 made, 2 answered from the recording, 0 live, 0 missing"),
        (("Hi",), 1, "2 requests expected, 1 made, 1 answered from the recording, 0 live, 1 missing"),
        ((), 1, "2 requests expected, 0 made, 0 answered from the recording, 0 live, 2 missing"),
    ):
        done = run(tmp_path, "--replay", "a.db#1", "--", *PYTHON, CHAT, *said)
        assert done.code == code, done.errors.decode()
        assert counts in done.errors.decode()


async def test_a_replay_says_how_many_answers_are_from_replaced_calls(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi", "Weather?")
    async with ModelApis(SCRIPT) as provider:
        assert (await extended(tmp_path, provider, "Hi", "My key")).code == 0
    done = replayed_run(tmp_path, "Hi", "Weather?")
    assert done.code == 1
    assert (
        "2 requests expected, 2 made, 2 answered from the recording (1 of them from a replaced call), 0 live, 1 missing"
        in done.errors.decode()
    )


async def test_a_replay_of_a_recording_that_expects_no_request_never_passes(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    with closing(Writer(tmp_path / "a.db")) as writer:
        writer.write([rows.replaced(1)])
    done = replayed_run(tmp_path, "Hi")
    assert done.code == 1
    assert "This is an error: a.db has no answered requests that a client has to send" in done.errors.decode()


async def test_new_episodes_names_a_recorded_failure_and_the_command_that_sends_the_call_again(tmp_path: Path) -> None:

    (tmp_path / "agent.py").write_text(TOLERANT)
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--", sys.executable, "agent.py", "Hi", "No"]
        await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)
        words = ["--replay", "a.db", *NEW, "--", sys.executable, "agent.py", "Hi", "No"]
        done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)
        assert (done.code, len(provider.requests)) == (0, 2), done.errors.decode()
        again = shlex.join(["--", sys.executable, "agent.py", "Hi", "No"])
        assert done.errors.decode().endswith(
            "1 request answered with a recorded failure:\n"
            "  POST /v1/responses -> 400 (exchange 2)\n"
            f"omnirecord: send failed calls again with: omnirecord fork a.db --from-call 2 {again}\n"
        )
    async with ModelApis(SCRIPT | {"No": Answer("Yes.")}) as provider:
        fork = shlex.split(done.errors.decode().partition("again with: omnirecord ")[2])
        more = variables(OPENAI_BASE_URL=provider.url)
        forked_run = await asyncio.to_thread(forked.run, fork, tmp_path, environment=more)
        assert (forked_run.code, forked_run.out) == (0, b"Hello there.\nYes.\n"), forked_run.errors.decode()


async def test_a_program_that_goes_on_after_the_end_of_its_recording_gets_the_command_that_records_the_rest(
    tmp_path: Path,
) -> None:
    (tmp_path / "agent.py").write_text(f"try:\n  exec({CHAT!r})\nexcept OSError: pass")
    command = [sys.executable, "agent.py", "Hi", "Weather?"]
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--", *command[:-1]]
        await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)
    done = run(tmp_path, "--replay", "a.db", "--", *command)
    assert done.code == 1
    assert done.errors.decode().endswith(
        "1 request matched nothing:\n"
        "  POST /v1/responses comes after the end of its recorded conversation, call 1 of 1, exchange 1;"
        " nearest recorded, as [-recorded-]{+asked+}:\n"
        "    call 1 of 1, exchange 1:\n"
        "      item 2 (assistant): {+Hello there.+}\n"
        "      item 3 (user): {+Weather?+}\n"
        "  To record the rest: --record new_episodes\n"
        "omnirecord: record the rest with: omnirecord run --replay a.db --record new_episodes --"
        f" {shlex.join(command)}\n"
    )
    async with ModelApis(SCRIPT) as provider:
        words = shlex.split(done.errors.decode().partition("rest with: omnirecord ")[2])
        more = variables(OPENAI_BASE_URL=provider.url)
        done = await asyncio.to_thread(forked.run, words, tmp_path, environment=more)
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
        assert "To record the rest" not in done.errors.decode()


async def test_show_places_a_call_of_a_later_recording_on_the_clock_of_its_conversation(tmp_path: Path) -> None:
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--", *PYTHON, CHAT, "Hi"]
        await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)
        assert (await extended(tmp_path, provider, "Hi", "Weather?", program=CHAT)).code == 0
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        starts = [datetime.fromisoformat(one.started_at) for one in cassette.recordings()]
        first, second = (x.request.at_ns / 1e9 for x in cassette.exchanges())
    for words in (["show", "a.db"], ["show", "--follow", "a.db"]):
        shown = forked.run(words, tmp_path).out.decode()
        (told,) = re.findall(r"^  2 +([\d.]+) s ", shown, re.MULTILINE)
        assert "\n-- continued by another run: recording 2, from 20" in shown
        assert float(told) == pytest.approx((starts[1] - starts[0]).total_seconds() + second - first, abs=0.02)
