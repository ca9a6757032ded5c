"""Mistakes on the command line, each as one sentence: what is wrong, and the right word if there is one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click

from .settings import place_of

_COMMANDS = {
    "record": "proxy",
    "exec": "run",
    "trace": "run",
    "rec": "proxy",
    "capture": "proxy",
    "replay": "serve",
    "play": "serve",
    "mock": "serve",
    "list": "ls",
    "follow": "tail",
    "watch": "tail",
    "grep": "search",
    "find": "search",
    "check": "doctor",
    "diagnose": "doctor",
    "analyze": "doctor",
    "compare": "diff",
    "view": "ui",
    "open": "ui",
    "web": "ui",
    "redact": "scrub",
    "convert": "export",
    "cat": "events",
    "dump": "events",
    "story": "show",
    "print": "show",
    "sql": "query",
    "select": "query",
    "sqlite": "query",
    "ls": "sessions",
    "fetch": "get",
    "create": "init",
}
"""Command names that users try, and the right one."""
_OPTIONS = {
    "--port": "--listen",
    "--host": "--listen",
    "--bind": "--listen",
    "--address": "--listen",
    "-p": "--listen",
    "--url": "--upstream",
    "--target": "--upstream",
    "--backend": "--upstream",
    "--server": "--upstream",
    "--output": "-o",
    "--out": "-o",
    "--cassette": "--db",
    "--file": "--db",
    "--database": "--db",
    "--limit": "-n",
    "--tail": "-n",
    "--lines": "-n",
    "--follow": "--retry",
    "--silent": "--quiet",
}
"""Option names that users try, and the right one."""
_ARGUMENTS = {"--cassette": "CASSETTE", "--db": "CASSETTE", "--file": "CASSETTE"}
"""Options whose value some commands take as an argument."""


def sentence(error: click.UsageError) -> str:
    """click's error as a sentence, with the nearest name and where the help is."""
    said = (_of_option(error) or error.format_message()).rstrip(".")
    if place := place_of(error):
        said = f"{place}: {said}"
    path = error.ctx.command_path if error.ctx is not None else "omnirecord"
    return f"{said}{'' if said.endswith('?') else '.'} Try: {path} --help"


def no_command(name: str, ctx: click.Context, known: Iterable[str]) -> click.UsageError:
    """The error for an unknown command, with similar ones."""
    known = list(known)
    synonyms = {word: right for word, right in _COMMANDS.items() if right in known and word not in known}
    near = [name] if name in synonyms else get_close_matches(name, [*known, *synonyms])
    meant = dict.fromkeys(word if word in known else synonyms[word] for word in near)
    group = " ".join(["omnirecord", *ctx.command_path.split()[1:]])
    question = f". Did you mean {' or '.join(f'{group} {word}' for word in meant)}?" if meant else ""
    return click.UsageError(f"No such command '{name}'{question}", ctx)


def _of_option(error: click.UsageError) -> str | None:
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    name = error.option_name
    command = error.ctx.command
    arguments = [_word(one) for one in command.params if isinstance(one, click.Argument)]
    words = {one.strip("[].") for one in arguments}
    if name == "--session" and words & {"CASSETTE", "FILE"}:
        return f"No such option '{name}': name the session as in: {error.ctx.command_path} session.db#04cc"
    if (argument := _ARGUMENTS.get(name)) in words:
        usage = " ".join([error.ctx.command_path, *arguments])
        return f"No such option '{name}': write {argument} without it, as in: {usage}"
    options = {word: one for one in command.params if isinstance(one, click.Option) for word in one.opts}
    if name in _ARGUMENTS:
        return f"No such option '{name}'"
    if (other := _OPTIONS.get(name)) in options:
        metavar = options[other].metavar
        return f"No such option '{name}'. Did you mean '{other}{f' {metavar}' if metavar else ''}'?"
    return None


def _word(argument: click.Argument) -> str:
    word = argument.metavar or argument.human_readable_name.upper()
    return word if argument.required else f"[{word}]"
