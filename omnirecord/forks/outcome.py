"""What happened from the fork on: the live calls of one branch, and a table of several branches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..analysis.gather import model_calls
from ..analysis.model_calls.values import Link, requests_of
from ..cassette.open import open_store
from ..cassette.select import named_session
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
    other_models: tuple[tuple[str, str], ...] = ()
    """The models that were asked, each with another one that answered. A dated name of the same model is none."""

    def row(self) -> dict[str, Any]:
        return {
            "calls": self.calls, "tools": self.tools,
            "input_tokens": None if self.tokens is None else self.tokens[0],
            "output_tokens": None if self.tokens is None else self.tokens[1],
            "duration_s": round(self.took_ns / 1e9, 3), "ending": self.ending, "answer": self.text,
        }  # fmt: skip


def outcome_of(links: Iterable[Link]) -> Outcome:
    """Return the outcome of these calls."""
    links = sorted(links, key=lambda one: one.started_ns)
    requests = requests_of(links)
    last = [some[-1].call for some in requests]
    used = [one.call.usage for one in links if one.call.usage is not None]
    ends = [one.ended_ns or one.started_ns for one in links]
    failed = [
        f"{one.model or 'the model'}: {joined([str(one.status or ''), one.ending])}"
        f"{f': {clip(one_line(why), _SHOWN)}' if (why := joined([one.reason, one.error], ': ')) else ''}"
        for one in last
        if one.has_failed or one.ending == "unknown"
    ]
    return Outcome(
        calls=len(requests),
        tools=sum(len(one.tool_calls) for one in last),
        tokens=(sum(one.input_tokens or 0 for one in used), sum(one.output_tokens or 0 for one in used))
        if used
        else None,
        took_ns=max(ends) - links[0].started_ns if links else 0,
        failed=tuple(failed),
        text=next((one.text for one in reversed(last) if one.text), ""),
        ending=last[-1].ending if last else "no live call",
        other_models=tuple(dict.fromkeys(_other_models(last))),
    )


def _other_models(calls: Iterable[ModelCall]) -> Iterator[tuple[str, str]]:
    for call in calls:
        asked = call.conversation.model if call.conversation is not None else ""
        if call.has_answer and asked and call.model and not call.model.startswith(asked):
            yield asked, call.model


def of_branch(cassette: Path) -> Outcome:
    """Return the outcome of the live calls of a new cassette."""
    with closing(open_store(cassette, judges=False)) as store:
        recorded = {x.exchange for x in store.exchanges() if x.answered_from is not None}
        return outcome_of(one for one in model_calls(store).links if one.call.exchange not in recorded)


def of_origin(source: str, point: Point) -> Outcome:
    """Return the outcome of the recorded session from call N on."""
    with closing(open_store(named_session(source)[0], judges=False)) as store:
        return outcome_of(one for one in model_calls(store).links if one.call.exchange in point.after)


def rows(origin: Outcome, branches: Sequence[tuple[str | None, int, Outcome | None]]) -> Iterator[dict[str, Any]]:
    """Yield a row for the recording, then one for each branch: its cassette, exit code and outcome (None: no calls).

    The cassette is None if nothing was recorded."""
    known: dict[str, str] = {}
    first = {"branch": "recorded", "cassette": None, "exit_code": None}
    for head, outcome in [(first, origin), *((_head(n, *one[:2]), one[2]) for n, one in enumerate(branches, 1))]:
        if outcome is None:
            yield head | {"calls": 0, "ending": "no call", "alike": None}
            continue
        same = Normal().said(outcome.text)
        alike = known.setdefault(same, head["branch"]) if outcome.text else None
        yield head | outcome.row() | {"alike": None if alike == head["branch"] else alike}


def _head(number: int, cassette: str | None, exit_code: int) -> dict[str, Any]:
    return {"branch": str(number), "cassette": cassette, "exit_code": exit_code}


def cells(row: dict[str, Any]) -> dict[str, str]:
    """Return a row as the texts of a table."""
    tokens = row.get("input_tokens")
    alike = row.get("alike")
    answer = row.get("answer") or ""
    return {
        "branch": row["branch"],
        "ended": joined([row["ending"], "" if row["exit_code"] is None else f"exit {row['exit_code']}"], ", "),
        "calls": str(row["calls"]),
        "tools": str(row.get("tools", 0)),
        "tokens": "-" if tokens is None else f"{tokens:,} in, {row['output_tokens']:,} out",
        "time": "-" if row.get("duration_s") is None else seconds(round(row["duration_s"] * 1e9)),
        "answer": f"as {'recorded' if alike == 'recorded' else f'branch {alike}'}"
        if alike
        else clip(one_line(answer), 60) or "-",
    }
