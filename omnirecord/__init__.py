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
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike
    from pathlib import Path

    from .blocking import Proxy, Replay
    from .reading import Cassette
    from .validating import Validation

__all__ = [
    "BrokenCassette",
    "CassetteError",
    "CassetteInUse",
    "NewerCassette",
    "NotACassette",
    "OmnirecordError",
    "ServerError",
    "UsageError",
    "__version__",
    "open_cassette",
    "record",
    "replay",
    "validate",
]


def record(
    upstream: str,
    db: str | Path = "omnirecord.db",
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
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
) -> Proxy:
    """A recording proxy in front of `upstream`, appending to the cassette `db`; use it with `async with`, or `with`.

    `port` 0 takes a free one; `.url` is where clients connect. `contract` is `omnigent`, `documented`, or the path of
    an openapi.json; `read_ahead` is in bytes per stream. `resume` gives events ids, and lets a client that lost its
    stream come back behind the last it has, for `resume_for` seconds. `host` has to be loopback unless `allow_remote`
    is given; `tls_cert` and `tls_key` are for clients with https. An https upstream is verified, by `ca` in place of
    the system's authorities, unless it is `insecure`; `cert` and `key` are shown to it (`docs/security.md`). Files are
    PEM. Raises `UsageError`; entering raises that, `CassetteError` or `ServerError`.
    """
    from .blocking import Proxy

    return Proxy(
        upstream, db, host=host, port=port, allow_remote=allow_remote, tls_cert=tls_cert, tls_key=tls_key, ca=ca,
        cert=cert, key=key, insecure=insecure, contract=contract, read_ahead=read_ahead, resume=resume,
        resume_for=resume_for,
    )  # fmt: skip


def replay(
    cassette: str | Path,
    *,
    timing: Literal["original", "compressed", "instant"] = "original",
    speed: float | None = None,
    max_gap: float | None = None,
    gates: Iterable[str] = (),
    no_gate: bool = False,
    gate_timeout: float | None = None,
    match: Iterable[str] = (),
    faults: Iterable[str] = (),
    chunks: str | None = None,
    resume: bool = False,
    host: str = "127.0.0.1",
    port: int = 0,
    allow_remote: bool = False,
    token: str | None = None,
    tls_cert: str | PathLike[str] | None = None,
    tls_key: str | PathLike[str] | None = None,
) -> Replay:
    """A server that answers as the recorded one did; use it with `async with`, or `with`: then in a thread.

    `speed` divides gaps, `max_gap` caps them before (recorded seconds), `gate_timeout` is in seconds; `gates` are
    `'METHOD GLOB'`; `match` adjusts which recorded request answers (`docs/matching.md`); `faults` are what goes wrong
    (`docs/faults.md`); `chunks` is how much goes out in one write (`recorded`, `frame`, `byte`, `random:SEED`);
    `resume` gives events ids and honours `Last-Event-ID`. `.url` is where it is; `.requests`, `.unmatched`,
    `.mismatches`, `.faults` and `.waiting` tell what came; `.pause()`, `.step()`, `.run_until()` and others move the
    playhead (`docs/control.md`). `host` has to be loopback unless `allow_remote` is given; then `/-/omnirecord/` asks
    for `token`, or for one that is made up, `.token` (`docs/security.md`). `tls_cert` and `tls_key` make it https.
    Entering raises `UsageError`, `CassetteError` or `ServerError`.
    """
    from .blocking import Replay

    return Replay(
        cassette, timing=timing, speed=speed, max_gap=max_gap, gates=gates, no_gate=no_gate,
        gate_timeout=gate_timeout, match=match, faults=faults, chunks=chunks, resume=resume, host=host, port=port,
        allow_remote=allow_remote, token=token, tls_cert=tls_cert, tls_key=tls_key,
    )  # fmt: skip


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette for reading; use it with `with`. Raises `UsageError` or `CassetteError`."""
    from .reading import open_cassette

    return open_cassette(path)


def validate(
    cassette: str | Path, contract: str | PathLike[str] | None = None, *, session: str | None = None
) -> Validation:
    """The events of a cassette, or of one session, against a contract: what differs, by type and place.

    `contract` is `omnigent`, `documented`, or the path of an openapi.json; by default each recording's own. `.ok` is
    false where anything is invalid or malformed; `.problems` has every kind of difference with its count and its first
    event; `.verdicts` and `.unseen` the rest (`docs/validate.md`). Raises `UsageError` or `CassetteError`.
    """
    from .contract import load
    from .library import open_store
    from .validating import validation

    held_against = None if contract is None else load(contract)
    store = open_store(cassette)
    try:
        return validation(store, held_against, session)
    finally:
        store.close()
