"""What the commands answer about each session of a cassette, question by question.

contradictions(path)  # ["s: tokens: show (10, 2), stats (10, 4), …"]

`doctor` has no numbers: its answer is the number of its findings of one kind, and the cause that it names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from omnirecord.analysis.gather import model_calls
from omnirecord.cassette.open import open_store
from omnirecord.lake.layout import conversation_ids
from tests.support.command import invoke

Row = dict[str, Any]
Answers = tuple[str, dict[str, Any]]
CAUSES = {
    "failed": "turn-failed runner-disconnected child-unfinished session-failed",
    "incomplete": "turn-incomplete",
    "interrupted": "turn-interrupted",
    "refused": "message-refused request-failed upstream-unreachable",
    "runner_lost": "runner-disconnected runner-silent",
    "reader_dropped": "reader-dropped",
    "server_stopped": "server-stopped upstream-lost",
    "connection_lost": "upstream-lost",
    "client_left": "client-left-in-turn runner-silent model-silent heartbeats-stopped tool-without-output"
    " child-unfinished message-not-taken approval-lost upstream-lost reconnect-missed items-missed",
    "recorder_killed": "recorder-killed runner-silent model-silent heartbeats-stopped tool-without-output",
    "recorder_stopped": "recorder-stopped runner-silent model-silent heartbeats-stopped tool-without-output",
    "child_unfinished": "child-unfinished",
    "approval_unanswered": "approval-unanswered approval-too-late approval-lost",
    "not_taken_up": "message-not-taken message-refused",
    "end_missing": "turn-unfinished turn-interrupted",
    "end_missed": "reconnect-missed turn-unfinished items-missed",
    "deleted": "session-deleted",
}
"""The codes of `doctor` that name the cause of a conclusion; one of them is enough."""
TURN_CODES = ("failed", "incomplete", "interrupted", "unfinished")
TABLES = {
    "sessions": "conclusion_code outcome verdict since duration_s turns input_tokens output_tokens",
    "turns": "ended text duration_s input_tokens output_tokens tools approvals",
    "tools": "failed replaced returned_ns",
    "model_calls": "input_tokens output_tokens",
    "findings": "severity",
}


def contradictions(path: Path, lake: InLake | None = None) -> list[str]:
    """Return the questions to which the commands give different answers, with the answers.

    `lake`: a lake with the cassette, which answers in place of `sessions`, `stats`, `doctor` and `query`.
    """
    return [
        f"{question}: " + ", ".join(f"{command} {answer!r}" for command, answer in said.items())
        for question, said in answers(path, lake)
        if any(not _equal(answer, next(iter(said.values()))) for answer in said.values())
    ]


def answers(path: Path, lake: InLake | None = None) -> Iterator[Answers]:
    """Return each question about each session, and the answer of each command."""
    shown, followed = rows(path, "show"), rows(path, "show", "--follow")
    if lake is None:
        listed, stats, found = (rows(path, name) for name in ("sessions", "stats", "doctor"))
        tables = _tables(path)
    else:
        listed, stats, found, tables = lake.of(path)
    for row in listed:
        id_ = row["session_id"]
        if id_ is None or sum(one["session_id"] == id_ for one in listed) > 1:
            continue  # a finding does not name its recording
        of = [[one for one in some if one["session_id"] == id_] for some in (shown, stats, found)]
        along = [one for one in followed if one["session_id"] == id_]
        own = {name: [one for one in some if one["session_id"] == id_] for name, some in tables.items()}
        everywhere = {one["code"] for one in found if one["session_id"] is None}
        for question, said in (
            *_of_session(row, of[0], of[1][0], own["sessions"][0]),
            *_of_turns(row, of[0], of[1][0], own),
            *_followed(of[0], along),
            *_of_doctor(row, of[0], of[2], own, everywhere),
        ):
            yield f"{id_[:8]}: {question}", said


def rows(path: Path, *words: str) -> list[Row]:
    """Return what a command prints with `--json`."""
    return printed(words[0], "--json", str(path), *words[1:])


def printed(*words: str) -> list[Row]:
    """Return the objects that a command prints."""
    done = invoke(*words)
    assert done.exit_code in (0, 1), (words, done.output)
    return [json.loads(line) for line in done.stdout.splitlines()]


class InLake:
    """What the commands of a lake answer about its recordings."""

    def __init__(self, url: str) -> None:
        self._sessions, self.stats, self._findings = (
            printed("lake", name, "--json", url, *more)
            for name, more in (("sessions", ()), ("stats", ("--jobs", "1")), ("doctor", ("--jobs", "1")))
        )
        self._tables = {
            table: printed("lake", "sql", "--json", url, f"SELECT recording_id, session_id, {columns} FROM {table}")
            for table, columns in ((name, ", ".join(columns.split())) for name, columns in TABLES.items())
        }

    def of(self, path: Path) -> tuple[list[Row], list[Row], list[Row], dict[str, list[Row]]]:
        """Return what `sessions`, `stats`, `doctor` and `query` say of a cassette, as they print it: conversations have
        the names of the cassette."""
        with closing(open_store(path)) as store:
            numbers = {one.recording: one.recording_id for one in store.recordings()}
            names = {id_: name for name, id_ in conversation_ids(model_calls(store), numbers).items()}
        ids = set(numbers.values())
        stats, found, *tables = (
            [row for row in some if row["recording_id"] in ids]
            for some in (self.stats, self._findings, *self._tables.values())
        )
        own = [_listed(row) for row in self._sessions if not ids.isdisjoint(row["recordings"])]
        own, stats, found, *tables = (
            [row | {"session_id": names.get(row["session_id"], row["session_id"])} for row in some]
            for some in (own, stats, found, *tables)
        )
        return own, stats, found, dict(zip(TABLES, tables, strict=True))


def _listed(row: Row) -> Row:
    """Return a row of `lake sessions` as `sessions` prints it."""
    conclusion = {"code": row["conclusion_code"]}
    conclusion |= {name: row[name] for name in ("outcome", "verdict", "since", "duration_s")}
    findings = {name: row[f"{name}s"] for name in ("error", "warning", "note")}
    return row | {"conclusion": conclusion, "findings": findings}


def _tables(path: Path) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {name: [] for name in TABLES}
    selects = []
    for table, columns in TABLES.items():
        fields = ", ".join(f"'{column}', {column}" for column in ["session_id", *columns.split()])
        selects.append(f"SELECT '{table}' AS name, json_object({fields}) AS row FROM {table}")
    for one in rows(path, "query", " UNION ALL ".join(selects)):
        found[one["name"]].append(json.loads(one["row"]))
    return found


def _of_session(row: Row, shown: list[Row], stats: Row, queried: Row) -> Iterator[Answers]:
    concluded = [one["conclusion"] for one in shown if one["conclusion"]]
    for field, column in (
        ("code", "conclusion_code"),
        ("outcome", "outcome"),
        ("verdict", "verdict"),
        ("since", "since"),
    ):
        said = {"sessions": row["conclusion"][field], "stats": stats["conclusion"][field], "query": queried[column]}
        yield f"conclusion.{field}", said | ({"show": concluded[-1][field]} if concluded else {})
    durations = {"sessions": row["duration_s"], "stats": stats["duration_s"], "query": queried["duration_s"]}
    yield "duration", durations | {"conclusion": row["conclusion"]["duration_s"]}


def _of_turns(row: Row, shown: list[Row], stats: Row, own: dict[str, list[Row]]) -> Iterator[Answers]:
    turns = [one for one in shown if one["turn"] is not None]
    counts = {"show": len(turns), "sessions": row["turns"], "stats": len(stats["turns"]), "query": len(own["turns"])}
    yield "turns", counts | {"query sessions": own["sessions"][0]["turns"]}
    ended = {"show": [one["ended"] for one in turns], "stats": [one["ended"] for one in stats["turns"]]}
    yield "ends of turns", ended | {"query": [one["ended"] for one in own["turns"]]}
    if row["started_at"] is not None:
        lasted = {"stats": [one["duration_s"] for one in stats["turns"]]}
        yield "durations of turns", lasted | {"query": [one["duration_s"] for one in own["turns"]]}
    tools = [tool for one in turns for tool in one["tools"]]
    calls = {"show": len(tools), "stats": sum(one["calls"] for one in stats["tools"]), "query": len(own["tools"])}
    yield "tool calls", calls
    for kind in ("input_tokens", "output_tokens"):
        used = {"show": _sum((one["usage"] or {}).get(kind) for one in turns)}
        used |= {
            "stats": _sum(one[kind] for one in stats["usage"]),
            "query turns": _sum(one[kind] for one in own["turns"]),
        }
        yield kind, used | {"query sessions": own["sessions"][0][kind]}
    model = [call for one in shown for call in one["model_calls"] or ()]
    counted = stats["model_calls"] or {"calls": 0, "input_tokens": None, "output_tokens": None}
    yield "model calls", {"show": len(model), "stats": counted["calls"], "query": len(own["model_calls"])}
    for kind in ("input_tokens", "output_tokens"):
        used = {"show": _sum((call["usage"] or {}).get(kind) for call in model), "stats": counted[kind]}
        yield f"{kind} of model calls", used | {"query": _sum(one[kind] for one in own["model_calls"])}


def _followed(shown: list[Row], along: list[Row]) -> Iterator[Answers]:
    turns, told = ([one for one in some if one["turn"] is not None] for some in (shown, along))
    for field in ("text", "ended", "events") if told else ():
        yield (
            f"{field} while following",
            {"show": [one[field] for one in turns], "follow": [one[field] for one in told]},
        )


def _of_doctor(
    row: Row, shown: list[Row], found: list[Row], own: dict[str, list[Row]], everywhere: set[str]
) -> Iterator[Answers]:
    levels, codes = Counter(one["severity"] for one in found), Counter(one["code"] for one in found)
    queried, three = Counter(one["severity"] for one in own["findings"]), ("error", "warning", "note")
    said = {"sessions": [row["findings"].get(one, 0) for one in three], "doctor": [levels[one] for one in three]}
    yield "findings", said | {"query": [queried[one] for one in three]}
    turns = [one for one in shown if one["turn"] is not None]
    tools = [tool for one in turns for tool in one["tools"]]
    bad = [one for one in tools if one["failed"] is not None or one["replaced"] is not None]
    of_query = sum(one["failed"] is not None or one["replaced"] is not None for one in own["tools"])
    yield "failed tools", {"show": len(bad), "query": of_query, "doctor": codes["tool-failed"]}
    open_ = sum(one["returned_ns"] is None for one in tools)
    yield "tools without output", {"show": open_, "doctor": codes["tool-without-output"]}
    of_server = turns if row.get("conversation") is None else []  # a failed model call has codes of its own
    ended = Counter(one["ended"] for one in of_server if one["events"])
    named = Counter({how: codes[f"turn-{how}"] for how in TURN_CODES})
    named["failed"] -= sum("the sub-agent" in one["message"] for one in found if one["code"] == "turn-failed")
    named["failed"] += sum("the runner disconnected" in one["message"] for one in found)
    for how in TURN_CODES:
        yield f"turns that are {how}", {"show": ended[how], "doctor": named[how]}
    asked = [approval for one in turns for approval in one["approvals"]]
    open_ = sum(one["action"] is None and one["answered_ns"] is None for one in asked)
    yield "approvals without an answer", {"show": open_, "doctor": codes["approval-unanswered"]}
    restarts = {"show": sum(len(one["restarts_ns"]) for one in turns), "doctor": codes["runner-restarted"]}
    yield "restarts", restarts
    conclusion = row["conclusion"]
    code = conclusion["code"]
    causes = set(CAUSES.get(code, "").split())
    was_deleted_at_rest = (code, conclusion["outcome"]) == ("deleted", "finished")
    # Another recorder may have the streams. A lake does not list the clients of a session.
    is_unheard = code == "not_taken_up" and not conclusion.get("connected", ["unknown"])
    if causes and not was_deleted_at_rest and not is_unheard:
        is_named = bool(causes & (set(codes) | everywhere))
        yield f"cause of {code}", {"sessions": True, "doctor": is_named}


def _sum(values: Iterable[int | None]) -> int | None:
    known = [one for one in values if one is not None]
    return sum(known) if known else None


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 0.001
    return bool(one == other)
