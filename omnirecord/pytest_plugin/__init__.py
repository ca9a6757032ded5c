"""The pytest plugin: options, the marker `omnirecord`, and its fixtures. PYTEST_DONT_REWRITE

`Server` is the type of the fixture `omnirecord_server`. Every run of pytest loads this module if omnirecord is
installed, so it imports nothing heavy. Options take precedence over the ini file, markers over both, and the fixture
`omnirecord_config` over markers. None sets nothing, and removes the value of an outer marker.

A cassette is `<cassettes>/<module>/<test>.jsonl`, as in pytest-recording; two tests share one only if they name it.
Characters that a file name cannot have are replaced, and a hash of the whole name keeps such names apart.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from inspect import signature
from os import PathLike, fspath
from os.path import relpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from .. import replay
from ..errors import OmnirecordError, UsageError

if TYPE_CHECKING:
    from ..replayer.control import Server
    from .server import Case, Limit

    _Server = tuple[Server, Path, Limit | None]

_NOT_IN_TESTS = (
    "cassette", "host", "port", "allow_remote", "token", "tls_cert", "tls_key", "web_ui", "gate_timeout",
)  # fmt: skip
"""Parameters of `omnirecord.replay` that a test cannot choose, or that mean something else in a test."""
OF_REPLAY = tuple(name for name in signature(replay).parameters if name not in _NOT_IN_TESTS)
"""Keywords of the marker that go to `omnirecord.replay`."""
OF_RECORDING = ("contract", "contracts", "redact", "redact_patterns", "labels")
"""Keywords of the marker that go to `omnirecord.record`."""
KEYS = ("cassette", "record", *OF_REPLAY, "gate_timeout", *OF_RECORDING)
"""All keywords of the marker."""
_MARKER = f"omnirecord(cassette, *, {', '.join(KEYS[1:])}): the cassette that omnirecord_server replays, and how"
_OPTIONS = {
    "record": ("none|once|all", "record from the upstream never, if the cassette is missing, or always"),
    "upstream": ("URL", "server to record from; further ones, as in 'URL model=URL', have a name"),
    "cassettes": ("DIR", "folder of cassettes, instead of `cassettes` beside each test file"),
    "timing": ("original|compressed|instant", "timing of replays; instant by default"),
    "match_on": ("NAMES", "what of a request has to match: method, path and query always, body by default"),
    "gate_timeout": ("S", "fail a test whose client does not send the awaited request within S seconds: 30; 0: never"),
}
_NOT_OF_TESTS = ("upstream", "cassettes")
_CHOICES = {"record": ("none", "once", "all"), "timing": ("original", "compressed", "instant"), "redact": ("content",)}
GATE_TIMEOUT = 30.0
"""Default seconds that a replay waits for a request."""
MATCH_ON = ("body",)
"""Default parts of a request that have to match, beside method, path and query."""
LONGEST = 1e6
"""Longest limit, in seconds."""
_SEVERAL = ("gates", "faults", "match", "match_on", "redact_patterns")
_DICTS = {"labels": {"branch": "main"}, "contracts": {"model": "openai-responses"}}
"""Settings that are a dict, with an example."""
_REFUSED = {
    "new": "a stream's playhead cannot mix a recorded past with a live server",
    "new_episodes": "a stream's playhead cannot mix a recorded past with a live server",
}
_OUTCOMES = pytest.StashKey[set[str]]()  # of its failed setup, of its subtests, and of the test
_SERVER = pytest.StashKey["_Server"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("omnirecord", "record and replay of event streams (omnirecord)")
    for name, (metavar, what) in _OPTIONS.items():
        option = f"--omnirecord-{name.replace('_', '-')}"
        group.addoption(option, dest=f"omnirecord_{name}", metavar=metavar, default=None, help=f"{what}.")
        parser.addini(f"omnirecord_{name}", f"{what}; {option} takes precedence.", default=None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    if _said(config):
        try:
            for where, layer in _layers(config):
                checked(layer, where)
        except UsageError as error:
            raise pytest.UsageError(f"omnirecord: {error}") from None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose marker has an error, whether it uses the fixture or not."""
    item.stash[_OUTCOMES] = set()
    if item.get_closest_marker("omnirecord") is not None:
        try:
            _of_markers(item)
        except OmnirecordError as error:
            _fail(error)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" or report.failed:
        item.stash.setdefault(_OUTCOMES, set()).add(report.outcome)
    if report.failed and _SERVER in item.stash:
        from .server import section

        server, cassette, limit = item.stash[_SERVER]
        told = str(call.excinfo.value) if call.excinfo is not None else ""
        noted = None if limit is None else limit.section
        said = noted or section(server, cassette, stopped=call.when == "teardown", told=told)
        report.sections.append(("omnirecord", said))
    if call.when == "teardown" and _SERVER in item.stash:
        del item.stash[_SERVER]  # items live as long as the session
    return report


@pytest.fixture(scope="session")
def omnirecord_config() -> dict[str, Any]:
    """Settings for every test that sees this fixture: override it, in any scope, with a dict of the marker's keywords
    and `cassette`. It takes precedence over the marker."""
    return {}


@pytest.fixture(scope="session")
def omnirecord_upstream(pytestconfig: pytest.Config) -> str:
    """URL of the server to record from, requested only for a recording. Override it to start a server. It may hold
    further servers with a name, as the setting does: `URL model=URL`."""
    if not (upstream := _setting(pytestconfig, "upstream")):
        pytest.fail(
            "omnirecord: there is no server to record from: give --omnirecord-upstream=URL, put omnirecord_upstream"
            " into the ini file, or override the fixture omnirecord_upstream",
            pytrace=False,
        )
    return upstream


@pytest.fixture
def omnirecord_server(request: pytest.FixtureRequest, omnirecord_config: Mapping[str, Any]) -> Iterator[Server]:
    """A server of this test that answers as the recorded one did, or records. Clients connect to its `url`."""
    from .server import limited, served

    try:
        case, settings = _asked(request, omnirecord_config)
        with (
            served(case, settings) as server,
            limited(request.config, server, case.cassette, settings.gate_timeout) as limit,
        ):
            request.node.stash[_SERVER] = server, case.cassette, limit
            yield server
    except OmnirecordError as error:
        _fail(error)


def _asked(request: pytest.FixtureRequest, of_fixture: Mapping[str, Any]) -> tuple[Case, Settings]:
    from .server import Case

    item, config = request.node, request.config
    of_config = [layer for _, layer in _layers(config)]
    settings = settings_of(*of_config, _of_markers(item), checked(of_fixture, "omnirecord_config"))
    folder = cassettes_folder(_folder(config), item.path)
    names = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
    return Case(
        item.nodeid,
        cassette_path(folder, settings.cassette, item.path, [*names, item.name]),
        lambda: str(request.getfixturevalue("omnirecord_upstream")),
        bool(_setting(config, "upstream")),
        lambda: item.stash.get(_OUTCOMES, set()),
    ), settings


def _of_markers(item: pytest.Item) -> dict[str, Any]:
    return marker_layer((mark.args, mark.kwargs) for mark in item.iter_markers("omnirecord"))


def _said(config: pytest.Config) -> dict[str, tuple[str | None, str | None]]:
    """Return the option and the ini value of each name that has one."""
    said = {name: (config.getoption(f"omnirecord_{name}"), config.getini(f"omnirecord_{name}")) for name in _OPTIONS}
    return {name: pair for name, pair in said.items() if any(pair)}


def _setting(config: pytest.Config, name: str) -> str | None:
    option, ini = _said(config).get(name, (None, None))
    return option or ini


def _layers(config: pytest.Config) -> list[tuple[str, dict[str, Any]]]:
    """Return the settings of the ini file and of the options, the ini file first."""
    said = {name: pair for name, pair in _said(config).items() if name not in _NOT_OF_TESTS}
    return [
        ("omnirecord_… in the ini file", {name: _value(name, ini) for name, (_, ini) in said.items()}),
        ("--omnirecord-… on the command line", {name: _value(name, option) for name, (option, _) in said.items()}),
    ]


def _value(name: str, text: str | None) -> Any:
    return text.replace(",", " ").split() if text and name == "match_on" else text or None


def _folder(config: pytest.Config) -> Path | None:
    """Return the configured folder of cassettes; an option is relative to the start directory of pytest."""
    option, ini = _said(config).get("cassettes", (None, None))
    if option:
        return config.invocation_params.dir / option
    return (config.inipath.parent if config.inipath else config.rootpath) / ini if ini else None


def _fail(error: OmnirecordError) -> NoReturn:
    raise pytest.fail.Exception(f"omnirecord: {error}", pytrace=False) from None


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


def settings_of(*layers: Mapping[str, Any]) -> Settings:
    """Return the settings of a test from checked layers; the last takes precedence. Raises `UsageError`."""
    merged = {key: value for layer in layers for key, value in layer.items() if value is not None}
    replay = {key: _all_of(key, merged[key]) for key in OF_REPLAY if key in merged}
    if "timing" not in replay and {"speed", "max_gap"} & replay.keys():
        raise UsageError(
            "speed and max_gap go with timing='original' or 'compressed'; the default in a test is 'instant'"
        )
    replay.setdefault("timing", "instant")
    replay.setdefault("match_on", MATCH_ON)
    recording = {key: _all_of(key, merged[key]) for key in OF_RECORDING if key in merged}
    cassette, record = merged.get("cassette"), merged.get("record")
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
            raise UsageError(f"{where} has no {key!r}: {_nearest(str(key), KEYS)}")
        if value is not None:
            _check(key, value, where)
    return layer


def _check(key: str, value: Any, where: str) -> None:
    if key == "record" and value in _REFUSED:
        raise UsageError(f"{where}: record {value!r} is not there, {_REFUSED[value]}: use 'all' to record anew")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise UsageError(f"{where}: {key} {value!r} is none of {', '.join(_CHOICES[key])}")
    if key in _DICTS and not isinstance(value, Mapping):
        raise UsageError(f"{where}: {key} is a dict, as in {_DICTS[key]}, not {value!r}")
    if key == "gate_timeout" and not _is_limit(value):
        raise UsageError(f"{where}: {key} {value!r} is no number of seconds: write for instance 30, or 0 for no limit")
    if key == "cassette" and not isinstance(value, (str, PathLike)):
        raise UsageError(f"{where}: a cassette is the path of a .jsonl or .db file, not {value!r}")
    try:
        if key == "match_on":
            from ..replayer.matching.rules import rules_of

            rules_of(_all_of(key, value))
        elif key == "labels":
            from ..cassette.identity import labels_of

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


def _nearest(key: str, known: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(key, known, 1)
    return f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"


def _all_of(key: str, value: Any) -> Any:
    """Return a list for a single value of a key that takes several."""
    return (value,) if key in _SEVERAL and not isinstance(value, (list, tuple)) else value


FOLDER = "cassettes"
_UNFIT = re.compile(r"[^A-Za-z0-9_.\[\]-]+")
_LONGEST = 100
_LIKE_HASHED = re.compile(r"-[0-9a-f]{8}\Z")


def cassettes_folder(configured: Path | None, module: Path) -> Path:
    """Return the folder of all cassettes: the configured one, else `cassettes` beside the test file."""
    return configured or module.parent / FOLDER


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


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..replayer.control import Server

    return Server
