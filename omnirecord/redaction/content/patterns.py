"""The kinds of secrets in content: the prefix of each, its characters, and words that begin like it.

`prefixes` has the tokens of services; this module adds logins, headers, keys in blocks, and the texts around a secret.

A prefix alone decides, since a stream is masked while it passes: nothing waits for the characters after a complete
prefix. So a list has the words that begin like a secret (`sk-learn`). A secret that begins like such a word keeps the
common letters.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from ...errors import UsageError
from .prefixes import BASE64, TOKENS, WORD, Token

_TOKEN = WORD + "+/=~%|"
PSEUDONYM = b"omnirecord-redacted-"


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of secret. `prefixes` are texts, `patterns` regular expressions that begin with a literal letter. No
    prefix or pattern contains another one."""

    name: str
    prefixes: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    begun: str = ""
    """Regular expression for the beginnings of matches of `patterns`."""
    tokens: tuple[str, ...] = ()
    """Prefixes with which `patterns` begin, instead of `begun`."""
    lead: str = ""
    """Characters between prefix and secret. `lead`, `body` and `soft` are sets of characters as in a pattern."""
    longest_lead: int = 8
    body: str = WORD
    soft: str = ""
    """Characters between parts of one secret, which stay."""
    words: tuple[bytes, ...] = ()
    """Words behind the prefix that are no secret, alone or followed by `-` or `_`."""
    anywhere: bool = False
    """The prefix need not begin a word."""
    block: bool = False
    """The secret has lines, and ends with five dashes."""


def _beginnings(*texts: str) -> str:
    """Return a regular expression for these texts and all their beginnings, longest first."""
    found = {text[:n] for text in texts for n in range(1, len(text) + 1)}
    return "|".join(map(re.escape, sorted(found, key=len, reverse=True)))


def _either_case(*patterns: str) -> tuple[str, ...]:
    return tuple(f"{first}(?i:{one[1:]})" for one in patterns for first in (one[0], one[0].upper()))


_QUOTES = r"\"'\\ \t"
_SET = rf"[{_QUOTES}]{{0,4}}[:=]"
_AWS = "aws_secret_access_key", "aws_session_token", "secretaccesskey"
_AWS_BEGUN = rf"(?i:(?:{_beginnings(*_AWS)})[{_QUOTES}]{{0,4}})"
_SCHEMES = "bearer", "basic", "token"
_AUTHORIZATION = rf"authorization[{_QUOTES}]{{0,6}}[:=,][\[{_QUOTES}]{{0,6}}(?:{'|'.join(_SCHEMES)})[ \t]"
_AUTHORIZATION_BEGUN = (
    rf"(?i:{_beginnings('authorization')}|authorization[:=,\[{_QUOTES}]{{1,13}}(?:{_beginnings(*_SCHEMES)})?)"
)
_BEARER = ("token", "tokens", "auth", "authentication", "authorization", "scheme", "of", "Token", "Auth")

_LOGIN = rf"{WORD}.@%+"
"""Characters of the user name before a password."""
_LOGIN_BODY = WORD + "!%+/=~^"
_LOGIN_SOFT = ".$&:*#@?"
_CRYPT = ("$2a$1", "$2b$1", "$2y$1", "$6$", "$y$j", "$gy$j", "$apr1$", "$argon2id$", "$argon2i$")
"""Prefixes of `crypt` hashes, in `/etc/shadow` and `.htpasswd`; without `$1$` and `$5$`, which are frequent in code."""
_SETTERS = ("Password", "Secret", "Token", "ApiKey", "AccessToken", "ClientSecret", "SecretKey", "Passphrase")
_ASK = r"[^\]\r\n]{0,24}"


def _words(*words: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in words)


def _of_tokens() -> Iterator[Kind]:
    """Yield the kinds of the table of tokens."""
    for _, alike in groupby(sorted(TOKENS, key=_rules), _rules):
        yield _kind(list(alike))


def _rules(token: Token) -> tuple[str, bool, str, tuple[str, ...], bool, bool]:
    """Return the values that are equal for all tokens of one `Kind`."""
    return token.kind, bool(token.shown), token.soft, token.words, token.anywhere, _has_marks(token)


def _has_marks(token: Token) -> bool:
    return bool(set(token.alphabet) & set("+/=%@"))


def _kind(alike: list[Token]) -> Kind:
    first = alike[0]
    shown = [token for token in alike if token.shown]
    return Kind(
        first.kind,
        tuple(token.prefix for token in alike if not token.shown),
        tuple(re.escape(token.prefix) + token.shown for token in shown),
        tokens=tuple(token.prefix for token in shown),
        body=WORD + ("+/=%@" if _has_marks(first) else ""),
        soft=first.soft,
        words=_words(*first.words),
        anywhere=first.anywhere,
    )


def _in_base64() -> Iterator[Kind]:
    """Yield the kinds of tokens in base64, as in a secret of Kubernetes. Their prefix begins the encoded text."""
    found = [(token.kind, token.prefix) for token in TOKENS if not (token.shown or token.anywhere)]
    found += [("sk", prefix) for prefix in _LONG_SK]
    found += [("jwt", "eyJ"), *(("private key", prefix) for prefix in _KEY_BLOCKS)]
    for kind, alike in groupby(sorted(found), lambda one: one[0]):
        prefixes = [prefix for _, prefix in alike if len(prefix) >= _LEAST_IN_BASE64 or kind == "jwt"]
        yield Kind(kind, tuple(map(in_base64, prefixes)), body=BASE64 + "=")


def in_base64(text: str) -> str:
    """Return the characters of base64 that all texts with this beginning share."""
    return binascii.b2a_base64(text.encode(), newline=False)[: len(text) * 8 // 6].decode()


_LEAST_IN_BASE64 = 4
"""Least length of a prefix that is looked for in base64, too: a shorter one is frequent in other data."""
_LONG_SK = ("sk-ant-", "sk-proj-", "sk-svcacct-", "sk-admin-", "sk-or-v1-", "sk-lf-")
_KEY_BLOCKS = tuple(
    f"-----BEGIN {what}-----"
    for what in (
        "PRIVATE KEY",
        "RSA PRIVATE KEY",
        "EC PRIVATE KEY",
        "DSA PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "SSH2 ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    )
)


KINDS = (
    *_of_tokens(),
    *_in_base64(),
    Kind(
        "aws",
        patterns=_either_case(*(rf"{name}{_SET}" for name in _AWS)),
        begun=_AWS_BEGUN,
        lead=_QUOTES,
        body=_TOKEN,
        soft=r".\\",
        words=(PSEUDONYM, *_words(*_AWS, "str", "None", "self", "os", "config")),
        anywhere=True,
    ),
    Kind("azure", ("AccountKey=", "SharedAccessKey=", "SharedAccessSignature="), body=_TOKEN, words=(PSEUDONYM,)),
    Kind("azure", ("?sig=", "&sig="), body=_TOKEN, words=(PSEUDONYM,), anywhere=True),
    Kind(
        "signature",
        ("X-Amz-Signature=", "X-Goog-Signature=", "?Signature=", "&Signature="),
        body=_TOKEN,
        words=(PSEUDONYM,),
        anywhere=True,
    ),
    Kind(
        "aws",
        ("configure set aws_secret_access_key ", "configure set aws_session_token "),
        lead=r" \t\"'\\",
        body=_TOKEN,
    ),
    Kind("npm", (":_authToken ",), body=_TOKEN, anywhere=True),
    Kind(
        "url",
        patterns=tuple(rf"%3{a}%2{f}%2{f}[{WORD}.+~]{{0,40}}%3{a}" for a in "Aa" for f in "Ff"),
        begun=rf"(?i:{_beginnings('%3a%2f%2f')})[{WORD}.+~%]{{0,43}}",
        lead="0-9",
        longest_lead=5,
        body=WORD + "!+~^",
        soft=".$&=:*",
        anywhere=True,
    ),
    Kind("azure", patterns=(r"Q(?<=[0-9]Q)~",), begun="[0-9]Q?", body=WORD + "~", soft=".", anywhere=True),
    Kind(
        "slack",
        tuple(
            f"hooks.slack{gov}.com/{what}/" for gov in ("", "-gov") for what in ("services", "workflows", "triggers")
        ),
        body=WORD + "/",
    ),
    Kind("jwt", ("eyJ",), soft="."),
    Kind(
        "bearer",
        patterns=_either_case(_AUTHORIZATION),
        begun=_AUTHORIZATION_BEGUN,
        lead=r" \t",
        body=_TOKEN,
        soft=r".\\",
        words=(PSEUDONYM,),
        anywhere=True,
    ),
    Kind("bearer", ("Bearer ", "BEARER "), lead=r" \t", body=_TOKEN, soft=r".\\", words=(PSEUDONYM, *_words(*_BEARER))),
    Kind("private key", _KEY_BLOCKS, anywhere=True, block=True),
    Kind(
        "url",
        patterns=(rf"://[{WORD}.%+~]{{0,40}}:",),
        begun=rf":/(?:/[{WORD}.%+~]{{0,40}})?",
        lead="0-9",
        longest_lead=5,
        body=WORD + "!%+~^",
        soft=".$&=:*",
        words=_words("%d", "%s"),
        anywhere=True,
    ),
    Kind(
        "login",
        patterns=(
            rf"-(?:u|-user|-proxy-user|-auth)[ =]\\{{0,3}}[\"']?[{_LOGIN}]{{1,40}}:",
            rf"curl -u[{_LOGIN}]{{1,30}}:",
            rf"-(?:b|-cookie) \\{{0,3}}[\"'][{_LOGIN}]{{1,40}}=",
        ),
        begun=rf"-(?:-?[a-z\-]{{0,10}})(?:[ =](?:\\{{0,3}}[\"']?[{_LOGIN}]{{0,40}})?)?"
        rf"|(?:{_beginnings('curl -')})|curl -u[{_LOGIN}]{{0,30}}",
        lead="0-9",
        longest_lead=5,
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
    ),
    Kind(
        "login",
        (
            "sshpass -p",
            "IDENTIFIED BY ",
            "PASSWORD '",
            "password '",
            "PASSWORD('",
            "ConvertTo-SecureString ",
        ),
        patterns=(
            r"login[ \t](?!and |or |with |to )[^\s\"\\]{1,30}?(?:[ \t\r\n]|\\n){1,8}password[ \t]",
            r"login (?:[\w ./=:@\-]{0,40}? )??-p",
            r"redis-cli (?:[\w ./=\-]{0,40}? )??-a",
            r"twine (?:[\w ./=:@\-]{0,40}? )??-p ",
        ),
        begun=rf"(?:{_beginnings('login', 'twine', 'redis-cli')})|(?:login|twine|redis-cli) [\w ./=:@\-]{{0,44}}"
        rf"|login[ \t][^\s\"\\]{{0,30}}(?:[ \t\r\n]|\\n?){{0,8}}(?:{_beginnings('password')})?",
        lead=r" \t\"'\\",
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
        words=_words("PASSWORD", "VALUES", "-String", "-Key", "-AsPlainText", "-SecureKey"),
    ),
    Kind(
        "login",
        patterns=(
            rf"set(?:{'|'.join(_SETTERS)})\(\\{{0,3}}[\"']",
            rf"auth=\(\\{{0,3}}[\"'][{_LOGIN}]{{1,40}}\\{{0,3}}[\"'],"
            rf" ?\\{{0,3}}[\"']",
        ),
        begun=rf"(?:{_beginnings(*(f'set{one}(' for one in _SETTERS), 'auth=(')})\\{{0,3}}"
        rf"|auth=\(\\{{0,3}}[\"'][{_LOGIN}]{{0,40}}(?:\\{{0,3}}[\"'](?:, ?\\{{0,3}})?)?",
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
    ),
    Kind(
        "login",
        patterns=(rf"https? (?:[\w ./=:\-]{{0,40}}? )??-a \\{{0,3}}[\"']?[{_LOGIN}]{{1,30}}:",),
        begun=rf"(?:{_beginnings('https')}) ?|https? [\w ./=:\-]{{0,44}}(?: \\{{0,3}}[\"']?[{_LOGIN}]{{0,30}})?",
        lead="0-9",
        longest_lead=5,
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
    ),
    Kind("hash", _CRYPT, body=WORD + "./$=,+", anywhere=True),
    Kind(
        "login",
        patterns=(rf":5432:[{WORD}*]{{1,32}}:[{_LOGIN}]{{1,24}}:",),
        begun=rf"(?:{_beginnings(':5432:')})|:5432:[{WORD}*]{{0,32}}(?::[{_LOGIN}]{{0,24}})?",
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
        anywhere=True,
    ),
    Kind(
        "login",
        patterns=(r"mysql(?:dump)? (?:[\w ./=\-]{0,40}? )??-p",),
        begun=rf"(?:{_beginnings('mysqldump')})|mysql(?:dump)? [\w ./=\-]{{0,44}}",
        lead=r"\"'\\",
        body=_LOGIN_BODY,
        soft=_LOGIN_SOFT,
    ),
    Kind("npm", ("_auth=",), body=_TOKEN, words=_words("self", "None", "True", "False")),
    Kind(
        "aws",
        patterns=(rf"Secret Access Key \[{_ASK}\]:",),
        begun=rf"Secret Access Key(?: (?:\[{_ASK}\]?)?)?",
        lead=" ",
        body=_TOKEN,
    ),
    Kind(
        "webhook",
        ("webhook.office.com/webhookb2/",),
        patterns=(
            r"discord(?:app)?\.com/api/webhooks/[0-9]{1,20}/",
            r"bot[0-9]{8,12}:",
        ),
        begun=r"discord(?:app)?(?:\.[/a-z]{0,16}[0-9]{0,20})?|bot[0-9]{0,12}",
        body=WORD + "/@",
    ),
)
_OWN = re.compile(r"[!-~]{3,64}")


def own(prefixes: Iterable[str]) -> Kind:
    """Return the kind of the user's prefixes. Raises `UsageError` for an invalid prefix."""
    different = tuple(dict.fromkeys(prefixes))
    for prefix in different:
        if not _OWN.fullmatch(prefix) or set(prefix) & set('"\\*'):
            raise UsageError(
                f"the prefix {prefix!r} cannot be looked for: give 3 to 64 characters of printable ASCII, without"
                ' spaces, ", \\ and *'
            )
    return Kind("own", different, soft=".")


def beginnings() -> dict[str, list[str]]:
    """Return the prefixes of each kind, in order; of a kind that only a pattern describes, none."""
    found: dict[str, list[str]] = {}
    for kind in sorted(KINDS, key=lambda kind: kind.name):
        found.setdefault(kind.name, []).extend((*kind.prefixes, *kind.tokens))
    of_base64 = {prefix for kind in _in_base64() for prefix in kind.prefixes}
    return {name: sorted({*begins} - of_base64) for name, begins in found.items()}
