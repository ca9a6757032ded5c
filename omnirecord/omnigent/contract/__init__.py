"""Contracts, which judge events, and the models of Omnigent's events.

    contract = load("omnigent")
    contract.judge(frame).verdict
    contract.event(data)

`judge` decides, `shapes` keeps the shapes of valid events so that equal ones need no parsing, `known_fields` has the
fields that a contract names. `documented` and `openapi` are contracts that the models alone do not express. Every model
of `omnigent/events/` can be imported from here.
"""

from __future__ import annotations

from functools import cache
from os import PathLike, fspath

from ..events import ServerStreamEvent as ServerStreamEvent
from ..events.base import Event as Event
from ..events.base import Shape as Shape
from ..events.base import UntypedEvent as UntypedEvent
from ..events.objects import *  # noqa: F403 - a new model is exported without a change here
from ..events.response import *  # noqa: F403
from ..events.session import *  # noqa: F403
from . import documented
from .judge import Contract as Contract
from .judge import Issue as Issue
from .judge import Judgement as Judgement
from .judge import ProblemKind as ProblemKind

_NAMED = {"omnigent": cache(documented.omnigent), "documented": cache(documented.documented)}


def load(name_or_path: str | PathLike[str]) -> Contract:
    """Return the contract `omnigent`, `documented`, or that of the OpenAPI document at this path. Raises
    `UsageError`."""
    name = fspath(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    from .openapi import from_file  # it needs jsonschema-rs, which the named contracts do not

    return from_file(name)
