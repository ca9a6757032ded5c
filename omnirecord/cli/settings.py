"""How a command takes settings (`omnirecord.settings`): as the defaults of its options.

An option of the command line overrides a setting. Only labels add up, by key.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from .arguments import F
from .listen import say

if TYPE_CHECKING:
    from ..settings import Settings

Reads = Mapping[str, tuple[str, ...]]
"""The parameters of a command, with the settings that each of them is made of."""
_SETTINGS = "omnirecord.settings"
"""Where a context holds the settings of its command."""
PORT = 6868
LISTEN = f"127.0.0.1:{PORT}"
"""The address of a server without `--listen` and without settings."""


def current_settings(*, reads_file: bool = True) -> Settings:
    """Return the settings of the working directory. Raises `UsageError`."""
    from ..settings import settings_in

    try:
        folder = Path.cwd()
    except OSError:  # it was removed
        return settings_in(Path("/"), reads_file=False)
    return settings_in(folder, reads_file=reads_file)


Unused = Callable[[Mapping[str, Any]], Collection[str]]
"""Returns the parameters without an effect, from the values of all parameters."""


def reads_settings(reads: Reads, unused: Unused | None = None) -> Callable[[F], F]:
    """A decorator for a command that takes settings. It adds `--no-config`. `unused`: which settings have no effect."""

    def decorated(function: F) -> F:
        known: dict[str, tuple[str, ...]] | None = getattr(function, "settings", None)
        if known is not None:
            known.update(reads)
            if unused is not None:
                function.unused.append(unused)  # type: ignore[attr-defined]
            return function
        every = dict(reads)
        without_effect = [] if unused is None else [unused]

        @functools.wraps(function)
        def run(*args: Any, **named: Any) -> Any:
            context = click.get_current_context()
            none = {parameter for find in without_effect for parameter in find(named)}
            _tell(context, {parameter: names for parameter, names in every.items() if parameter not in none})
            if "labels" in every:
                named["labels"] = (*(context.default_map or {}).get("labels", ()), *named["labels"])
            return function(*args, **named)

        run.settings = every  # type: ignore[attr-defined]
        run.unused = without_effect  # type: ignore[attr-defined]
        return no_config_option(lambda settings: _defaults(settings, every))(cast("F", run))

    return decorated


def no_config_option(defaults: Callable[[Settings], Mapping[str, Any]] = lambda _: {}) -> Callable[[F], F]:
    """The option `--no-config`. It is read first: `defaults` makes the defaults of the other options."""

    def read(context: click.Context, _option: click.Parameter, value: bool) -> None:
        if context.resilient_parsing:
            return
        settings = current_settings(reads_file=not value)
        context.meta[_SETTINGS] = settings
        for warning in settings.warnings:  # here, since a misspelt variable may be why an option is missing
            say(warning)
        context.default_map = {**(context.default_map or {}), **defaults(settings)}

    return click.option(
        "--no-config",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=read,
        help="Ignore omnirecord.toml and pyproject.toml. See docs/settings.md.",
    )


def settings_of(context: click.Context) -> Settings:
    """Return the settings that the command of this context has read."""
    settings: Settings = context.meta[_SETTINGS]
    return settings


def is_setting(context: click.Context, parameter: str) -> bool:
    """Return whether a parameter has the value of settings, and not one of the command line."""
    return context.get_parameter_source(parameter) is ParameterSource.DEFAULT_MAP


def place_of(error: click.UsageError) -> str:
    """Return the file or the variable of the value that click refuses; an empty text for one of the command line."""
    parameter = getattr(error, "param", None)
    context = error.ctx
    if context is None or parameter is None or _SETTINGS not in context.meta or not is_setting(context, parameter.name):
        return ""
    setting = settings_of(context).values.get(parameter.name)
    return "" if setting is None or setting.place is None else setting.place


def _tell(context: click.Context, reads: Reads) -> None:
    """Say which file was read, if a setting of it holds."""
    settings = settings_of(context)
    from_file = settings.from_file()
    taken = [
        name
        for parameter, names in reads.items()
        if is_setting(context, parameter) or parameter == "labels"
        for name in names
        if name in from_file
    ]
    if taken:
        say(f"{settings.file} sets {', '.join(sorted(taken))} (--no-config ignores it)")


def _defaults(settings: Settings, reads: Reads) -> dict[str, Any]:
    """Return the settings as values of parameters."""
    found = {parameter: _given(settings, names) for parameter, names in reads.items()}
    return {parameter: value for parameter, value in found.items() if value is not None}


def _given(settings: Settings, names: tuple[str, ...]) -> Any:
    """Return the value of one parameter, in the form that it has on the command line; None if nothing is set."""
    first = settings.value(names[0])
    if "host" in names:
        listens = settings.value("listens") if "listens" in names else None
        return _addresses(first, settings.value("port"), listens)
    if len(names) == 2:
        unnamed = [] if first is None else [first]
        if names[0] == "upstream" and first is not None:
            unnamed = first.split()
        return [*unnamed, *_pairs(settings.value(names[1]))] or None
    if names[0] == "ui" and isinstance(first, bool):
        return "" if first else None
    if names[0] == "labels":
        return _pairs(first) or None
    if names[0] in ("rotate", "keep") and first is not None:
        return [str(one) for one in (first if isinstance(first, (list, tuple)) else [first])]
    return first


def _addresses(host: str | None, port: int | None, listens: Mapping[str, str] | None) -> list[str] | None:
    unnamed = []
    if host is not None or port is not None:
        name = host or "127.0.0.1"
        unnamed = [f"{f'[{name}]' if ':' in name else name}:{PORT if port is None else port}"]
    return [*unnamed, *_pairs(listens)] or None


def _pairs(named: Mapping[str, str] | None) -> list[str]:
    return [f"{name}={value}" for name, value in (named or {}).items()]


def one_each(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return parameters that have the names of their settings."""
    return {name: (name,) for name in names}
