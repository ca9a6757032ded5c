"""The errors of omnirecord, by what the caller can do about them.

OmnirecordError               base class; the text is one sentence that says what to do
+-- UsageError                unusable arguments: a bad URL, a bad option, a file that is no contract
+-- CassetteError             the file cannot be used as a cassette, and was not changed
|   +-- NotACassette          the file is missing, or is no cassette
|   +-- NewerCassette         a later omnirecord wrote the cassette
|   +-- BrokenCassette        the cassette is damaged; the text says where
|   +-- TooLarge              the cassette holds more events than --max-decoded allows in memory
|   +-- CassetteInUse         another recorder or program holds the cassette
+-- ServerError               the server cannot start: the port is taken, or the address is not local
+-- LakeError                 the lake cannot be reached, read or written; what is local was not changed
"""

from __future__ import annotations

__version__ = "0.1.0"
"""The version of this release: the package, the recordings and the wheel read it here, where an import is cheap."""


class OmnirecordError(Exception):
    """Base class of every error that omnirecord raises on purpose."""


class UsageError(OmnirecordError):
    """The arguments are unusable."""


class CassetteError(OmnirecordError):
    """The file cannot be used as a cassette. It was not changed."""


class NotACassette(CassetteError):
    """The path names no cassette."""


class NewerCassette(CassetteError):
    """The cassette has a newer format than this version reads."""


class BrokenCassette(CassetteError):
    """The cassette is damaged."""


class TooLarge(CassetteError):
    """The events of a cassette cost more memory than `max_decoded` allows."""


class CassetteInUse(CassetteError):
    """Another recorder or program uses this cassette."""


class ServerError(OmnirecordError):
    """The server cannot start listening."""


class LakeError(OmnirecordError):
    """The lake cannot be reached, read or written."""
