"""Access: which requests may use the control path, and TLS on both sides.

**The control path.** A browser gets around loopback: any page may send requests to this machine, and with DNS rebinding
a page may read the responses. So a request has to name this server, and may not come from a foreign page. If it changes
something, it may not be a request that a page can send without a preflight (a "simple" request of the Fetch standard).
A server that other machines can reach asks for a token too.

A page of the same origin is ours only if the listener serves nothing else. A proxy serves pages of its upstream, and a
replay serves recorded ones. There, no request of a browser may use the control path.

**TLS.** An upstream is verified unless `--insecure` is given. Certificates and keys are PEM files. A key with a pass
phrase is refused, because the recorder runs without a prompt.
"""

from __future__ import annotations

import hmac
import os
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError
from ..model import Headers
from ..wire.addresses import address_of, is_loopback
from ..wire.headers import header

PROOF = "X-Omnirecord"
"""A header field that a page of another origin can send only after a preflight, which is never allowed."""
SHORTEST_TOKEN = 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~-]+)(?::[0-9]*)?")
_READS = ("GET", "HEAD")
_OF_BROWSERS = (
    "sec-fetch-site",
    "sec-fetch-dest",
    "sec-fetch-user",
    "origin",
    "referer",
    "cookie",
    "upgrade-insecure-requests",
    "service-worker",
)
"""Fields that browsers send and tools do not. A page can suppress `Referer`, but neither `Sec-Fetch-Site` (sent to
https and to loopback) nor `Accept-Language`. `fetch` of Node sends `Sec-Fetch-Mode` alone."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to a request that may not pass."""

    status: int
    code: str
    message: str


class Guard:
    """Checks requests to the control path of one server.

    `names`: host names and addresses of the server, beside those of loopback. `any_address`: it listens on all
    addresses, so every address counts as its own; DNS rebinding needs a name. `token`: required as `Authorization:
    Bearer`; None if none is needed. `has_pages`: every page of its origin is our own, and may use it.
    """

    def __init__(
        self, names: Iterable[str] = (), *, any_address: bool = False, token: str | None = None, has_pages: bool = True
    ) -> None:
        self.has_pages = has_pages
        self._names = {_plain(name) for name in names}
        self._any_address = any_address
        self._token = token

    def refusal(self, method: str, target: str, headers: Headers, *, is_public: bool = False) -> Refusal | None:
        """Return the refusal of this request; None if it may pass. `target` is that of the request line. `is_public`:
        the response says nothing of a recording, so it needs no token, and another page may link to it."""
        is_followed_link = (  # by a browser, so that no other page can read the response
            header(headers, "sec-fetch-mode") == "navigate" and header(headers, "sec-fetch-dest") == "document"
        )
        return (
            self._misnamed(target, headers)
            or (None if is_public and is_followed_link else _from_another_page(headers))
            or (None if self.has_pages else _from_a_browser(headers))
            or (None if is_public else self._unknown(headers))
            or _simple(method, headers)
        )

    def _misnamed(self, target: str, headers: Headers) -> Refusal | None:
        hosts = [value for name, value in headers if name.lower() == "host"]
        if len(hosts) == 1 and target.startswith("/") and self._is_ours(hosts[0]):
            return None
        host = ", ".join(hosts) or "no host"
        return _forbidden(f"{host} is no name that this server was told of: ask it by the address it listens on")

    def _is_ours(self, authority: str) -> bool:
        if (found := _AUTHORITY.fullmatch(authority.strip())) is None:
            return False
        name = _plain(found[1])
        return is_loopback(name) or name in self._names or (self._any_address and address_of(name) is not None)

    def _unknown(self, headers: Headers) -> Refusal | None:
        if self._token is None:
            return None
        scheme, _, given = (header(headers, "authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(_bytes(given.strip()), _bytes(self._token)):
            return None
        return Refusal(
            401,
            "unauthorized",
            "this needs the token that was printed when the server started, or that it was given:"
            " send it as Authorization: Bearer TOKEN",
        )


def checked_token(token: str, what: str) -> str:
    """Return the token if it can be sent in a header and is long enough. Raises `UsageError`."""
    if len(token) < SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{what} has to be {SHORTEST_TOKEN} letters, digits or ._~+/=- at the least, for instance what"
            " `openssl rand -hex 16` prints"
        )
    return token


def _from_a_browser(headers: Headers) -> Refusal | None:
    """Refuse browsers: a page or a service worker of this origin is upstream's, or a recorded one."""
    sent = next((name for name in _OF_BROWSERS if header(headers, name) is not None), None)
    if sent is None and (header(headers, "accept-language") or "*").strip() == "*":
        return None
    return _forbidden(
        f"a browser may not use this here ({sent or 'accept-language'} says it is one): the pages of this address are"
        " not omnirecord's"
    )


def _from_another_page(headers: Headers) -> Refusal | None:
    """Refuse pages of other origins. Browsers name the origin in Origin, but not for images and the like; for these
    there is Sec-Fetch-Site, to https and to loopback."""
    origin = header(headers, "origin")
    site = header(headers, "sec-fetch-site")
    if origin is not None and _authority_of(origin) != (header(headers, "host") or "").strip().lower():
        return _forbidden(f"a page from {origin} may not use this")
    if site is not None and site not in ("same-origin", "none"):
        return _forbidden("a page from elsewhere may not use this")
    return None


def _simple(method: str, headers: Headers) -> Refusal | None:
    """Refuse a request that changes something and that any page can send, for example with a form."""
    media_type = (header(headers, "content-type") or "").partition(";")[0].strip().lower()
    if method in _READS or media_type == "application/json" or header(headers, PROOF.lower()) is not None:
        return None
    return Refusal(
        415,
        "unsupported_media_type",
        f"a web page could send this unasked: add Content-Type: application/json, or the header {PROOF}: 1",
    )


def _authority_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _plain(name: str) -> str:
    """Return a name or address in its normal form, for comparison."""
    name = name.strip("[]").lower().removesuffix(".")
    address = address_of(name)
    return name if address is None else str(address)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _forbidden(message: str) -> Refusal:
    return Refusal(403, "forbidden", message)


File = str | os.PathLike[str]

_VERIFY = {
    9: "its certificate is not valid yet: look at the clocks of both machines",
    10: "its certificate has expired: have it renewed",
    18: "its certificate is signed by itself: give it with --ca, if you know that it is the right one",
    19: "its certificate is signed by an authority that is not trusted here: give that one's certificate with --ca",
    20: "its certificate is signed by an authority that is not trusted here: give that one's certificate with --ca",
    62: "its certificate is for another name: name the server as its certificate does",
    64: "its certificate is for another address: name the server as its certificate does",
}
"""The explanation of each `X509_V_ERR_…`, and its remedy."""
_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS there: is it http:// instead of https://?",
    "HTTP_REQUEST": "it does not speak TLS there: is it http:// instead of https://?",
    "CERTIFICATE_REQUIRED": "it wants a certificate of the client: give one with --cert and --key",
    "BAD_CERTIFICATE": "it does not take the client certificate: give one that it knows with --cert and --key",
    "UNKNOWN_CA": "it does not trust the authority of the client certificate: give another one with --cert and --key",
    "CERTIFICATE_EXPIRED": "the client certificate of --cert has expired: have it renewed",
    "HANDSHAKE_FAILURE": "it refused the TLS handshake: perhaps it wants a client certificate, see --cert and --key",
    "PROTOCOL_VERSION": "it speaks no TLS that is taken here, which begins with 1.2",
    "UNSUPPORTED_PROTOCOL": "it speaks no TLS that is taken here, which begins with 1.2",
}
"""The explanation of an `SSLError` whose reason ends so, and its remedy. Alerts of the peer are included."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How an https upstream is verified, and the client certificate for it.

    `ca`: certificates of authorities that are trusted instead of the system's. `cert` and `key`: the client
    certificate; the key may be in the same file. `insecure`: no verification.
    """

    ca: File | None = None
    cert: File | None = None
    key: File | None = None
    insecure: bool = False

    def __bool__(self) -> bool:
        return self != Trust()

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings. Raises `UsageError` for an unusable file, or for options that exclude each other."""
        if self.insecure and self.ca is not None:
            raise UsageError("--insecure verifies nothing, --ca verifies with FILE: give one of them")
        try:
            context = ssl.create_default_context(cafile=None if self.ca is None else _readable(self.ca, "ca"))
        except ssl.SSLError:
            path = Path(self.ca or "")
            raise UsageError(f"--ca {path} holds no certificate that can be read: it has to be a PEM file") from None
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _load(context, self.cert, self.key, "cert", "key")
        return context


def listening_context(cert: File | None, key: File | None) -> ssl.SSLContext | None:
    """Return the TLS settings of a server with this certificate; None without TLS. Raises `UsageError`."""
    if cert is None and key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, cert, key, "tls-cert", "tls-key")
    return context


def explained(error: BaseException) -> str | None:
    """Return what was wrong with a TLS connection to an upstream, and the remedy; None for another error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _VERIFY.get(error.verify_code, f"its certificate cannot be verified ({error.verify_message})")
    if not isinstance(error, ssl.SSLError):
        return None
    reason = error.reason or ""
    known = next((text for ending, text in _REASONS.items() if reason.endswith(ending)), None)
    return known or f"no TLS connection is possible ({reason.replace('_', ' ').lower() or error})"


def _load(context: ssl.SSLContext, cert: File | None, key: File | None, cert_name: str, key_name: str) -> None:
    context.set_alpn_protocols(["http/1.1"])
    if cert is None:
        if key is not None:
            raise UsageError(f"--{key_name} is the key of --{cert_name}: give that as well")
        return
    cert_path = _readable(cert, cert_name)
    key_path = cert_path if key is None else _readable(key, key_name)
    try:
        context.load_cert_chain(cert_path, key_path, password=_refuse_to_ask)
    except _EncryptedKey:
        raise UsageError(
            f"--{key_name} {key_path} is encrypted, and there is no prompt for a pass phrase: give one that is not, for"
            " instance what `openssl pkey` makes of it"
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"--{key_name} {key_path} is not the key of the certificate in {cert_path}") from None
        lacks = "" if key else f", and there is no --{key_name}"
        raise UsageError(
            f"--{cert_name} {cert_path} and its key in {key_path} cannot be read{lacks}: both have to be PEM"
        ) from None


class _EncryptedKey(Exception):
    pass


def _refuse_to_ask() -> str:
    raise _EncryptedKey


def _readable(file: File, option: str) -> Path:
    """Return the path of a file that exists and is readable. It is not opened, as it may be a pipe."""
    path = Path(file)
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a directory")
        path.stat()
        if not os.access(path, os.R_OK):
            raise PermissionError(None, "no permission")
        return path
    except (OSError, ValueError) as error:
        raise UsageError(f"--{option} {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
