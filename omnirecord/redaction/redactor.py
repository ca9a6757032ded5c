"""Secrets out, before anything reaches the disk: of headers, request targets, bodies, WebSocket messages.

Every secret becomes a pseudonym, an HMAC under the cassette's key: the same secret is the same pseudonym
wherever it stands, and a pseudonym is its own, so that redacting twice changes nothing. With `content`, what looks
like a secret without such a name is masked as well, in its length. The rules:

- All bytes that are no secret's stay as they are: a body is never parsed and written anew.
- How a body was cut never changes what comes out, and only what may be the start of a secret is held back: a
  name has at most 256 bytes, and of a value over 64 KiB only the first 64 KiB make its pseudonym.
- Where a name alone does not tell, the look of the value decides (`code=404` is no secret); masking too much
  beats masking too little.
- Nothing here raises, whatever the bytes.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from ..errors import UsageError
from ..model import Headers
from .body import BodyRedactor
from .content import BodyMask, JsonMask, Scanner, StreamMask
from .names import (
    is_attribute,
    is_identity,
    is_secret_field,
    is_secret_header,
    is_secret_query,
    is_session_cookie,
    looks_secret,
    map_subprotocols,
    may_be_secret_field,
    split_cookie,
    words,
)
from .plain import TextMask
from .utf16 import AnyWidth, Passing, may_be_utf16

__all__ = [
    "BodyRedactor",
    "JsonMask",
    "Redactor",
    "Scanner",
    "StreamMask",
    "body_without_secrets",
    "content_scanner",
    "credentials",
    "header_without_secrets",
    "without_secrets",
]

_STARS = re.compile(rb"\*+")
_PSEUDONYM = re.compile(r"omnirecord-redacted-[0-9a-f]{12}")
_SCHEME = re.compile(
    r"(?i)(\s*(?:bearer|basic|digest|negotiate|ntlm|token|api-?key|dpop|hoba|aws4-hmac-sha256)\s+)(.+)",
    re.DOTALL,
)
_BASE64 = re.compile(
    rb'("(?:body|data|payload|content|\w{0,64}(?:b64|base64))\\{0,7}"\s{0,64}:\s{0,64}\\{0,7}")'
    rb'([A-Za-z0-9+/]{16,}+={0,2})(\\{0,7}")'
)
_COOKIES = 1000
"""How many cookies of a header are looked at to tell clients apart."""
_MAY_HOLD = re.compile(r"[=<]|[:\"']\s|//|\":")
"""What a header's value has in it, if a secret with a name is in it."""
_USERINFO = re.compile(r"(?<=://)[^/?#\s<>\"]+(?=@)")
_USERINFO_OF_TARGET = re.compile(r"(?<=://)[^/?#\s&]+(?=@)")
_ENCODED = re.compile(r"(?i)%(?:3d|22|40|3a)|[:?]")
"""What an encoded text has in it, if a secret with a name is in it."""
_UNIT = re.compile(rb"%[0-9a-fA-F]{2}|.", re.DOTALL)
_IN_PATH = re.compile(r"(;)([\w.\-%+]{1,256}+)=([^/;]*)")
_IN_QUERY = re.compile(r"(; ?)([\w.\-%+\[\]]{1,256}+)=((?:[^;]|;(?! ?[\w.\-%+\[\]]{1,256}+=))*+)")
_LONGEST_CLOSE = 125
_REMEMBERED, _LONGEST_REMEMBERED = 1024, 256
"""How many headers without secrets are remembered, and the characters of their values."""


def content_scanner(redact: str | None, patterns: Iterable[str] = ()) -> Scanner | None:
    """What `redact` asks for: None, or `content` and with it the prefixes `patterns`. Raises `UsageError`."""
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    if redact is None:
        if patterns:
            raise UsageError("patterns say what is masked in content: they go with redact content")
        return None
    if redact != "content":
        raise UsageError(f"redact {redact!r} is not known: it is 'content', or nothing")
    return Scanner(patterns)


class _Both:
    """First the secrets that have a name, then those in what is left."""

    def __init__(self, named: BodyRedactor, content: BodyMask) -> None:
        self._named, self._content = named, content

    def feed(self, data: bytes) -> bytes:
        return self._content.feed(self._named.feed(data))

    def close(self) -> bytes:
        return self._content.feed(self._named.close()) + self._content.close()


class Redactor:
    """Replaces secrets by pseudonyms that are stable under one key, and masks those that `content` finds."""

    def __init__(self, key: bytes, content: Scanner | None = None) -> None:
        self._key = key
        self._content = content
        self._harmless: set[tuple[str, str]] = set()  # headers without secrets
        self.counts: Counter[str] = Counter()
        """What was replaced, by kind, such as `header authorization`, or `github` in content; never a value."""

    def pseudonym(self, secret: str) -> str:
        if _PSEUDONYM.fullmatch(secret):
            return secret
        digest = hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), "sha256")
        return f"omnirecord-redacted-{digest.hex()[:12]}"

    def headers(self, headers: Headers) -> Headers:
        return tuple(header if header in self._harmless else self._safe(header) for header in headers)

    def _safe(self, header: tuple[str, str]) -> tuple[str, str]:
        """A header without secrets. One without any is remembered: most headers are alike in each request."""
        name, value = header
        safe = (name, self.text(self._header(name, value)))
        if safe == header and len(value) <= _LONGEST_REMEMBERED:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless.add(header)
        return safe

    def target(self, target: str) -> str:
        return self.text(_map_target(target, self._query, self.pseudonym, self._mask))

    def text(self, text: str) -> str:
        """A text without what `content` finds in it."""
        if self._content is None:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        flow = BodyMask(self._content, self.counts)
        return (flow.feed(raw) + flow.close()).decode("utf-8", "surrogatepass")

    def body(self) -> Passing:
        named = BodyRedactor(self._mask)
        return AnyWidth(named if self._content is None else _Both(named, BodyMask(self._content, self.counts)))

    def stream(self) -> StreamMask | None:
        """What masks an event stream; None where that stays as it is."""
        return None if self._content is None else StreamMask(self._content, self.counts)

    def texts(self) -> JsonMask | None:
        """What follows the texts of one direction of a WebSocket, for `message`."""
        return None if self._content is None else JsonMask(self._content, self.counts)

    def message(self, data: bytes, texts: JsonMask | None = None) -> bytes:
        """A whole WebSocket message or body; what it carries in base64 is redacted as well."""
        data = _BASE64.sub(self._base64, data)
        if texts is None:
            if self._content is None:
                return self._named(data)
            body = self.body()
            return body.feed(data) + body.close()
        return texts.masked(self._named(data), b"")

    def _named(self, data: bytes) -> bytes:
        """All of a text or message without the secrets that have a name."""
        named = BodyRedactor(self._mask)
        if not may_be_utf16(data):
            return named.whole(data)
        wide = AnyWidth(named)
        return wide.feed(data) + wide.close()

    def closing(self, data: bytes, texts: JsonMask | None = None) -> bytes:
        """The content of a close frame: a code, and a reason that is a text. It stays as short as a frame has to be."""
        code, reason = data[:2], TextMask(self.counts).feed(data[2:])
        safe = code + self.message(reason, texts)
        return safe if len(safe) <= max(len(data), _LONGEST_CLOSE) else _cut_text(safe, _LONGEST_CLOSE)

    def _mask(self, place: str, name: str, value: str, whole: bool = True) -> str:
        """A secret's value without the secret. What is too long to be looked at whole is one."""
        if not value.strip("*"):
            masked = value  # nothing, or masked before
        elif place == "query":
            masked = self.pseudonym(unquote(value)) if not whole or is_secret_query(name, value) else value
        elif whole and place == "field" and _only_if_it_looks(name) and not looks_secret(value):
            masked = value
        else:
            masked = self._masked(words(name), value)
        self._count(place, name, masked != value)
        return masked

    def _masked(self, name: tuple[str, ...], value: str) -> str:
        """The scheme of a credential and the names of cookies stay."""
        if name[-1:] == ("authorization",) and (scheme := _SCHEME.fullmatch(value)):
            return scheme[1] + self.pseudonym(scheme[2])
        if name[-1:] == ("cookie",):
            return ";".join(self._cookie(part, name[-2:] == ("set", "cookie")) for part in value.split(";"))
        return self.pseudonym(value)

    def _count(self, place: str, name: str, changed: bool) -> None:
        if changed:
            self.counts[f"{place} {name.lower()}"] += 1

    def _query(self, name: str, value: str) -> str:
        return self._mask("query", unquote_plus(name), value)

    def _cookie(self, part: str, attributes: bool) -> str:
        if attributes and is_attribute(part):
            return part
        before, name, value, after = split_cookie(part)
        if not value.strip("=") and len(name) > 16:
            return before + self.pseudonym(name + value) + after  # base64 and its padding, more likely than a name
        return before + name + (self.pseudonym(value) if value else "") + after

    def _header(self, name: str, value: str) -> str:
        if is_secret_header(name):
            return self._mask("header", name, value)
        masked = _USERINFO.sub(lambda m: self.pseudonym(m[0]), value)
        if _MAY_HOLD.search(masked):
            raw = TextMask(self.counts, self._aside).feed(masked.encode("utf-8", "surrogatepass"))
            masked = BodyRedactor(self._mask).whole(raw).decode("utf-8", "surrogatepass")
        if name.lower() == "sec-websocket-protocol":
            masked = map_subprotocols(masked, self.pseudonym)
        self._count("header", name, masked != value)
        return masked

    def _aside(self, value: bytes) -> bytes:
        secret, mark, more = value.partition(b"#")
        if not secret.strip(b"*"):
            return value
        if b"=" not in more:
            secret, mark, more = value, b"", b""
        return self.pseudonym(unquote(secret.decode("utf-8", "surrogatepass"))).encode() + mark + more

    def _base64(self, match: re.Match[bytes]) -> bytes:
        try:
            plain = binascii.a2b_base64(match[2], strict_mode=True)
        except binascii.Error:
            return match[0]
        redacted = self.message(plain)
        return match[0] if redacted == plain else match[1] + binascii.b2a_base64(redacted, newline=False) + match[3]


def without_secrets(target: str) -> str:
    """The target with one constant for every secret, so that requests with other credentials match."""

    def safe(name: str, value: str) -> str:
        return "*" if is_secret_query(unquote_plus(name), value) else value

    return _map_target(target, safe, lambda _: "*", _constant()._mask)


@lru_cache(1)
def _any_content() -> Scanner:
    return Scanner()


class _Constant(Redactor):
    """Replaces every secret, and every pseudonym of one, by the same, so that what is left can be compared."""

    def __init__(self) -> None:
        super().__init__(b"", _any_content())

    def pseudonym(self, secret: str) -> str:  # noqa: ARG002  # whatever it is
        return "*"


@lru_cache(1)
def _constant() -> _Constant:
    return _Constant()


def body_without_secrets(data: bytes) -> bytes:
    """A body, recorded or just come, with one constant for every secret."""
    body = _Constant().body()
    return _STARS.sub(b"*", body.feed(data) + body.close())


def header_without_secrets(name: str, value: str) -> str:
    """The value of a header likewise; of one that is a secret as a whole it only says that it is there."""
    if is_secret_header(name):
        return "present"
    ((_, safe),) = _Constant().headers(((name, value),))
    return _STARS.sub(b"*", safe.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def credentials(headers: Headers) -> tuple[tuple[str, str], ...]:
    """What tells clients apart. The secrets themselves: to be compared in memory, never stored."""
    found = set()
    for name, value in headers:
        lower = name.lower()
        if lower in {"authorization", "x-api-key"} or is_identity(lower):
            found.add((lower, value))
        elif lower == "cookie":
            found |= {
                (lower, part.strip()) for part in value.split(";", _COOKIES)[:_COOKIES] if is_session_cookie(part)
            }
    return tuple(sorted(found))


def _only_if_it_looks(name: str) -> bool:
    return may_be_secret_field(name) and not is_secret_field(name)


def _map_target(
    target: str,
    change: Callable[[str, str], str],
    secret: Callable[[str], str],
    mask: Callable[[str, str, str, bool], str],
) -> str:
    """`change` is given the name and value of each parameter of path and query, `secret` each `user:password`, `mask`
    what `BodyRedactor` finds in a value that is a text in percent encoding: a URL, JSON."""

    def safe_user(user: re.Match[str]) -> str:
        return secret(user[0]) if ":" in user[0] or looks_secret(user[0]) else user[0]

    def safe_parameter(parameter: re.Match[str]) -> str:
        return f"{parameter[1]}{parameter[2]}={change(parameter[2], parameter[3])}"

    def safe_field(field: str) -> str:
        name, equals, value = field.partition("=")
        safe = change(name, value)
        return name + equals + (safe if safe != value else safe_text(_IN_QUERY.sub(safe_parameter, value)))

    def safe_text(value: str) -> str:
        if not _ENCODED.search(value):
            return value
        return _encoded_without_secrets(value, mask)

    path, mark, query = _USERINFO_OF_TARGET.sub(safe_user, target).partition("?")
    return _IN_PATH.sub(safe_parameter, path) + mark + "&".join(map(safe_field, query.split("&")))


def _encoded_without_secrets(value: str, mask: Callable[[str, str, str, bool], str]) -> str:
    """A text in percent encoding; what is no secret keeps its encoding."""
    units = _UNIT.findall(value.encode("utf-8", "surrogateescape"))
    text = b"".join(map(unquote_to_bytes, units))
    secrets: list[tuple[bytes, str]] = []

    def noted(place: str, name: str, secret: str, whole: bool = True) -> str:
        masked = mask(place, name, secret, whole)
        if masked == secret:
            return secret
        secrets.append((secret.encode("utf-8", "surrogateescape"), masked))
        return "\0"

    found = BodyRedactor(noted).whole(text)
    if not secrets or b"\0" in text:
        return value
    first, *rests = found.split(b"\0")
    out, at = [b"".join(units[: len(first)])], len(first)
    for (secret, masked), rest in zip(secrets, rests, strict=True):
        at += len(secret)
        if text[at : at + len(rest)] != rest:  # quotes were put around a number
            return quote(BodyRedactor(mask).whole(text), safe="")
        out += [quote(masked, errors="surrogateescape").encode(), *units[at : at + len(rest)]]
        at += len(rest)
    return b"".join(out).decode("utf-8", "surrogateescape")


def _cut_text(data: bytes, size: int) -> bytes:
    """The first bytes of a text, but no part of a character."""
    while size and data[size : size + 1] and 0x80 <= data[size] < 0xC0:
        size -= 1
    return data[:size]
