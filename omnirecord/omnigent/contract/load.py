"""Where contracts come from: two by name, any other by the path of an `openapi.json`."""

from __future__ import annotations

from functools import cache
from os import PathLike, fspath

from .documented import documented, omnigent
from .judge import Contract

_NAMED = {"omnigent": cache(omnigent), "documented": cache(documented)}


def load(name_or_path: str | PathLike[str]) -> Contract:
    """The contract of that name, or of the OpenAPI document at that path; else a `UsageError`."""
    name = fspath(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    from omnirecord.omnigent.contract.openapi import from_file  # it needs jsonschema-rs, which the named ones do not

    return from_file(name)
