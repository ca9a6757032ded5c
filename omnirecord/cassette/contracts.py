"""The contracts by name: those of Omnigent, of the model APIs, `auto` and `none`; and the path of an openapi.json."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from os import PathLike, fspath

from ..contract.judge import ByPath, Contract, NoContract
from ..omnigent.contract import load as load_of_omnigent
from ..omnigent.routes import is_of_omnigent

AUTO = "auto"
_MODEL_APIS = {
    "openai-responses": ("responses",), "openai-chat": ("chat", "completions"), "anthropic-messages": ("messages",),
}  # fmt: skip
"""The last segments of the paths of each API, for `auto`. The module `providers/openai_chat.py` has `openai-chat`."""
NAMES = ("omnigent", "documented", *_MODEL_APIS, AUTO, "none")
_none = cache(NoContract)


def _of_path(path: str) -> Contract | None:
    """Return the contract for a path that ends with these segments, or with these and an id."""
    segments = tuple(filter(None, path.split("/")))
    for name, ending in _MODEL_APIS.items():
        if ending in (segments[-len(ending) :], segments[-len(ending) - 1 : -1]):
            return load(name)
    return None


@cache
def _auto() -> Contract:
    return ByPath(AUTO, _of_path, _none())


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
    if name in _MODEL_APIS:  # its models take time to import
        made: Contract = import_module(f"..providers.{name.replace('-', '_')}", __package__).contract()
        return made
    if name in (AUTO, "none"):
        return _auto() if name == AUTO else _none()
    return load_of_omnigent(name, NAMES)
