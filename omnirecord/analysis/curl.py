"""A recorded request as a curl command for bash. Pure.

The command is safe to print and to paste: recorded text is quoted, control characters are escapes. A masked secret
becomes a shell variable, without which bash refuses to run the command.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import UsageError
from ..model import Exchange
from ..text import visible
from ..wire.headers import end_to_end, header

_MASKED = re.compile("omnirecord-redacted-[0-9a-f]{12}")
_ASTERISKS = b"*" * 8
"""The shortest mask of a secret in content."""
_MAY_BE_MASKED = "the body has asterisks, which may mask secrets: replace them by the secrets"
_NAME_BEFORE = re.compile(r"""([A-Za-z0-9_-]{1,40})["']? ?[:=] ?["']?(?:[A-Za-z]{1,20} )?$""")
_LOOKED_AT = 90
_LONGEST_WORD = 100_000
"""Most bytes of one argument; Linux takes 131,072. A longer body goes through a pipe from bash's `printf`."""
_LATE = 1 << 20
"""Bytes of a body from which curl sends `Expect` first."""
_NOT_COPIED = ("host", "content-length", "accept-encoding", "expect")
_OF_CURL = ("User-Agent", "Accept")
"""Header fields that curl adds by default."""


@dataclass(frozen=True, slots=True)
class Curl:
    """The command. `variables`: shell variables to set first, each with the place of its secret."""

    text: str
    variables: dict[str, str]
    notes: tuple[str, ...] = ()

    def script(self) -> str:
        """The command, after a comment for each variable and note."""
        said = [
            f"set {name} first: the recording masks this secret in {place}" for name, place in self.variables.items()
        ]
        return "".join(f"# {visible(line)}\n" for line in [*said, *self.notes]) + self.text


@dataclass(slots=True)
class _Words:
    """Quotes texts as words of bash, with a variable for each masked secret."""

    names: dict[str, str] = field(default_factory=dict)
    """Pseudonym to variable."""
    places: dict[str, str] = field(default_factory=dict)

    def word(self, text: str, place: str) -> str:
        """`text` as one word. `place`: its place in the request, for the comment."""
        made = ""
        at = 0
        for found in _MASKED.finditer(text):
            made += _quoted(text[at : found.start()]) if found.start() > at else ""
            before = text[max(0, found.start() - _LOOKED_AT) : found.start()]
            made += '"${' + self._name(found[0], before, place) + ':?}"'
            at = found.end()
        return made + _quoted(text[at:]) if text[at:] or not made else made

    def _name(self, pseudonym: str, before: str, place: str) -> str:
        if pseudonym not in self.names:
            said = _NAME_BEFORE.search(before)
            name = "SECRET_" + (re.sub("[^A-Z0-9]+", "_", said[1].upper()).strip("_") if said else "")
            name = name.rstrip("_")
            number = 1
            while (unique := name if number == 1 else f"{name}_{number}") in self.places:
                number += 1
            self.names[pseudonym] = unique
            self.places[unique] = place
        return self.names[pseudonym]


def curl_of(x: Exchange, body: bytes, base_url: str) -> Curl:
    """The command for a request with this body, in its wire form. Raises `UsageError` for a WebSocket or a bad URL."""
    if x.kind == "websocket":
        raise UsageError(f"exchange {x.exchange} is a WebSocket, whose messages curl does not send")
    if not base_url.startswith(("http://", "https://")):
        raise UsageError(f"the base URL {base_url!r} does not begin with http:// or https://")
    words = _Words()
    lines = [f"curl{_method(x, body)} {_url(x, base_url.rstrip('/'), words)}"]
    lines += [f"-H {words.word(text, place)}" for text, place in _headers(x, body)]
    lines += ["--compressed"] if header(x.request.headers, "accept-encoding") is not None else []
    lines += ["--no-buffer"] if x.kind == "sse" else []
    source, data = _body(x, body, words)
    notes = (_MAY_BE_MASKED,) if _ASTERISKS in body else ()
    if missing := missing_body(x):
        notes = (f"{missing}: add it with --data-raw",)
    return Curl(source + " \\\n  ".join(lines + data), words.places, notes)


def missing_body(x: Exchange) -> str | None:
    """A sentence for a request whose body was not recorded, or not to its end; None otherwise."""
    length = header(x.request.headers, "content-length")
    if x.request_is_cut:
        announced = "" if length is None else f" of {length} by Content-Length"
        return f"the body is cut: {x.request_bytes} bytes{announced} were sent before the end of the exchange"
    if x.request_bytes or length is None or not length.strip(" 0"):
        return None
    return f"the body, of {length} bytes, is not in the recording"


def _method(x: Exchange, body: bytes) -> str:
    method = x.request.method
    if method == "HEAD" and not body:
        return " --head"
    return "" if method == ("POST" if _has_body(x, body) else "GET") else f" -X {_quoted(method)}"


def _url(x: Exchange, base_url: str, words: _Words) -> str:
    target = x.request.target
    if target == "*":
        return f"--request-target '*' {_quoted(base_url)}"
    options = "--globoff " if re.search(r"[][{}]", target) else ""
    options += "--path-as-is " if "/." in target.partition("?")[0] else ""
    return options + words.word(base_url + target, "the URL")


def _headers(x: Exchange, body: bytes) -> Iterator[tuple[str, str]]:
    """The header options, each with its place. `Name:` removes a default field of curl."""
    sent = end_to_end(x.request.headers, but=_NOT_COPIED)
    for name, value in sent:
        yield (f"{name}: {value}" if value.strip() else f"{name};"), f"the header field {name}"
    of_curl = [*_OF_CURL, *(["Content-Type"] * _has_body(x, body)), *(["Expect"] * (len(body) > _LATE))]
    for name in of_curl:
        if header(sent, name.lower()) is None:
            yield f"{name}:", name


def _body(x: Exchange, body: bytes, words: _Words) -> tuple[str, list[str]]:
    """The command before curl's pipe, and the options for the body."""
    if not body:
        return "", ["--data-raw ''"] if _has_body(x, body) else []
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        return f"base64 -d <<'END' |\n{base64.encodebytes(body).decode()}END\n", ["--data-binary @-"]
    if len(body) > _LONGEST_WORD:
        return f"printf %s {words.word(text, 'the body')} |\n", ["--data-binary @-"]
    return "", [f"--data-raw {words.word(text, 'the body')}"]


def _has_body(x: Exchange, body: bytes) -> bool:
    """Whether the request has a body, possibly an empty one."""
    has_length = header(x.request.headers, "content-length") is not None
    return bool(body) or (has_length and x.request.method not in ("GET", "HEAD"))


def _quoted(text: str) -> str:
    """A text quoted for bash; control characters as escapes."""
    if re.fullmatch(r"[A-Za-z0-9@%+=:,./_-]+", text):
        return text
    if all(c.isprintable() or c in "\n\t" for c in text):
        return "'" + text.replace("'", "'\\''") + "'"
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(c: str) -> str:
    if c in "\\'":
        return f"\\{c}"
    if c == "\n":
        return "\\n"
    return c if c.isprintable() else "".join(f"\\x{byte:02x}" for byte in c.encode("utf-8", "surrogatepass"))
