"""`omnirecord.record`: a function with the options of a recorder as its arguments."""

from __future__ import annotations

import re
from collections.abc import Callable
from inspect import signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from .options import OPTIONS, RecordOptions, said

if TYPE_CHECKING:
    from .proxy.server import Proxy

P = ParamSpec("P")
T = TypeVar("T")


def _takes(options: Callable[P, RecordOptions]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Return a decorator that gives a function the arguments of `options`, and their help to its docstring."""

    def decorated(function: Callable[..., T]) -> Callable[P, T]:
        returned = function.__annotations__["return"]
        function.__signature__ = signature(options).replace(return_annotation=returned)  # type: ignore[attr-defined]
        function.__doc__ = f"{function.__doc__}\nArgs:\n{_help()}"
        return cast("Callable[P, T]", function)

    return decorated


def _help() -> str:
    """Return the arguments with their help, which names other options as arguments."""
    names = {told.flag: name for name, option in OPTIONS.items() if (told := said(option)).flag}
    lines = []
    for name, option in OPTIONS.items():
        told = said(option)
        text = re.sub(r"--[a-z-]+", lambda flag: f"`{names[flag[0]]}`", told.named or told.help)
        lines.append(f"    {name}: {text}")
    return "\n".join(lines)


@_takes(RecordOptions)
def record(*args: Any, **named: Any) -> Proxy:
    """Return a recording proxy in front of `upstream` that appends to the cassette `db`.

    Use it with `async with`, or with `with`: then the proxy runs in a thread. `.url` is the address for clients. The
    arguments are the options of `omnirecord proxy` (`docs/python.md`).

    If it ships, leaving waits up to a minute for the last cassette. The limit of file descriptors stays as the program
    set it; clients beyond it get a 503. Raises `UsageError`. On entering, also raises `CassetteError` or `ServerError`.
    """
    from .proxy.server import Proxy

    return Proxy(*args, runs_shipping=True, **named)
