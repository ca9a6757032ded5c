"""The contracts by name: those of Omnigent, of the model APIs, `auto` and `none`; and the path of an openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from os import PathLike, fspath

from ..contract.by_path import ByPath
from ..contract.judge import Contract
from ..contract.none import NoContract
from ..omnigent.contract import load as load_of_omnigent

AUTO = "auto"
_none = cache(NoContract)


@cache
def _auto() -> Contract:
    return ByPath(AUTO, {}, _none())


_NAMED: Mapping[str, Callable[[], Contract]] = {
    "omnigent": lambda: load_of_omnigent("omnigent"),
    "documented": lambda: load_of_omnigent("documented"),
    AUTO: _auto,
    "none": _none,
}
NAMES = tuple(_NAMED)
"""The names of all contracts."""


def load(name_or_path: str | PathLike[str]) -> Contract:
    """Return the contract of this name, or that of the OpenAPI document at this path. The same name has the same
    contract. Raises `UsageError`."""
    name = fspath(name_or_path)
    return _NAMED[name]() if name in _NAMED else load_of_omnigent(name, NAMES)
