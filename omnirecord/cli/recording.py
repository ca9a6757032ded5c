"""The options of the command line that are made of `recorder.options`: those of `proxy`, and some of other commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..providers.register import REGISTER
from ..recorder.options import OPTIONS, said
from .arguments import DATABASE, F
from .common import options
from .settings import LISTEN, is_setting, one_each, reads_settings

_FILE = click.Path(readable=False, path_type=Path)
_MORE: Mapping[str, Mapping[str, Any]] = {
    "upstream": {"required": True},
    "db": {"type": DATABASE},
    "read_ahead": {"type": click.IntRange(min=0)},
}


_TOGETHER = {
    "upstream": ("upstream", "upstreams"),
    "contract": ("contract", "contracts"),
    "listens": ("host", "port", "listens"),
}
"""The fields that one option sets. They are settings only of a command with `upstream`."""


def of_recorder(*names: str) -> Callable[[F], F]:
    """The options of the fields with these names. The values have the names of the fields, and settings as defaults."""
    alone = one_each(name for name in names if name not in _TOGETHER)
    together = {name: _TOGETHER[name] for name in names if name in _TOGETHER and "upstream" in names}
    return options(*map(_option, names), reads_settings({**alone, **together}))


def _option(name: str) -> Callable[[Any], Any]:
    field = OPTIONS[name]
    told = said(field)
    more: dict[str, Any] = {}
    if field.type == "bool":
        more = {"is_flag": True}
    elif told.if_bare is not None:
        more = {"is_flag": False, "flag_value": told.if_bare}
    elif told.is_repeatable:
        more = {"multiple": True}
    elif told.choices:
        more = {"type": click.Choice(told.choices)}
    elif field.default is not None:
        more = {"default": field.default, "show_default": True}
    elif str(field.type).startswith("File"):
        more = {"type": _FILE}
    more |= _MORE.get(name, {})
    assert told.flag is not None
    text = told.help.replace("MODEL-APIS", ", ".join(REGISTER))
    return click.option(told.flag, name, metavar=told.metavar, help=text, **more)


recorder_options = of_recorder(*(name for name, option in OPTIONS.items() if said(option).flag))
"""All options of a recorder."""
place_options = of_recorder("allow_remote", "tls_cert", "tls_key")
"""The options of a server besides `--listen`."""


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
    from ..server.listener import by_name, parse_listen

    upstream, upstreams = by_name("--upstream", given["upstream"], "model=https://api.openai.com")
    listen, listens = by_name("--listen", given["listens"])
    contract, contracts = by_name("--contract", given["contract"])
    context = click.get_current_context()
    if is_setting(context, "contract"):  # for upstreams that the command line may replace
        contracts = {name: one for name, one in contracts.items() if name in upstreams}
    if is_setting(context, "listens"):
        listens = {name: one for name, one in listens.items() if name in upstreams}
    host, port = parse_listen(listen or LISTEN, allow_remote=given["allow_remote"])
    return {
        **given,
        "upstream": upstream,
        "upstreams": upstreams,
        "host": host,
        "port": port,
        "listens": listens,
        "contract": contract,
        "contracts": contracts,
        "ui": given["ui"] is not None and (given["ui"] or True),
    }
