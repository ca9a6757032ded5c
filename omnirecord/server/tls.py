"""TLS on both sides: verification of the upstream, our own certificates, and explanations of errors.

An upstream is verified unless `--insecure` is given. Certificates and keys are PEM files. A key with a pass phrase is
refused, because the recorder runs without a prompt.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

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
        """Whether any option was given."""
        return self != Trust()

    def context(self) -> ssl.SSLContext:
        """Return the TLS settings. Raises `UsageError` for an unusable file, or for options that exclude each other."""
        if self.insecure and self.ca is not None:
            raise UsageError("--insecure verifies nothing, --ca verifies with FILE: give one of them")
        context = _authorities(self.ca)
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if self.cert is not None:
            _load(context, self.cert, self.key, "cert", "key")
        elif self.key is not None:
            raise UsageError("--key is the key of --cert: give that as well")
        context.set_alpn_protocols(["http/1.1"])
        return context


def listening_context(cert: File | None, key: File | None) -> ssl.SSLContext | None:
    """Return the TLS settings of a server with this certificate; None without TLS. Raises `UsageError`."""
    if cert is None:
        if key is not None:
            raise UsageError("--tls-key is the key of --tls-cert: give that as well")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    _load(context, cert, key, "tls-cert", "tls-key")
    context.set_alpn_protocols(["http/1.1"])
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


def _authorities(ca: File | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    path = _readable(ca, "ca")
    try:
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise UsageError(f"--ca {path} holds no certificate that can be read: it has to be a PEM file") from None


def _load(context: ssl.SSLContext, cert: File, key: File | None, cert_name: str, key_name: str) -> None:
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
    """The key needs a pass phrase."""


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
