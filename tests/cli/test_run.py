"""`run`: a command whose calls to model APIs are recorded, or answered from a recording."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import omnirecord
from omnirecord.cli.child import NotExecutable, check
from omnirecord.errors import UsageError
from omnirecord.providers.variables import replayed, routes_of
from tests.omnigent_rig.provider import Answer, Failure, Step
from tests.support import forked
from tests.support.forked import Done
from tests.support.providers import ModelApis

AGENT = """
import json, os, sys, urllib.request
for word in sys.argv[1:]:
    body = json.dumps({"model": "m", "input": word}).encode()
    url = os.environ["OPENAI_BASE_URL"] + "/responses"
    with urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})) as answer:
        print(json.load(answer)["output"][-1]["content"][0]["text"], flush=True)
"""
PYTHON = [sys.executable, "-I", "-S", "-c"]
SCRIPT: dict[str, Step] = {
    "Hi": Answer("Hello there."),
    "Weather?": Answer("Sunny."),
    "No": Failure("I will not.", 400),
    "My key": Answer("It is sk-proj-SeventeenSecretsOfOpenAi00."),
}
LONGEST = 60


def variables(**more: str) -> dict[str, str]:
    """The environment of a test, without variables of model APIs."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return {name: value for name, value in kept.items() if "_API_" not in name and "_BASE" not in name} | more


def run(folder: Path, *words: str | Path, stdin: Path | None = None, **more: str) -> Done:
    return forked.run(["run", *words], folder, stdin=stdin, environment=variables(**more))


async def recorded(folder: Path, *words: str, options: tuple[str, ...] = (), by: tuple[str, ...] = ()) -> Done:
    """Run the agent, and record it into a.db. `by`: a command that runs it."""
    async with ModelApis(SCRIPT) as provider:
        command = ["-o", "a.db", *options, "--", *by, *PYTHON, AGENT, *words]
        return await asyncio.to_thread(run, folder, *command, OPENAI_BASE_URL=provider.url)


_KEPT: dict[tuple[str, ...], bytes] = {}
"""Recordings by the words of the agent."""


async def recording(folder: Path, *words: str) -> None:
    """Put a recording of the agent into a.db, for tests of what is done with it. It is made once."""
    if words not in _KEPT:
        await recorded(folder, *words)
        _KEPT[words] = (folder / "a.db").read_bytes()
    (folder / "a.db").write_bytes(_KEPT[words])


def replayed_run(folder: Path, *words: str, options: tuple[str, ...] = ()) -> Done:
    return run(folder, "--replay", "a.db", *options, "--", *PYTHON, AGENT, *words)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="only Linux has the variables of processes")
async def test_a_process_that_outlives_the_command_is_named_and_is_a_note(tmp_path: Path) -> None:
    left = 'sleep 60 >/dev/null 2>&1 & echo $! >left; exec "$@"'
    done = await recorded(tmp_path, "Hi", by=("/bin/sh", "-c", left, "sh"))
    process = (tmp_path / "left").read_text().strip()
    os.kill(int(process), signal.SIGKILL)
    assert f"the command ended before process {process}: its requests are cut" in done.errors.decode()
    (found,) = omnirecord.doctor(tmp_path / "a.db")
    assert (found.code, found.severity, found.session_id) == ("recorder-stopped", "note", "conversation-1")
    assert found.message.startswith("a process outlived the command, and cannot reach the recorder")
    assert found.next.startswith("Let the command wait for its processes")


async def test_a_command_is_recorded_and_the_end_says_how_the_calls_ended_and_how_to_look_at_them(
    tmp_path: Path,
) -> None:
    done = await recorded(tmp_path, "Hi", "Weather?")
    assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
    errors = done.errors.decode()
    assert "recorded 2 exchanges (2 of openai) into a.db" in errors
    assert [line.split()[0] for line in errors.splitlines() if line.startswith("#")] == ["#1", "#2"]
    assert "2 calls" in errors
    assert "tokens by the provider's count: 80 in" in errors
    assert "nothing to report" in errors
    assert errors.endswith("omnirecord: look at it with: omnirecord ui a.db\n")
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        assert [x.request.target for x in cassette.exchanges()] == ["/v1/responses"] * 2


async def test_a_replay_answers_the_command_offline_again_and_again(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi", "Weather?")
    for _ in range(2):
        done = replayed_run(tmp_path, "Hi", "Weather?")
        assert (done.code, done.out) == (0, b"Hello there.\nSunny.\n"), done.errors.decode()
        assert done.errors.decode() == (
            "omnirecord: replayed a.db: 2 requests expected, 2 made, 2 answered from the recording, 0 live, 0 missing\n"
        )


async def test_a_changed_word_fails_a_replay_also_if_the_command_goes_on(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi", "Weather?")
    program = f"try:\n  exec({AGENT!r})\nexcept Exception: pass"
    done = run(tmp_path, "--replay", "a.db", "--", *PYTHON, program, "Hi", "Wether?")
    assert done.code == 1
    errors = done.errors.decode()
    assert "2 requests expected, 2 made, 1 answered from the recording, 0 live, 1 matching nothing, 1 missing" in errors
    assert "[-Weather?-]{+Wether?+}" in errors
    assert '1 request recorded, but not sent:\n  POST /v1/responses (call 2 of 2, exchange 2: "Weather?")' in errors


async def test_a_call_that_is_not_made_fails_a_replay_and_so_does_a_command_without_calls(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi", "Weather?")
    done = replayed_run(tmp_path, "Weather?")
    assert (done.code, done.out) == (1, b"Sunny.\n")
    assert '(call 1 of 2, exchange 1: "Hi")' in done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--", "true")
    assert done.code == 1
    errors = done.errors.decode()
    assert "2 requests expected, 0 made, 0 answered from the recording, 0 live, 2 missing" in errors
    assert "the command sent no request to the addresses in OMNIRECORD_URL_OPENAI, OPENAI_BASE_URL. " in errors


async def test_a_replay_takes_rules_and_faults_and_the_exit_code_of_the_command_wins(tmp_path: Path) -> None:
    await recording(tmp_path, "Hi")
    done = replayed_run(tmp_path, "Hello", options=("--match", "ignore conversation messages"))
    assert (done.code, done.out) == (0, b"Hello there.\n"), done.errors.decode()
    fault = ("--fault", "answer POST /v1/responses with 429")
    program = f"try:\n  exec({AGENT!r})\nexcept OSError as error: sys.exit(error.code - 400)"
    done = run(tmp_path, "--replay", "a.db", *fault, "--", *PYTHON, program, "Hi")
    assert done.code == 29, done.errors.decode()
    assert "1 missing" in done.errors.decode()


async def test_a_cassette_of_proxy_is_replayed_too(tmp_path: Path) -> None:
    async with (
        ModelApis(SCRIPT) as provider,
        omnirecord.record(provider.url.removesuffix("/v1"), tmp_path / "a.db") as proxy,
    ):
        command = [*PYTHON, AGENT, "Hi"]
        environment = variables(OPENAI_BASE_URL=f"{proxy.url}/v1")
        await asyncio.to_thread(subprocess.run, command, env=environment, check=True, timeout=LONGEST)
    done = replayed_run(tmp_path, "Hi")
    assert (done.code, done.out) == (0, b"Hello there.\n"), done.errors.decode()


async def test_a_shell_script_keeps_its_stdin_and_its_exit_code(tmp_path: Path) -> None:
    script, stdin = tmp_path / "agent.sh", tmp_path / "stdin"
    script.write_text('#!/bin/sh\nread word\n"$1" -I -S -c "$2" "$word"\nexit 7\n')
    script.chmod(0o755)
    stdin.write_text("Weather?\n")
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "./agent.sh", sys.executable, AGENT]
        done = await asyncio.to_thread(run, tmp_path, *words, stdin=stdin, OPENAI_BASE_URL=provider.url)
    assert (done.code, done.out) == (7, b"Sunny.\n"), done.errors.decode()
    assert "recorded 1 exchange (1 of openai) into a.db" in done.errors.decode()


async def test_a_variable_that_was_set_names_the_upstream_with_its_path(tmp_path: Path) -> None:
    """A gateway with another path, and the same recording at the path of the vendor."""
    async with ModelApis(SCRIPT) as provider, omnirecord.record(provider.url, tmp_path / "gateway.db") as gateway:
        url = f"{gateway.url}/team/"
        program = AGENT.replace('+ "/responses"', '.replace("/team", "") + "/responses"')
        words = ["-o", "a.db", "--", *PYTHON, program, "Hi"]
        done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=gateway.url)
        assert done.code == 0, done.errors.decode()
        assert routes_of({"OPENAI_BASE_URL": url})[0].upstream == f"{gateway.url}/team"
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        assert [x.request.target for x in cassette.exchanges()] == ["/responses"]
    done = replayed_run(tmp_path, "Hi")
    assert (done.code, done.out) == (0, b"Hello there.\n"), done.errors.decode()


async def test_another_server_has_its_address_in_a_variable(tmp_path: Path) -> None:
    program = AGENT.replace("OPENAI_BASE_URL", "OMNIRECORD_URL")
    other = AGENT.replace("OPENAI_BASE_URL", "MY_MODEL")
    async with ModelApis(SCRIPT) as provider:
        options = ["--upstream", provider.url, "--env", "MY_MODEL"]
        words = ["-o", "a.db", *options, "--", *PYTHON, f"{program}\n{other}", "Hi"]
        done = await asyncio.to_thread(run, tmp_path, *words, MY_MODEL=provider.url)
        assert (done.code, done.out) == (0, b"Hello there.\n" * 2), done.errors.decode()
    done = run(tmp_path, "--replay", "a.db", "--env", "MY_MODEL", "--", *PYTHON, f"{program}\n{other}", "Hi")
    assert (done.code, done.out) == (0, b"Hello there.\n" * 2), done.errors.decode()


async def test_requests_that_are_no_model_calls_are_not_called_missing_sessions(tmp_path: Path) -> None:
    program = "import os, urllib.request as u\ntry: u.urlopen(os.environ['OMNIRECORD_URL'] + '/health')\n"
    async with ModelApis(SCRIPT) as provider:
        words = ["-o", "a.db", "--upstream", provider.url, "--", *PYTHON, program + "except OSError: pass"]
        done = await asyncio.to_thread(run, tmp_path, *words)
    assert done.code == 0
    assert "recorded 1 exchange" in done.errors.decode()
    assert "no session" not in done.errors.decode()


def test_nothing_recorded_says_why_and_leaves_no_file(tmp_path: Path) -> None:
    done = run(tmp_path, "--", "sh", "-c", "echo $OPENAI_BASE_URL; exit 3")
    assert done.code == 3
    assert done.out.startswith(b"http://127.0.0.1:")
    assert (
        "nothing was recorded: the command sent no request to the addresses in OPENAI_BASE_URL, ANTHROPIC_BASE_URL"
        in (done.errors.decode())
    )
    assert not list(tmp_path.iterdir())


def test_a_server_in_dotenv_that_the_environment_does_not_name_is_refused(tmp_path: Path) -> None:
    """The program would send its key to the default server."""
    (tmp_path / ".env").write_text("# mine\nexport OPENAI_BASE_URL=https://gateway.example.com/v1\nOPENAI_API_KEY=k\n")
    done = run(tmp_path, "--", "true")
    assert done.code == 2
    assert done.errors.decode().startswith("Error: .env sets OPENAI_BASE_URL, and the environment does not: set it to")
    done = run(tmp_path, "--upstream", "openai=https://gateway.example.com/v1", "--", "true")
    assert done.code == 0


def test_a_recording_without_requests_is_an_error(tmp_path: Path) -> None:
    with omnirecord.record("http://127.0.0.1:9", tmp_path / "a.db"):
        pass
    done = run(tmp_path, "--replay", "a.db", "--", "true")
    assert done.code == 1
    problem = "This is an error: a.db has no answered requests that a client has to send"
    assert done.errors.decode().endswith(f"0 missing\n{problem}\n")


async def test_a_finding_fails_the_run_if_asked(tmp_path: Path) -> None:
    program = f"try:\n  exec({AGENT!r})\nexcept OSError: pass"
    async with ModelApis(SCRIPT) as provider:
        for options, code in (((), 0), (("--fail-on", "warning"), 1)):
            name = f"{code}.db"
            words = ["-o", name, *options, "--", *PYTHON, program, "No"]
            done = await asyncio.to_thread(run, tmp_path, *words, OPENAI_BASE_URL=provider.url)
            assert done.code == code, done.errors.decode()
            assert "model-failed" in done.errors.decode()


async def test_only_the_wanted_requests_are_recorded(tmp_path: Path) -> None:
    done = await recorded(tmp_path, "Hi", options=("--only", "/v1/messages"))
    assert (done.code, done.out) == (0, b"Hello there.\n")
    assert "nothing was recorded: 1 request passed unrecorded, as --only and --except say\n" in done.errors.decode()
    assert not list(tmp_path.iterdir())


async def test_secrets_are_masked_as_by_proxy(tmp_path: Path) -> None:
    await recorded(tmp_path, "My key", options=("--redact", "content"))
    assert b"SeventeenSecrets" not in b"".join(one.read_bytes() for one in tmp_path.iterdir())


async def test_a_settings_file_holds_for_a_recording_and_for_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "omnirecord.toml"
    path.write_text('redact = "content"\nlabels = { team = "a" }\ncontract = "omnigent"\nmatch = "path"')
    done = await recorded(tmp_path, "My key")
    assert done.code == 0, done.errors
    assert f"omnirecord: {path} sets labels, redact (" in done.errors.decode()
    with omnirecord.open_cassette(tmp_path / "a.db") as cassette:
        assert all(one.labels == {"team": "a", "command.exit_code": "0"} for one in cassette.recordings())
    assert b"SeventeenSecrets" not in (tmp_path / "a.db").read_bytes()
    again = replayed_run(tmp_path, "Something else")
    assert again.code == 0
    assert f"omnirecord: {path} sets match (" in again.errors.decode()


def test_a_signal_reaches_the_command_once_and_its_death_is_an_exit_code(tmp_path: Path) -> None:
    program = (
        "import os, signal, time\n"
        "def told(number, _): os.write(1, b'%d\\n' % number)\n"
        "signal.signal(signal.SIGINT, told); signal.signal(signal.SIGHUP, told)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "omnirecord", "run", "--", *PYTHON, program],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=variables(), start_new_session=True,
    )  # fmt: skip
    assert running.stdout is not None
    assert running.stdout.readline() == b"ready\n"
    for number in (signal.SIGINT, signal.SIGHUP):
        running.send_signal(number)
        assert running.stdout.readline() == b"%d\n" % number
    running.send_signal(signal.SIGTERM)
    out, errors = running.communicate(timeout=LONGEST)
    assert (running.returncode, out) == (128 + signal.SIGTERM, b""), errors.decode()
    assert b"nothing was recorded" in errors


def test_ctrl_c_in_a_terminal_reaches_the_command_once(tmp_path: Path) -> None:
    program = (
        "import signal, sys, time\n"
        "count = []\n"
        "signal.signal(signal.SIGINT, lambda *_: count.append(1))\n"
        "print('ready', flush=True)\n"
        "while not count: time.sleep(0.05)\n"
        "time.sleep(0.5); print('count', len(count), flush=True); sys.exit(5)\n"
    )
    terminal, theirs = pty.openpty()
    takes_it = (
        "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-m", "omnirecord", "run", "--", *PYTHON, program]
    running = subprocess.Popen(
        [*PYTHON, takes_it, *words],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=tmp_path, env=variables(), start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown, is_sent = b"", False
    while select.select([terminal], [], [], LONGEST)[0]:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break  # all have closed it
        if b"ready" in shown and not is_sent:
            is_sent = True
            os.write(terminal, b"\x03")
    os.close(terminal)
    assert running.wait(LONGEST) == 5, shown.decode()
    assert b"count 1\r\n" in shown
    assert b"nothing was recorded" in shown


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--", "no-such-command"], 127, "Error: the command no-such-command was not found: it is not on the PATH\n"),
        (["no-such-command", "--json"], 127, "Error: the command no-such-command was not found: it is not on the"),
        (["./none"], 127, "Error: the command ./none was not found: it does not exist\n"),
        (["agent.py"], 126, "Error: agent.py is no program that can be executed: write python agent.py\n"),
        (["."], 126, "Error: . is a folder: name a command behind --\n"),
        ([""], 127, "Error: the command is an empty text: name a program behind --\n"),
        (["./lost"], 127, "Error: cannot run ./lost: the program that its first line names does not exist\n"),
        (["./bare"], 126, "Error: cannot run ./bare: its first line names no program: write for instance sh ./bare\n"),
        (["--replay", "no.db", "true"], 2, "Error: no.db does not exist"),
        (["-o", "agent.py", "true"], 2, "Error: agent.py exists already, and a new cassette is written: name"),
        (["-o", "a.txt", "true"], 2, "Error: a.txt is no .db, and a recording is an SQLite file: name it a.db\n"),
        (["-o", "a.jsonl", "true"], 2, "Error: a.jsonl cannot be recorded into: record a .db, and then omnirecord exp"),
        (["-o", "a.db.zst", "true"], 2, "Error: a.db.zst cannot be recorded into: record a .db, and then omnirec"),
        (["--match", "path", "true"], 2, "Error: --match changes a replay: give --replay as well\n"),
        (["--replay", "no.db", "-o", "a.db", "true"], 2, "Error: a replay records nothing, and connects to no"),
        (["--env", "NONE", "true"], 2, "Error: --env NONE: the variable is not set: set it to the URL of the server\n"),
        ([], 2, "Error: Missing argument '[--] COMMAND...'. Try: omnirecord run --help\n"),
    ],
)  # fmt: skip
def test_a_mistake_gets_one_sentence_and_the_exit_code_of_a_shell(
    tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    (tmp_path / "agent.py").write_text("print(1)")
    for name, text in (("lost", "#!/no/such/program\n"), ("bare", "true\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    done = run(tmp_path, *words)
    assert done.code == code
    assert done.errors.decode().startswith(said), done.errors.decode()
    assert done.errors.count(b"\n") == 1
    assert {one.name for one in tmp_path.iterdir()} == {"agent.py", "lost", "bare"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only_is_named_before_the_command_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run(tmp_path, "--", "true")
    assert done.code == 2
    assert "its folder is read-only, so name a cassette elsewhere with -o\n" in done.errors.decode()


def test_a_script_without_the_permission_to_execute_is_told_apart(tmp_path: Path) -> None:
    script = tmp_path / "agent.sh"
    script.write_text("true")
    with pytest.raises(NotExecutable, match="name the program that runs it, as in sh FILE"):
        check([str(script)])


def test_the_recorder_is_reached_past_an_http_proxy(tmp_path: Path) -> None:
    words = ["--", "sh", "-c", "echo $NO_PROXY $no_proxy"]
    assert run(tmp_path, *words, HTTPS_PROXY="http://proxy:1", NO_PROXY="a.b").out == (
        b"a.b,127.0.0.1,localhost a.b,127.0.0.1,localhost\n"
    )
    assert run(tmp_path, *words).out == b"\n"


def test_the_variables_name_the_upstreams_that_clients_would_use() -> None:
    def told(**environment: str) -> dict[str, tuple[str, dict[str, str]]]:
        return {one.hop: (one.upstream, dict(one.paths)) for one in routes_of(environment)}

    assert told() == {
        "openai": ("https://api.openai.com", {"OPENAI_BASE_URL": "/v1"}),
        "anthropic": ("https://api.anthropic.com", {"ANTHROPIC_BASE_URL": ""}),
        "google": (
            "https://generativelanguage.googleapis.com",
            {"GOOGLE_GEMINI_BASE_URL": "", "GEMINI_API_BASE": "/v1beta"},
        ),
        "ollama": ("http://127.0.0.1:11434", {"OLLAMA_HOST": "", "OLLAMA_API_BASE": ""}),
    }
    gateway = "https://gw.example.com/llm"
    assert told(OPENAI_BASE_URL=f"{gateway}/v1/")["openai"] == (gateway, {"OPENAI_BASE_URL": "/v1"})
    assert told(OPENAI_BASE_URL=gateway)["openai"] == (gateway, {"OPENAI_BASE_URL": ""})
    assert told(ANTHROPIC_BASE_URL=f"{gateway}/v1")["anthropic"] == (gateway, {"ANTHROPIC_BASE_URL": "/v1"})
    assert told(OPENAI_API_BASE=gateway)["openai-2"] == (gateway, {"OPENAI_API_BASE": ""})
    assert told(AZURE_OPENAI_ENDPOINT=gateway)["azure"] == (gateway, {"AZURE_OPENAI_ENDPOINT": ""})
    assert told(OLLAMA_HOST="host:1")["ollama"] == ("http://host:1", {"OLLAMA_HOST": ""})
    assert told(GROQ_API_KEY="k")["groq"] == ("https://api.groq.com", {"GROQ_BASE_URL": ""})


@pytest.mark.parametrize(
    "url", ["api.openai.com", "ftp://a", "https://u:p@a", "https://a?b=c", "http://a:x", "https://"]
)
def test_a_variable_that_cannot_be_recorded_is_named(url: str) -> None:
    with pytest.raises(UsageError, match=f"OPENAI_BASE_URL is .{url.replace('?', '.')}., which cannot be recorded"):
        routes_of({"OPENAI_BASE_URL": url})


def test_a_replay_takes_the_paths_of_the_recording_and_makes_up_keys_of_what_was_recorded() -> None:
    def made(recorded: dict[str | None, list[str]], **environment: str) -> dict[str, str]:
        return {
            name: value
            for one in replayed(recorded)
            for name, value in one.variables(environment, f"[{one.hop}]").items()
        }

    assert made({"openai": ["/v1/responses"], "x": ["/llm/v1/messages"]}, OPENAI_API_KEY="k") == {
        "OPENAI_BASE_URL": "[openai]/v1",
        "ANTHROPIC_BASE_URL": "[x]/llm",
        "ANTHROPIC_API_KEY": "none",
        "GOOGLE_GEMINI_BASE_URL": "[openai]",
        "GEMINI_API_BASE": "[openai]/v1beta",
        "AZURE_OPENAI_ENDPOINT": "[openai]",
        "AZURE_API_BASE": "[openai]",
        "OLLAMA_HOST": "[openai]",
        "OLLAMA_API_BASE": "[openai]",
        "GROQ_BASE_URL": "[openai]",
        "CO_API_URL": "[openai]",
    }
    assert made({None: ["/responses"]})["OPENAI_BASE_URL"] == "[None]"
    assert made({None: ["/v1/chat/completions"]})["OPENAI_BASE_URL"] == "[None]/v1"
    anthropic = made({None: ["/v1/messages"]}, ANTHROPIC_BASE_URL="https://a/v1/")
    assert anthropic["ANTHROPIC_BASE_URL"] == "[None]/v1"
