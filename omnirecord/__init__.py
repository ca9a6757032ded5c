"""omnirecord: a flight recorder for agent event streams.

    async with omnirecord.record("http://127.0.0.1:6767", db="run.db") as proxy: ...
    async with omnirecord.replay("run.db", timing="instant") as server: ...
    with omnirecord.open_cassette("run.db") as cassette:
        for stream in cassette.streams():
            for event in stream.events(): ...

The import is light: a function loads its server or its models when it is called.
"""

from __future__ import annotations

from .errors import (
    BrokenCassette,
    CassetteError,
    CassetteInUse,
    LakeError,
    NewerCassette,
    NotACassette,
    OmnirecordError,
    ServerError,
    TooLarge,
    UsageError,
    __version__,
)

TYPE_CHECKING = False  # the name that type checkers take for true: `typing` takes a third of this import
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from os import PathLike
    from pathlib import Path
    from typing import Literal

    from .analysis.diff.differences import Difference
    from .analysis.doctor.finding import Finding
    from .analysis.search import Found
    from .analysis.stats.values import SessionStats
    from .analysis.validate import Validation
    from .cassette.open import Cassette
    from .cassette.scrub import Leak
    from .episodes.record import record
    from .episodes.replay import replay

__all__ = [
    "BrokenCassette",
    "CassetteError",
    "CassetteInUse",
    "LakeError",
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

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Load `record` or `replay`: their arguments are declared in `omnirecord.options`."""
        if name == "record":
            from .episodes.record import record

            return record
        if name == "replay":
            from .episodes.replay import replay

            return replay
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def scrub(
    cassette: str | Path,
    output: str | Path | None,
    *,
    redact: Literal["content", "named"] = "content",
    redact_patterns: Iterable[str] = (),
    pseudonym_key: str | PathLike[str] | None = None,
) -> list[Leak]:
    """Write a copy of a cassette without secrets; return the replaced secrets, by place and kind.

    `output` is a `.db` or a `.jsonl`; if it is None, nothing is written, and the secrets are only listed.
    `redact="named"` keeps values that only look like a secret. `redact_patterns` are prefixes of further words to
    replace (`docs/redaction.md`). `pseudonym_key` is the file of the key that the recorder used, by default the user's
    own. Raises `UsageError` or `CassetteError`.
    """
    from .cassette.scrub import scrub

    return scrub(cassette, output, redact=redact, redact_patterns=redact_patterns, pseudonym_key=pseudonym_key)


def max_decoded(new: str | int | None = None) -> int:
    """Return the limit for decoded events of this process, in bytes; first set it to `new` (`2GB`, or bytes) if given.

    The limit applies to the decoded content of one compressed stream, and to the events that the process holds at a
    time. An event costs its size plus 512 bytes (`docs/python.md`). Raises `UsageError`.
    """
    from .wire.limits import max_decoded

    return max_decoded(new)


def open_cassette(path: str | Path) -> Cassette:
    """Open a `.db` or `.jsonl` cassette for reading, compressed or not; use it with `with`.

    Raises `UsageError` or `CassetteError`.
    """
    from .cassette.open import open_cassette

    return open_cassette(path)


def validate(
    cassette: str | Path, contract: str | PathLike[str] | None = None, *, session: str | None = None
) -> Validation:
    """Check the events of a cassette, or of one session, against a contract; return the differences by type and place.

    `contract` is a name as in `record`, or the path of an openapi.json; by default each recording's own. `.ok` is
    false if any event is invalid or malformed. `.problems` lists each kind of difference with its count and its first
    event; `.verdicts` and `.unseen` have the rest (`docs/validate.md`). Raises `UsageError` or `CassetteError`.
    """
    from contextlib import closing

    from .analysis.validate import validation
    from .cassette.contracts import load
    from .cassette.open import open_store

    held_against = None if contract is None else load(contract)
    with closing(open_store(cassette)) as store:
        return validation(store, held_against, session)


def doctor(cassette: str | Path, session: str | None = None) -> list[Finding]:
    """Return the problems in a cassette, or in one session, worst first; an empty list if there are none.

    `session` is a session id or its beginning. Each finding has a `code` (a page in `docs/doctor/`), a `severity`
    (`note`, `warning`, `error`), the `stream` and `seqs` of its evidence, and a `message`. `why` is the reason, `next`
    the next step, `because` the code of the finding that explains it. Raises `UsageError` or `CassetteError`.
    """
    from contextlib import closing

    from .analysis.doctor.examine import examine
    from .cassette.open import open_store

    with closing(open_store(cassette)) as store:
        return examine(store, session)


def stats(cassette: str | Path, session: str | None = None) -> list[SessionStats]:
    """Return the figures of each session in each recording, or of one session.

    `session` is a session id or its beginning. Names that end in `_s` are in seconds, those in `_ms` in milliseconds
    (`docs/stats.md`). Raises `UsageError` or `CassetteError`.
    """
    from contextlib import closing

    from .analysis.stats import measured
    from .cassette.open import open_store

    with closing(open_store(cassette)) as store:
        return list(measured(store, session))


def diff(a: str | Path, b: str | Path, *, session: str | None = None, tolerance: float = 1.0) -> list[Difference]:
    """Return the differences in meaning between two cassettes; an empty list if there are none (`docs/diff.md`).

    `a` and `b` may name one session each: `"run.db#04cc"`; `session` names one in both. Each difference has a `kind`
    (`content`, `order`, `tools`, `usage`, `timing`), a `session_id`, a `path`, and the two values `a` and `b`. Times
    differ if they are more than `tolerance` seconds apart. Raises `UsageError` or `CassetteError`.
    """
    from .analysis.diff import compared

    return compared(a, b, session=session, tolerance_s=tolerance).found


def search(
    cassette: str | Path,
    query: str,
    *,
    type: str | None = None,
    session: str | None = None,
    since: str | float | datetime | None = None,
    until: str | float | datetime | None = None,
    calls: bool = False,
    limit: int = 20,
) -> Found:
    """Search the full text of events, of messages joined from their deltas, of tool calls, user input and prompts.

    `type` is a glob over event types and parts of prompts (`prompt.user`). `session` is a session id or its beginning.
    `since` and `until` are seconds from the start of a recording, or a time of day. `calls` searches only model calls.
    `.hits` has the first `limit` hits by session and time. Each has the `row` of its event, a `snippet`, and its model
    `call`, or None. `.total` is the number of all hits (`docs/search.md`). Raises `UsageError` or `CassetteError`.
    """
    from .analysis.search import search

    return search(cassette, query, type=type, session=session, since=since, until=until, calls=calls, limit=limit)
