"""`omnirecord.record`: a function with the options of a recorder as its arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..options import RecordOptions, takes

if TYPE_CHECKING:
    from .proxy.server import Proxy


@takes(RecordOptions)
def record(*args: Any, **named: Any) -> Proxy:
    """Return a recording proxy in front of `upstream` that appends to the cassette `db`.

    Use it with `async with`, or with `with`: then the proxy runs in a thread. `.url` is the address for clients. The
    arguments are the options of `omnirecord proxy` (`docs/python.md`).

    If it ships, leaving waits up to a minute for the last cassette. The limit of file descriptors stays as the program
    set it; clients beyond it get a 503. Raises `UsageError`. On entering, also raises `CassetteError` or `ServerError`.
    """
    from .proxy.server import Proxy

    return Proxy(*args, runs_shipping=True, **named)
