"""What can go wrong, by what a caller would do about it.

OmnirecordError               anything below; its text is one sentence that says what to do
+-- UsageError                the call itself is unusable: a bad URL, a bad option, a contract that is none
+-- CassetteError             the file cannot be used as a cassette, and was left as it was
|   +-- NotACassette          it is something else, or it is not there
|   +-- NewerCassette         a later omnirecord wrote it
|   +-- BrokenCassette        it is one, but damaged: says where
|   +-- TooLarge             it holds more events than --max-decoded lets a program hold
|   +-- CassetteInUse         another recorder holds it
+-- ServerError               a server of ours could not start: the port is taken, the address is not ours
"""

from __future__ import annotations


class OmnirecordError(Exception):
    """The base of every error that omnirecord raises on purpose."""


class UsageError(OmnirecordError):
    """The call is unusable as it stands."""


class CassetteError(OmnirecordError):
    """The file cannot be used as a cassette. It was not altered."""


class NotACassette(CassetteError):
    """There is no cassette at that path."""


class NewerCassette(CassetteError):
    """The cassette's format is newer than this version reads."""


class BrokenCassette(CassetteError):
    """A cassette, but damaged."""


class TooLarge(CassetteError):
    """The events of a cassette cost more memory than `max_decoded` allows."""


class CassetteInUse(CassetteError):
    """Another recorder is writing this cassette."""


class ServerError(OmnirecordError):
    """A server could not start listening."""
