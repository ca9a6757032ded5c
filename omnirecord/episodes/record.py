"""`omnirecord.record`: a function with the options of a recorder as its arguments. Its proxy has a control path and a
page, which `ui` serves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..options import RecordOptions, takes
from ..server.access import Guard

if TYPE_CHECKING:
    from ..recorder.proxy.server import Proxy
    from ..ui.control import Control


@takes(RecordOptions)
def record(*args: Any, **named: Any) -> Proxy:
    """Return a recording proxy in front of `upstream` that appends to the cassette `db`.

    Use it with `async with`, or with `with`: then the proxy runs in a thread. `.url` is the address for clients. The
    arguments are the options of `omnirecord proxy` (`docs/python.md`).

    If it ships, leaving waits up to a minute for the last cassette. The limit of file descriptors stays as the program
    set it; clients beyond it get a 503. Raises `UsageError`. On entering, also raises `CassetteError` or `ServerError`.
    """
    return controlled(*args, runs_shipping=True, **named)


def controlled(*args: Any, **named: Any) -> Proxy:
    """Return a `Proxy` that may have a control path and a page. The arguments are those of `Proxy`."""
    from ..recorder.proxy.server import Proxy

    return Proxy(*args, interface=_interface, **named)


def _interface(db: Callable[[], Path], state: Callable[[], dict[str, Any]], guard: Guard | None) -> Control:
    """Return what answers about a recording. Its modules are loaded only here."""
    from ..ui.control import Control

    if guard is None:
        return Control(db, state)
    from ..ui.data import Answers
    from ..ui.viewer import PageHandler

    return Control(db, state, PageHandler(guard, Answers(db)))
