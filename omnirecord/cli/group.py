"""The group of all commands, and the groups in it: sections of `--help`, errors and exit codes.

`omnirecord --help` imports this module and little else. So the functions that handle errors import what they need.
"""

from __future__ import annotations

import codecs
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from io import TextIOWrapper
from typing import Any, ParamSpec, TypeVar

import click

from ..errors import OmnirecordError

P = ParamSpec("P")
T = TypeVar("T")


def _ended_by_ctrl_c(function: Callable[P, T]) -> Callable[P, T]:
    """Let a Ctrl-C in this function end the process with 130, since 1 means findings or differences.

    A further Ctrl-C may come at any moment. So this is no context manager, whose exit could be interrupted.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt:
            try:
                _ignore_ctrl_c()
            except KeyboardInterrupt:  # the next one
                _ignore_ctrl_c()
            sys.exit(128 + signal.SIGINT)

    return call


def _ignore_ctrl_c() -> None:
    from . import last_resort

    last_resort.ignore_ctrl_c()


class Failure(click.ClickException):
    """An error of omnirecord: its sentence on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ARG002  # click's signature; stderr instead
        from ..text import visible

        click.echo(f"Error: {visible(self.format_message())}", err=True)


class NothingFound(Failure):
    """A search without a result: its sentence on stdout, exit code 1."""

    exit_code = 1

    def show(self, file: Any = None) -> None:  # noqa: ARG002  # click's signature
        from ..text import visible

        click.echo(visible(self.format_message()))


_AS_JSON = "omnirecord.json"
_RUNNING = ("run",)
"""The commands whose further arguments are another command."""
_OF_THE_LAKE = ("deltalake", "duckdb", "obstore", "pyarrow")
"""The packages of the extra `omnirecord[lake]`."""


class Group(click.Group):
    """Prints errors as a sentence, or as an object with `--json`. Lists the commands by section.

    `obj`, an argument of `main()`, is a function to call before a command runs.
    """

    def __init__(self, *args: Any, sections: Mapping[str, Mapping[str, str]] | None = None, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._sections = dict(sections or {})

    def add_section(self, title: str, commands: tuple[click.Command, ...]) -> None:
        """Add commands that `--help` lists together."""
        self._sections[title] = {one.name or "": one.get_short_help_str(70) for one in commands}
        for command in commands:
            self.add_command(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's
        widest = max(map(len, self.commands))
        for title, lines in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), line) for name, line in lines.items()])

    @_ended_by_ctrl_c
    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if parent is not None:  # a group in a group
            return super().make_context(info_name, args, parent, **extra)
        own = args[: args.index("--")] if "--" in args else args  # the others are those of a command
        as_json = "--json" in own and own[0] not in _RUNNING
        with _as_json_if(as_json), _in_sentences():  # --help prints in make_context
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_AS_JSON] = as_json
        return context

    @_ended_by_ctrl_c
    def invoke(self, ctx: click.Context) -> Any:
        if ctx.parent is not None:
            return super().invoke(ctx)
        if ctx.obj is not None:
            ctx.obj()
        from ..cassette.files import sweep

        codecs.register_error("omnirecord.escaped", _escaped)  # for characters that the encoding of a stream lacks
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="omnirecord.escaped")
        sweep()
        with _as_json_if(ctx.meta[_AS_JSON]), _in_sentences():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from .mistakes import no_command

            raise no_command(name, ctx, self.commands)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)


@contextmanager
def _as_json_if(as_json: bool) -> Iterator[None]:
    """With `as_json`, print any error, click's own too, as one object on the last line of stderr."""
    try:
        yield
    except click.ClickException as error:
        if not as_json:
            raise
        from .common import json_line

        click.echo(json_line({"error": error.format_message(), "exit_code": error.exit_code}), err=True)
        sys.exit(error.exit_code)


@contextmanager
def _in_sentences() -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # it prints the help
            raise
        from .mistakes import sentence

        raise Failure(sentence(error)) from error
    except OmnirecordError as error:
        from .arguments import by_name

        raise Failure(by_name(str(error))) from error
    except (ModuleNotFoundError, MemoryError, RuntimeError) as error:
        if (lacking := _lacking(error)) is None:
            raise
        raise Failure(lacking) from error
    except OSError as error:
        with suppress(OSError, ValueError, AttributeError):  # a stdout that is no file has nothing to fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its buffered rest would fail again at exit
        if error.errno == errno.EPIPE:  # the reader of stdout has gone: exit as SIGPIPE would
            sys.exit(128 + signal.SIGPIPE)
        what = "cannot write the output" if error.filename is None else f"cannot use {error.filename}"
        raise Failure(f"{what}: {error.strerror or error}") from error


def _lacking(error: Exception) -> str | None:
    """A sentence that says what the machine or the installation lacks; None for any other error."""
    if isinstance(error, MemoryError):
        from ..wire.limits import MORE_MEMORY

        return f"there is not enough memory for this: {MORE_MEMORY}"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _OF_THE_LAKE:
        return 'the lake needs more packages: install them with `pip install "omnirecord[lake]"`'
    if isinstance(error, RuntimeError) and "new thread" in str(error):
        return "cannot start a thread: raise `ulimit -u`, or the container's limits of pids and memory"
    return None


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """JSON escapes for the characters that cannot be encoded: a row of `--json` keeps its meaning."""
    assert isinstance(error, UnicodeEncodeError)
    from json import dumps

    return dumps(error.object[error.start : error.end])[1:-1], error.end
