"""The numbers of model calls: how many, how long, and their tokens by the provider's count. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

from ..model_calls import FirstToken, Link, ModelCalls, first_token, requests_of
from .values import FirstTokenStats, ModelStats, SessionStats, count, seconds, spread, total


def model_stats(links: Sequence[Link]) -> ModelStats | None:
    """Return the numbers of these calls; None without any."""
    if not links:
        return None
    calls, requests = [link.call for link in links], len(requests_of(links))
    used = [call.usage for call in calls if call.usage is not None]
    firsts = (None if one.first_token_ns is None else one.first_token_ns - one.started_ns for one in calls)
    return ModelStats(
        calls=len(calls), requests=requests, retried=len(calls) - requests, failed=sum(one.has_failed for one in calls),
        rate_limited=sum(one.is_rate_limited for one in calls),
        model_s=seconds(total(None if one.ended_ns is None else one.ended_ns - one.started_ns for one in calls)),
        first_token_s=spread(firsts), input_tokens=total(count(one.input_tokens) for one in used),
        output_tokens=total(count(one.output_tokens) for one in used),
        cached_tokens=total(count(one.cached_tokens) for one in used),
        reasoning_tokens=total(count(one.reasoning_tokens) for one in used),
    )  # fmt: skip


def first_token_of(links: Sequence[Link], posted_ns: int | None, token_ns: int | None) -> FirstToken | None:
    """Return the parts of the time from a POST to its first token; None if a time is not known."""
    return None if posted_ns is None or token_ns is None else first_token(links, posted_ns, token_ns)


def first_token_stats(parts: Iterable[FirstToken | None]) -> FirstTokenStats | None:
    """Return the parts over several turns; None if no turn has them."""
    known = [one for one in parts if one is not None]
    if not known:
        return None
    return FirstTokenStats(
        spread(one.before_ns for one in known), spread(one.model_ns for one in known),
        spread(one.after_ns for one in known),
    )  # fmt: skip


def astray_rows(calls: ModelCalls) -> Iterator[tuple[int, ModelStats]]:
    """Return the numbers of the calls without a turn, by recording."""
    by: dict[int, list[Link]] = {}
    for link in calls.astray:
        by.setdefault(link.call.recording, []).append(link)
    for recording, links in by.items():
        found = model_stats(links)
        if found is not None:
            yield recording, found


def astray_row(recording: int, found: ModelStats) -> dict[str, Any]:
    """Return the calls without a turn in the form of `stats_row`: the fields of a session are None."""
    empty = dict.fromkeys(field.name for field in fields(SessionStats))
    return {**empty, "recording": recording, "model_calls": asdict(found)}
