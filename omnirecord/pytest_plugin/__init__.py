"""The pytest plugin: options, the marker `omnirecord`, and its fixtures. PYTEST_DONT_REWRITE

`Server` is the type of the fixture `omnirecord_server`. Every run of pytest loads this module if omnirecord is
installed, so it imports nothing heavy. Options take precedence over variables (`OMNIRECORD_…`), the ini file and the
settings file, in this order; markers over these, and the fixture `omnirecord_config` over markers.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from ..errors import OmnirecordError, UsageError
from .keywords import KEYS

if TYPE_CHECKING:
    from ..replayer.control import Server
    from ..settings import Settings
    from .server import Limit

    _Server = tuple[Server, Path, Limit | None, bool]
    _Given = Settings

_NOT_SETTINGS = ("cassette", "speed", "max_gap")
"""Keywords of the marker that no settings file sets for tests."""
_MARKER = f"omnirecord(cassette, *, {', '.join(KEYS[1:])}): the cassette that omnirecord_server replays, and how"
_OPTIONS = {
    "record": (
        "none|once|all|new_episodes",
        "record from the upstream never, if the cassette is missing, always, or what the cassette does not have",
    ),
    "upstream": ("URL", "server to record from; further ones, as in 'URL model=URL', have a name"),
    "cassettes": ("DIR", "folder of cassettes, instead of `cassettes` beside each test file"),
    "timing": ("original|compressed|instant", "timing of replays; instant by default"),
    "match_on": ("NAMES", "what of a request has to match: method, path and query always, body by default"),
    "gate_timeout": ("S", "fail a test whose client does not send the awaited request within S seconds: 30; 0: never"),
}
_INI_FILE = "omnirecord_… in the ini file"
_COMMAND_LINE = "--omnirecord-… on the command line"
_PLACES: dict[str, Callable[[pytest.Config, str], Any]] = {
    _INI_FILE: pytest.Config.getini,
    _COMMAND_LINE: pytest.Config.getoption,
}
"""The places of settings that pytest reads, and the method that reads a value; the last one takes precedence."""
_COUNTED = "omnirecord_requests"
"""The property of a test's report with the counts of its requests."""
_OUTCOMES = pytest.StashKey[set[str]]()  # of its failed setup, of its subtests, and of the test
_SERVER = pytest.StashKey["_Server"]()  # the server, its cassette, the limit, and whether no request is allowed
_SETTINGS = pytest.StashKey["_Given"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("omnirecord", "record and replay of event streams (omnirecord)")
    for name, (metavar, what) in _OPTIONS.items():
        option = f"--omnirecord-{name.replace('_', '-')}"
        group.addoption(option, dest=f"omnirecord_{name}", metavar=metavar, default=None, help=f"{what}.")
        parser.addini(f"omnirecord_{name}", f"{what}; {option} takes precedence.", default=None)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    if any(_said(config, place) for place in _PLACES):
        from .settings import checked

        try:
            for place in _PLACES:
                checked(_layer(config, place), place)
        except UsageError as error:
            raise pytest.UsageError(f"omnirecord: {error}") from None


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Name the settings file that holds for tests, or what is wrong with it."""
    from ..text import visible

    try:
        settings = _settings(config)
    except UsageError as error:
        return [visible(f"omnirecord: {error}")]
    used = [name for name in settings.from_file() if _is_of_tests(name) or name in _OF_FIXTURES]
    lines = list(settings.warnings)
    if used:
        lines.append(f"{settings.file} sets {', '.join(used)} (OMNIRECORD_NO_CONFIG=1 ignores it)")
    return [visible(f"omnirecord: {line}") for line in lines]


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
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that passed without a request to its server."""
    returned = yield
    if _SERVER in item.stash:
        server, cassette, _, allows_none = item.stash[_SERVER]
        if server.is_unused and not allows_none:
            done = "recorded" if server.is_recording else f"compared with {cassette}"
            raise pytest.fail.Exception(
                f"omnirecord: the test sent no request to omnirecord_server, so nothing was {done}."
                " Connect the client to omnirecord_server.url, or allow this with"
                " @pytest.mark.omnirecord(allow_no_requests=True)",
                pytrace=False,
            )
    return returned


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call" or report.failed:
        item.stash.setdefault(_OUTCOMES, set()).add(report.outcome)
    if report.failed and _SERVER in item.stash:
        from .server import section

        server, cassette, limit, _ = item.stash[_SERVER]
        told = str(call.excinfo.value) if call.excinfo is not None else ""
        noted = None if limit is None else limit.section
        said = noted or section(server, cassette, stopped=call.when == "teardown", told=told)
        report.sections.append(("omnirecord", said))
    if call.when == "call" and _SERVER in item.stash and item.stash[_SERVER][0].records_missing:
        from .server import counts, sources

        server = item.stash[_SERVER][0]
        report.sections.append(("omnirecord, requests", sources(server)))
        item.user_properties.append((_COUNTED, counts(server)))
    if call.when == "teardown" and _SERVER in item.stash:
        del item.stash[_SERVER]  # items live as long as the session
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the tests that an upstream answered, with the number of requests."""
    reports = [
        one for some in terminalreporter.stats.values() for one in some if getattr(one, "when", "") == "teardown"
    ]
    told = [(one.nodeid, value) for one in reports for name, value in one.user_properties if name == _COUNTED]
    if told:
        live = [(test, value) for test, value in told if not value.endswith(" 0 live")]
        terminalreporter.write_sep("-", "omnirecord: new episodes")
        for test, value in live:
            terminalreporter.write_line(f"{test}: {value}")
        terminalreporter.write_line(f"{len(told) - len(live)} of {len(told)} tests were answered from their cassettes")


@pytest.fixture(scope="session")
def omnirecord_config() -> dict[str, Any]:
    """Settings for every test that sees this fixture: override it, in any scope, with a dict of the marker's keywords
    and `cassette`. It takes precedence over the marker."""
    return {}


@pytest.fixture(scope="session")
def omnirecord_upstream(pytestconfig: pytest.Config) -> str:
    """URL of the server to record from, requested only for a recording. Override it to start a server. It may hold
    further servers with a name, as the setting does: `URL model=URL`."""
    try:
        upstream = _upstream(pytestconfig)
    except OmnirecordError as error:
        _fail(error)
    if not upstream:
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
    from .settings import Case, cassette_path, cassettes_folder, checked, settings_of

    item = request.node
    config = request.config
    try:
        of_config = [checked(layer, where) for where, layer in _layers(config)]
        settings = settings_of(*of_config, _of_markers(item), checked(omnirecord_config, "omnirecord_config"))
        folder = cassettes_folder(_folder(config), item.path)
        names = [node.name for node in item.listchain() if isinstance(node, pytest.Class)]
        path = cassette_path(folder, settings.cassette, item.path, [*names, item.name])
        with ExitStack() as stack:
            with without_gc():
                from .server import limited, served

                case = Case(
                    item.nodeid,
                    path,
                    lambda: str(request.getfixturevalue("omnirecord_upstream")),
                    bool(_upstream(config)),
                    lambda: item.stash.get(_OUTCOMES, set()),
                )
                server = stack.enter_context(served(case, settings))
            limit = stack.enter_context(limited(config, server, path, settings.gate_timeout))
            item.stash[_SERVER] = server, path, limit, bool(settings.replay.get("allow_no_requests"))
            yield server
    except OmnirecordError as error:
        _fail(error)


def _of_markers(item: pytest.Item) -> dict[str, Any]:
    from .settings import marker_layer

    return marker_layer((mark.args, mark.kwargs) for mark in item.iter_markers("omnirecord"))


def _said(config: pytest.Config, place: str) -> dict[str, str]:
    """Return the values of the options, or of the ini file, by name."""
    read = _PLACES[place]
    said = {name: read(config, f"omnirecord_{name}") for name in _OPTIONS}
    return {name: text for name, text in said.items() if text}


def _upstream(config: pytest.Config) -> str | None:
    option = _said(config, _COMMAND_LINE).get("upstream")
    ini = _said(config, _INI_FILE).get("upstream")
    return option or _upstreams_of(config, "variable") or ini or _upstreams_of(config, "file")


_OF_FIXTURES = ("upstream", "upstreams", "cassettes")


def _is_of_tests(name: str) -> bool:
    return name in KEYS and name not in _NOT_SETTINGS


def _settings(config: pytest.Config) -> Settings:
    """Return the settings of the start directory. Raises `UsageError`, which fails only tests that use them."""
    from ..settings import settings_in

    if _SETTINGS not in config.stash:
        config.stash[_SETTINGS] = settings_in(config.invocation_params.dir)
    return config.stash[_SETTINGS]


def _of_source(config: pytest.Config, source: str) -> dict[str, Any]:
    """Return the settings from the settings file (`file`), or from variables (`variable`)."""
    return {name: one.value for name, one in _settings(config).values.items() if one.source == source}


def _upstreams_of(config: pytest.Config, source: str) -> str:
    given = _of_source(config, source)
    named = [f"{name}={url}" for name, url in given.get("upstreams", {}).items()]
    return " ".join([*given.get("upstream", "").split(), *named])


def _layers(config: pytest.Config) -> list[tuple[str, dict[str, Any]]]:
    """Return the settings for all tests, with their place; a later one takes precedence. Raises `UsageError`."""
    of_file, of_variables = (
        {name: value for name, value in _of_source(config, source).items() if _is_of_tests(name)}
        for source in ("file", "variable")
    )
    return [
        (str(_settings(config).file), of_file),
        (_INI_FILE, _layer(config, _INI_FILE)),
        ("OMNIRECORD_… in the environment", of_variables),
        (_COMMAND_LINE, _layer(config, _COMMAND_LINE)),
    ]


def _layer(config: pytest.Config, place: str) -> dict[str, Any]:
    """Return the settings of a replay from the options, or from the ini file."""
    said = {name: text for name, text in _said(config, place).items() if name not in _OF_FIXTURES}
    return {name: text.replace(",", " ").split() if name == "match_on" else text for name, text in said.items()}


def _folder(config: pytest.Config) -> Path | None:
    """Return the configured folder of cassettes; an option is relative to the start directory of pytest."""
    option = _said(config, _COMMAND_LINE).get("cassettes")
    if given := option or _of_source(config, "variable").get("cassettes"):
        return config.invocation_params.dir / given
    if ini := _said(config, _INI_FILE).get("cassettes"):
        return (config.inipath.parent if config.inipath else config.rootpath) / ini
    of_file = _of_source(config, "file").get("cassettes")
    return None if of_file is None else Path(of_file)


def _fail(error: OmnirecordError) -> NoReturn:
    raise pytest.fail.Exception(f"omnirecord: {error}", pytrace=False) from None


def __getattr__(name: str) -> Any:
    if name != "Server":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..replayer.control import Server

    return Server
