"""Deprecated: the former module of `omnirecord.pytest_plugin.Server`, the type of the fixture `omnirecord_server`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .replayer.control import Server

__all__ = ["Server"]


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .replayer.control import Server

    warnings.warn("omnirecord.testing is called omnirecord.pytest_plugin now", DeprecationWarning, stacklevel=2)
    return Server
