"""The options of the command line that are made of `omnirecord.options`: those of a recorder, and those of a replay."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..omnigent.protocol import RESPONSE_COMPLETED
from ..options import OPTIONS, REPLAY_OPTIONS, said
from ..providers.register import REGISTER
from .arguments import DATABASE, F
from .common import options
from .settings import LISTEN, is_setting, one_each, reads_settings

_FILE = click.Path(readable=False, path_type=Path)
_OF_RECORDER: Mapping[str, Mapping[str, Any]] = {
    "upstream": {"required": True},
    "db": {"type": DATABASE},
    "read_ahead": {"type": click.IntRange(min=0)},
}
"""What the command line says otherwise than the declaration."""
_OF_REPLAY: Mapping[str, Mapping[str, Any]] = {
    "web_ui": {"type": str, "default": "auto", "show_default": True},
    "output": {"type": DATABASE},
}

_TOGETHER = {
    "upstream": ("upstream", "upstreams"),
    "contract": ("contract", "contracts"),
    "listens": ("host", "port", "listens"),
}
"""The fields that one option sets. They are settings only of a command with `upstream`."""


def of_recorder(*names: str) -> Callable[[F], F]:
    """The options of the recorder's fields with these names. The values have the names of the fields, and settings as
    defaults."""
    alone = one_each(name for name in names if name not in _TOGETHER)
    together = {name: _TOGETHER[name] for name in names if name in _TOGETHER and "upstream" in names}
    made = [_option(OPTIONS[name], _OF_RECORDER.get(name, {})) for name in names]
    return options(*made, reads_settings({**alone, **together}))


def of_replay(*names: str, only_with: str = "", **changes: Mapping[str, Any]) -> Callable[[F], F]:
    """The options of the replay's fields with these names. `only_with`: the option without which they have no effect.
    `changes`: what the command says otherwise than the declaration, by name."""
    made = []
    for name in names:
        more = {**_OF_REPLAY.get(name, {}), **changes.get(name, {})}
        if only_with and "help" not in more:
            text = _help(REPLAY_OPTIONS[name])
            more["help"] = f"With {only_with}: {text[0].lower()}{text[1:]}"
        made.append(_option(REPLAY_OPTIONS[name], more))
    return options(*made)


def _option(field: Field[Any], changes: Mapping[str, Any]) -> Callable[[Any], Any]:
    declared = said(field)
    kinds = str(field.type).split(" | ")
    more: dict[str, Any] = {"metavar": declared.metavar, "help": _help(field)}
    if kinds == ["bool"]:
        more["is_flag"] = True
    elif declared.if_bare is not None:
        more |= {"is_flag": False, "flag_value": declared.if_bare}
    elif declared.is_repeatable:
        more["multiple"] = True
    else:
        if declared.choices:
            more["type"] = click.Choice(declared.choices)
        elif "float" in kinds:
            more["type"] = float
        elif "File" in kinds:
            more["type"] = _FILE
        if field.default is not None:
            more |= {"default": field.default, "show_default": True}
    assert declared.flag is not None
    return click.option(declared.flag, field.name, **{**more, **changes})


def _help(field: Field[Any]) -> str:
    text = said(field).help.replace("MODEL-APIS", ", ".join(REGISTER))
    return text.replace("LAST-EVENT", RESPONSE_COMPLETED)


def _with_flags(fields: Mapping[str, Field[Any]]) -> Iterable[str]:
    return (name for name, option in fields.items() if said(option).flag)


recorder_options = of_recorder(*_with_flags(OPTIONS))
"""All options of a recorder."""
place_options = of_recorder("allow_remote", "tls_cert", "tls_key")
"""The options of a server besides `--listen`."""
new_cassette_option = click.option(
    "-o",
    "output",
    type=DATABASE,
    metavar="CASSETTE",
    help="New cassette. Default: omnirecord-TIME.db in the current folder.",
)
"""The cassette of a command that runs a program."""


def variables_option(text: str) -> Callable[[F], F]:
    """The option `--env` of a command that runs a program. `text`: its help."""
    return click.option("--env", "variables", multiple=True, metavar="VARIABLE", help=text)


def refuse_without_recording(given: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an option of a recording: a replay without `--record` has none. Settings for a recording
    have no effect."""
    context = click.get_current_context()
    for name, value in given.items():
        if value and not is_setting(context, name):
            option = said(OPTIONS[name]).flag if name in OPTIONS else name
            raise UsageError(
                f"a replay records nothing, and connects to no server: leave out {option}, or give"
                " --record new_episodes"
            )


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of `recorder_options` as arguments of `RecordOptions`. Raises `UsageError`."""
    from ..server.listener import by_name

    made = _with_addresses(given)
    contract, contracts = by_name("--contract", given["contract"])
    context = click.get_current_context()
    if is_setting(context, "contract"):  # for upstreams that the command line may replace
        contracts = {name: value for name, value in contracts.items() if name in made["upstreams"]}
    if is_setting(context, "listens"):
        made["listens"] = {name: value for name, value in made["listens"].items() if name in made["upstreams"]}
    has_page = given["ui"] is not None
    return {**made, "contract": contract, "contracts": contracts, "ui": has_page and (given["ui"] or True)}


def replay_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of the options of `serve` as arguments of `EpisodesOptions`. Raises `UsageError`."""
    web_ui = None if given["web_ui"] == "off" else given["web_ui"]
    return {**_with_addresses(given), "web_ui": web_ui, "allow_no_requests": True}


def _with_addresses(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with the upstreams and the own addresses as the fields that they set. Raises `UsageError`."""
    from ..server.listener import by_name, parse_listen

    upstream, upstreams = by_name("--upstream", given["upstream"], "model=https://api.openai.com")
    listen, listens = by_name("--listen", given["listens"])
    host, port = parse_listen(listen or LISTEN, allow_remote=given["allow_remote"])
    addresses = {"upstream": upstream, "upstreams": upstreams, "host": host, "port": port, "listens": listens}
    return {**given, **addresses}
