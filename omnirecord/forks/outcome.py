"""What happened from the fork on: the live calls of one branch, and a table of several branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.conversations import conversations_in, cost_of
from ..analysis.gather import model_calls
from ..analysis.model_calls.values import Link, ModelCalls, requests_of
from ..cassette.labels import exit_code_of
from ..cassette.open import open_store
from ..cassette.select import Source, named_session
from ..providers.answers import CallUsage
from ..providers.call import ModelCall
from ..text import clip, joined, one_line, seconds
from ..wire.normal import Normal
from .point import Point

_SHOWN = 200
"""Characters of an error."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The calls of a session from call N on. Attempts of one request are one call. `tokens`: input and output;
    None if no call tells them. `failed`: the calls whose last attempt failed, in words. `text`: the last answer."""

    calls: int
    tools: int
    tokens: tuple[int, int] | None
    took_ns: int
    failed: tuple[str, ...]
    text: str
    ending: str
    """How the turn of the last call ended, as `show` says it; without a turn, how the call ended."""
    exit_code: int | None = None
    """That of the recorded command; None if it is not known."""
    cost_usd: float | None = None
    """The cost of the calls; None if no provider states it."""
    other_models: tuple[tuple[str, str], ...] = ()
    """The models that were asked, each with another one that answered. A dated name of the same model is none."""

    def row(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "tools": self.tools,
            "input_tokens": None if self.tokens is None else self.tokens[0],
            "output_tokens": None if self.tokens is None else self.tokens[1],
            "cost_usd": self.cost_usd,
            "duration_s": round(self.took_ns / 1e9, 3),
            "ending": self.ending,
            "answer": self.text,
        }


def _outcome_of(store: Source, calls: ModelCalls, chosen: Iterable[Link]) -> Outcome:
    """Return the outcome of the chosen calls of a cassette. `calls`: all of them."""
    links = sorted(chosen, key=lambda link: link.started_ns)
    requests = requests_of(links)
    last = [attempts[-1].call for attempts in requests]
    ends = [link.ended_ns or link.started_ns for link in links]
    used = [link.call.usage for link in links if link.call.usage is not None]
    return Outcome(
        calls=len(requests),
        tools=sum(len(call.tool_calls) for call in last),
        tokens=_tokens(used),
        took_ns=max(ends) - links[0].started_ns if links else 0,
        failed=tuple(_failure(call) for call in last if call.has_failed or call.ending == "unknown"),
        text=next((call.text for call in reversed(last) if call.text), ""),
        ending=_ending(store, calls, last[-1]) if last else "no live call",
        exit_code=_exit_code(store, last[-1]) if last else None,
        cost_usd=cost_of(used),
        other_models=tuple(dict.fromkeys(_other_models(last))),
    )


def _ending(store: Source, calls: ModelCalls, last: ModelCall) -> str:
    """Return how the turn of a conversation ended that has this call; how the call ended if it is of none."""
    for conversation in conversations_in(calls, store.recordings()):
        turns = {link.call.exchange: link.turn for link in conversation.calls.links}
        if (turn := turns.get(last.exchange)) is not None:
            return conversation.session.turns[turn.turn - 1].ended
    return last.ending


def _exit_code(store: Source, call: ModelCall) -> int | None:
    labels = next(one.labels for one in store.recordings() if one.recording == call.recording)
    return exit_code_of(labels)


def _tokens(usages: Sequence[CallUsage]) -> tuple[int, int] | None:
    """Return the input and output tokens; None if no call tells them."""
    if not usages:
        return None
    return sum(usage.input_tokens or 0 for usage in usages), sum(usage.output_tokens or 0 for usage in usages)


def _failure(call: ModelCall) -> str:
    """Return how a call failed, in words."""
    ending = f"cut by the {call.cut_by}" if call.cut_by else call.ending
    words = f"{call.model or 'the model'}: {joined([str(call.status or ''), ending])}"
    why = joined([None if call.cut_by or call.is_unreached else call.reason, call.error], ": ")
    return f"{words}: {clip(one_line(why), _SHOWN)}" if why else words


def _other_models(calls: Iterable[ModelCall]) -> Iterator[tuple[str, str]]:
    for call in calls:
        asked = call.conversation.model if call.conversation is not None else ""
        if call.has_answer and asked and call.model and not call.model.startswith(asked):
            yield asked, call.model


def of_branch(cassette: Path) -> Outcome:
    """Return the outcome of the live calls of a new cassette."""
    with closing(open_store(cassette, judges=False)) as store:
        recorded = {x.exchange for x in store.exchanges() if x.answered_from is not None}
        calls = model_calls(store)
        return _outcome_of(store, calls, (link for link in calls.links if link.call.exchange not in recorded))


def of_origin(source: str, point: Point) -> Outcome:
    """Return the outcome of the recorded session from call N on."""
    with closing(open_store(named_session(source)[0], judges=False)) as store:
        calls = model_calls(store)
        return _outcome_of(store, calls, (link for link in calls.links if link.call.exchange in point.after))


def rows(origin: Outcome, branches: Sequence[tuple[str | None, int, Outcome | None]]) -> Iterator[dict[str, Any]]:
    """Yield a row for the recording, then one for each branch: its cassette, exit code and outcome (None: no calls).

    The cassette is None if nothing was recorded."""
    known: dict[str, str] = {}
    outcomes: list[tuple[dict[str, Any], Outcome | None]] = [
        ({"branch": "recorded", "cassette": None, "exit_code": origin.exit_code}, origin)
    ]
    for number, (cassette, exit_code, outcome) in enumerate(branches, 1):
        outcomes.append(({"branch": str(number), "cassette": cassette, "exit_code": exit_code}, outcome))
    for head, outcome in outcomes:
        if outcome is None:
            yield head | {"calls": 0, "ending": "no call", "alike": None}
            continue
        same = Normal().said(outcome.text)
        alike = known.setdefault(same, head["branch"]) if outcome.text else None
        yield head | outcome.row() | {"alike": None if alike == head["branch"] else alike}


def table_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the rows as texts. Without a known cost, there is no such column."""
    has_cost = any(row.get("cost_usd") is not None for row in rows)
    return [_cells(row, has_cost=has_cost) for row in rows]


def _cells(row: dict[str, Any], *, has_cost: bool) -> dict[str, str]:
    cost_usd = row.get("cost_usd")
    tokens = row.get("input_tokens")
    duration_s = row.get("duration_s")
    alike = row.get("alike")
    if alike is None:
        answer = clip(one_line(row.get("answer") or ""), 60) or "-"
    else:
        answer = "as recorded" if alike == "recorded" else f"as branch {alike}"
    return {
        "branch": row["branch"],
        "ended": joined([row["ending"], "" if row["exit_code"] is None else f"exit {row['exit_code']}"], ", "),
        "calls": str(row["calls"]),
        "tools": str(row.get("tools", 0)),
        "tokens": "-" if tokens is None else f"{tokens:,} in, {row['output_tokens']:,} out",
        **({"cost": "-" if cost_usd is None else f"${cost_usd:.6f}".rstrip("0").rstrip(".")} if has_cost else {}),
        "time": "-" if duration_s is None else seconds(round(duration_s * 1e9)),
        "answer": answer,
    }
