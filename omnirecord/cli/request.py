"""`request`: one exchange in full, or the curl command that sends its request again."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from ..errors import UsageError
from ..omnigent.routes import party_name
from ..text import counted, seconds, visible
from .arguments import OUTPUT, STDOUT, cassette_argument, opened, shown
from .common import is_terminal, output_options, print_lines, print_rows
from .export import write_parts

if TYPE_CHECKING:
    from ..cassette.sqlite import Store
    from ..model import Exchange

Row = dict[str, Any]
_LONGEST = 2000
"""Most characters that are shown of a WebSocket message."""
_OPCODES = {0: "more", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_ENDINGS = {
    "done": "the stream ended with [DONE]",
    "eof": "the answer was complete",
    "client_left": "the client closed the connection",
    "upstream_lost": "the connection to the server broke",
    "recorder_stopped": "the recorder was stopped",
    "upstream_unreachable": "the server could not be reached",
    "open": "still open",
    "recorder_killed": "the recorder was killed",
    "unknown": "the recording does not say how",
}


_ADDRESS = re.compile(r"(?:exchange +|x)?([0-9]{1,18})|(?:stream +)([0-9]{1,18})|([0-9]{1,18}):[0-9]{1,18}", re.ASCII)
"""An exchange by its number, by that of its stream, or by one of its events."""


class _Address(NamedTuple):
    """One of both is None."""

    exchange: int | None
    stream: int | None


def _address(_context: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> _Address:
    found = _ADDRESS.fullmatch(" ".join(words))
    if found is None:
        raise click.BadParameter(
            f"{' '.join(words)!r} names no exchange: give its number, see omnirecord ls CASSETTE --exchanges, or for"
            " instance stream 2, or the event 2:5"
        )
    exchange, *streams = (None if digits is None else int(digits) for digits in found.groups())
    return _Address(exchange, next((one for one in streams if one is not None), None))


@click.command()
@cassette_argument
@click.argument("number", metavar="N", nargs=-1, required=True, callback=_address)
@click.option("--curl", is_flag=True, help="Print the bash command that sends the request again.")
@click.option("--base-url", metavar="URL", help="URL of the server for --curl (default: the recorded server).")
@click.option(
    "--body",
    type=click.Choice(["request", "response"]),
    help="Write only the bytes of this body, without content coding.",
)
@click.option("-o", "--output", type=OUTPUT, metavar="FILE", help="File for --body (default: stdout).")
@output_options
def request(
    cassette: Path,
    number: _Address,
    curl: bool,
    base_url: str | None,
    body: str | None,
    output: Path | None,
    as_json: bool,
    session: str | None = None,
) -> None:
    """Show one exchange in full: request, response, header fields, bodies, WebSocket messages, times.

    An exchange is a request with its response, or a WebSocket. N is its number in `omnirecord ls CASSETTE --exchanges`,
    or an address that another command prints: `exchange 5`, `stream 2`, or the event `2:7`. Bodies are decoded: the
    output contains no gzip or other content coding.

    \b
    Examples:
      omnirecord request session.db 5
      omnirecord request session.db 5 --curl
    """
    from ..analysis.listing import exchange_row, zeros

    if curl and body is not None:
        raise UsageError("--curl and --body exclude each other")
    if base_url is not None and not curl:
        raise UsageError("--base-url needs --curl")
    if output is not None and body is None:
        raise UsageError("--output needs --body request or --body response")
    output = None if output is STDOUT else output
    with opened(cassette) as store:
        x = _the_exchange(store, number, session)
        if body is not None:
            _write_body(store, x, body, output, as_json)
        elif curl:
            from ..analysis.curl import curl_of

            base = base_url or store.recording(x.recording).upstream
            if base is None:
                raise UsageError("the recording does not name its upstream: give --base-url URL")
            made = curl_of(x, store.body(x.exchange, "request"), base)
            row = {"curl": made.text, "variables": made.variables, "remarks": list(made.notes)}
            if as_json:
                print_rows([row])
            else:
                click.echo(made.script())
        elif as_json:
            print_rows([exchange_row(store, x)])
        else:
            begun = zeros(store)(x.recording, x.session_id, x.stream) if x.session_id is not None else None
            print_lines(_lines(x, exchange_row(store, x), cassette, begun))


def _the_exchange(store: Store, place: _Address, session: str | None) -> Exchange:
    """The exchange with this address. Raises `UsageError` if there is none, or it belongs to another session."""
    from ..cassette.select import first_of, the_session, the_stream

    the_stream(store, place.stream)
    wanted = None if session is None else the_session(store, session)
    known = [x for x in store.exchanges() if wanted in (None, x.session_id)]
    for x in known:
        if place in ((x.exchange, None), (None, x.stream)):
            return x
    number = f"exchange {place.exchange}" if place.stream is None else f"stream {place.stream}"
    of = "cassette" if wanted is None else f"session {wanted}"
    there = first_of([x.exchange for x in known]) if known else "no exchange"
    raise UsageError(f"the {of} holds no {number}: it has {there}")


def _write_body(store: Store, x: Exchange, side: str, output: Path | None, as_json: bool) -> None:
    """Write the bytes of a body to `output`. To stdout with `as_json`, print an object that has them."""
    from ..cassette.framing import is_text
    from ..wire.json_bytes import bytes_to_json
    from ..wire.strict_json import parsed

    if side == "response" and x.response is None:
        raise UsageError(f"exchange {x.exchange} has no answer")
    is_stream = x.kind == "sse" and side == "response"
    if is_stream:
        parts = store.content(x)
    else:
        content = store.decoded_body(x, "request" if side == "request" else "response")
        if output is None and not as_json and is_terminal(sys.stdout) and not is_text(content):
            raise UsageError("the body is binary: write it to a file with -o FILE")
        parts = iter([content])
    if output is None and as_json:
        content = b"".join(parts)
        raw = bytes_to_json(content)
        data = parsed(raw) if isinstance(raw, str) and raw and not is_stream else None
        print_rows([{"output": None, "bytes": len(content), "body": side, "data": data, "raw": raw}])
    else:
        write_parts(parts, output, {"body": side}, as_json=as_json)


def _lines(x: Exchange, row: Row, cassette: Path, begun_ns: int | None) -> Iterator[str]:
    """The exchange as text. `begun_ns`: start of its session."""
    from ..analysis.curl import missing_body

    session = "no session" if x.session_id is None else f"session {x.session_id}"
    yield _bold(f"exchange {x.exchange} · {visible(session)} · recording {x.recording} · {visible(party_name(x))}")
    yield _times(x, row, begun_ns) if x.has_times else "no times were recorded"
    yield f"ending: {x.ending} ({_ENDINGS[x.ending]})"
    yield ""
    yield _bold(f"{x.request.method} {x.request.target}")
    yield from _fields(row["request"]["headers"])
    yield from _body(row["request"], x, "request", cassette)
    if missing := missing_body(x):
        yield from ["", f"({visible(missing)})"]
    yield ""
    if x.response is None:
        yield _bold("no answer", "red")
    else:
        colour = "red" if x.response.status >= 400 else None
        yield _bold(f"{x.response.status} {x.response.reason}".rstrip(), colour)
        yield from _fields(row["response"]["headers"])
    if x.kind == "http" and x.response is not None:
        yield from _body(row["response"], x, "response", cassette)
    elif x.stream is not None:
        told = ", ".join(f"{count:,} {verdict}" for verdict, count in row["verdicts"].items()) or "no event"
        frames = sum(row["verdicts"].values())
        size = row["response_bytes"]
        yield ""
        yield f"stream {x.stream}: {frames:,} frames ({told}), {size:,} bytes"
        yield visible(f"see them with: omnirecord events {shlex.quote(shown(cassette))} --stream {x.stream}")
    elif x.kind == "websocket":
        yield from ["", *_messages(row, x)]


def _times(x: Exchange, row: Row, begun_ns: int | None) -> str:
    at = row["started_at"].replace("T", " ").removesuffix("Z")
    told = [f"at {at} UTC" + ("" if begun_ns is None else f" ({seconds(x.request.at_ns - begun_ns)} into the session)")]
    if x.response is not None:
        told.append(f"first byte after {seconds(x.response.at_ns - x.request.at_ns)}")
    if row["first_event_s"] is not None:
        told.append(f"first event after {seconds(round(row['first_event_s'] * 1e9))}")
    if x.end_ns is not None:
        told.append(f"ended after {seconds(x.end_ns - x.request.at_ns)}")
    return ", ".join(told)


def _bold(text: str, colour: str | None = None) -> str:
    text = visible(text)
    return click.style(text, bold=True, fg=colour) if is_terminal(sys.stdout) else text


def _fields(headers: list[list[str]]) -> Iterator[str]:
    return (f"{visible(name)}: {visible(value)}" for name, value in headers)


def _body(content: Row, x: Exchange, side: str, cassette: Path) -> Iterator[str]:
    """The lines of a body: JSON indented on a terminal; for binary data, its size and how to get it."""
    raw = content["raw"]
    data = content["data"]
    if raw == "":
        return
    yield ""
    if not isinstance(raw, str):
        size = x.request_bytes if side == "request" else x.response_bytes
        command = f"omnirecord request {shlex.quote(shown(cassette))} {x.exchange} --body {side} -o FILE"
        yield f"({size:,} binary bytes; {visible(command)} writes them)"
        return
    if is_terminal(sys.stdout) and isinstance(data, dict | list):
        raw = json.dumps(data, indent=2, ensure_ascii=False)
    yield from map(visible, raw.splitlines())


def _messages(row: Row, x: Exchange) -> Iterator[str]:
    yield counted(len(row["messages"]), "message") if row["messages"] else "no messages"
    for one in row["messages"]:
        at = (one["at_ns"] - x.request.at_ns) / 1e9
        way = "to server" if one["dir"] == "up" else "to client"
        yield f"{at:>+10.3f} s  {way}  {_OPCODES.get(one['opcode'], one['opcode']):<6}  {_said(one)}"


def _said(one: Row) -> str:
    from ..wire.json_bytes import bytes_from_json

    raw = one["raw"]
    if one["opcode"] == 8:
        data = bytes_from_json(raw)
        return f"{int.from_bytes(data[:2])} {visible(data[2:].decode('utf-8', 'replace'))}".rstrip() if data else ""
    if not isinstance(raw, str):
        return f"({len(bytes_from_json(raw)):,} binary bytes)"
    left = len(raw) - _LONGEST
    return visible(raw[:_LONGEST]) + (f"… ({left:,} more characters, with --json)" if left > 0 else "")
