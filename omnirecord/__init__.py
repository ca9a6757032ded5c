"""omnirecord: a flight recorder for agent event streams.

    async with omnirecord.record("http://127.0.0.1:6767", db="run.db") as proxy: ...
    async with omnirecord.replay("run.db", timing="instant") as server: ...
    with omnirecord.open_cassette("run.db") as cassette:
        for stream in cassette.streams():
            for event in stream.events(): ...

Importing this imports nothing heavy: a server or the models are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ._version import __version__
from .errors import (
    BrokenCassette,
    CassetteError,
    CassetteInUse,
    NewerCassette,
    NotACassette,
    OmnirecordError,
    ServerError,
    TooLarge,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from os import PathLike
    from pathlib import Path

    from .analysis.diff import Difference
    from .analysis.doctor import Finding
    from .analysis.search.search import Found
    from .analysis.stats import SessionStats
    from .analysis.validate import Validation
    from .cassette.api import Cassette
    from .cassette.scrub import Leak
    from .recorder.blocking import Proxy
    from .replayer.blocking import Replay

__all__ = [
    "BrokenCassette",
    "CassetteError",
    "CassetteInUse",
    "NewerCassette",
    "NotACassette",
    "OmnirecordError",
    "ServerError",
    "TooLarge",
    "UsageError",
    "__version__",
    "diff",
    "doctor",
    "max_decoded",
    "open_cassette",
    "record",
    "replay",
    "scrub",
    "search",
    "stats",
    "validate",
]


def record(
    upstream: str,
    db: str | Path = "omnirecord.db",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    token: str | None = None,
    tls_cert: str | PathLike[str] | None = None,
    tls_key: str | PathLike[str] | None = None,
    ca: str | PathLike[str] | None = None,
    cert: str | PathLike[str] | None = None,
    key: str | PathLike[str] | None = None,
    insecure: bool = False,
    contract: str = "omnigent",
    read_ahead: int = 8 * 1024 * 1024,
    resume: bool = False,
    resume_for: float = 30.0,
    control: bool = False,
    ui: bool | str = False,
    redact: Literal["content"] | None = None,
    redact_patterns: Iterable[str] = (),
    pseudonym_key: str | PathLike[str] | None = None,
    rotate: str | Iterable[str] = (),
    keep: str | int | Iterable[str | int] = (),
) -> Proxy:
    """A recording proxy in front of `upstream`, appending to the cassette `db`; use it with `async with`, or `with`.

    `port` 0 takes a free one; `.url` is where clients connect. `contract` is `omnigent`, `documented`, or the path of
    an openapi.json; `read_ahead` is in bytes per stream. `resume` gives events ids, and lets a client that lost its
    stream come back behind the last it has, for `resume_for` seconds. `control` turns on `/-/omnirecord/`
    (`docs/tail.md`), `ui` that with the page, at `.page`: True, or a `HOST:PORT` of its own (`docs/ui.md`).
    `redact="content"` masks what looks like a secret in content too, and what begins with one of `redact_patterns`
    (`docs/redaction.md`). `host` has to be loopback unless `allow_remote` is given; then the path that `control` turns
    on asks for `token`, or for one that is made up, `.token`. `tls_cert` and `tls_key` are for clients with https. An
    https upstream is verified, by `ca` in place of the system's authorities, unless it is `insecure`; `cert` and `key`
    are shown to it (`docs/security.md`). Files are PEM. `pseudonym_key` is the file of the key from which pseudonyms
    are derived; by default the user's own (`docs/redaction.md`).

    `rotate` is a size (`500MB`), a time (`1h`) or both, from which on a cassette is full: `db` is
    then a link to the newest of several. `keep` is a number of full ones, an age, a size, or all three
    (`docs/rotation.md`). The limit of file descriptors stays as the program has it; clients beyond it get 503. Raises
    `UsageError`; entering raises that, `CassetteError` or `ServerError`.
    """
    from .recorder.blocking import Proxy

    return Proxy(
        upstream, db, host=host, port=port, allow_remote=allow_remote, token=token, tls_cert=tls_cert,
        tls_key=tls_key, ca=ca, cert=cert, key=key, insecure=insecure, contract=contract, read_ahead=read_ahead,
        resume=resume, resume_for=resume_for, control=control, ui=ui, redact=redact, redact_patterns=redact_patterns,
        pseudonym_key=pseudonym_key, rotate=rotate, keep=keep,
    )  # fmt: skip


def replay(
    cassette: str | Path,
    *,
    timing: Literal["original", "compressed", "instant"] = "original",
    speed: float | None = None,
    max_gap: float | None = None,
    gates: Iterable[str] = (),
    no_gate: bool = False,
    skip_gates_after: float | None = None,
    gate_timeout: float | None = None,
    match: Iterable[str] = (),
    match_on: str | Iterable[str] = (),
    faults: Iterable[str] = (),
    chunks: str | None = None,
    resume: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    token: str | None = None,
    tls_cert: str | PathLike[str] | None = None,
    tls_key: str | PathLike[str] | None = None,
    web_ui: str | PathLike[str] | None = None,
) -> Replay:
    """A server that answers as the recorded one did; use it with `async with`, or `with`: then in a thread.

    `speed` divides gaps, `max_gap` caps them before (recorded seconds); `gates` are `'METHOD GLOB'`; after
    `skip_gates_after` seconds at a closed gate the replay goes on without the request (`gate_timeout` is its former
    name); `match` adjusts which recorded request answers (`docs/matching.md`), and with `match_on="body"` bodies
    count; `faults` are what goes wrong
    (`docs/faults.md`); `chunks` is how much goes out in one write (`recorded`, `frame`, `byte`, `random:SEED`);
    `resume` gives events ids and honours `Last-Event-ID`. `.url` is where it is; `.requests`, `.unmatched`,
    `.mismatches`, `.faults` and `.waiting` tell what came; `.pause()`, `.step()`, `.run_until()` and others move the
    playhead (`docs/control.md`). `host` has to be loopback unless `allow_remote` is given; then `/-/omnirecord/` asks
    for `token`, or for one that is made up, `.token` (`docs/security.md`). `tls_cert` and `tls_key` make it https.
    `web_ui`, `"auto"` or a folder, fills in what Omnigent's web UI asks and nobody recorded (`docs/web-ui.md`).
    Entering raises `UsageError`, `CassetteError` or `ServerError`.
    """
    from .replayer.blocking import Replay

    return Replay(
        cassette, timing=timing, speed=speed, max_gap=max_gap, gates=gates, no_gate=no_gate,
        skip_gates_after=skip_gates_after, gate_timeout=gate_timeout,
        match=match, match_on=match_on, faults=faults, chunks=chunks, resume=resume, host=host, port=port,
        allow_remote=allow_remote, token=token, tls_cert=tls_cert, tls_key=tls_key,
        web_ui=web_ui,
    )  # fmt: skip


def scrub(
    cassette: str | Path,
    output: str | Path | None,
    *,
    redact: Literal["content", "named"] = "content",
    redact_patterns: Iterable[str] = (),
    pseudonym_key: str | PathLike[str] | None = None,
) -> list[Leak]:
    """Write a copy of a cassette without secrets to `output`, a `.db` or a `.jsonl`; return what was replaced, by place
    and kind. Without an `output`, only what would be.

    `redact="named"` leaves what only looks like a secret; what begins with one of `redact_patterns` is replaced too
    (`docs/redaction.md`); `pseudonym_key` is the file of the key that the recorder used, by default the user's own.
    Raises `UsageError` or `CassetteError`.
    """
    from .cassette.scrub import scrub

    return scrub(
        cassette, output, redact=redact, redact_patterns=redact_patterns, pseudonym_key=pseudonym_key
    )  # fmt: skip


def max_decoded(new: str | int | None = None) -> int:
    """Return this process's limit for decoded events, in bytes; set it to `new` (`2GB`, or bytes) if that is given.

    It limits the decoded content of one compressed stream, and the events that a program holds at a time. An event
    costs its bytes and 512 more (`docs/python.md`). Raises `UsageError`.
    """
    from .wire.limits import max_decoded

    return max_decoded(new)


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette, compressed or not, for reading; use it with `with`. Raises `UsageError` or
    `CassetteError`."""
    from .cassette.api import open_cassette

    return open_cassette(path)


def validate(
    cassette: str | Path, contract: str | PathLike[str] | None = None, *, session: str | None = None
) -> Validation:
    """The events of a cassette, or of one session, against a contract: what differs, by type and place.

    `contract` is `omnigent`, `documented`, or the path of an openapi.json; by default each recording's own. `.ok` is
    false where anything is invalid or malformed; `.problems` has every kind of difference with its count and its first
    event; `.verdicts` and `.unseen` the rest (`docs/validate.md`). Raises `UsageError` or `CassetteError`.
    """
    from .analysis.validate import validation
    from .cassette.open import open_store
    from .omnigent.contract import load

    held_against = None if contract is None else load(contract)
    store = open_store(cassette)
    try:
        return validation(store, held_against, session)
    finally:
        store.close()


def doctor(cassette: str | Path, session: str | None = None) -> list[Finding]:
    """What is wrong in a cassette, or in one session of it, worst first; empty where nothing is worth a word.

    `session`: its id, or the beginning of that. Each finding has a `code` (a page in `docs/doctor/`), a `severity`
    (`note`, `warning`, `error`), the `stream` and its `seqs` that it rests on, a `message`, `why` it matters, what to
    look at `next`, and the code of the finding that explains it (`because`). Raises `UsageError` or `CassetteError`.
    """
    from .analysis.doctor.doctor import findings_of

    return findings_of(cassette, session)


def stats(cassette: str | Path, session: str | None = None) -> list[SessionStats]:
    """The numbers of each session in each recording, or of the one whose id is, or begins with, `session`.

    What they are is in `docs/stats.md`: seconds where a name ends in `_s`, ms in `_ms`. Raises `UsageError` or
    `CassetteError`.
    """
    from .analysis.stats.stats import stats

    return stats(cassette, session)


def diff(a: str | Path, b: str | Path, *, session: str | None = None, tolerance: float = 1.0) -> list[Difference]:
    """What differs between two cassettes, by meaning; an empty list where nothing does (`docs/diff.md`).

    `a` and `b` may name one session each: `"run.db#04cc"`; `session` names one in both. Each difference has a `kind`
    (`content`, `order`, `tools`, `usage`, `timing`), a `session_id`, a `path`, and what stands there, `a` and `b`.
    Times are among them where they differ by more than `tolerance` seconds. Raises `UsageError` or `CassetteError`.
    """
    from .analysis.diff.diff import compared

    return compared(a, b, session=session, tolerance_s=tolerance).found


def search(
    cassette: str | Path,
    query: str,
    *,
    type: str | None = None,
    session: str | None = None,
    since: str | float | datetime | None = None,
    until: str | float | datetime | None = None,
    limit: int = 20,
) -> Found:
    """Full text over events, messages put together from their deltas, tool calls and what users asked.

    `type` is a glob over event types, `session` an id that may be shortened; `since` and `until` are seconds from the
    start of a recording, or a time of day. `.hits` are the first `limit` by session and time, each with the `row` of
    its event and a `snippet`; `.total` is how many there are. See `docs/search.md`. Raises `UsageError` or
    `CassetteError`.
    """
    from .analysis.search.search import search

    return search(cassette, query, type=type, session=session, since=since, until=until, limit=limit)
