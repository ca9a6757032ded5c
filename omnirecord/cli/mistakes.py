"""Mistakes on the command line, each as one sentence: what is wrong, and the right word if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click

_COMMANDS = {
    "record": "proxy", "rec": "proxy", "capture": "proxy", "replay": "serve", "play": "serve", "mock": "serve",
    "list": "ls", "follow": "tail", "watch": "tail", "grep": "search", "find": "search", "check": "doctor",
    "diagnose": "doctor", "analyze": "doctor", "compare": "diff", "view": "ui", "open": "ui", "web": "ui",
    "redact": "scrub", "convert": "export", "cat": "events", "dump": "events", "story": "show", "print": "show",
    "sql": "query", "select": "query", "sqlite": "query",
}  # fmt: skip
"""Other words for commands."""
_OPTIONS = {
    "--port": "--listen", "--host": "--listen", "--bind": "--listen", "--address": "--listen", "-p": "--listen",
    "--url": "--upstream", "--target": "--upstream", "--backend": "--upstream", "--server": "--upstream",
    "--output": "-o", "--out": "-o", "--cassette": "--db", "--file": "--db", "--database": "--db",
    "--limit": "-n", "--tail": "-n", "--lines": "-n", "--follow": "--retry", "--silent": "--quiet",
}  # fmt: skip
"""Other words for options."""
_ARGUMENTS = {"--cassette": "CASSETTE", "--db": "CASSETTE", "--file": "CASSETTE"}
"""Options whose value is an argument of some commands."""


def sentence(error: click.UsageError) -> str:
    """What click says is wrong, the right word, and where the help is."""
    said = (_of_option(error) or error.format_message()).rstrip(".")
    path = error.ctx.command_path if error.ctx is not None else "omnirecord"
    return f"{said}{'' if said.endswith('?') else '.'} Try: {path} --help"


def no_command(name: str, ctx: click.Context, known: Iterable[str]) -> click.UsageError:
    """An unknown command, with the commands that may be meant."""
    known = list(known)
    near = [name] if name in _COMMANDS else get_close_matches(name, [*known, *_COMMANDS])
    meant = dict.fromkeys(one if one in known else _COMMANDS[one] for one in near)
    found = f". Did you mean {' or '.join(f'omnirecord {one}' for one in meant)}?" if meant else ""
    return click.UsageError(f"No such command '{name}'{found}", ctx)


def _of_option(error: click.UsageError) -> str | None:
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    name, command = error.option_name, error.ctx.command
    words = {_word(one).strip("[].") for one in _arguments(command)}
    if name == "--session" and words & {"CASSETTE", "FILE"}:
        return f"No such option '{name}': name the session as in: {error.ctx.command_path} session.db#04cc"
    if (argument := _ARGUMENTS.get(name)) in words:
        return f"No such option '{name}': write {argument} without it, as in: {_usage(error.ctx)}"
    options = {word: one for one in command.params if isinstance(one, click.Option) for word in one.opts}
    if name in _ARGUMENTS:
        return f"No such option '{name}'"
    if (other := _OPTIONS.get(name)) in options:
        metavar = options[other].metavar
        return f"No such option '{name}'. Did you mean '{other}{f' {metavar}' if metavar else ''}'?"
    return None


def _usage(ctx: click.Context) -> str:
    """The command with its arguments."""
    return " ".join([ctx.command_path, *map(_word, _arguments(ctx.command))])


def _arguments(command: click.Command) -> list[click.Argument]:
    return [one for one in command.params if isinstance(one, click.Argument)]


def _word(argument: click.Argument) -> str:
    word = argument.metavar or argument.human_readable_name.upper()
    return word if argument.required else f"[{word}]"
