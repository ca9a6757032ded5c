"""Which names are a secret's: of headers, query values and fields.

A name is taken as words (`clientSecret`, `X-Client-Secret` and `CLIENT_SECRET` end in the same two), and the
last of them decide: `refresh_token` is a secret, `token_count`, `secret_name` and `max_tokens` are none.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SECRET = re.compile(
    r".*(?:token|secret|password|passwd|passphrase|passcode|apikey|credentials?|cookies?|jwt)"
    r"|authorization|bearer|csrf|xsrf|pwd|pin|otp|secrets|passwords|apikeys"
)
_SECRET_PAIR = re.compile(
    r"(?:api|access|private|secret|signing|encryption|auth|master|account|service|ssh|hmac|webhook)_keys?"
    r"|(?:access|refresh|auth|api|bearer|id)_tokens|code_verifier|client_assertion"
    r"|(?:device|user|auth|authorization|verification|recovery|backup)_codes?"
)
_NO_SECRET_PAIR = re.compile(r"(?:page|continuation|progress|next|cursor|sync|stop|[be]os|pad|mask|unk|sep|cls)_token")
_ADDED = {
    "value",
    "raw",
    "plain",
    "plaintext",
    "hash",
    "enc",
    "encrypted",
    "confirm",
    "confirmation",
    "again",
}
"""Last words that leave a secret one."""
_TELLS_ABOUT = {"count", "type", "limit", "remaining", "expires", "expiry", "name", "url", "headers"}
"""Last words of a header that is about a secret, and none."""
_NUMERIC = re.compile(r".*(?:password|passwd|pwd|passcode|pin|otp|secret)")
_IDENTITY = re.compile(
    r"x-forwarded-(?:email|user|preferred-username|groups|client-cert)|x-auth-request-.+|cf-access-.+|x-amzn-oidc-.+"
    r"|(?:x-)?remote-(?:user|email|name|groups)|x-goog-(?:authenticated-user|iap)-.+|x-ms-client-principal.*"
    r"|x-authentik-.+|x-pomerium-.+|x-webauth-.+|x-authenticated-.+|tailscale-user-.+|(?:x-)?auth(?:entication)?"
)
_MAYBE = {"t", "code", "state", "ticket", "invite", "key", "auth", "sig", "signature"}
"""Names in a query that are a secret's where the value looks like one."""
_LOOKS_SECRET = re.compile(r"(?=.*\d)[\w.~+/%-][\w.~+/%=-]{15,}|[\w+/%-][\w+/%=-]{21,}", re.ASCII)


@lru_cache(4096)
def words(name: str) -> tuple[str, ...]:
    found = [word.lower() for word in _WORD.findall(name)]
    while found and found[-1] in _ADDED:
        found.pop()
    return tuple(found)


@lru_cache(4096)
def is_secret(name: str) -> bool:
    found = words(name)
    pair = "_".join(found[-2:])
    if not found or _NO_SECRET_PAIR.fullmatch(pair):
        return False
    return bool(_SECRET.fullmatch(found[-1]) or _SECRET_PAIR.fullmatch(pair))


@lru_cache(4096)
def is_secret_field(name: str) -> bool:
    """A header's name counts as well: tunnelled requests carry their headers as JSON."""
    return is_secret(name) or ("-" in name and is_secret_header(name))


@lru_cache(4096)
def is_secret_header(name: str) -> bool:
    if is_secret(name) or is_identity(name):
        return True
    found = words(name)
    if not found or found[0] == "access" or found[-1] in _TELLS_ABOUT:
        return False
    return any(_SECRET.fullmatch(word) for word in found)


def is_identity(name: str) -> bool:
    """Of a header that a front proxy sets for the server to believe, or that names the user."""
    return _IDENTITY.fullmatch(name.lower()) is not None


def is_numeric(name: str) -> bool:
    """Whether a number can be this secret; under `token` it is a count."""
    return any(_NUMERIC.fullmatch(word) for word in words(name)[-1:])


def may_be_secret(name: str) -> bool:
    return is_secret(name) or not _MAYBE.isdisjoint(words(name)[-1:])


def is_secret_query(name: str, value: str) -> bool:
    if not value or value.startswith("=="):  # a comparison in a script
        return False
    if is_secret(name):
        return True
    return may_be_secret(name) and _LOOKS_SECRET.fullmatch(unquote(value)) is not None
