"""The pytest plugin: options, the marker `omnirecord`, and its fixtures. PYTEST_DONT_REWRITE

`Server` is the type of the fixture `omnirecord_server`. Every run of pytest loads this module if omnirecord is
installed, so it imports nothing heavy. Options take precedence over the ini file, markers over both, and the fixture
`omnirecord_config` over markers.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from .. import replay
from ..errors import OmnirecordError, UsageError

if TYPE_CHECKING:
    from ..replayer.control import Server
    from .server import Limit

    _Server = tuple[Server, Path, Limit | None]

_NOT_IN_TESTS = (
    "cassette",
    "host",
    "port",
    "listens",
    "allow_remote",
    "token",
    "tls_cert",
    "tls_key",
    "web_ui",
)
"""Parameters of `omnirecord.replay` that a test cannot choose."""
OF_REPLAY = tuple(name for name in signature(replay).parameters if name not in _NOT_IN_TESTS)
"""Keywords of the marker that go to `omnirecord.replay`."""
OF_RECORDING = ("contract", "contracts", "except_paths", "labels", "only_paths", "redact", "redact_patterns")
"""Keywords of the marker that go to `omnirecord.record`: names of `recorder.options`."""
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
        from .settings import checked

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
    from ..server.timers import without_gc
    from .settings import cassette_path, cassettes_folder, checked, settings_of

    item = request.node
    config = request.config
    try:
        of_config = [layer for _, layer in _layers(config)]
        settings = settings_of(*of_config, _of_markers(item), checked(omnirecord_config, "omnirecord_config"))
        folder = cassettes_folder(_folder(config), item.path)
        names = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
        path = cassette_path(folder, settings.cassette, item.path, [*names, item.name])
        with ExitStack() as stack:
            with without_gc():
                from .server import Case, limited, served

                case = Case(
                    item.nodeid,
                    path,
                    lambda: str(request.getfixturevalue("omnirecord_upstream")),
                    bool(_setting(config, "upstream")),
                    lambda: item.stash.get(_OUTCOMES, set()),
                )
                server = stack.enter_context(served(case, settings))
            limit = stack.enter_context(limited(config, server, path, settings.gate_timeout))
            item.stash[_SERVER] = server, path, limit
            yield server
    except OmnirecordError as error:
        _fail(error)


def _of_markers(item: pytest.Item) -> dict[str, Any]:
    from .settings import marker_layer

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
    said = {name: pair for name, pair in _said(config).items() if name not in ("upstream", "cassettes")}
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


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..replayer.control import Server

    return Server
