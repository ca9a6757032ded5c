"""The types of a command's files: cassettes to read, cassettes to append to, outputs.

`-` is standard input or output. `CASSETTE#SESSION` names one session: `cassette_argument` hands it to a command that
has a `session`; `opened` narrows the cassette for every other one.
"""

from __future__ import annotations

import functools
import inspect
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import click
from click.shell_completion import CompletionItem

from ..errors import OmnirecordError, UsageError
from ..text import visible

if TYPE_CHECKING:
    from ..cassette.sqlite import Store

F = TypeVar("F", bound=Callable[..., Any])

STDIN = "standard input"
STDOUT = Path("/dev/stdout")
"""The output that `-o -` names."""
_SPOOLED = "omnirecord.spooled"
"""Where a context holds the temporary file of standard input."""


class _FileType(click.Path):
    """A path type that reads `-` as what `dash` returns, and `./-` as a file of that name.

    click shows `name` in its errors.
    """

    name = "file"

    def __init__(self, dash: Callable[[], Path]) -> None:
        super().__init__(readable=False, path_type=Path)
        self._dash = dash

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "-":
            return self._dash()
        path = Path(str(super().convert(value, param, ctx)))
        return path.absolute() if str(path) == "-" else path


class CassetteType(_FileType):
    """A cassette to read. `-` spools standard input to a temporary file, which is removed when the command ends.

    `takes_bodies`: a raw body on standard input stays one; else it is imported. `as_text`: the value is a `str`, and
    may be a URL.
    """

    name = "cassette"

    def __init__(self, *, takes_bodies: bool = False, as_text: bool = False) -> None:
        super().__init__(self._spooled)
        self._takes_bodies = takes_bodies
        self._as_text = as_text

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.startswith("-#"):
            path = Path(f"{self._spooled()}{value[1:]}")
        elif self._as_text and isinstance(value, str) and "://" in value:
            return value
        else:
            path = super().convert(value, param, ctx)
        return str(path) if self._as_text else path

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Completes file names and, after a `#`, the sessions of the cassette."""
        name, mark, begin = incomplete.rpartition("#")
        if not mark or not Path(name).is_file():
            return super().shell_complete(ctx, param, incomplete)
        from ..cassette.select import session_ids

        try:
            with opened(name) as store:
                return [CompletionItem(f"{name}#{one}") for one in session_ids(store) if one.startswith(begin)]
        except (OmnirecordError, OSError):
            return []

    def _spooled(self) -> Path:
        from ..cassette.files import TemporaryFolder, copied_aside
        from ..cassette.open import import_file, is_sse

        source = _stdin("a cassette or a body")
        root = click.get_current_context().find_root()
        folder = TemporaryFolder("stdin")
        root.call_on_close(folder.cleanup)
        root.meta[_SPOOLED] = path = Path(folder.name) / "stdin"
        with copied_aside(Path(STDIN), "copied"), path.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
        if not path.stat().st_size:
            raise UsageError(f"{STDIN} is empty: pipe a cassette or a body into it")
        if self._takes_bodies or not is_sse(path):
            return path
        made = path.with_name("stdin.db")
        import_file(path, made)
        return made


def _no_pipe() -> Path:
    raise UsageError("--db needs a file, because SQLite writes at any position: name a .db, or ./- for a file named -")


CASSETTE = CassetteType()
FILE = CassetteType(takes_bodies=True)
"""A cassette, or the raw body of a stream."""
NAMED = CassetteType(as_text=True)
"""A cassette as text, for a command that parses `CASSETTE#SESSION` itself, or takes a URL."""
OUTPUT = _FileType(lambda: STDOUT)
"""A file to write. `-` is standard output."""
DATABASE = _FileType(_no_pipe)
"""A cassette to append to, which cannot be a pipe."""


def _stdin(what: str) -> BinaryIO:
    """The bytes of standard input. Raises `UsageError` for a terminal, and for a second `-`."""
    if _SPOOLED in click.get_current_context().find_root().meta:
        raise UsageError("- is given twice, and standard input can be read only once: name a file for the other one")
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"- reads standard input, which is a terminal here: pipe {what} into it")
    return sys.stdin.buffer


def stdin_text(what: str) -> str:
    """Standard input as text. Raises `UsageError` for a terminal, bytes that are not UTF-8, and a second `-`."""
    try:
        return _stdin(f"the {what}").read().decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{STDIN} is not UTF-8: pipe the {what} into it as text") from error


def opened(cassette: Path | str, session: str | None = None) -> AbstractContextManager[Store]:
    """An open cassette, or one session of it, for a `with`. Raises `UsageError` or `CassetteError`."""
    from ..cassette.open import open_store

    return closing(open_store(cassette, session))


def shown(path: Path | str) -> str:
    """A path for output: without control characters, standard input by its name."""
    return visible(by_name(str(path)))


def by_name(text: str) -> str:
    """The text with standard input's name instead of its temporary file."""
    context = click.get_current_context(silent=True)
    spooled = context and context.find_root().meta.get(_SPOOLED)
    return text.replace(f"{spooled}.db", STDIN).replace(str(spooled), STDIN) if spooled else text


def cassette_argument(function: F) -> F:
    """The CASSETTE argument of a command. The session of `CASSETTE#SESSION` becomes its `session`, if it has one. A
    conversation, `CASSETTE#2`, is a cassette of its own."""
    if "session" not in inspect.signature(function).parameters:
        return click.argument("cassette", type=CASSETTE)(function)

    @functools.wraps(function)
    def split(*args: Any, cassette: Path, session: str | None = None, **given: Any) -> Any:
        from ..cassette.open import named_part

        path, named = named_part(cassette, session)
        return function(*args, cassette=path, session=named, **given)

    return click.argument("cassette", type=CASSETTE)(split)  # type: ignore[return-value]


def named_source(source: str, session: str | None) -> tuple[str, str | None]:
    """A path or URL, and its session: that of `CASSETTE#SESSION` or `URL#SESSION`, or of the option."""
    from ..cassette.open import named_part
    from ..cassette.select import named_session

    if "://" in source:
        path, _, of_url = source.partition("#")
        if of_url and session is not None and of_url != session:
            raise UsageError(f"{source} names a session, and so does {session!r}: name it once")
        return path, of_url or session
    cassette, of_cassette = named_session(source)
    if not cassette.exists():
        return str(cassette), of_cassette or session
    part, named = named_part(source, session)
    if named is None and part != cassette:
        raise UsageError(
            f"a conversation is not followed: omnirecord show {part} prints it; leave it out to follow all events"
        )
    return str(cassette), named
