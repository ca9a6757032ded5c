"""The errors of omnirecord, by what the caller can do about them."""

from __future__ import annotations

__version__ = "0.1.0"
"""The version of this release: the package, the recordings and the wheel read it here, where an import is cheap."""


class OmnirecordError(Exception):
    """Base class of every error that omnirecord raises on purpose. The text is one sentence that says what to do."""


class UsageError(OmnirecordError):
    """The arguments are unusable: a bad URL, a bad option, a file that is no contract."""


class CassetteError(OmnirecordError):
    """The file cannot be used as a cassette. It was not changed."""


class NotACassette(CassetteError):
    """The file is missing, or is no cassette."""


class NewerCassette(CassetteError):
    """A later omnirecord wrote the cassette, in a format that this version does not read."""


class BrokenCassette(CassetteError):
    """The cassette is damaged. The text says where."""


class TooLarge(CassetteError):
    """The events of a cassette cost more memory than `max_decoded` allows."""


class CassetteInUse(CassetteError):
    """Another recorder or program uses this cassette."""


class ServerError(OmnirecordError):
    """The server cannot start listening: the port is taken, or the address is not local."""


class LakeError(OmnirecordError):
    """The lake cannot be reached, read or written. What is local was not changed."""
