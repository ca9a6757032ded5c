"""The options of a recorder and of a replay: their names, types, defaults and help, for all places that take them.

The fields of `RecordOptions` are the options of `omnirecord proxy` and the arguments of `omnirecord.record`. Those of
`EpisodesOptions` are the options of `omnirecord serve` and the arguments of `omnirecord.replay`. Other commands
(`cli.options`), the pytest marker and settings files (`omnirecord.settings`) take some of them.

To add an option, add a field here, and use it in `recorder.proxy.server`, or in `replayer.server` and
`replayer.player`. An option of a recorder is a setting, too. `--help` loads this module, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, Field, dataclass, field, fields
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, cast

from .errors import UsageError

if TYPE_CHECKING:
    from .server.access import File
    from .wire.limits import Given

    Names = Mapping[str, str]
    Labels = Mapping[str, str] | Iterable[str]
    Texts = Iterable[str]
    Hook = Callable[[dict[str, Any]], dict[str, Any] | None]
    Timing = Literal["original", "compressed", "instant"]
    RecordMode = Literal["none", "new_episodes"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """How an option is given on the command line, and what its help says. The help names other options by their flags;
    MODEL-APIS stands for the names of all model APIs, LAST-EVENT for the type of the last event of a response.

    `flag`: None if the command line has none, or if the flag of another field sets this one. `metavar`: what its value
    is. `named`: the help in Python and in files, if the value has another form there. `choices`: all its values.
    `is_repeatable`: the flag may be given several times. `if_bare`: the value of a flag that is given without one.
    """

    help: str
    flag: str | None = None
    metavar: str | None = None
    named: str | None = None
    choices: tuple[str, ...] = ()
    is_repeatable: bool = False
    if_bare: str | None = None


def _option(default: Any, help: str, flag: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"said": Said(help, flag, metavar, **more)})


def said(option: Field[Any]) -> Said:
    """Return how an option is given."""
    return cast("Said", option.metadata["said"])


@dataclass(frozen=True)
class RecordOptions:
    """What a recorder can be told. A recorder checks the values before it starts (`recorder.proxy.server.Proxy`)."""

    upstream: str | None = _option(
        None,
        "URL of the upstream; may have a path prefix. Repeatable: each further upstream needs a NAME, such as"
        " model=https://api.openai.com. The cassette gets one recording for each upstream.",
        "--upstream",
        "[NAME=]URL",
        named="URL of the server to record; None if `upstreams` has all.",
        is_repeatable=True,
    )
    db: File = _option("omnirecord.db", "Cassette to append to; created if missing.", "--db")
    _: KW_ONLY
    host: str = _option("127.0.0.1", "Address to listen on; a loopback address unless --allow-remote is given.")
    port: int = _option(0, "Port to listen on; 0 selects a free port.")
    listens: Names | None = _option(
        None,
        "Address for clients (default: 127.0.0.1:6868); port 0 selects a free port. Each further upstream has its own"
        " address, NAME=HOST:PORT (default: a free port of the same host). Repeatable.",
        "--listen",
        "[NAME=]HOST:PORT",
        named="`HOST:PORT` for the clients of further upstreams, by name; by default a free port of `host`.",
        is_repeatable=True,
    )
    ca: File | None = _option(None, "CA bundle that verifies the upstream certificate (PEM).", "--ca", "FILE")
    cert: File | None = _option(None, "Client certificate for the upstream (PEM).", "--cert", "FILE")
    key: File | None = _option(
        None, "Private key of the client certificate, if --cert does not contain it (PEM).", "--key", "FILE"
    )
    insecure: bool = _option(False, "Do not verify the upstream certificate.", "--insecure")
    no_proxy: bool = _option(
        False,
        "Connect to the upstream without an HTTP proxy, also if HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names one.",
        "--no-proxy",
    )
    allow_remote: bool = _option(
        False,
        "Allow --listen on an address that other machines can reach.",
        "--allow-remote",
        named="Allow a `host` that other machines can reach. The control paths then require `token`.",
    )
    token: str | None = _option(None, "Token for the control paths; by default a generated one, in `.token`.")
    tls_cert: File | None = _option(None, "Certificate for TLS with clients (PEM).", "--tls-cert", "FILE")
    tls_key: File | None = _option(
        None, "Private key of the certificate, if --tls-cert does not contain it (PEM).", "--tls-key", "FILE"
    )
    contract: str | None = _option(
        None,
        "Contract: the event types that the server may send. Default: auto, chosen by the path of a request. Other"
        " names: omnigent, documented (Omnigent's reference page), MODEL-APIS, none (no check). Or a file: the path of"
        " an openapi.json. NAME=CONTRACT sets the contract of the upstream NAME. Repeatable.",
        "--contract",
        "[NAME=]CONTRACT",
        named="`omnigent`, `documented`, `auto`, `none`, the name of a model API (`docs/model-apis.md`), or the path of"
        " an openapi.json. By default `auto`: the path of a request decides.",
        is_repeatable=True,
    )
    upstreams: Names | None = _option(
        None,
        "URLs of further servers by name, such as `{'model': 'https://api.openai.com'}`. Clients connect to"
        " `.urls[name]`. Each has a recording of its own in the cassette.",
    )
    contracts: Names | None = _option(None, "Contracts of further upstreams, by name; by default `auto`.")
    read_ahead: int = _option(
        8 * 1024 * 1024,
        "Bytes of each stream to read ahead if the client is slow; 0 turns reading ahead off.",
        "--read-ahead",
        "BYTES",
    )
    rotate: Given = _option(
        (),
        "Start a new cassette at SIZE, such as 500MB, or after DURATION, such as 1h. --db is then a link to the newest"
        " cassette. Repeatable: the limit that is reached first applies.",
        "--rotate",
        "SIZE|DURATION",
        named="Size (`500MB`), time (`1h`) or both at which a new cassette begins. --db is a link to the newest one.",
        is_repeatable=True,
    )
    keep: Given = _option(
        (),
        "With --rotate, full cassettes to keep: a number (10), a maximum age (7d) or a total size (5GB). The proxy"
        " removes older cassettes. Default: keep all. Repeatable.",
        "--keep",
        "N|DURATION|SIZE",
        named="Number, age or size of full cassettes to keep, or several of them.",
        is_repeatable=True,
    )
    ship: str | None = _option(
        None,
        "Copy each closed cassette to this lake: a folder or a bucket with the recordings of many proxies.",
        "--ship",
        "URL",
    )
    keep_unshipped: str | int = _option(
        "10GB",
        "With --ship, --keep removes only shipped cassettes. If the unshipped cassettes exceed this total size, the"
        " proxy also removes the oldest of them, with a warning.",
        "--keep-unshipped",
        "SIZE",
    )
    labels: Labels | None = _option(
        None,
        "Label of the recording, such as branch=main. It overrides a label with the same KEY in OMNIRECORD_LABELS"
        " (a=b,c=d). Repeatable.",
        "--label",
        "KEY=VALUE",
        named="Labels of the recording, such as `{'branch': 'main'}`, beside those of `OMNIRECORD_LABELS`.",
        is_repeatable=True,
    )
    control: bool = _option(
        False,
        "Let `omnirecord tail` read the recording. The proxy itself answers requests whose path begins with"
        " /-/omnirecord/.",
        "--control",
    )
    ui: bool | str = _option(
        False,
        "Show the recording as a page for browsers. Default address: the port after the --listen port, or a free"
        " port. --ui turns on --control.",
        "--ui",
        "[HOST:PORT]",
        named="Serve the control paths and the page, at `.page`: True, or its own `HOST:PORT`.",
        if_bare="",
    )
    only_paths: Texts = _option(
        (),
        "Record only requests whose path matches PATH, a glob such as '/v1/responses*'. The other requests pass"
        " unrecorded, and are counted. Repeatable.",
        "--only",
        "PATH",
        named="Globs of the paths to record. Requests with other paths pass unrecorded.",
        is_repeatable=True,
    )
    except_paths: Texts = _option(
        (),
        "Do not record requests whose path matches PATH, a glob. They pass unrecorded, and are counted. Repeatable.",
        "--except",
        "PATH",
        named="Globs of the paths that pass unrecorded.",
        is_repeatable=True,
    )
    before_record: Hook | None = _option(
        None,
        "Function that gets each exchange at the end of the recording, as its object of the text form. It returns the"
        " exchange, changed or not, or None to leave it out.",
    )
    redact: str | None = _option(
        None,
        "Also mask secrets in the content of events. The recorder always replaces credentials.",
        "--redact",
        choices=("content",),
    )
    redact_patterns: Texts = _option(
        (),
        "With --redact content, also mask words that begin with PREFIX. Repeatable.",
        "--redact-pattern",
        "PREFIX",
        named="Prefixes of further words to mask in content.",
        is_repeatable=True,
    )
    pseudonym_key: File | None = _option(
        None,
        "Key file for the pseudonyms (the texts that replace secrets). A missing file is created. Default:"
        " omnirecord/pseudonym-key in the user's folder for state files.",
        "--pseudonym-key",
        "FILE",
    )

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> RecordOptions:
        """Return the options that a mapping names; others have their defaults. `where`: the mapping's name in errors.

        Raises `UsageError` for an unknown name, and for a value of another type.
        """
        for name, value in values.items():
            if name not in OPTIONS:
                raise unknown(name, OPTIONS, where)
            check(name, value, where)
        return cls(**values)


OPTIONS: Mapping[str, Field[Any]] = {option.name: option for option in fields(RecordOptions)}
"""The fields of `RecordOptions` by name."""


def _as_recorder(name: str) -> Any:
    """Return a field with the default and the help of the recorder's option."""
    return field(default=OPTIONS[name].default, metadata=OPTIONS[name].metadata)


@dataclass(frozen=True)
class ReplayOptions:
    """What a replay can be told. A replay checks the values before it starts (`replayer.server.Replay`)."""

    cassette: File = field(metadata={"said": Said("Cassette to replay; `CASSETTE#SESSION` replays one session.")})
    _: KW_ONLY
    timing: Timing = _option(
        "original",
        "original: the recorded gaps between events. compressed: the same as --speed 10 --max-gap 5. instant: no gaps;"
        " the replay waits only for requests of the client.",
        "--timing",
        named="`original` gaps, `compressed` gaps, or `instant`.",
        choices=("original", "compressed", "instant"),
    )
    speed: float | None = _option(
        None, "Divide the gaps between events by N.", "--speed", "N", named="Number by which gaps are divided."
    )
    max_gap: float | None = _option(
        None,
        "Longest gap between events, in seconds. The replay shortens longer gaps, and then applies --speed.",
        "--max-gap",
        "S",
        named="Longest gap, in recorded seconds; applied before `speed`.",
    )
    gates: Texts = _option(
        (),
        "Requests to wait for. At such a request in the recording, the replay stops until your client sends the same"
        " request. Default: messages, interrupts, answers to approvals. Repeatable.",
        "--gate",
        "'METHOD GLOB'",
        named="Further requests to wait for, as `'METHOD GLOB'`.",
        is_repeatable=True,
    )
    no_gate: bool = _option(False, "Do not wait for requests of the client.", "--no-gate", named="Wait for no request.")
    skip_gates_after: float | None = _option(
        None,
        "Seconds to wait for a request of the client. After this time, the replay continues without the request."
        " Default: no limit. In pytest, skip_gates_after does the same.",
        "--skip-gates-after",
        "S",
        named="Seconds at a closed gate after which the replay continues without the request.",
    )
    match: Texts = _option(
        (),
        "Rule for comparing a request with the recorded requests. 'path' ignores bodies; 'ignore query page' ignores"
        " the query parameter page. Repeatable. See docs/matching.md.",
        "--match",
        "RULE",
        named="Rules that change which recorded request answers (`docs/matching.md`).",
        is_repeatable=True,
    )
    match_on: str | Texts | None = _option(
        None,
        'Further parts of a request that have to be equal: `[]` ignores bodies, `"body"` compares whole bodies.'
        " Default: whole bodies, unless a rule in `match` says something else about bodies.",
    )
    faults: Texts = _option(
        (),
        "Fault to inject, such as 'cut before LAST-EVENT by reset'. Repeatable. See docs/faults.md.",
        "--fault",
        "SPEC",
        named="Faults to inject (`docs/faults.md`).",
        is_repeatable=True,
    )
    chunks: str | None = _option(
        None,
        "Size of each write: as recorded (default), a frame (one event), a byte, or a random number of bytes. SEED"
        " makes the random numbers repeatable.",
        "--chunks",
        "recorded|frame|byte|random:SEED",
        named="Size of one write: `recorded`, `frame`, `byte` or `random:SEED`.",
    )
    resume: bool = _option(
        False,
        "Add an id to each event before the first event that has an id. A client that reconnects with a Last-Event-ID"
        " gets the events after this id. This option changes the bytes of the stream.",
        "--resume",
        named="Add an id to every event, and honour `Last-Event-ID`.",
    )
    loop: bool = _option(
        False,
        "Start a session again for the next client, once all its streams were played to their end and closed.",
        "--loop",
        named="Begin a session again for the next client, once its streams are over (`docs/commands.md`).",
    )
    allow_no_requests: bool = _option(
        False, "Do not raise an error at the end of the block, or of the test, if no client has sent a request."
    )
    only: str | None = _option(
        None,
        "Name of the only hop to replay, such as model, or openai in a cassette of run. A hop is one recorded"
        " connection, such as agent to model. Default: all hops. See docs/model-replay.md.",
        "--only",
        "HOP",
        named="Name of the only hop to play, such as `model`; by default all hops (`docs/model-replay.md`).",
    )
    host: str = _as_recorder("host")
    port: int = _as_recorder("port")
    listens: Names | None = _option(
        None,
        "Address for clients (default: 127.0.0.1:6868); port 0 selects a free port. Each further hop of the cassette"
        " has its own address, NAME=HOST:PORT (default: a free port of the same host). Repeatable.",
        "--listen",
        "[NAME=]HOST:PORT",
        named="`HOST:PORT` of further hops by name; by default a free port of `host`.",
        is_repeatable=True,
    )
    allow_remote: bool = _as_recorder("allow_remote")
    token: str | None = _as_recorder("token")
    tls_cert: File | None = _as_recorder("tls_cert")
    tls_key: File | None = _as_recorder("tls_key")
    web_ui: File | None = _option(
        None,
        "Web UI to send to browsers, if the cassette has no recorded web UI. auto: the web UI of an installed"
        " omnigent. FOLDER: the web UI in this folder. off: none. See docs/web-ui.md.",
        "--web-ui",
        "auto|off|FOLDER",
        named='`"auto"` or a folder: serves what Omnigent\'s web UI requests and the cassette lacks'
        " (`docs/web-ui.md`).",
    )


@dataclass(frozen=True)
class EpisodesOptions(ReplayOptions):
    """What a replay can be told whose upstream answers the requests that the cassette does not have."""

    _: KW_ONLY
    record: RecordMode = _option(
        "none",
        "new_episodes: requests that the cassette does not have go to their --upstream, and are recorded. With -o, a"
        " new cassette gets all answers. Without -o, the new exchanges are appended.",
        "--record",
        named='`"new_episodes"`: a request that the cassette does not have goes to its upstream, and is recorded.'
        " `.served` lists the requests of all hops. The `source` of each is `recorded`, `live` or another.",
        choices=("none", "new_episodes"),
    )
    upstream: str | None = _option(
        None,
        "With --record: server of the first hop, or of the hop NAME. Repeatable.",
        "--upstream",
        "[NAME=]URL",
        named="With `record`: URL of the server of the first hop.",
        is_repeatable=True,
    )
    upstreams: Names | None = _option(None, "With `record`: URLs of the servers of further hops, by name.")
    output: File | None = _option(
        None,
        "With --record: new cassette.",
        "-o",
        "CASSETTE",
        named="With `record`: new cassette that gets all answers. By default, live answers are appended to `cassette`.",
    )
    recording: Mapping[str, object] | None = _option(
        None, 'With `record`: arguments of `omnirecord.record`, such as `{"redact": "content"}`.'
    )


REPLAY_OPTIONS: Mapping[str, Field[Any]] = {option.name: option for option in fields(EpisodesOptions)}
"""The fields of `EpisodesOptions` by name."""
_REPLAY_SETTINGS = ("match", "match_on", "gates", "skip_gates_after", "timing", "speed", "max_gap")


@dataclass(frozen=True)
class OtherSettings:
    """The settings of a file (`omnirecord.settings`) that are no options of a recorder or a replay."""

    gate_timeout: float | None = _option(None, "Seconds at a gate after which a test fails.")
    lake: str | None = _option(None, "Lake that `ship` copies to.", "--lake")
    record: str | None = _option(None, "Record mode of tests.", choices=("none", "once", "all", "new_episodes"))
    cassettes: File | None = _option(None, "Folder of the cassettes of tests.")


SETTINGS: Mapping[str, Field[Any]] = {
    **OPTIONS,
    **{name: REPLAY_OPTIONS[name] for name in _REPLAY_SETTINGS},
    **{option.name: option for option in fields(OtherSettings)},
}
"""What a settings file may hold, by name."""


def takes(options: Callable[P, Any]) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """Return a decorator that gives a function the arguments of a class of options, and their help to its docstring."""
    from inspect import signature

    def decorated(function: Callable[..., T]) -> Callable[P, T]:
        returned = function.__annotations__["return"]
        function.__signature__ = signature(options).replace(return_annotation=returned)  # type: ignore[attr-defined]
        function.__doc__ = f"{function.__doc__}\nArgs:\n{_help(fields(cast('Any', options)))}"
        return cast("Callable[P, T]", function)

    return decorated


def _help(options: Iterable[Field[Any]]) -> str:
    """Return the arguments with their help, which names other options as arguments."""
    import re
    from textwrap import fill

    every = list(options)
    names = {flag: option.name for option in every if (flag := said(option).flag)}
    lines = []
    for option in every:
        text = said(option).named or said(option).help
        text = re.sub(r"--[a-z-]+", lambda flag: f"`{names[flag[0]]}`", text)
        lines.append(fill(f"    {option.name}: {text}", 120, subsequent_indent="        ", break_on_hyphens=False))
    return "\n".join(lines)


def kinds_of(name: str) -> list[str]:
    """Return the types of a setting, as in `_KINDS`."""
    return str(SETTINGS[name].type).split(" | ")


def check(name: str, value: Any, where: str) -> None:
    """Raise `UsageError` if the setting has no such values. `where`: the place of the value in the error."""
    kinds = kinds_of(name)
    if not any(_KINDS[kind][0](value) for kind in kinds):
        wanted = " or ".join(_KINDS[kind][1] for kind in kinds if kind != "None")
        raise UsageError(f"{where}: {name} is {wanted}, not {value!r}")
    choices = said(SETTINGS[name]).choices
    if choices and value is not None and value not in choices:
        is_one = len(choices) == 1
        told = (
            f"is {choices[0]!r} or not set, not {value!r}" if is_one else f"{value!r} is none of {', '.join(choices)}"
        )
        raise UsageError(f"{where}: {name} {told}")


def unknown(name: object, known: Iterable[str], where: str) -> UsageError:
    """Return the error for a name that is no option. It says the nearest one, or all."""
    from difflib import get_close_matches

    names = list(known)
    wanted = str(name).replace("-", "_")
    near = get_close_matches(wanted, names, 1) or [one for one in names if one.startswith(f"{wanted}_")]
    return UsageError(
        f"{where} has no {name!r}: " + (f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}")
    )


def _is_several(value: Any, kinds: type | tuple[type, ...]) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, kinds) for one in value)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_several([*value.keys(), *value.values()], str)


_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "nothing"),
    "Hook": (callable, "a function"),
    "bool": (lambda value: isinstance(value, bool), "true or false"),
    "int": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "float": (lambda value: isinstance(value, (int, float)) and not isinstance(value, bool), "a number"),
    "str": (lambda value: isinstance(value, str), "a text"),
    "File": (lambda value: isinstance(value, (str, PathLike)), "the path of a file"),
    "Texts": (lambda value: _is_several(value, str), "a list of texts"),
    "Given": (
        lambda value: isinstance(value, (str, int)) or _is_several(value, (str, int)),
        "a limit, or a list of limits",
    ),
    "Timing": (lambda value: isinstance(value, str), "a text"),
    "Names": (_is_table, "a mapping of names to texts"),
    "Labels": (
        lambda value: _is_table(value) or _is_several(value, str),
        "a mapping of names to texts, or a list of KEY=VALUE",
    ),
}
"""How a value of each type is recognised, and the words for it in an error."""
