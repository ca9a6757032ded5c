"""Settings on the command line: which value holds, the line that names the file, and `omnirecord config`."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import omnirecord.cli.serve
from omnirecord.cli.options import arguments
from tests.support import forked
from tests.support.command import invoke
from tests.support.examples import each

CASSETTE = Path(__file__).parents[2] / "cassettes" / "text.jsonl"
NAMELESS = "http://127.0.0.1:1"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in a folder that may have a settings file."""
    inner = tmp_path / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    return tmp_path


def run(*words: str, **environment: str) -> Result:
    return invoke(*words, env=environment)


def of_proxy(*words: str, **environment: str) -> Mapping[str, Any]:
    """The values of the recorder that `omnirecord proxy` would start."""
    from unittest.mock import patch

    found: dict[str, Any] = {}

    def take(given: Mapping[str, Any]) -> dict[str, Any]:
        found.update(arguments(given))
        raise SystemExit(0)

    with patch("omnirecord.cli.proxy.arguments", take):
        done = run("proxy", *words, **environment)
    assert done.exit_code == 0, done.stderr
    return {**found, "stderr": done.stderr}


@each(
    ("file", "variable", "option", "holds"),
    [
        ("", "", "", 8388608),
        ("1", "", "", 1),
        ("", "2", "", 2),
        ("", "", "3", 3),
        ("1", "2", "", 2),
        ("1", "", "3", 3),
        ("", "2", "3", 3),
        ("1", "2", "3", 3),
    ],
)
def test_the_command_line_wins_then_the_variable_then_the_file_then_the_default(
    folder: Path, file: str, variable: str, option: str, holds: int
) -> None:
    (folder / "omnirecord.toml").write_text(f"read_ahead = {file}" if file else "")
    words = ["--upstream", NAMELESS, *(["--read-ahead", option] if option else [])]
    found = of_proxy(*words, OMNIRECORD_READ_AHEAD=variable)
    assert found["read_ahead"] == holds
    line = f"omnirecord: {folder / 'omnirecord.toml'} sets read_ahead (--no-config ignores it)\n"
    assert found["stderr"] == (line if holds == 1 else "")


def test_a_file_sets_options_of_every_form(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text(
        f"""
        upstream = "{NAMELESS}"
        upstreams = {{ model = "http://127.0.0.1:2" }}
        host = "::1"
        port = 0
        listens = {{ model = "127.0.0.1:0" }}
        contract = "omnigent"
        contracts = {{ model = "none" }}
        rotate = ["500MB", "1h"]
        keep = 10
        ui = true
        control = true
        labels = {{ team = "a", branch = "main" }}
        redact = "content"
        redact_patterns = "acme-"
        """
    )
    found = of_proxy("--label", "branch=new", OMNIRECORD_LABELS="job=1")
    assert (found["upstream"], found["upstreams"]) == (NAMELESS, {"model": "http://127.0.0.1:2"})
    assert (found["host"], found["port"], found["listens"]) == ("::1", 0, {"model": "127.0.0.1:0"})
    assert (found["contract"], found["contracts"]) == ("omnigent", {"model": "none"})
    assert (found["rotate"], found["keep"]) == (("500MB", "1h"), ("10",))
    assert (found["ui"], found["control"], found["redact"]) == (True, True, "content")
    assert found["redact_patterns"] == ("acme-",)
    assert found["labels"] == ("branch=main", "team=a", "job=1", "branch=new")


def test_upstreams_of_the_command_line_replace_those_of_the_file_with_their_contracts(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text(
        f'upstream = "{NAMELESS}"\nupstreams = {{ model = "http://a" }}\nlistens = {{ model = "127.0.0.1:0" }}\n'
        'contracts = { model = "none" }'
    )
    found = of_proxy("--upstream", "http://127.0.0.1:3")
    assert (found["upstream"], found["upstreams"]) == ("http://127.0.0.1:3", {})
    assert (found["listens"], found["contracts"]) == ({}, {})


@pytest.mark.usefixtures("folder")
def test_a_misspelt_variable_is_named_before_the_option_that_is_missing() -> None:
    done = run("proxy", OMNIRECORD_UPSTREM=NAMELESS)
    assert done.exit_code == 2
    assert "OMNIRECORD_UPSTREM is no setting: did you mean OMNIRECORD_UPSTREAM?" in done.stderr
    assert "Missing option '--upstream'" in done.stderr


def test_no_config_ignores_the_file_and_not_the_variables(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text("read_ahead = [")
    found = of_proxy("--no-config", "--upstream", NAMELESS, OMNIRECORD_REDACT="content")
    assert (found["read_ahead"], found["redact"], found["stderr"]) == (8388608, "content", "")


def test_serve_takes_its_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "omnirecord.toml").write_text(
        'timing = "compressed"\nspeed = 3\nmatch = "ignore query page"\nport = 0\nlistens = { other = "127.0.0.1:0" }'
    )
    taken: list[Any] = []

    async def take(server: Any, _as_json: bool) -> None:
        taken.append(server)

    monkeypatch.setattr(omnirecord.cli.serve, "_run_replay", take)
    done = run("serve", str(CASSETTE))
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(
        f"omnirecord: {folder / 'omnirecord.toml'} sets match, port, speed, timing (--no-config ignores it)"
    )
    assert (taken[0].timing.speed, taken[0].timing.max_gap) == (3, 5)
    assert taken[0]._listens == {}


def test_ship_takes_the_lake_and_scrub_the_patterns(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text('lake = "nowhere"\nredact_patterns = ["A flight"]')
    done = run("scrub", "--check", str(CASSETTE))
    assert "sets redact_patterns" in done.stderr
    assert run("scrub", "--check", str(CASSETTE), "--no-config").exit_code == 0
    assert str(folder / "nowhere") in run("ship", str(CASSETTE)).stderr


@each(
    ("text", "sentence"),
    [
        ("reed_ahead = 1", "{file} has no 'reed_ahead': did you mean 'read_ahead'?"),
        ("read_ahead = 'x'", "{file}: read_ahead is a whole number, not 'x'"),
        ("read_ahead =", "{file} is no valid TOML: Invalid value (at end of document)"),
        (
            f"upstream = '{NAMELESS}'\nread_ahead = -1",
            "{file}: Invalid value for '--read-ahead': -1 is not in the range x>=0. Try: ",
        ),
    ],
)
def test_a_wrong_file_is_one_sentence(folder: Path, text: str, sentence: str) -> None:
    (folder / "omnirecord.toml").write_text(text)
    done = run("proxy", "--json")
    said = json.loads(done.stderr)
    assert said["exit_code"] == 2
    assert said["error"].startswith(sentence.format(file=folder / "omnirecord.toml"))


def test_the_help_of_a_command_needs_no_valid_file(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text("x")
    assert run("proxy", "--help").exit_code == 0
    assert run("ls", str(CASSETTE)).exit_code == 0


def test_config_prints_each_setting_with_its_value_and_its_place(folder: Path) -> None:
    path = folder / "pyproject.toml"
    path.write_text('[tool.omnirecord]\nredact = "content"\nport = 7')
    done = run("config", "--json", OMNIRECORD_PORT="8", OMNIRECORD_TOKEN="abc123")
    rows = {row.pop("setting"): row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["redact"] == {"value": "content", "source": "file", "place": str(path)}
    assert rows["port"] == {"value": 8, "source": "variable", "place": "OMNIRECORD_PORT"}
    assert rows["db"] == {"value": "omnirecord.db", "source": "default", "place": None}
    assert rows["token"] == {"value": "(not shown)", "source": "variable", "place": "OMNIRECORD_TOKEN"}
    assert "abc123" not in done.output


def test_config_is_a_table_for_a_person(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.omnirecord]\nport = 7")
    lines = [line.split() for line in run("config").stdout.splitlines()]
    assert lines[0] == ["setting", "value", "from"]
    assert ["port", "7", str(folder / "pyproject.toml")] in lines
    assert ["db", "omnirecord.db", "default"] in lines
    assert run("config", "--no-config").stdout.endswith("No settings file was read: see docs/settings.md\n")


def test_proxy_starts_from_a_file_alone(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f'[tool.omnirecord]\nupstream = "{NAMELESS}"\nport = 0\ndb = "run.db"')
    inner = tmp_path / "inner"
    inner.mkdir()
    done = forked.run(["proxy", "--json"], inner, signal.SIGINT)
    assert done.code == 0, done.errors
    ready = json.loads(done.out)
    assert (ready["upstream"], ready["db"]) == (NAMELESS, str(tmp_path / "run.db"))
    assert (tmp_path / "run.db").exists()
    assert f"{tmp_path / 'pyproject.toml'} sets db, port, upstream (--no-config ignores it)" in done.errors.decode()
    without = forked.run(["proxy", "--no-config"], inner)
    assert without.code == 2
    assert b"Missing option '--upstream'" in without.errors


@pytest.mark.usefixtures("folder")
def test_config_prints_defaults_in_words_and_no_setting_that_cannot_be_set() -> None:
    lines = run("config", "--no-config").stdout.splitlines()
    values = {line.split()[0]: line.split("  ")[1:] for line in lines[1:-1]}
    assert "before_record" not in values
    assert "auto" in [one.strip() for one in values["contract"]]
    assert not any("-" in [one.strip() for one in some] for some in values.values())


def test_run_names_only_the_settings_of_a_file_that_have_an_effect(folder: Path) -> None:
    (folder / "omnirecord.toml").write_text('match = ["ignore query a"]\nredact = "content"\n')
    record = run("run", "-o", "a.db", "--", "true").stderr
    assert f"{folder / 'omnirecord.toml'} sets redact (--no-config ignores it)" in record
    replay = run("run", "--replay", str(CASSETTE), "--", "true").stderr
    assert f"{folder / 'omnirecord.toml'} sets match (--no-config ignores it)" in replay
