"""The options of a recorder: one declaration for the command, the function, the marker and a mapping."""

from __future__ import annotations

import inspect
from typing import Any

import click
import pytest

import omnirecord
from omnirecord import pytest_plugin
from omnirecord.cli import main
from omnirecord.errors import UsageError
from omnirecord.recorder.options import OPTIONS, RecordOptions, said
from tests.support.examples import each

OF_THE_COMMAND_ALONE = {"quiet", "type_glob", "verbose", "max_decoded", "as_json", "no_config"}


def test_the_command_has_the_flags_and_the_help_of_the_fields() -> None:
    options = {one.name: one for one in main.commands["proxy"].params if one.name not in OF_THE_COMMAND_ALONE}
    assert options.keys() == {name for name, field in OPTIONS.items() if said(field).flag}
    for name, option in options.items():
        assert isinstance(option, click.Option)
        begin, _, end = said(OPTIONS[name]).help.partition("MODEL-APIS")
        assert option.opts == [said(OPTIONS[name]).flag]
        assert (option.help or "").startswith(begin)
        assert (option.help or "").endswith(end)


def test_the_function_has_the_fields_as_its_arguments_with_their_defaults_and_help() -> None:
    arguments = inspect.signature(omnirecord.record).parameters
    assert [*arguments] == [*OPTIONS]
    assert {name: one.default for name, one in arguments.items()} == {
        name: field.default for name, field in OPTIONS.items()
    }
    assert [name for name, one in arguments.items() if one.kind is not one.KEYWORD_ONLY] == ["upstream", "db"]
    assert "    keep_unshipped: With `ship`, `keep` removes only shipped cassettes." in (
        omnirecord.record.__doc__ or ""
    )


def test_the_marker_has_some_of_the_fields() -> None:
    assert set(pytest_plugin.OF_RECORDING) < OPTIONS.keys()


def test_a_mapping_gives_the_options_that_it_names() -> None:
    given = {"upstream": "http://a", "rotate": ["1h", "1GB"], "labels": {"branch": "main"}, "ui": "127.0.0.1:0"}
    assert RecordOptions.of(given, "here") == RecordOptions(**given)
    assert RecordOptions.of({}, "here") == RecordOptions()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"read-ahed": 1}, "here has no 'read-ahed': did you mean 'read_ahead'?"),
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
    ({"redact": "all"}, "here: redact 'all' is none of content"),
]


@each("given", WRONG)
def test_an_unknown_name_and_a_wrong_value_are_a_sentence(given: tuple[dict[str, Any], str]) -> None:
    values, sentence = given
    with pytest.raises(UsageError) as error:
        RecordOptions.of(values, "here")
    assert str(error.value).startswith(sentence)
