"""`search`: full-text search in a cassette."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..text import clip, counted, visible
from .arguments import cassette_argument
from .common import hits_option, is_terminal, moment_options, output_options, print_found, terminal_width
from .stderr import progress

if TYPE_CHECKING:
    from ..analysis.model_calls.values import Link
    from ..analysis.search import Found, Hit
    from ..analysis.search.query import Snippet

_HEAD = 61
"""Width of the columns before the snippet."""


@click.command()
@cassette_argument
@click.argument("query", nargs=-1, required=True)
@click.option(
    "--type",
    "type_glob",
    metavar="GLOB",
    help="Only events of these types, such as 'response.*', or parts of prompts, such as 'prompt.*'.",
)
@click.option("--calls", is_flag=True, help="Only hits in model calls: prompts, and answers of the model.")
@click.option("--session", metavar="ID", help="Only hits in this session and its model calls; the id may be shortened.")
@moment_options("hits")
@hits_option
@click.option("--absolute", is_flag=True, help="Print times from the start of the recording, not of the session.")
@output_options
def search(
    cassette: Path,
    query: tuple[str, ...],
    type_glob: str | None,
    calls: bool,
    session: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    absolute: bool,
    as_json: bool,
) -> None:
    """Search the text of events, tool calls, requests, prompts, and messages joined from their deltas.

    A hit contains all words of QUERY. QUERY may contain "a phrase", begin*, OR and NOT. Exit code 1 if the search finds
    nothing.

    \b
    Example:
      omnirecord search session.db 'release OR shell'
    """
    from ..analysis.search import search as find

    found = find(
        cassette,
        " ".join(query),
        type=type_glob,
        calls=calls,
        session=session,
        since=since,
        until=until,
        limit=limit,
        width=max(40, terminal_width(_HEAD + 120) - _HEAD),
        watch=lambda steps: progress(steps, "indexing"),
    )
    print_found(as_json, map(_row, found.hits), _lines(found, " ".join(query), absolute=absolute))
    sys.exit(0 if found.total else 1)


def _row(hit: Hit) -> dict[str, object]:
    row = {**hit.row, "snippet": hit.snippet.marked()}
    if hit.exchange is not None:
        row["exchange"] = hit.exchange
    if hit.call is not None:
        row["call"] = _call(hit.call, hit.calls)
    return row if hit.status is None else {**row, "status": hit.status}


def _call(link: Link, calls: int) -> dict[str, object]:
    from ..analysis.model_calls.values import turns_of

    call = link.call
    return {
        "exchange": call.exchange,
        "hop": call.hop,
        "model": call.model,
        "attempt": max(call.attempt, link.attempt),
        "ending": call.ending,
        "by": link.by,
        "certainty": link.certainty,
        "turns": [turn._asdict() for turn in turns_of(link)],
        "calls": calls,
    }


def _call_line(hit: Hit, link: Link) -> str:
    """The heading of the hits of a model call, with its turn."""
    from ..providers.grouping import conversation_number

    call = link.call
    attempt = max(link.call.attempt, link.attempt)
    named = f"model call in exchange {call.exchange} · {call.model or call.api}"
    if attempt > 1:
        named += f" · attempt {attempt}"
    if link.turn is not None:
        number = conversation_number(link.turn.session_id)
        session = f" of session {link.turn.session_id}" if link.turn.session_id else ""
        place = f"turn {link.turn.turn}" + (session if number is None else f" of conversation #{number}")
    else:
        place = f"one of {len(link.candidates)} turns" if link.candidates else "no turn is known"
    return visible(f"{named} · {place} · recording {hit.row['recording']}")


def _lines(found: Found, query: str, *, absolute: bool) -> Iterator[str]:
    before = None
    for hit in found.hits:
        heading = _heading(hit.row) if hit.call is None else _call_line(hit, hit.call)
        if heading != before:
            yield heading
        before = heading
        yield _line(hit, 0 if absolute else hit.begun_ns)
    if not found.total:
        yield visible(f"nothing found for {query}")
    elif found.total > len(found.hits):
        more = found.total - len(found.hits)
        yield f"… and {more:,} more: narrow it down with --session, --type, --since, --until, or raise --limit"


def _heading(row: Mapping[str, Any]) -> str:
    """The heading of the hits of a session, or of a stream without one."""
    apart = "requests" if row["stream"] is None else f"stream {row['stream']}"
    named = f"session {row['session_id']}" if row["session_id"] else f"{apart} without a session"
    return visible(f"{named} · recording {row['recording']}")


def _line(hit: Hit, zero_ns: int) -> str:
    row = hit.row
    place = f"{row['stream']}:{row['seq']}" if row["seq"] is not None else f"exchange {hit.exchange}"
    again = f" (and in {counted(hit.calls - 1, 'more call')})" if hit.call is not None and hit.calls > 1 else ""
    asked = "request" if hit.status is None else f"answer {hit.status}"
    untyped = "(no type)" if row["verdict"] == "valid" else row["verdict"]
    what = row["type"] or (asked if hit.exchange is not None else untyped)
    time = "-" if row["at"] is None else f"{(row['offset_ns'] - zero_ns) / 1e9:.3f}s"
    return f"{time:>10}  {place:<12} {clip(visible(what), 34):<34} {shown_snippet(hit.snippet, _HEAD)}{again}"


def shown_snippet(snippet: Snippet, head: int) -> str:
    """The snippet behind `head` characters: found words bold on a terminal, else in brackets; no control characters."""
    text = snippet.text
    bold = is_terminal(sys.stdout)
    room = max(40, terminal_width(head + 150) - head)
    out = ""
    at = 0
    for begin, end in snippet.spans:
        word = visible(text[begin:end])
        out += visible(text[at:begin]) + (click.style(word, bold=True) if bold else f"[{word}]")
        at = end
    return out + clip(visible(text[at:]), max(room - at, 0))
