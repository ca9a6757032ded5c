"""The options of a recorder and of a replay: one declaration for the commands, the functions, the marker, a mapping."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

import click
import pytest

import omnirecord
from omnirecord.cli import main
from omnirecord.errors import UsageError
from omnirecord.options import OPTIONS, REPLAY_OPTIONS, RecordOptions, ReplayOptions, said
from omnirecord.pytest_plugin import keywords
from tests.support.examples import each

OF_COMMANDS_ALONE = {"quiet", "type_glob", "verbose", "max_decoded", "as_json", "no_config"}
OF_RECORDING = {"ca", "insecure", "no_proxy", "labels", "redact", "redact_patterns", "pseudonym_key"}
NOT_IN_TESTS = {
    "cassette",
    "host",
    "port",
    "listens",
    "allow_remote",
    "token",
    "tls_cert",
    "tls_key",
    "web_ui",
}
"""What the pytest plugin chooses, or a test cannot."""


@pytest.mark.parametrize(
    ("command", "declared", "others"), [("proxy", OPTIONS, set()), ("serve", REPLAY_OPTIONS, OF_RECORDING)]
)
def test_the_command_has_the_flags_and_the_help_of_the_fields(
    command: str, declared: Mapping[str, Field[Any]], others: set[str]
) -> None:
    params = [one for one in main.commands[command].params if isinstance(one, click.Option)]
    options = {one.name or "": one for one in params if one.name not in {*OF_COMMANDS_ALONE, *others}}
    assert options.keys() == {name for name, field in declared.items() if said(field).flag}
    for name, option in options.items():
        begin, _, end = said(declared[name]).help.replace("LAST-EVENT", "response.completed").partition("MODEL-APIS")
        assert option.opts == [said(declared[name]).flag]
        assert (option.help or "").startswith(begin)
        assert (option.help or "").endswith(end)


@pytest.mark.parametrize("command", ["run", "fork"])
def test_other_commands_give_an_option_of_a_replay_the_same_flag_and_metavar(command: str) -> None:
    options = {one.name: one for one in main.commands[command].params if isinstance(one, click.Option)}
    shared = {*REPLAY_OPTIONS, *OPTIONS} & options.keys()
    assert shared >= {"match", "faults", "upstream", "output", "contract"}
    for name in shared - {"ui", "cassette"}:  # no address here, and the option --replay
        declared = said(REPLAY_OPTIONS.get(name) or OPTIONS[name])
        assert options[name].opts == [declared.flag], name
        assert options[name].metavar == declared.metavar, name


@pytest.mark.parametrize(
    ("function", "declared", "positional"),
    [(omnirecord.record, OPTIONS, ["upstream", "db"]), (omnirecord.replay, REPLAY_OPTIONS, ["cassette"])],
)
def test_the_function_has_the_fields_as_its_arguments_with_their_defaults_and_help(
    function: Any, declared: Mapping[str, Field[Any]], positional: list[str]
) -> None:
    arguments = inspect.signature(function).parameters
    assert [*arguments] == [*declared]
    assert {name: one.default for name, one in arguments.items()} == {
        name: inspect.Parameter.empty if field.default is MISSING else field.default for name, field in declared.items()
    }
    assert [name for name, one in arguments.items() if one.kind is not one.KEYWORD_ONLY] == positional
    assert all(f"\n    {name}: " in function.__doc__ for name in declared)


def test_the_help_of_the_function_names_other_options_as_arguments() -> None:
    assert "    keep_unshipped: With `ship`, `keep` removes only shipped cassettes." in (
        omnirecord.record.__doc__ or ""
    )
    assert max(map(len, (omnirecord.replay.__doc__ or "").splitlines())) <= 120


def test_the_marker_has_some_of_the_fields() -> None:
    assert set(keywords.OF_RECORDING) < OPTIONS.keys()
    assert {*keywords.OF_REPLAY} == {field.name for field in fields(ReplayOptions)} - NOT_IN_TESTS


def test_a_mapping_gives_the_options_that_it_names() -> None:
    given = {"upstream": "http://a", "rotate": ["1h", "1GB"], "labels": {"branch": "main"}, "ui": "127.0.0.1:0"}
    assert RecordOptions.of(given, "here") == RecordOptions(**given)
    assert RecordOptions.of({}, "here") == RecordOptions()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"read-ahed": 1}, "here has no 'read-ahed': did you mean 'read_ahead'?"),
    ({"only": ["/v1/*"]}, "here has no 'only': did you mean 'only_paths'?"),
    ({"zzz": 1}, "here has no 'zzz': it takes upstream, db, host, port,"),
    ({"read_ahead": "8MB"}, "here: read_ahead is a whole number, not '8MB'"),
    ({"port": True}, "here: port is a whole number, not True"),
    ({"insecure": "no"}, "here: insecure is true or false, not 'no'"),
    ({"ui": 6869}, "here: ui is true or false or a text, not 6869"),
    ({"ca": 1}, "here: ca is the path of a file, not 1"),
    ({"upstreams": {"model": 1}}, "here: upstreams is a mapping of names to texts, not {'model': 1}"),
    ({"keep": [1.5]}, "here: keep is a limit, or a list of limits, not [1.5]"),
    ({"redact_patterns": "acme_"}, "here: redact_patterns is a list of texts, not 'acme_'"),
    ({"labels": 1}, "here: labels is a mapping of names to texts, or a list of KEY=VALUE, not 1"),
    ({"redact": "all"}, "here: redact is 'content' or not set, not 'all'"),
]


@each("given", WRONG)
def test_an_unknown_name_and_a_wrong_value_are_a_sentence(given: tuple[dict[str, Any], str]) -> None:
    values, sentence = given
    with pytest.raises(UsageError) as error:
        RecordOptions.of(values, "here")
    assert str(error.value).startswith(sentence)
