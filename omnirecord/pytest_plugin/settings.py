"""The settings of a test, from `omnirecord.settings`, options, ini file, markers and fixture; and the path of its
cassette. Pure.

A later layer takes precedence key by key. None sets nothing, and removes the value of an outer marker.

A cassette is `<cassettes>/<module>/<test>.jsonl`, as in pytest-recording; two tests share one only if they name it.
Characters that a file name cannot have are replaced, and a hash of the whole name keeps such names apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from os import PathLike, fspath
from os.path import relpath
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .keywords import KEYS, OF_RECORDING, OF_REPLAY

_CHECKED_ALONE = ("record", "timing")
GATE_TIMEOUT = 30.0
"""Default seconds that a replay waits for a request."""
LONGEST = 1e6
"""Longest limit, in seconds."""
_SEVERAL = ("gates", "faults", "match", "match_on", "redact_patterns", "only_paths", "except_paths")


@dataclass(frozen=True)
class Settings:
    """The settings of one test. `replay`, `recording`: its arguments of `omnirecord.replay` and `omnirecord.record`.
    `only_replays`: the test has record='none' or faults. `gate_timeout`: seconds after which a test fails if its client
    does not send the awaited request; None: never."""

    cassette: str | None = None
    record: str = "none"
    only_replays: bool = False
    gate_timeout: float | None = None
    recording: Mapping[str, Any] = field(default_factory=dict)
    replay: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """A test that requests a server. `upstream` and `outcomes` are called when they are needed."""

    node_id: str
    cassette: Path
    upstream: Callable[[], str]
    has_upstream: bool
    outcomes: Callable[[], set[str]]


def settings_of(*layers: Mapping[str, Any]) -> Settings:
    """Return the settings of a test from checked layers; the last takes precedence. Raises `UsageError`."""
    merged = {key: value for layer in layers for key, value in layer.items() if value is not None}
    replay = {key: _all_of(key, merged[key]) for key in OF_REPLAY if key in merged}
    if "timing" not in replay and {"speed", "max_gap"} & replay.keys():
        raise UsageError(
            "speed and max_gap go with timing='original' or 'compressed'; the default in a test is 'instant'"
        )
    replay.setdefault("timing", "instant")
    recording = {key: _all_of(key, merged[key]) for key in OF_RECORDING if key in merged}
    cassette = merged.get("cassette")
    record = merged.get("record")
    only_replays = record == "none" or bool(replay.get("faults"))
    by_default = 0.0 if "skip_gates_after" in merged else GATE_TIMEOUT  # no limit if gates are skipped
    limit = float(merged.get("gate_timeout", by_default)) or None
    return Settings(cassette and fspath(cassette), record or "none", only_replays, limit, recording, replay)


def checked(layer: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return a layer that has known keys and valid values. Raises `UsageError`, with the nearest key."""
    if not isinstance(layer, Mapping):
        raise UsageError(f"{where} gives a dict, not {layer!r}")
    for key, value in layer.items():
        if key not in KEYS:
            from ..options import unknown

            raise unknown(key, KEYS, where)
        if value is not None:
            _check(key, value, where)
    return layer


def _check(key: str, value: Any, where: str) -> None:
    if key in OF_RECORDING or key in _CHECKED_ALONE:
        from ..options import check

        check(key, _all_of(key, value), where)
    if key == "gate_timeout" and not _is_limit(value):
        raise UsageError(f"{where}: {key} {value!r} is no number of seconds: write for instance 30, or 0 for no limit")
    if key == "cassette" and not isinstance(value, (str, PathLike)):
        raise UsageError(f"{where}: a cassette is the path of a .jsonl or .db file, not {value!r}")
    try:
        if key == "match_on":
            from ..replayer.matching.rules import rules_of

            rules_of(_all_of(key, value))
        elif key == "labels":
            from ..cassette.labels import labels_of

            labels_of(value)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _is_limit(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and 0 <= float(value) <= LONGEST
    except (TypeError, ValueError):
        return False


def marker_layer(marks: Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> dict[str, Any]:
    """Return the settings of a test's markers, given the arguments of each, the closest first. Raises `UsageError`."""
    merged: dict[str, Any] = {}
    for args, named in reversed(list(marks)):
        if len(args) > 1 or (args and "cassette" in named):
            raise UsageError("the omnirecord marker takes one cassette; everything else by its name")
        merged |= checked({**dict(zip(("cassette",), args, strict=False)), **named}, "the omnirecord marker")
    return merged


def _all_of(key: str, value: Any) -> Any:
    """Return a list for a single value of a key that takes several."""
    return (value,) if key in _SEVERAL and not isinstance(value, (list, tuple)) else value


_UNFIT = re.compile(r"[^A-Za-z0-9_.\[\]-]+")
_LONGEST = 100
_LIKE_HASHED = re.compile(r"-[0-9a-f]{8}\Z")


def cassettes_folder(configured: Path | None, module: Path) -> Path:
    """Return the folder of all cassettes: the configured one, else `cassettes` beside the test file."""
    return configured or module.parent / "cassettes"


def cassette_path(folder: Path, named: str | None, module: Path, names: Sequence[str]) -> Path:
    """Return the cassette of the test whose classes and function are `names`, in the file `module`."""
    if named is not None:
        return folder / named
    parts = Path(relpath(module.with_suffix(""), folder.parent)).parts
    return folder.joinpath(*map(_fit, parts), f"{_fit('.'.join(names[:-1]), names[-1])}.jsonl")


def _fit(name: str, last: str = "") -> str:
    """Return `name.last` as a file name that no other pair has, also on a file system that ignores case."""
    whole = ".".join(filter(None, (name, last)))
    fit = _UNFIT.sub("_", whole)[:_LONGEST]
    is_plain = fit == whole and last == last.lower() and not _LIKE_HASHED.search(whole) and whole.strip(".") == whole
    if is_plain:
        return fit
    return f"{fit.strip('.') or '_'}-{sha256(whole.encode(errors='backslashreplace')).hexdigest()[:8]}"


def failed_path(path: Path) -> Path:
    """Return the path for the recording of a failed test: `NAME.failed.jsonl` beside `NAME.jsonl`."""
    return path.with_name(f"{path.stem}.failed{path.suffix}")
