"""Contracts, which judge events, and the models of Omnigent's events.

    contract = load("omnigent")
    contract.judge(frame).verdict
    contract.event(data)

`omnirecord.contract` has the engine. `documented` is a contract that the models alone do not express. Every model of
`omnigent/events/` can be imported from here. `cassette.contracts.load` also knows the contracts of other APIs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from os import PathLike, fspath

from ...contract.events import Event as Event
from ...contract.events import Shape as Shape
from ...contract.events import UntypedEvent as UntypedEvent
from ...contract.judge import Contract as Contract
from ...contract.judge import Issue as Issue
from ...contract.judge import Judgement as Judgement
from ...contract.judge import ProblemKind as ProblemKind
from ..events import MODELS
from ..events import ServerStreamEvent as ServerStreamEvent
from ..events.objects import *  # noqa: F403 - a new model is exported without a change here
from ..events.response import *  # noqa: F403
from ..events.session import *  # noqa: F403
from . import documented

_NAMED = {"omnigent": cache(documented.omnigent), "documented": cache(documented.documented)}


def load(name_or_path: str | PathLike[str], names: Sequence[str] = tuple(_NAMED)) -> Contract:
    """Return the contract `omnigent`, `documented`, or that of the OpenAPI document at this path. Raises `UsageError`,
    which lists the `names`."""
    name = fspath(name_or_path)
    if name in _NAMED:
        return _NAMED[name]()
    from ...contract.openapi import from_file  # it needs jsonschema-rs, which the named contracts do not

    return from_file(name, MODELS, names)
