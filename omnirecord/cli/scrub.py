"""`scrub`: a copy of a cassette without secrets; `--check` counts those that are left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cassette.files import is_stdout
from ..errors import UsageError
from ..text import counted, visible
from .arguments import CASSETTE, OUTPUT, by_name, shown
from .common import decoded_option, is_terminal, json_line, json_option, pattern_option, print_found, table
from .options import of_recorder
from .settings import one_each, reads_settings
from .stderr import progress

if TYPE_CHECKING:
    from ..cassette.scrub import Leak
    from ..cassette.sqlite import Store


@click.command()
@click.argument("cassettes", nargs=-1, metavar="CASSETTE...", type=CASSETTE)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=OUTPUT,
    help='File of the copy: .db or .jsonl, also with .zst. Any other name keeps the form of the cassette. Use "-" for'
    " stdout.",
)
@click.option(
    "--check", is_flag=True, help="List the remaining secrets, and write nothing. Exit code 1 if a secret remains."
)
@click.option("--kinds", is_flag=True, help="List the kinds of secrets that are looked for, and the beginning of each.")
@click.option(
    "--redact",
    type=click.Choice(["content", "named"]),
    default="content",
    show_default=True,
    help="Secrets to remove. named: the values of fields whose names suggest a secret. content: also other values that"
    " look like a secret.",
)
@pattern_option("Also remove words that begin with PREFIX. Repeatable.")
@click.option(
    "--forget",
    "forgotten",
    multiple=True,
    metavar="SESSION",
    help="Remove this session and its sub-agents from the cassette itself; with -o, only from the copy. Repeatable.",
)
@click.option("--yes", is_flag=True, help="With --forget: do not ask for confirmation.")
@of_recorder("pseudonym_key")
@reads_settings(one_each(["redact_patterns"]))
@json_option
@decoded_option
def scrub(
    cassettes: tuple[Path, ...],
    output: Path | None,
    check: bool,
    kinds: bool,
    redact: str,
    redact_patterns: tuple[str, ...],
    forgotten: tuple[str, ...],
    yes: bool,
    pseudonym_key: Path | None,
    as_json: bool,
) -> None:
    """Write a copy of a cassette without its secrets. The output counts the replaced secrets, and never shows them.

    With CASSETTE#SESSION, copy only that session and its sub-agents. With --check, list the remaining secrets of one or
    more cassettes. With --forget and without -o, remove sessions from the cassettes, and change nothing else.

    \b
    Examples:
      omnirecord scrub session.db -o safe.db
      omnirecord scrub session.db --forget 04cc962c
    """
    if kinds:
        _print_kinds(as_json)
        return
    if not cassettes:
        raise click.MissingParameter(param_hint="'CASSETTE...'", param_type="argument")
    if forgotten and check:
        raise UsageError("--check lists secrets and changes nothing: leave it out, or --forget")
    if forgotten and output is None:
        _forget(cassettes, forgotten, yes, as_json)
        return
    if check is (output is not None):
        raise UsageError("give -o FILE for the copy, or --check for a list" + (", not both" if check else ""))
    if check:
        left = [one for one in cassettes if not _check(one, redact, redact_patterns, as_json)]
        sys.exit(1 if left else 0)
    if len(cassettes) > 1:
        raise UsageError("several cassettes need several copies: scrub one at a time, or use --check")
    is_aside = output is not None and is_stdout(output)
    from ..cassette.scrub import leak_counts

    found = _scrubbed(cassettes[0], output, redact, redact_patterns, pseudonym_key, forgotten)
    for line in map(json_line, leak_counts(found)) if as_json else _count_lines(output, found):
        click.echo(line, err=is_aside)  # stdout may be the copy


def _forget(cassettes: Sequence[Path], names: Sequence[str], yes: bool, as_json: bool) -> None:
    """Remove sessions from these cassettes. A cassette without them stays, unless no cassette has them."""
    from ..analysis.forgetting import forget, sessions_in

    there = {one: found for one in cassettes if (found := sessions_in(one, names, is_alone=len(cassettes) == 1))}
    if not there:
        raise UsageError(f"no session of these cassettes begins with {' or '.join(map(repr, names))}")
    if not yes and is_terminal(sys.stdin):
        for one, found in there.items():
            click.echo(f"{shown(one)}: {counted(len(found), 'session')}: {', '.join(sorted(found))}", err=True)
        click.confirm("Remove them from the cassettes?", abort=True, err=True)
    for one, found in progress(there.items(), "removing sessions", total=len(there)):
        gone = forget(one, found)
        row = {
            "cassette": by_name(str(one)),
            "sessions": sorted(gone.sessions),
            "exchanges": len(gone.exchanges),
            "recordings": sorted(gone.recordings),
            "parents": sorted(gone.parents),
        }
        if as_json:
            click.echo(json_line(row))
            continue
        click.echo(
            f"{shown(one)}: removed {counted(len(gone.sessions), 'session')} with"
            f" {counted(len(gone.exchanges), 'exchange')}"
        )
        for parent in sorted(gone.parents):
            click.echo(f"the session {parent}, which started it, stays and may quote it", err=True)


def _print_kinds(as_json: bool) -> None:
    from ..redaction.content.patterns import beginnings

    found = beginnings()
    rows = ({"kind": kind, "begins_with": begins} for kind, begins in found.items())
    lines = [{"kind": kind, "begins with": ", ".join(begins) or "a pattern"} for kind, begins in found.items()]
    last = f"{len(lines)} kinds, and values with a sensitive name (docs/secret-kinds.md, docs/secret-names.md)"
    print_found(as_json, rows, [*table(lines), last])


def _check(cassette: Path, redact: str, patterns: tuple[str, ...], as_json: bool) -> bool:
    found = _scrubbed(cassette, None, redact, patterns)
    rows = (
        {
            "cassette": by_name(str(cassette)),
            "recording": one.recording,
            "exchange": one.exchange,
            "stream": one.stream,
            "seq": one.seq,
            "message": one.message,
            "place": one.place,
            "kind": one.kind,
            "count": one.count,
        }
        for one in found
    )
    print_found(as_json, rows, _place_lines(cassette, found, redact))
    return not found


def _scrubbed(
    cassette: Path,
    output: Path | None,
    redact: str,
    patterns: tuple[str, ...],
    pseudonym_key: Path | None = None,
    forgotten: tuple[str, ...] = (),
) -> list[Leak]:
    from ..cassette.scrub import scrub

    read: Callable[[Store], Any] | None = None
    if forgotten:
        from ..analysis.forgetting import copied_without

        read = copied_without(forgotten)

    return scrub(
        cassette,
        output,
        redact=redact,
        redact_patterns=patterns,
        pseudonym_key=pseudonym_key,
        watch=lambda items: progress(items, "looking for secrets"),
        read=read,
    )


def _place_lines(cassette: Path, found: list[Leak], redact: str) -> Iterator[str]:
    from ..redaction.content.patterns import beginnings

    for one in found:
        times = f" ({one.count} times)" if one.count > 1 else ""
        yield visible(f"{by_name(str(cassette))}: {_where(one)}: {one.kind}{times}")
    total = sum(one.count for one in found)
    if total:
        left = "secret is" if total == 1 else "secrets are"
        yield f"{shown(cassette)}: {total} {left} left; omnirecord scrub makes a copy without"
    elif redact == "named":
        yield f"{shown(cassette)}: no value with a sensitive name (docs/secret-names.md)"
    else:
        kinds = f"none of {len(beginnings())} kinds of secrets (omnirecord scrub --kinds)"
        yield f"{shown(cassette)}: {kinds}, and no value with a sensitive name"


def _where(found: Leak) -> str:
    parts = [f"recording {found.recording}"] if found.recording is not None else []
    if found.seq is not None:
        parts.append(f"stream {found.stream}:{found.seq}")
    elif found.exchange is not None:
        parts.append(f"exchange {found.exchange}")
    if found.message is not None:
        parts.append(f"message {found.message}")
    elif found.seq is None:
        parts.append(found.place)
    return ", ".join(parts)


def _count_lines(output: Path | None, found: list[Leak]) -> Iterator[str]:
    from ..cassette.scrub import leak_counts

    rows = [{name: str(value) for name, value in row.items()} for row in leak_counts(found)]
    yield from table(rows)
    total = sum(one.count for one in found)
    yield f"wrote {output}: {total or 'nothing had to be'} replaced"
