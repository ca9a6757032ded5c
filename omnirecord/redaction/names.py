"""Decides by its name whether a header, a query value, a cookie or a field is a secret.

A name is split into words: `clientSecret`, `X-Client-Secret` and `CLIENT_SECRET` end in the same two. The last words
decide: `refresh_token` is a secret; `token_count`, `secret_name` and `max_tokens` are not.

To redact one more header, add its last word to `HEADERS`, its last words to `PHRASES`, or its pattern to `IDENTITY`.
The page `docs/secret-names.md` shows the tables: run `python -m tests.support.secret_names` after a change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar
from urllib.parse import unquote

ENDINGS = (
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "apikey",
    "credential",
    "credentials",
    "cookie",
    "cookies",
    "jwt",
    "sessid",
)
"""Ends of a last word that make the name a secret's: `token`, `csrftoken`."""
WORDS = (
    "authorization",
    "bearer",
    "csrf",
    "xsrf",
    "dpop",
    "pwd",
    "pin",
    "otp",
    "totp",
    "secrets",
    "passwords",
    "apikeys",
    "creds",
    "jsessionid",
    "aspsessionid",
    "keypass",
    "storepass",
    "secrete",
    "secreto",
    "passwort",
    "kennwort",
    "contrasena",
    "contraseña",
    "requirepass",
    "masterauth",
    "psk",
    "pw",
    "dsn",
    "cvv",
    "cvc",
)
"""Last words that make the name a secret's."""
KEYS_OF = (
    "access",
    "account",
    "activation",
    "admin",
    "aes",
    "api",
    "app",
    "application",
    "auth",
    "ca",
    "cipher",
    "client",
    "consumer",
    "crypto",
    "database",
    "db",
    "decryption",
    "deploy",
    "deployment",
    "encryption",
    "gpg",
    "hmac",
    "ingest",
    "ingestion",
    "insert",
    "integration",
    "jwt",
    "kms",
    "license",
    "master",
    "pgp",
    "preshared",
    "priv",
    "private",
    "product",
    "registration",
    "rsa",
    "secret",
    "server",
    "service",
    "shared",
    "signature",
    "signing",
    "ssh",
    "ssl",
    "storage",
    "subscription",
    "symmetric",
    "tls",
    "unseal",
    "webhook",
    "wrapping",
)
"""Words before `key` or `keys` that make the name a secret's: `app_key`, `AccountKey`, `privkey`."""
PASSES_OF = (
    "admin",
    "become",
    "bind",
    "cert",
    "database",
    "db",
    "email",
    "ftp",
    "http",
    "imap",
    "key",
    "ldap",
    "login",
    "mail",
    "mysql",
    "pg",
    "postgres",
    "proxy",
    "redis",
    "root",
    "smtp",
    "ssh",
    "sudo",
    "user",
)
"""Words before `pass` that make the name a secret's: `db_pass`. The name `pass` alone is a secret, too."""
PHRASES = (
    "access tokens",
    "api tokens",
    "auth tokens",
    "bearer tokens",
    "id tokens",
    "refresh tokens",
    "auth code",
    "authorization code",
    "backup code",
    "backup codes",
    "device code",
    "mfa code",
    "recovery code",
    "recovery codes",
    "user code",
    "verification code",
    "two factor",
    "code verifier",
    "client assertion",
    "basic auth",
    "http auth",
    "proxy auth",
    "client key data",
    "conn str",
    "conn string",
    "connection string",
    "connection strings",
    "connectionstring",
    "secret string",
    "secret binary",
    "honeycomb team",
    "art api",
    "fa code",
    "otp code",
    "saml response",
    "saml assertion",
    "seed phrase",
    "recovery phrase",
    "mnemonic phrase",
    "secret phrase",
    "azure pat",
    "devops pat",
    "digitalocean pat",
    "github pat",
    "gitlab pat",
    "grained pat",
)
"""Last words that together make the name a secret's."""
HEADERS = ("key", "keys", "pass", "session", "sessions", "auth", "wsse")
"""Last words that make a header a secret: `Key`, `X-Any-Key`, `X-User-Pass`. A header is also a secret if `session`
or a word of the tables above is anywhere in its name: `Mcp-Session-Id`, `X-Token-Data`."""
QUERIES = ("sessionid", "hmac", "mnemonic", "assertion", "nonce", "seed")
"""Last words of a query name whose value is a secret, unless it is a number: `seed=42` stays. The name `sid` alone is a
secret's, too. In a body, these names are frequent for other values."""
LOOKED_AT = (
    "t",
    "code",
    "state",
    "ticket",
    "invite",
    "key",
    "auth",
    "sig",
    "signature",
    "session key",
)
"""Last words of a query name whose value is a secret if it looks like one."""
FIELDS_LOOKED_AT = ("auth", "session key", "tokens", "kubeconfig", "mnemonic")
"""Last words of a field in a body whose value is a secret if it looks like one (`field_looks_secret`)."""
IGNORED = (
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
    "base",
    "b",
    "hex",
    "pem",
)
"""Last words that are ignored: `password_confirmation`, `secret_key_base`, `token_b64`."""
HARMLESS = {
    "tokens of text": (
        "page token",
        "continuation token",
        "progress token",
        "next token",
        "cursor token",
        "sync token",
        "stop token",
        "bos token",
        "eos token",
        "pad token",
        "mask token",
        "unk token",
        "sep token",
        "cls token",
    ),
    "switches": ("allow credentials", "include credentials", "with credentials"),
    "keys that name a place": (
        "cache key",
        "foreign key",
        "partition key",
        "primary key",
        "routing key",
        "sort key",
        "surrogate key",
    ),
    "public keys": ("public key", "pub key", "publishable key"),
    "keys of one request": ("idempotency key", "web socket key", "websocket key"),
    "ids of Omnigent": ("omnigent session id",),
}
"""Last words, by reason, that make a name harmless whatever the other tables say."""
TELLS_ABOUT = (
    "affinity",
    "age",
    "count",
    "expires",
    "expiry",
    "headers",
    "length",
    "lifetime",
    "limit",
    "mode",
    "name",
    "remaining",
    "scoped",
    "size",
    "status",
    "timeout",
    "titles",
    "ttl",
    "type",
    "url",
    "version",
)
"""Last words of a header that describes a secret and is none. `max_tokens` needs no entry: `tokens` is in no table."""
NUMERIC = ("password", "passwd", "pwd", "cvv", "cvc", "passcode", "pin", "otp", "secret", "pass")
"""Ends of a last word whose value is a secret even if it is a number. A number named `token` is a count."""
IDENTITY = re.compile(
    r"x-forwarded-(?:email|user|preferred-username|groups|client-cert)|x-auth-request-.+|cf-access-.+|x-amzn-oidc-.+"
    r"|(?:x-)?remote-(?:user|email|name|groups)|x-goog-(?:authenticated-user|iap)-.+|x-ms-client-principal.*"
    r"|x-authentik-.+|x-pomerium-.+|x-webauth-.+|x-authenticated-.+|tailscale-user-.+|(?:x-)?auth(?:entication)?"
    r"|openai-(?:organization|project)|anthropic-organization-id|chatgpt-account-id|helicone-auth"
)
"""Headers that a front proxy sets and the server trusts, or that name the user or an account at a model provider."""

LONGEST_NAME = 256
"""Most characters of a name that count, from its end."""
_WORD = re.compile(r"DPoP|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]+")
_LOOKS_SECRET = re.compile(r"(?=.*\d)[\w.~+/%-][\w.~+/%=-]{15,}|[\w+/%-][\w+/%=-]{21,}", re.ASCII)
_LOOKS_RANDOM = re.compile(r"(?=.*\d)(?=.*[a-z])(?=.*[A-Z])[\w.~+/=-]{20,}|[0-9a-f]{32,}", re.ASCII)
_PHRASE = re.compile(r"[^\W\d_]{2,16}(?: [^\W\d_]{2,16}){11,23}")
"""Matches the words of a wallet's key."""
_LONGEST_PHRASE = 3
_KEYS = {f"{of}{gap}{key}" for of in KEYS_OF for gap in (" ", "") for key in ("key", "keys")}
_PASSES = {f"{of}{gap}pass" for of in PASSES_OF for gap in (" ", "")}
_SECRET = frozenset({*WORDS, *PHRASES, *_KEYS, *_PASSES})
_LAST_OF_PHRASES = frozenset(words for phrase in _SECRET for words in [(phrase.rpartition(" ")[2],)] if " " in phrase)
_HARMLESS = frozenset(phrase for phrases in HARMLESS.values() for phrase in phrases)
_ANYWHERE = frozenset({*WORDS, "session", "sessions"})
_NO_SESSION = ("csrf", "xsrf", "state")
_SESSION = ("sess", "sid", "jwt", "token", "auth")
_ATTRIBUTES = frozenset({"path", "domain", "expires", "max-age", "samesite", "priority"})
_FLAGS = frozenset({"httponly", "secure", "partitioned"})

_OFFER = re.compile(r"[^\s,]+")
_DOTTED = re.compile(r"[\w.-]+")
_CREDENTIAL = re.compile(r"(?i)(?:bearer|api-?key|token|secret|auth(?:orization)?)\.")
_KUBERNETES = "authorization.k8s.io."
_Answer = TypeVar("_Answer")


def _of_a_name(answer: Callable[[str], _Answer]) -> Callable[[str], _Answer]:
    """Cache the answers of a function on a name; of a long name, only the end counts."""
    remembered = lru_cache(4096)(answer)
    return lambda name: remembered(name[-LONGEST_NAME:])


@_of_a_name
def words(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without ignored last words."""
    found = [word.lower() for word in _WORD.findall(name.lower() if name.isupper() else name)]
    while found and found[-1] in IGNORED:
        found.pop()
    return tuple(found)


def _ends_in(found: tuple[str, ...], phrases: frozenset[str]) -> bool:
    return any(" ".join(found[-n:]) in phrases for n in range(1, min(len(found), _LONGEST_PHRASE) + 1))


@_of_a_name
def is_secret(name: str) -> bool:
    """Whether the value of this name is a secret in any place."""
    found = words(name)
    if not found or _ends_in(found, _HARMLESS):
        return False
    return found[-1].endswith(ENDINGS) or found == ("pass",) or _ends_in(found, _SECRET)


@_of_a_name
def is_secret_field(name: str) -> bool:
    """Whether a field of this name is a secret. Header names count too: tunnelled requests have headers as JSON."""
    return is_secret(name) or ("-" in name and is_secret_header(name))


@_of_a_name
def is_secret_header(name: str) -> bool:
    """Whether a header of this name is a secret."""
    if is_secret(name) or is_identity(name):
        return True
    found = words(name)
    if not found or found[0] == "access" or found[-1] in TELLS_ABOUT or _ends_in(found, _HARMLESS):
        return False
    return found[-1] in HEADERS or any(word.endswith(ENDINGS) or word in _ANYWHERE for word in found)


def is_identity(name: str) -> bool:
    """Whether a front proxy sets this header and the server trusts it, or it names the user."""
    return IDENTITY.fullmatch(name.lower()) is not None


def is_numeric(name: str) -> bool:
    """Whether the secret of this name may be a number."""
    return any(word.endswith(NUMERIC) for word in words(name)[-1:])


@_of_a_name
def may_be_secret(name: str) -> bool:
    """Whether a query value of this name is a secret, always or if it looks like one."""
    found = words(name)
    return is_secret(name) or found == ("sid",) or _ends_in(found, frozenset((*LOOKED_AT, *QUERIES)))


@_of_a_name
def may_be_secret_field(name: str) -> bool:
    """Whether a field of this name is a secret, always or if it looks like one."""
    return is_secret_field(name) or _ends_in(words(name), frozenset(FIELDS_LOOKED_AT))


def name_ends() -> set[str]:
    """Return the ends of names of secrets. Other names are headers with `-`, names that end in digits or the like, and
    names that count in queries only."""
    phrases = (*PHRASES, *FIELDS_LOOKED_AT, "keys")
    return {*ENDINGS, *WORDS, *IGNORED, *HEADERS, *(phrase.rpartition(" ")[2] for phrase in phrases)}


@_of_a_name
def may_end_phrase(name: str) -> bool:
    """Whether this word is the last one of a secret's name of several words, such as `api key`."""
    return words(name)[-1:] in _LAST_OF_PHRASES


def looks_secret(value: str) -> bool:
    """Whether a value looks like a random secret, by its length and characters."""
    return _LOOKS_SECRET.fullmatch(value) is not None


def field_looks_secret(name: str, value: str) -> bool:
    """Whether the value of a field that `may_be_secret_field` looks like a secret of this name."""
    last = words(name)[-1:]
    if last == ("tokens",):  # words of a text are tokens, too
        return _LOOKS_RANDOM.fullmatch(value) is not None
    if last == ("kubeconfig",):
        return "apiVersion" in value or (looks_secret(value) and not value.startswith(("/", "~", ".", "$")))
    return looks_secret(value) or (last == ("mnemonic",) and _PHRASE.fullmatch(value) is not None)


def is_secret_query(name: str, value: str) -> bool:
    """Whether a query value is a secret, by its name and its look."""
    if not value or value.startswith("=="):  # a comparison in a script
        return False
    if is_secret(name) or not may_be_secret(name):
        return is_secret(name)
    found = words(name)
    is_named = found == ("sid",) or found[-1] in QUERIES
    return not value.isdecimal() if is_named else looks_secret(unquote(value))


def split_cookie(part: str) -> tuple[str, str, str, str]:
    """Return the blanks before a cookie, its name with the `=`, its value, and the blanks behind it."""
    rest = part.lstrip()
    blanks = part[: len(part) - len(rest)]
    end = rest.find("=", 0, LONGEST_NAME + 1) + 1
    name = rest[:end] if end > 1 else ""
    value = rest[len(name) :].rstrip()
    return blanks, name, value, rest[len(name) + len(value) :]


def is_attribute(part: str) -> bool:
    """Return whether a part of a `Set-Cookie` is an attribute of the cookie, such as `Path=/`."""
    name, equals, value = part.partition("=")
    if not equals:
        return name.strip().lower() in _FLAGS
    return name.lstrip().lower() in _ATTRIBUTES and "=" not in value


def is_session_cookie(part: str) -> bool:
    """Return whether a cookie identifies a session, judged by its name; a CSRF token or a `state` does not."""
    folded = part.casefold()
    name, equals, _ = folded.partition("=")
    return bool(equals) and any(one in name for one in _SESSION) and not any(one in folded for one in _NO_SESSION)


def map_subprotocols(value: str, change: Callable[[str], str]) -> str:
    """Return the value of a `Sec-WebSocket-Protocol` with every credential replaced by `change(credential)`."""

    def changed(offer: re.Match[str]) -> str:
        at = _credential(offer[0])
        return offer[0] if at is None else offer[0][:at] + change(offer[0][at:])

    return _OFFER.sub(changed, value)


def _credential(offer: str) -> int | None:
    """Return the start of the credential in a subprotocol such as `base64url.bearer.TOKEN`; None without one."""
    for dotted in _DOTTED.finditer(offer):
        first = None
        for label in _CREDENTIAL.finditer(offer, dotted.start(), dotted.end()):
            if label.end() == len(offer):
                break
            if label.start() > dotted.start() and offer[label.start() - 1] in ".-":
                first = label.end()  # a whole word beats the end of another one, such as of `mytoken.`
                break
            first = label.end() if first is None else first
        if first is not None:
            behind = first + len(_KUBERNETES)
            return behind if behind < len(offer) and offer[first:behind].lower() == _KUBERNETES else first
    return None
