"""What the pytest plugin is made of: what a test asks for, where its cassette is, the server it gets.

`Server` is the type of the fixture `omnirecord_server`. Importing this imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..replayer.blocking import Server

__all__ = ["Server"]


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..replayer.blocking import Server

    return Server
