"""Settings from a file and from variables: which file, which value, and errors in one sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import omnirecord
from omnirecord.errors import UsageError
from omnirecord.settings import settings_in
from tests.support.examples import each

OWN = "omnirecord.toml"


def written(folder: Path, text: str, name: str = OWN) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text)
    return path


def refused(folder: Path, **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings_in(folder, environment)
    return str(caught.value)


def test_a_folder_takes_the_nearest_file_above_it(tmp_path: Path) -> None:
    nearest = written(tmp_path / "a", 'contract = "none"')
    written(tmp_path, 'redact = "content"')
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    found = settings_in(inner, {})
    assert (found.file, found.value("contract"), found.value("redact")) == (nearest, "none", None)


def test_a_pyproject_without_the_table_is_passed_over(tmp_path: Path) -> None:
    above = written(tmp_path, "[tool.omnirecord]\nport = 7", "pyproject.toml")
    inner = written(tmp_path / "a", '[project]\nname = "omnirecord-user"', "pyproject.toml").parent
    found = settings_in(inner, {})
    assert (found.file, found.value("port")) == (above, 7)


def test_omnirecord_toml_wins_over_the_pyproject_of_its_folder(tmp_path: Path) -> None:
    written(tmp_path, "[tool.omnirecord]\nport = 7", "pyproject.toml")
    written(tmp_path, "port = 8")
    assert settings_in(tmp_path, {}).value("port") == 8


def test_a_variable_overrides_the_file_and_labels_add_up(tmp_path: Path) -> None:
    path = written(tmp_path, 'port = 7\ncontrol = true\nlabels = { team = "a", branch = "main" }')
    variables = {
        "OMNIRECORD_PORT": "9",
        "OMNIRECORD_LABELS": "branch=new",
        "OMNIRECORD_MATCH": "path; ignore query a",
    }
    found = settings_in(tmp_path, {**variables, "OMNIRECORD_UPSTREAMS": "model=http://a other=http://b"})
    assert found.value("port") == 9
    assert found.value("labels") == {"team": "a", "branch": "new"}
    assert found.value("match") == ["path", "ignore query a"]
    assert found.value("upstreams") == {"model": "http://a", "other": "http://b"}
    assert found.values["port"].place == "OMNIRECORD_PORT"
    assert found.values["labels"].place == f"OMNIRECORD_LABELS, {path}"
    assert found.from_file() == ["control", "labels"]


def test_an_empty_variable_sets_nothing(tmp_path: Path) -> None:
    written(tmp_path, "port = 7")
    assert settings_in(tmp_path, {"OMNIRECORD_PORT": ""}).value("port") == 7


def test_the_variable_that_kubernetes_sets_for_a_service_is_no_setting(tmp_path: Path) -> None:
    assert settings_in(tmp_path, {"OMNIRECORD_PORT": "tcp://10.0.0.1:6868"}).values == {}


def test_a_function_of_the_library_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "port = [")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMNIRECORD_DB", "other.db")
    with omnirecord.record("http://127.0.0.1:1", db=tmp_path / "run.db") as proxy:
        assert proxy.db == tmp_path / "run.db"


def test_the_file_can_be_turned_off(tmp_path: Path) -> None:
    written(tmp_path, "port = [")
    assert settings_in(tmp_path, {}, reads_file=False).values == {}
    assert settings_in(tmp_path, {"OMNIRECORD_NO_CONFIG": "1"}).values == {}
    assert "OMNIRECORD_NO_CONFIG is true or false, not 'maybe'" in refused(tmp_path, OMNIRECORD_NO_CONFIG="maybe")


def test_paths_begin_at_the_folder_of_the_file(tmp_path: Path) -> None:
    written(tmp_path, 'db = "runs/a.db"\nca = "ca.pem"\ncontract = "api.json"\nlake = "lake"\nship = "s3://b/lake"')
    written(tmp_path, "{}", "api.json")
    (tmp_path / "inner").mkdir()
    found = settings_in(tmp_path / "inner", {})
    values = {name: setting.value for name, setting in found.values.items()}
    assert values == {
        "db": str(tmp_path / "runs" / "a.db"),
        "ca": str(tmp_path / "ca.pem"),
        "contract": str(tmp_path / "api.json"),
        "lake": str(tmp_path / "lake"),
        "ship": "s3://b/lake",
    }


@each(
    ("text", "sentence"),
    [
        ("[tool.omnirecord]\ndb = 'a.db'", " has its settings in no table: leave out [tool.omnirecord]"),
        ("reed_ahead = 1", " has no 'reed_ahead': did you mean 'read_ahead'?"),
        ("redact-patterns = []", " has no 'redact-patterns': did you mean 'redact_patterns'?"),
        ("read_ahead = true", ": read_ahead is a whole number, not True"),
        ("control = 1", ": control is true or false, not 1"),
        ("rotate = 1.5", ": rotate is a limit, or a list of limits, not 1.5"),
        ("upstreams = []", ": upstreams is a mapping of names to texts, not []"),
        ("speed = '2'", ": speed is a number, not '2'"),
        ("match = [1]", ": match is a list of texts, not [1]"),
        ("timing = 'slow'", ": timing 'slow' is none of original, compressed, instant"),
        ("labels = { '' = 'a' }", ": labels: a label has no key: write KEY=VALUE, as in branch=main"),
        ("port = 1\nport = 2\n", " is no valid TOML: Cannot overwrite a value (at line 2, column 9)"),
        ("a = " + "[" * 5000, " is no valid TOML"),
        ("token = 'abc'", ": token is a secret, which a file may not hold: set OMNIRECORD_TOKEN instead"),
        ("pseudonym_key = 'k'", ": pseudonym_key is a secret, which a file may not hold: set OMNIRECORD_PSEUDONYM_KEY"),
        ("key = '-----BEGIN PRIVATE KEY-----'", ": key is the path of a file, not its content"),
        ("insecure = true", ": insecure turns a protection off, which a file may not do: set OMNIRECORD_INSECURE=true"),
        ("allow_remote = true", ": allow_remote turns a protection off, which a file may not do"),
        ("upstream = 'http://me:pw@host'", ": upstream has a user or a password in its URL"),
        ("upstreams = { a = 'http://me:pw@host' }", ": upstreams has a user or a password in its URL"),
        ("db = '/etc/a.db'", ": db is outside of the folder of this file: set OMNIRECORD_DB, or give --db"),
        ("db = '../a.db'", ": db is outside of the folder of this file"),
        ("db = 'link/a.db'", ": db is outside of the folder of this file"),
    ],
)
def test_a_wrong_file_gets_a_sentence_that_names_it(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path / "project", text)
    (path.parent / "link").symlink_to(tmp_path)
    said = refused(path.parent)
    assert said.startswith(f"{path}{sentence}")
    assert not {"pw", "abc"} & set(said.replace("'", " ").split())


@each(
    ("variable", "text", "sentence"),
    [
        ("PORT", "x", "OMNIRECORD_PORT: port is a whole number, not 'x'"),
        ("CONTROL", "x", "OMNIRECORD_CONTROL is true or false, not 'x'"),
        ("UPSTREAMS", "http://a", "OMNIRECORD_UPSTREAMS is a list of NAME=VALUE, separated by spaces, not 'http://a'"),
        ("TIMING", "slow", "OMNIRECORD_TIMING: timing 'slow' is none of original, compressed, instant"),
        ("LABELS", "a", "OMNIRECORD_LABELS 'a' is no label: write KEY=VALUE, as in branch=main"),
    ],
)
def test_a_wrong_variable_gets_a_sentence_that_names_it(
    tmp_path: Path, variable: str, text: str, sentence: str
) -> None:
    assert refused(tmp_path, **{f"OMNIRECORD_{variable}": text}) == sentence


def test_bytes_that_are_no_text_get_a_sentence_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / OWN
    path.write_bytes(b"port = 1\nhost = '\xff'")
    assert refused(tmp_path) == f"{path} is not UTF-8 (at line 2)"


def test_a_broken_pyproject_that_does_not_name_omnirecord_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path, "[tool.", "pyproject.toml")
    assert settings_in(tmp_path, {}).file is None
    path = written(tmp_path, "[tool.omnirecord]\nport = ]", "pyproject.toml")
    assert refused(tmp_path) == f"{path} is no valid TOML: Invalid value (at line 2, column 8)"
    written(tmp_path, "[tool]\nomnirecord = 3", "pyproject.toml")
    assert refused(tmp_path) == f"{path}: tool.omnirecord is a table, not 3"


def test_an_unreadable_file_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, "port = 1")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads every file: /proc/self/mem has a mode, and no byte to read at 0
        path.unlink()
        path.symlink_to("/proc/self/mem")
    assert refused(tmp_path).startswith(f"{path} cannot be read (")


def test_what_is_no_regular_file_and_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pyproject.toml")
    assert settings_in(tmp_path, {}).file is None
    path = written(tmp_path, "#" * (1 << 20) + "\n")
    assert refused(tmp_path).startswith(f"{path} is larger than 1 MiB")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path, "port = 7")
    inner = tmp_path / "inner"
    inner.mkdir()
    os.chown(path, 12345, -1)
    found = settings_in(inner, {})
    assert found.values == {}
    assert found.warnings == [f"{path} is not read: it belongs to another user"]
    path.rename(tmp_path / "kept.toml")
    os.chown(tmp_path / "kept.toml", 0, -1)
    path.symlink_to(tmp_path / "kept.toml")
    os.chown(path, 12345, -1, follow_symlinks=False)
    assert settings_in(inner, {}).values == {}
    os.chown(inner, 12345, -1)
    assert settings_in(inner, {}).value("port") == 7


def test_a_variable_that_is_nearly_a_setting_is_a_warning(tmp_path: Path) -> None:
    environment = {"OMNIRECORD_UPSTREM": "http://127.0.0.1:1", "OMNIRECORD_REDACTION": "content"}
    assert settings_in(tmp_path, environment).warnings == [
        "OMNIRECORD_REDACTION is no setting: did you mean OMNIRECORD_REDACT?",
        "OMNIRECORD_UPSTREM is no setting: did you mean OMNIRECORD_UPSTREAM?",
    ]


def test_other_variables_are_no_warning(tmp_path: Path) -> None:
    names = ["NO_CONFIG", "URL", "URL_OPENAI", "COMPLETE", "SERVICE_HOST", "SERVICE_PORT", "PORT_6868_TCP_ADDR", "NAME"]
    assert settings_in(tmp_path, {f"OMNIRECORD_{name}": "1" for name in names}).warnings == []


@each(
    ("text", "said"),
    {
        'match = "foo"': "match: the rule for matching 'foo' cannot be used",
        'match = ["order loose", "order strict"]': "match: the rules for matching",
        'gates = "POST"': "gates: 'POST' is no 'METHOD GLOB'",
        'upstream = "api.openai.com"': "upstream: 'api.openai.com' needs a scheme and a host",
        'upstreams = { model = "api.openai.com" }': "upstreams: 'api.openai.com' needs a scheme and a host",
        'rotate = "soon"': "rotate: 'soon'",
        'keep = "5 files"': "keep: '5 files'",
    }.items(),
)
def test_a_value_that_its_command_refuses_is_refused_when_the_file_is_read(
    text: str, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, text)
    error = refused(tmp_path)
    assert error.startswith(f"{path}: {said}")
    assert "--" not in error.replace("--no-config", "")


def test_a_variable_is_checked_too(tmp_path: Path) -> None:
    assert refused(tmp_path, OMNIRECORD_MATCH="foo").startswith("OMNIRECORD_MATCH: match: the rule")
    assert refused(tmp_path, OMNIRECORD_UPSTREAM="localhost:1").startswith(
        "OMNIRECORD_UPSTREAM: upstream: 'localhost:1'"
    )


def test_urls_of_upstreams_are_accepted(tmp_path: Path) -> None:
    written(tmp_path, 'upstream = "http://a:1 model=https://b/v1?x=1"\nupstreams = { other = "http://[::1]:2" }')
    assert settings_in(tmp_path, {}).value("upstream") == "http://a:1 model=https://b/v1?x=1"
