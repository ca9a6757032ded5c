"""Removes secrets from headers, request targets, bodies and WebSocket messages, before they reach the disk.

Every secret becomes a pseudonym, an HMAC with the cassette's key. The same secret has the same pseudonym in every
place, and a pseudonym stays as it is, so that redacting twice changes nothing. `content` also masks values that look
like a secret, with their length kept. The rules:

- All other bytes stay as they are: a body is never parsed and rewritten.
- The result does not depend on how a body was split. Only a possible start of a secret is held back. A name has at most
  256 bytes, and a pseudonym depends on the first 64 KiB of a value.
- If the name alone does not decide, the look of the value does (`code=404` is no secret). Masking too much is better
  than masking too little.
- No input raises an error.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from ..errors import UsageError
from ..model import Headers
from ..wire.content_coding import are_known, codings_of
from . import names
from .coded import AnyWidth, BodyFilter, CodedBody, Untouched, is_data, may_be_utf16
from .content import BodyMask, JsonMask, Scanner, StreamMask, fields
from .content.strings import in_place
from .named import BodyRedactor

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
    "prepare_expressions",
    "without_secrets",
]

_STARS = re.compile(rb"\*+")
_PSEUDONYM = re.compile(r"omnirecord-redacted-[0-9a-f]{12}")
_SCHEME = re.compile(
    r"(?i)(\s*(?:bearer|basic|digest|negotiate|ntlm|token|api-?key|dpop|hoba|aws4-hmac-sha256)\s+)(.+)", re.DOTALL
)
_BASE64 = re.compile(
    rb'("(?:body|data|payload|content|\w{0,64}(?:b64|base64))\\{0,7}"\s{0,64}:\s{0,64}\\{0,7}")'
    rb'([A-Za-z0-9+/]{16,}+={0,2})(\\{0,7}")'
)
_COOKIES = 1000
"""Most cookies of a header that distinguish clients."""
_MAY_HOLD = re.compile(r"[=<]|[:\"']\s|//|\":")
"""Matches in the value of a header with a named secret."""
_USERINFO_OF_TARGET = re.compile(r"(?<=://)[^/?#\s&]+(?=@)")
_ENCODED = re.compile(r"(?i)%(?:3d|22|40|3a)|[:?]")
"""Matches in an encoded text with a named secret."""
_ENCODED_IN_PATH = re.compile(r"(?i)%(?:3d|22|40)")
"""Matches in a path with the text of a URL or of JSON that may have a named secret."""
_UNIT = re.compile(rb"%[0-9a-fA-F]{2}|.", re.DOTALL)
_IN_PATH = re.compile(r"(;)([\w.\-%+]{1,256}+)=([^/;]*)")
_IN_QUERY = re.compile(r"(; ?)([\w.\-%+\[\]]{1,256}+)=([^;]*+(?>(?:;(?! ?[\w.\-%+\[\]]{1,256}+=)[^;]*+)*))")
_LONGEST_CLOSE = 125
_REMEMBERED = 1024
"""Most headers without secrets in the cache."""
_LONGEST_REMEMBERED = 256
"""Most characters of a value in the cache."""


def content_scanner(redact: str | None, patterns: Iterable[str] = ()) -> Scanner | None:
    """Return the scanner for `content`, with the prefixes `patterns`, or None for None. Raises `UsageError`."""
    patterns = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    if redact is None:
        if patterns:
            raise UsageError("patterns are prefixes to mask in content: they need redact content (--redact content)")
        return None
    if redact != "content":
        raise UsageError(f"redact {redact!r} is unknown: it is 'content', or nothing")
    return Scanner(patterns).prepare()


class _Both:
    """Removes named secrets first, then secrets in the remaining content."""

    def __init__(self, named: BodyRedactor, content: BodyMask) -> None:
        self._named = named
        self._content = content

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
        """Number of replaced secrets by kind, such as `header authorization`, or `github` in content; never a value."""

    def pseudonym(self, secret: str) -> str:
        """Return the pseudonym of a secret; a pseudonym is returned as it is."""
        if _PSEUDONYM.fullmatch(secret):
            return secret
        digest = hmac.digest(self._key, secret.encode("utf-8", "surrogatepass"), "sha256")
        return f"omnirecord-redacted-{digest.hex()[:12]}"

    def headers(self, headers: Headers) -> Headers:
        return tuple(header if header in self._harmless else self._safe(header) for header in headers)

    def _safe(self, header: tuple[str, str]) -> tuple[str, str]:
        """Return a header without secrets. Headers without any are cached, since most requests repeat them."""
        name, value = header
        safe = (name, self.text(self._header(name, value)))
        if safe == header and len(value) <= _LONGEST_REMEMBERED:
            if len(self._harmless) >= _REMEMBERED:
                self._harmless.clear()
            self._harmless.add(header)
        return safe

    def target(self, target: str) -> str:
        return self.text(self.named_target(target))

    def named_target(self, target: str) -> str:
        """Return a target without its named secrets: parameters in path and query, users, and those in percent-encoded
        parts such as a URL or JSON."""
        path, mark, query = _USERINFO_OF_TARGET.sub(self._user, target).partition("?")
        path = _IN_PATH.sub(self._parameter, path)
        if _ENCODED_IN_PATH.search(path):
            path = "/".join(_encoded_without_secrets(part, self._mask) for part in path.split("/"))
        return path + mark + "&".join(map(self._query_field, query.split("&")))

    def text(self, text: str) -> str:
        """Return a text without the secrets that `content` finds."""
        if self._content is None:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        flow = BodyMask(self._content, self.counts)
        return (flow.feed(raw) + flow.close()).decode("utf-8", "surrogatepass")

    def labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        masked = {one: self._mask("field", one, labels[one]) for one in filter(names.may_be_secret_field, labels)}
        return {name: self.text(masked.get(name, value)) for name, value in labels.items()}

    def body(self, content_type: str | None = None, content_encoding: str | None = None) -> BodyFilter:
        """Return a redactor for one body with these headers, which is passed in pieces."""
        if not is_data(content_type):
            return Untouched()
        codings = codings_of(content_encoding)
        if codings and are_known(codings):
            return CodedBody(codings, self.whole_body)
        named = BodyRedactor(self._mask)
        return AnyWidth(named if self._content is None else _Both(named, BodyMask(self._content, self.counts)))

    def whole_body(self, data: bytes) -> bytes:
        body = self.body()
        return body.feed(data) + body.close()

    def stream(self) -> StreamMask | None:
        """Return a mask for one event stream; None without `content`."""
        return None if self._content is None else StreamMask(self._content, self.counts)

    def texts(self) -> JsonMask | None:
        """Return a mask for the messages of one direction of a WebSocket, for `message`; None without `content`."""
        return None if self._content is None else JsonMask(self._content, self.counts)

    def message(self, data: bytes, texts: JsonMask | None = None) -> bytes:
        """Return a whole WebSocket message or body without secrets, also in base64 values."""
        data = _BASE64.sub(self._base64, data)
        if texts is None and self._content is not None:
            return self.whole_body(data)
        named = BodyRedactor(self._mask)
        if may_be_utf16(data):
            wide = AnyWidth(named)
            safe = wide.feed(data) + wide.close()
        else:
            safe = named.whole(data)
        return safe if texts is None else texts.masked(safe, b"")

    def closing(self, data: bytes, texts: JsonMask | None = None) -> bytes:
        """Return the content of a close frame, code and reason, without secrets and within its greatest length."""
        code = data[:2]
        reason = BodyRedactor(self._stars).whole(data[2:])
        spans, _ = fields.scan(fields.NOTHING, reason)
        self.counts.update(span.kind for span in spans if span.begins)
        reason = in_place(reason, spans)
        safe = code + self.message(reason, texts)
        size = _LONGEST_CLOSE
        if len(safe) <= max(len(data), size):
            return safe
        while size and 0x80 <= safe[size] < 0xC0:  # in the middle of a character
            size -= 1
        return safe[:size]

    def _mask(self, place: str, name: str, value: str, whole: bool = True) -> str:
        """Return a value, replaced if it is a secret. A value that is too long to check counts as a secret."""
        if not value.strip("*"):
            masked = value  # empty, or masked before
        elif place == "query":
            masked = self.pseudonym(unquote(value)) if not whole or names.is_secret_query(name, value) else value
        elif whole and place == "field" and _only_if_it_looks(name) and not names.field_looks_secret(name, value):
            masked = value
        else:
            masked = self._masked(names.words(name), value)
        if masked != value:
            self.counts[f"{place} {name.lower()}"] += 1
        return masked

    def _stars(self, place: str, name: str, value: str, whole: bool) -> str:
        """Return a value, masked with its length kept if it is a secret."""
        is_secret = self._mask(place, name, value, whole) != value
        return "*" * len(value.encode("utf-8", "surrogateescape")) if is_secret else value

    def _masked(self, name: tuple[str, ...], value: str) -> str:
        """Return a secret's replacement. The scheme of a credential and the names of cookies stay."""
        if name[-1:] == ("authorization",) and (scheme := _SCHEME.fullmatch(value)):
            return scheme[1] + self.pseudonym(scheme[2])
        if name[-1:] == ("cookie",):
            return ";".join(self._cookie(part, name[-2:] == ("set", "cookie")) for part in value.split(";"))
        return self.pseudonym(value)

    def _user(self, user: re.Match[str]) -> str:
        return self.pseudonym(user[0]) if ":" in user[0] or names.looks_secret(user[0]) else user[0]

    def _parameter(self, parameter: re.Match[str]) -> str:
        return f"{parameter[1]}{parameter[2]}={self._query(parameter[2], parameter[3])}"

    def _query_field(self, field: str) -> str:
        name, equals, value = field.partition("=")
        safe = self._query(name, value)
        if safe == value and _ENCODED.search(safe := _IN_QUERY.sub(self._parameter, value)):
            safe = _encoded_without_secrets(safe, self._mask)
        return name + equals + safe

    def _query(self, name: str, value: str) -> str:
        return self._mask("query", unquote_plus(name), value)

    def _cookie(self, part: str, attributes: bool) -> str:
        if attributes and names.is_attribute(part):
            return part
        before, name, value, after = names.split_cookie(part)
        if not value.strip("=") and len(name) > 16:
            return before + self.pseudonym(name + value) + after  # more likely base64 with padding than a name
        return before + name + (self.pseudonym(value) if value else "") + after

    def _header(self, name: str, value: str) -> str:
        if names.is_secret_header(name):
            return self._mask("header", name, value)
        masked = value
        if _MAY_HOLD.search(value):
            raw = value.encode("utf-8", "surrogatepass")
            masked = BodyRedactor(self._mask).whole(raw).decode("utf-8", "surrogatepass")
        if name.lower() == "sec-websocket-protocol":
            masked = names.map_subprotocols(masked, self.pseudonym)
        if masked != value:
            self.counts[f"header {name.lower()}"] += 1
        return masked

    def _base64(self, match: re.Match[bytes]) -> bytes:
        try:
            plain = binascii.a2b_base64(match[2], strict_mode=True)
        except binascii.Error:
            return match[0]
        redacted = self.message(plain)
        return match[0] if redacted == plain else match[1] + binascii.b2a_base64(redacted, newline=False) + match[3]


def without_secrets(target: str) -> str:
    """Return the target with `*` for every secret, so that requests with other credentials match."""
    return _constant().named_target(target)


_any_content = cache(Scanner)


def prepare_expressions() -> None:
    """Compile the expressions for secrets now: the first body would wait for them for 10 ms."""
    _any_content().prepare(only_whole=True)


class _Constant(Redactor):
    """Replaces every secret and every pseudonym by the same text, for comparisons."""

    def __init__(self) -> None:
        super().__init__(b"", _any_content())

    def pseudonym(self, secret: str) -> str:  # noqa: ARG002  # the same for all
        return "*"

    def _query(self, name: str, value: str) -> str:
        return "*" if names.is_secret_query(unquote_plus(name), value) else value


_constant = cache(_Constant)


def body_without_secrets(data: bytes) -> bytes:
    """Return a body, recorded or received, with `*` for every secret."""
    return _STARS.sub(b"*", _Constant().whole_body(data))


def header_without_secrets(name: str, value: str) -> str:
    """Return the value of a header with `*` for every secret; `present` if the whole header is a secret."""
    if names.is_secret_header(name):
        return "present"
    ((_, safe),) = _Constant().headers(((name, value),))
    return _STARS.sub(b"*", safe.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def credentials(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Return the credentials that distinguish clients. They are secrets: compare them in memory, never store them."""
    found = set()
    for name, value in headers:
        lower = name.lower()
        if lower in {"authorization", "x-api-key"} or names.is_identity(lower):
            found.add((lower, value))
        elif lower == "cookie":
            parts = value.split(";", _COOKIES)[:_COOKIES]
            found |= {(lower, part.strip()) for part in parts if names.is_session_cookie(part)}
    return tuple(sorted(found))


def _only_if_it_looks(name: str) -> bool:
    return names.may_be_secret_field(name) and not names.is_secret_field(name)


def _encoded_without_secrets(value: str, mask: Callable[[str, str, str, bool], str]) -> str:
    """Return a percent-encoded text without secrets; other parts keep their encoding."""
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
    out = [b"".join(units[: len(first)])]
    at = len(first)
    for (secret, masked), rest in zip(secrets, rests, strict=True):
        at += len(secret)
        if text[at : at + len(rest)] != rest:  # quotes were put around a number
            return quote(BodyRedactor(mask).whole(text), safe="")
        out += [quote(masked, errors="surrogateescape").encode(), *units[at : at + len(rest)]]
        at += len(rest)
    return b"".join(out).decode("utf-8", "surrogateescape")
