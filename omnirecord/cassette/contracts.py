"""Which contract judges an exchange: the only place that says so, for the recorder and for readers.

    of_recording(recording).of(target, headers)

1. A contract that was given is kept: a name, or the path of an openapi.json.
2. By default it is `auto`: the path of the request decides. Omnigent's paths have the contract `omnigent`, those of a
   model API the contract of that API. Others have `none`.
3. A path of older versions of Omnigent is that of a model API, too. Omnigent's own clients send the Origin
   `omnigent://internal`. If an API requires a header (`providers.register`), a recorded request without it has the
   contract `none`: any service may have the path.
4. A recording of an older version does not say whether its contract was given. If it is `omnigent`, which was the
   default, the path decides. An imported raw body has no upstream, and its path says nothing.
5. A command can read with another contract, for instance a recording of a gateway whose paths tell no API.

The verdicts in a file are those of the contract that judged when it was recorded (`judged_by`). If another contract
judges an exchange now, readers judge its events again.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from os import PathLike, fspath

from ..contract import OMNIGENT
from ..contract.judge import ByPath, Contract, Later, NoContract
from ..model import Exchange, Headers, Recording
from ..omnigent.routes import is_of_omnigent, is_older_path, names_omnigent
from ..providers.register import REGISTER, api_of_path, model_api
from ..wire.headers import header

log = logging.getLogger("omnirecord")
AUTO = "auto"
_DEFAULT_BEFORE = "omnigent"
"""The default of older versions for an upstream without a name."""
NAMES = ("omnigent", "documented", *REGISTER, AUTO, "none")
_TELLING = frozenset({"origin", *(entry.header for entry in REGISTER.values() if entry.header)})
_HAS_HOST = (("host", ""),)
_none = cache(NoContract)
_reads_with: Contract | None = None


class _Auto(ByPath):
    def __init__(self) -> None:
        super().__init__(AUTO, _of_path, _none())

    def of(self, target: str, headers: Headers = ()) -> Contract:
        found = super().of(target)
        if is_older_path(target) and names_omnigent(header(headers, "origin")):
            return load("omnigent")
        return _none() if _lacks_header(found.api.name, headers) else found


def telling(headers: Headers) -> Headers:
    """Return the headers of a request that can decide, for an open stream to keep. Of `Host`, only its presence."""
    told = tuple((name, value) for name, value in headers if name.lower() in _TELLING)
    if header(headers, "host") is None:
        return told
    return (*_HAS_HOST, *told) if told else _HAS_HOST


def _lacks_header(api: str, headers: Headers) -> bool:
    """Return whether a request lacks the header that its API requires. The request of an imported body has no Host, and
    its headers say nothing."""
    required = REGISTER[api].header if api in REGISTER else None
    return required is not None and header(headers, "host") is not None and header(headers, required) is None


def _of_path(path: str) -> Contract | None:
    return load("omnigent") if is_of_omnigent(path) else _of_model_api(path)


def _of_model_api(path: str) -> Contract | None:
    api = api_of_path(path)
    return None if api is None else load(api)


_auto = cache(_Auto)
_auto_before = cache(lambda: ByPath(AUTO, _of_model_api, _none()))
"""The contract `auto` of older versions, for a model API only."""


def load(name_or_path: str | PathLike[str]) -> Contract:
    """Return the contract of this name, or that of the OpenAPI document at this path. The same name has the same
    contract. Raises `UsageError`."""
    name = fspath(name_or_path)
    if name in REGISTER:
        return model_api(name).contract()
    if name in (AUTO, "none"):
        return _auto() if name == AUTO else _none()
    return _omnigent() if name == OMNIGENT else _of_omnigent(name)


def _of_omnigent(name: str) -> Contract:
    from ..omnigent.contract import load as load_of_omnigent  # 56 models

    return load_of_omnigent(name, NAMES)


_omnigent = cache(lambda: Later(OMNIGENT, lambda: _of_omnigent(OMNIGENT)))


def of_recording(one: Recording) -> Contract:
    """Return the contract of a recording. `Contract.of` returns that of one exchange."""
    if _reads_with is not None:
        return _reads_with
    if one.contract not in NAMES:  # the recording names a file, which is never read
        _warn(one.contract)
        return _auto()
    is_default = one.contract_given is False or (
        one.contract_given is None and one.contract == _DEFAULT_BEFORE and one.hop is None and one.upstream is not None
    )
    return _auto() if is_default else load(one.contract)


def judge_of(one: Recording, x: Exchange) -> Contract:
    """Return the contract that judges an exchange of a recording."""
    return judge_with(of_recording(one), x)


def judge_with(contract: Contract, x: Exchange) -> Contract:
    """Return the contract that judges an exchange if its recording has this contract."""
    return contract.of(x.request.target, x.request.headers)


def judge_again(one: Recording, x: Exchange) -> Contract | None:
    """Return the contract that judges an exchange; None if the verdicts in the file are those of this contract."""
    if one.contract not in NAMES and _reads_with is None:  # a file judged them
        return None
    now = judge_of(one, x)
    is_same = one.contract in NAMES and judged_by(one, x.request.target, x.request.headers) is now
    return None if is_same else now


def judged_by(one: Recording, target: str, headers: Headers) -> Contract:
    """Return the contract that judged a request when it was recorded. `auto` stands for a file, which is not read."""
    if one.contract not in NAMES:
        judge = of_recording(one)
    else:
        judge = _auto_before() if one.contract == AUTO and one.contract_given is None else load(one.contract)
    return judge.of(target, headers)


@contextmanager
def reading_with(name_or_path: str | PathLike[str] | None) -> Iterator[None]:
    """Read all recordings of this process with a contract; None: each with its own. Raises `UsageError`."""
    global _reads_with
    before = _reads_with
    _reads_with = None if name_or_path is None else load(name_or_path)
    try:
        yield
    finally:
        _reads_with = before


@functools.cache
def _warn(name: str) -> None:
    log.warning(
        "the contract of this cassette, %.200r, is not read: new verdicts follow the path of a request, as with 'auto';"
        " stored verdicts stay as they are",
        name,
    )
