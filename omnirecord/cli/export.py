"""`export`: a cassette in another form."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ..cassette.files import is_stdout, whole_or_not
from ..errors import UsageError
from ..model import Missing
from ..text import visible
from .arguments import OUTPUT, STDOUT, cassette_argument, opened, shown
from .common import is_terminal, json_line, output_options, pattern_option
from .listen import say
from .stderr import busy, progress

FORMATS = {"jsonl": ".jsonl", "sse": ".sse", "zst": ".zst", "html": ".html", "datasette": None}
"""Export formats, with the suffix of an output that selects each."""
_MOST_MISSING = 10
"""Number of lines that name an event without bytes, at most."""


@click.command()
@cassette_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="jsonl: the cassette as text. sse: the decoded body of one stream, byte for byte. zst: the cassette,"
    " compressed. html: a page in one file, to share. datasette: metadata for Datasette, which opens the"
    " cassette itself. Default: the suffix of --output selects the format.",
)
@click.option(
    "--stream",
    type=int,
    metavar="N",
    help="Number of the stream to write as sse; required if the cassette contains several streams.",
)
@click.option("--session", metavar="ID", help="Only this session and its sub-agents; the id may be shortened.")
@click.option(
    "--redact",
    type=click.Choice(["content", "named", "none"]),
    help="Secrets to remove from html. named: the values of fields whose names suggest a secret. content (default):"
    " also other values that look like a secret. none: remove nothing.",
)
@pattern_option("Also remove words that begin with PREFIX from html. Repeatable.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    metavar="FILE",
    help='File to write. Use "-" for stdout (default).',
)
@output_options
def export(
    cassette: Path,
    form: str | None,
    stream: int | None,
    session: str | None,
    redact: str | None,
    redact_patterns: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Write a cassette as text (jsonl), as a compressed file (zst) or as a page (html), or write one stream (sse).

    Exit code 1 if the cassette lacks the bytes of an event (jsonl, sse): it was too large, or the recorder dropped it.

    With CASSETTE#SESSION or --session, write only that session and its sub-agents. Every command reads a compressed
    cassette. The page opens in any browser, without a server and without a network. With --format datasette, write a
    metadata file for `datasette CASSETTE -m FILE`.

    \b
    Example:
      omnirecord export session.db --format jsonl -o session.jsonl
      omnirecord export session.db -o session.db.zst
    """
    from ..cassette.open import refuse_to_overwrite
    from ..cassette.select import the_session

    output = None if output is STDOUT else output
    form = _form(form, output)
    if form != "sse" and stream is not None:
        raise UsageError("--stream needs --format sse: other formats write the whole cassette")
    if form == "html":
        _export_page(cassette, output, redact or "content", redact_patterns, session, as_json)
        return
    if redact is not None or redact_patterns:
        raise UsageError("--redact and --redact-pattern need --format html; see omnirecord scrub")
    if form == "datasette" and session is not None:
        raise UsageError("--format datasette describes the whole cassette: leave out the session")
    with opened(cassette, session) as store:
        if output is not None:
            refuse_to_overwrite(output, cassette)
        from ..cassette.export import exported

        missing: list[Missing] = []
        parts = progress(exported(form, store, cassette, output, stream, missing), f"writing {output or 'stdout'}")
        session_id = None if session is None else the_session(store, session)
        write_parts(parts, output, {"format": form, "session_id": session_id}, as_json=as_json, missing=missing)
    for one in missing[:_MOST_MISSING]:
        say(str(one))
    if len(missing) > _MOST_MISSING:
        say(f"{len(missing) - _MOST_MISSING} more events are without bytes")
    sys.exit(1 if missing else 0)


def write_parts(
    parts: Iterable[bytes],
    output: Path | None,
    row: dict[str, Any],
    *,
    as_json: bool,
    remark: str = "",
    missing: Sequence[Missing] | None = None,
) -> None:
    """Write the parts to the output, then report it: on stderr if stdout is the output. `row`: further fields for
    `--json`. `missing`: events without bytes, which may be added while the parts are written."""
    is_aside = output is None or is_stdout(output)
    size = 0
    with _output_of(output) as write:
        for part in parts:
            write(part)
            size += len(part)
    if as_json:
        row |= {} if missing is None else {"missing": [one._asdict() for one in missing]}
        named = None if output is None else str(output)
        click.echo(json_line({"output": named, "bytes": size, **row}), err=is_aside)
    elif output is not None:
        click.echo(visible(f"wrote {output}{remark}"), err=is_aside)


def _form(given: str | None, output: Path | None) -> str:
    """The given format, or that of the output's name. Raises `UsageError`."""
    suffix = "" if output is None else output.suffix
    named = next((name for name, one in FORMATS.items() if one == suffix), None)
    if named == "zst":
        if given in ("sse", "html", "datasette"):
            raise UsageError(f"{given} is not compressed: remove .zst from {output}, or compress a whole cassette")
        if given == "jsonl" and output is not None and not output.name.endswith(".jsonl.zst"):
            raise UsageError(f"name a compressed text form .jsonl.zst instead of {output}")
        return "zst"
    if given == "zst" and output is not None:
        raise UsageError(f"name a compressed cassette .db.zst or .jsonl.zst instead of {output}")
    if given is None and named is None:
        raise UsageError("give --format, or an --output that ends in .jsonl, .db.zst, .jsonl.zst, .html or .sse")
    form = given or named
    assert form is not None
    if form == "zst" and is_terminal(sys.stdout):
        raise UsageError("a terminal cannot show compressed data: name a file with -o")
    return form


def _export_page(
    cassette: Path, output: Path | None, redact: str, patterns: tuple[str, ...], session: str | None, as_json: bool
) -> None:
    from ..cassette.open import refuse_to_overwrite
    from ..cassette.select import the_session
    from ..ui.export import sealed_page

    if output is not None:
        refuse_to_overwrite(output, cassette)
    if redact == "none" and patterns:
        raise UsageError("--redact none scrubs nothing: leave --redact-pattern out, or choose content")
    kind = None if redact == "none" else redact
    if session is not None:
        with opened(cassette) as store:
            session = the_session(store, session)
    with busy(f"making a page of {shown(cassette)}"):
        parts = list(sealed_page(cassette, redact=kind, redact_patterns=patterns, session=session))
    row = {"format": "html", "session_id": session}
    write_parts(parts, output, row, as_json=as_json, remark=f": open it in a browser; {_SCRUBBED[redact]}")


_SCRUBBED = {
    "content": "secrets, and values that look like one, were replaced; the page lists them",
    "named": "fields with a secret's name were replaced, values that only look like a secret were not",
    "none": "nothing was scrubbed: read it before you share it",
}


@contextmanager
def _output_of(path: Path | None) -> Iterator[Callable[[bytes], object]]:
    """The function that writes to stdout, or to a file that appears whole or not at all. A terminal gets escapes for
    control characters."""
    if path is not None:
        with whole_or_not(path) as file:
            yield file.write
        return
    if sys.stdout is None:
        raise UsageError("stdout is closed: name a file with -o")
    decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def show(data: bytes) -> None:
        click.echo("\n".join(map(visible, decode(data).split("\n"))), nl=False)

    yield show if is_terminal(sys.stdout) else sys.stdout.buffer.write
    sys.stdout.buffer.flush()
