"""Cookies and WebSocket subprotocols, parsed in linear time."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["is_attribute", "is_session_cookie", "map_subprotocols", "split_cookie"]

_NAME_LIMIT = 256  # as for every name of a secret
_NO_SESSION = ("csrf", "xsrf", "state")
_SESSION = ("sess", "sid", "jwt", "token", "auth")
_ATTRIBUTES = frozenset({"path", "domain", "expires", "max-age", "samesite", "priority"})
_FLAGS = frozenset({"httponly", "secure", "partitioned"})

_OFFER = re.compile(r"[^\s,]+")
_WORDS = re.compile(r"[\w.-]+")
_CREDENTIAL = re.compile(r"(?i)(?:bearer|api-?key|token|secret|auth(?:orization)?)\.")
_KUBERNETES = "authorization.k8s.io."


def split_cookie(part: str) -> tuple[str, str, str, str]:
    """Returns the blanks before a cookie, its name with the `=`, its value, and the blanks behind it."""
    rest = part.lstrip()
    blanks = part[: len(part) - len(rest)]
    end = rest.find("=", 0, _NAME_LIMIT + 1) + 1
    name = rest[:end] if end > 1 else ""
    value = rest[len(name) :].rstrip()
    return blanks, name, value, rest[len(name) + len(value) :]


def is_attribute(part: str) -> bool:
    """Returns whether a part of a `Set-Cookie` is an attribute of the cookie, such as `Path=/`."""
    name, equals, value = part.partition("=")
    if not equals:
        return name.strip().lower() in _FLAGS
    return name.lstrip().lower() in _ATTRIBUTES and "=" not in value


def is_session_cookie(part: str) -> bool:
    """Returns whether a cookie identifies a session, judged by its name; a CSRF token or a `state` does not."""
    folded = part.casefold()
    name, equals, _ = folded.partition("=")
    return bool(equals) and any(one in name for one in _SESSION) and not any(one in folded for one in _NO_SESSION)


def map_subprotocols(value: str, change: Callable[[str], str]) -> str:
    """Returns the value of a `Sec-WebSocket-Protocol` with every credential replaced by `change(credential)`."""

    def changed(offer: re.Match[str]) -> str:
        at = _credential(offer[0])
        return offer[0] if at is None else offer[0][:at] + change(offer[0][at:])

    return _OFFER.sub(changed, value)


def _credential(offer: str) -> int | None:
    """Returns the start of the credential in a subprotocol such as `base64url.bearer.TOKEN`; None without one."""
    for words in _WORDS.finditer(offer):
        first = None
        for label in _CREDENTIAL.finditer(offer, words.start(), words.end()):
            if label.end() == len(offer):
                break
            if label.start() > words.start() and offer[label.start() - 1] in ".-":
                first = label.end()  # a whole word beats the end of another one, such as of `mytoken.`
                break
            first = label.end() if first is None else first
        if first is not None:
            behind = first + len(_KUBERNETES)
            return behind if behind < len(offer) and offer[first:behind].lower() == _KUBERNETES else first
    return None
