"""The contracts by name: those of Omnigent, of the model APIs, `auto` and `none`; and the path of an openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from os import PathLike, fspath

from ..contract.judge import ByPath, Contract, NoContract
from ..omnigent.contract import load as load_of_omnigent
from ..omnigent.routes import is_of_omnigent

AUTO = "auto"
_none = cache(NoContract)


def _openai_responses() -> Contract:
    from ..providers.openai_responses import contract  # the models of each API take time to import

    return contract()


def _openai_chat() -> Contract:
    from ..providers.openai_chat import contract

    return contract()


def _anthropic_messages() -> Contract:
    from ..providers.anthropic_messages import contract

    return contract()


_BY_PATH: Mapping[tuple[str, ...], Callable[[], Contract]] = {
    ("responses",): _openai_responses,
    ("chat", "completions"): _openai_chat,
    ("messages",): _anthropic_messages,
}
"""The contract for a path by its last segments, for `auto`."""


def _of_path(path: str) -> Contract | None:
    """Return the contract for a path that ends with these segments, or with these and an id."""
    segments = tuple(filter(None, path.split("/")))
    for ending, make in _BY_PATH.items():
        if ending in (segments[-len(ending) :], segments[-len(ending) - 1 : -1]):
            return make()
    return None


@cache
def _auto() -> Contract:
    return ByPath(AUTO, _of_path, _none())


_NAMED: Mapping[str, Callable[[], Contract]] = {
    "omnigent": lambda: load_of_omnigent("omnigent"),
    "documented": lambda: load_of_omnigent("documented"),
    "openai-responses": _openai_responses,
    "openai-chat": _openai_chat,
    "anthropic-messages": _anthropic_messages,
    AUTO: _auto,
    "none": _none,
}
NAMES = tuple(_NAMED)
"""The names of all contracts."""


@cache
def of_file(*, has_hop: bool) -> Contract:
    """Return the contract for reading a recording that a file judged, without that file. `has_hop`: whether its
    upstream has a name, so that it may be a model API; only the first upstream is Omnigent."""
    if has_hop:
        return _auto()
    return ByPath("none", lambda path: load("omnigent") if is_of_omnigent(path) else None, _none())


def load(name_or_path: str | PathLike[str]) -> Contract:
    """Return the contract of this name, or that of the OpenAPI document at this path. The same name has the same
    contract. Raises `UsageError`."""
    name = fspath(name_or_path)
    return _NAMED[name]() if name in _NAMED else load_of_omnigent(name, NAMES)
