"""What the commands share: how an error ends them, how they print JSON, how they show progress."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any, TextIO, TypeVar

import click

from ..errors import OmnirecordError
from ..gist import unquoted, visible
from . import stderr

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Failure(click.ClickException):
    """An error of ours: its sentence on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: Any = None) -> None:  # noqa: ARG002  # click's signature; ours go to stderr
        click.echo(f"omnirecord: {visible(self.format_message())}", err=True)


class Group(click.Group):
    """Turns our errors into a sentence, keeps the commands in the order of a day's work."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OmnirecordError as error:
            raise Failure(str(error)) from error
        except OSError as error:
            _drop_what_is_buffered()
            if error.errno == errno.EPIPE:  # whoever read our output has enough: end as SIGPIPE ends a program
                sys.exit(128 + signal.SIGPIPE)
            what = "cannot write the output" if error.filename is None else f"cannot use {error.filename}"
            raise Failure(f"{what}: {error.strerror or error}") from error

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)


def _drop_what_is_buffered() -> None:
    """Stdout takes no more: what is left of it goes nowhere, instead of failing once more when we exit."""
    with suppress(OSError, ValueError, AttributeError):  # a stdout that is no file has nothing to fail
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads it; a stream that was closed before we began is None."""
    return stream is not None and stream.isatty()


def cassette_argument(function: F) -> F:
    return click.argument("cassette", type=click.Path(readable=False, path_type=Path))(function)


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line, and nothing else on stdout.")(
        function
    )


def print_rows(rows: Iterable[dict[str, Any]]) -> None:
    """One JSON object a line."""
    from ..payloads import dumps

    for row in rows:
        click.echo(dumps(row))


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items, with a bar on stderr where that is a terminal."""
    if not is_terminal(sys.stderr):
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, label, total=total, console=Console(stderr=True), transient=True)


@contextmanager
def busy(label: str, after: float = 1.0) -> Iterator[None]:
    """Say that we are at work, and since when, if that takes longer than `after` seconds and stderr is a terminal."""
    if not is_terminal(sys.stderr):
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    shown.add_task(label, total=None)
    timer = Timer(after, shown.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        shown.stop()


def progress_if_slow(items: Iterable[T], label: str, after: float = 1.0) -> Iterator[T]:
    """The items, with the same bar where they take longer than so many seconds."""
    left, begun = iter(items), time.monotonic()
    for item in left:
        yield item
        if time.monotonic() - begun > after:
            yield from progress(left, label)


def log_to_stderr(*, verbose: bool = True) -> None:
    """What our servers have to say goes to stderr, a line each; so does what aiohttp has to say of a client's junk."""
    for name, form in (("omnirecord", _Harmless()), ("aiohttp.server", _OneLine())):
        handler = stderr.handler()
        handler.setFormatter(form)
        log = logging.getLogger(name)
        log.handlers[:] = [handler]
        log.setLevel(logging.INFO if verbose else logging.WARNING)
        log.propagate = False


class _Harmless(logging.Formatter):
    """One line, in which nothing that a client or a cassette said moves the cursor."""

    def format(self, record: logging.LogRecord) -> str:
        said = visible(f"omnirecord: {record.getMessage()}")
        return said if not record.exc_info else f"{said}\n{self.formatException(record.exc_info)}"


class _OneLine(logging.Formatter):
    """A record without its traceback: what went wrong with a request, in one line."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        said = str(error).strip() or type(error).__name__ if error is not None else record.getMessage()
        return f"omnirecord: a request could not be answered: {unquoted(said)}"


def table(rows: list[dict[str, str]], columns: list[str]) -> Iterator[str]:
    """Rows as aligned text, with a head; control characters shown as escapes."""
    cells = [[visible(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [columns, *cells]:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def terminal_width(otherwise: int) -> int:
    """How wide stdout is, if it is a terminal, and at most `otherwise`."""
    return min(otherwise, shutil.get_terminal_size().columns) if is_terminal(sys.stdout) else otherwise


def fitted(line: str) -> str:
    """A line cut to the terminal; whole where stdout is none."""
    width = terminal_width(sys.maxsize)
    return line if len(line) <= width else line[: width - 1] + "…"
