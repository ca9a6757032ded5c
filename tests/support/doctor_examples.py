"""The example of each code of `doctor`: a shipped cassette, what went wrong with it, and what the command then prints.

`python -m tests.support.doctor_examples` writes the output and the texts of the code into the pages in `docs/doctor/`,
the tables of codes into `docs/doctor.md`, and those of mutations and the corpus into `docs/doctor-coverage.md`.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnirecord.analysis.doctor.checks import CODES
from omnirecord.model import Exchange
from tests.support import corpus
from tests.support.cassettes import Made, event, heartbeat, status
from tests.support.command import invoke
from tests.support.faulted import FOLDER, faulted
from tests.support.mutations import run, table

DOCS = FOLDER.parent / "docs"
COVERAGE = DOCS / "doctor-coverage.md"
BLOCK = re.compile(r"```console\n\$ omnirecord doctor .*?```", re.DOTALL)
TABLE = re.compile(r"(?<=<!-- mutations -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
LEAD = re.compile(r"(?<=`\n\n).*(?=\n)")
NEXT = re.compile(r"^\*\*Next step:\*\* .*$", re.MULTILINE)
ROW = re.compile(r"^(\| \[`([a-z-]+)`\]\(doctor/[a-z-]+\.md\)) \| .*$", re.MULTILINE)
CORPUS = re.compile(r"(?<=<!-- corpus -->\n).*?(?=\n<!-- end -->)", re.DOTALL)
Change = Callable[[Exchange, dict[str, Any]], None]


@dataclass(frozen=True)
class Example:
    cassette: str
    """Its name below `cassettes/`, without `.jsonl`."""
    faults: tuple[str, ...] = ()
    change: Change | None = None
    """What else was different; `told` says it."""
    told: str = ""
    after: Callable[[Made], None] | None = None


def _recorder_killed(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream:
        fields["reads"], fields["ending"] = fields["reads"][:40], "open"


def _recorder_stopped(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream:
        fields["reads"], fields["ending"] = fields["reads"][:40], "recorder_stopped"
        fields["end"] = fields["reads"][-1][0] + 0.1


def _left_early(x: Exchange, fields: dict[str, Any]) -> None:
    """The client does not wait until the server says it, nor asks what it knows."""
    if x.stream:
        fields["reads"] = [read for read in fields["reads"] if read[0] < 75.0]
        fields["end"] = fields["reads"][-1][0] + 5.0
    elif x.request.at_ns > 60e9:
        fields["answer"] = b"{}"


def _listens_on(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream:
        fields["end"] += 5.0


def _reads_late(x: Exchange, fields: dict[str, Any]) -> None:
    """The client reads the session and its items only half a minute after it has come back."""
    if x.stream is None and fields["method"] == "GET" and x.request.at_ns > 3e9:
        fields["at"], fields["until"] = fields["at"] + 30.0, fields["until"] + 30.0


def _lags(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream:
        fields["lag"] = 8.0


def _disk_full(made: Made) -> None:
    made.incident(1.2, "database or disk is full")


def _command_failed(made: Made) -> None:
    made._hops[0], made._contracts[0] = "model", "auto"
    made.labels["command.exit_code"] = "1"


def _coding_unknown(made: Made) -> None:
    made.incident(1.2, "stream 1: content coding 'x-own' is not known")


def _accepted_late(made: Made) -> None:
    _accepts(made, "532e5b8b9b744ff5a51f0eb41b1d43ef", "elicit_662a496db69adebb21fdb85803003690", 6.5)


def _server_killed(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream:
        fields["reads"], fields["ending"], fields["end"] = fields["reads"][:4], "upstream_lost", 4.0
    elif fields["target"].endswith("/events"):
        fields["until"], fields["ending"] = 4.0, "upstream_lost"


def _started_again(made: Made) -> None:
    session = "0101b8065df04cb8918a9cade6e4cb20"
    made.stream(session, 8.0, (8.0, heartbeat()), (23.0, heartbeat()), (38.0, heartbeat()), end=40.0)
    _accepts(made, session, "elicit_6d3ec98f6260af4f6db0446a872f5cad", 9.0)


def _left_open(x: Exchange, fields: dict[str, Any]) -> None:
    if x.stream is not None and x.session_id is None:
        fields["end"] += 60.0


TEXT, TOOL = "717aee700fc441c59c658a3c2f9a2430", "again"


def _answered_astray(made: Made) -> None:
    _accepts(made, "0101b8065df04cb8918a9cade6e4cb20", "elicit_of_another_question", 5.0)


def _hangs(made: Made) -> None:
    target = f"/v1/sessions/{TEXT}"
    made.request("PATCH", target, 1.0, until=46.0, body={"title": "Recorders"}, answered=False, ending="client_left")


def _turn(number: int, *items: dict[str, Any]) -> bytes:
    """A turn that takes in the message of `text`, and its items."""
    content = [{"type": "input_text", "text": "What is a flight recorder?"}]
    message = {
        "item_id": "06221b33d2784e7f92639ac2480fce80",
        "type": "message",
        "data": {"role": "user", "content": content},
    }
    response = {"id": f"resp_{number}", "model": "bench-agent", "created_at": 1}
    done = [event("response.output_item.done", item=item) for item in items]
    begun = event("response.in_progress", response=response | {"status": "in_progress"})
    ended = event("response.completed", response=response | {"status": "completed"})
    return b"".join([status("running"), event("session.input.consumed", data=message), begun, *done, ended])


def _ran_twice(made: Made) -> None:
    made.stream(TEXT, 8.0, (8.0, heartbeat()), (9.5, _turn(2) + status("idle")), end=10.0)


def _repeats(made: Made) -> None:
    call = {"type": "function_call", "status": "completed", "name": "read_log", "arguments": '{"lines": 20}'}
    output = {"type": "function_call_output", "status": "completed", "output": "the log is empty"}
    items = [{"id": f"{kind['type']}_{n}", "call_id": f"call_{n}", **kind} for n in range(5) for kind in (call, output)]
    made.stream(TOOL, 20.0, (20.0, heartbeat()), (21.5, _turn(3, *items) + status("idle")), end=22.0)


def _accepts(made: Made, session: str, question: str, at: float) -> None:
    target = f"/v1/sessions/{session}/elicitations/{question}/resolve"
    made.post(target, at, status=202, body={"action": "accept"}, answer={"queued": False})


def _of(type_: str, number: int = 20) -> str:
    return f"{number}th {type_}"


DELTA = _of("response.output_text.delta")
OUTPUT = "response.output_item.done with item.type=function_call_output"
EXAMPLES: dict[str, Example] = {
    "model-failed-hidden": Example("both_hops/both_failed"),
    "model-truncated-hidden": Example("both_hops/both_incomplete"),
    "model-failed": Example("both_hops/both_failed", ('set type of response.completed to "response.failed"',)),
    "model-truncated": Example(
        "both_hops/both_incomplete", ('set type of response.completed to "response.incomplete"',)
    ),
    "model-rate-limited": Example("both_hops/both_retried"),
    "tokens-differ": Example(
        "both_hops/both_text", ("set response.usage.input_tokens of response.completed in stream 1 to 41",)
    ),
    "model-retried": Example("both_hops/both_retried"),
    "approval-lost": Example(
        "troubled/approval_unanswered",
        change=_server_killed,
        after=_started_again,
        told="the server was killed and started again before the user accepted",
    ),
    "upstream-unreachable": Example("troubled/server_stopped"),
    "runner-disconnected": Example("troubled/runner_killed"),
    "runner-restarted": Example("corpus/runner_restarted"),
    "session-deleted": Example("corpus/session_deleted"),
    "server-stopped": Example("troubled/server_stopped"),
    "reader-dropped": Example("two_clients", ("cut after 40th response.output_text.delta in stream 1",)),
    "upstream-lost": Example("troubled/server_killed"),
    "heartbeats-stopped": Example("text", (f"freeze after {DELTA}",)),
    "recorder-killed": Example("text", change=_recorder_killed, told="the recorder was killed after 40 events"),
    "recorder-stopped": Example("text", change=_recorder_stopped, told="the proxy was stopped after 40 events"),
    "recording-degraded": Example("text", after=_disk_full, told="the disk was full for a moment"),
    "stream-not-decoded": Example("text", after=_coding_unknown, told="the stream has an unknown content coding"),
    "other-api": Example("generic/ag_ui", told="the recorder had Omnigent's contract"),
    "malformed": Example("text", (f"corrupt {DELTA}",)),
    "contract-invalid": Example("text", (f"remove delta of {DELTA}",)),
    "event-type-differs": Example("text", ('set type of response.completed to "response.failed"',)),
    "contract-unknown": Example("text", (f'set type of {DELTA} to "response.output_text.sparkle"',)),
    "event-repeated": Example("text", (f"duplicate {DELTA}",)),
    "sequence-repeats": Example("text", (f"set sequence_number of {DELTA} to 33",)),
    "sequence-goes-back": Example("text", (f"swap {DELTA}",)),
    "message-ran-twice": Example("text", after=_ran_twice, told="the server was restarted, and ran the message again"),
    "answer-astray": Example(
        "troubled/approval_unanswered", after=_answered_astray, told="a client accepted a question with another id"
    ),
    "request-unanswered": Example("text", after=_hangs, told="the server never answered a PATCH of the session"),
    "tool-repeated": Example("tool", after=_repeats, told="another session called one tool five times"),
    "approval-unanswered": Example("troubled/approval_unanswered"),
    "child-unfinished": Example("troubled/child_unfinished"),
    "approval-too-late": Example(
        "troubled/approval_timed_out", after=_accepted_late, told="the user accepted half a second too late"
    ),
    "turn-failed": Example("failed"),
    "message-refused": Example("text", ("answer POST /v1/sessions/*/events with 503",)),
    "request-failed": Example("corpus/patch_refused"),
    "runner-silent": Example(
        "troubled/runner_killed", change=_left_early, told="the client left a minute after the last delta"
    ),
    "model-silent": Example("troubled/child_unfinished"),
    "reconnect-missed": Example(
        "troubled/missed_end", change=_reads_late, told="the client read the session half a minute later"
    ),
    "tool-without-output": Example("troubled/tool_hangs"),
    "tool-failed": Example("corpus/tool_killed"),
    "client-left-in-turn": Example("two_clients"),
    "command-failed": Example("cities/cities", after=_command_failed, told="the command ended with exit code 1"),
    "message-not-taken": Example("text", ("drop session.input.consumed",)),
    "turn-unfinished": Example("text", ("drop response.completed",)),
    "turn-without-beginning": Example("text", ("drop response.in_progress",)),
    "event-after-end": Example("text", ("swap response.completed with response.output_item.done",)),
    "turn-incomplete": Example("text", ('set type of response.completed to "response.incomplete"',)),
    "output-without-call": Example("tool", ("drop every response.output_item.done with item.type=function_call",)),
    "approval-unasked": Example("approval", ("drop response.elicitation_request",)),
    "approval-answered-twice": Example("approval", ('set action of 2nd response.elicitation_resolved to "decline"',)),
    "approval-asked-again": Example("approval", ("duplicate response.elicitation_request",)),
    "text-differs-from-item": Example("text", (f"drop {DELTA}",)),
    "text-never-stored": Example("text", ("drop response.output_item.done",)),
    "item-differs-from-stored": Example("tool", (f'set item.output of {OUTPUT} to "nothing"',)),
    "items-missed": Example(
        "troubled/missed_end", change=_reads_late, told="the client read the session half a minute later"
    ),
    "items-never-stored": Example("text", ('set item.id of response.output_item.done to "x"',)),
    "status-unknown-transition": Example("text", ("drop session.status",)),
    "status-left-running": Example(
        "text",
        ("drop last session.status",),
        _listens_on,
        "the last `session.status` was lost, and the client listened for 5 s more",
    ),
    "silent-while-running": Example("troubled/runner_killed"),
    "heartbeats-late": Example("text", (f"delay {DELTA} by 30s",)),
    "no-done": Example("responses", ("drop [DONE]",)),
    "truncated": Example("text", (f"cut inside {DELTA} by reset",)),
    "reader-slow": Example("text", change=_lags, told="the client read 8 s late"),
    "model-left-open": Example(
        "both_hops/both_text", change=_left_open, told="the provider closed its connection a minute after the answer"
    ),
    "retried": Example("troubled/retries"),
    "turn-interrupted": Example("interrupt"),
    "reconnected": Example("reconnect"),
}


def command_of(example: Example) -> str:
    """The line that a reader types: on the shipped cassette, or on one that was recorded with the fault."""
    if example.faults or example.told:
        return f"omnirecord doctor {example.cassette.rpartition('/')[2]}.db"
    return f"omnirecord doctor cassettes/{example.cassette}.jsonl"


def output_of(example: Example) -> str:
    """What it prints, in a pipe."""
    path, name = FOLDER / f"{example.cassette}.jsonl", command_of(example).rpartition(" ")[2]
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        if example.faults or example.told:
            made = faulted(path, *example.faults, change=example.change)
            if example.after:
                example.after(made)
            made.save(Path(name))
        else:
            os.chdir(FOLDER.parent)
        result = invoke("doctor", name)
    assert result.exit_code in (0, 1), result.output
    return result.stdout


def block_of(code: str) -> str:
    return f"```console\n$ {command_of(EXAMPLES[code])}\n{output_of(EXAMPLES[code])}```"


def page_of(code: str, page: str) -> str:
    """The page of a code, with its current texts and output."""
    told = CODES[code]
    page = LEAD.sub(lambda _: f"{told.severity.capitalize()}. {told.why}", page, count=1)
    page = NEXT.sub(lambda _: f"**Next step:** {told.next}", page)
    return BLOCK.sub(lambda _: block_of(code), page)


def story_of(example: Example) -> str:
    """How the cassette of an example came to be."""
    link = f"[`cassettes/{example.cassette}.jsonl`](../../cassettes/{example.cassette}.jsonl)"
    if example.told:
        return f"{link}, but {example.told}:"
    if example.faults:
        faults = " and ".join(f"`{fault}`" for fault in example.faults)
        return f"{link}, replayed with the [fault](../faults.md) {faults}, and recorded:"
    return f"{link}:"


def lead(code: str) -> str:
    """The first sentence of the reason of a code, for the index."""
    return CODES[code].why.partition(". ")[0].rstrip(".") + "."


if __name__ == "__main__":
    for code in EXAMPLES:
        page = DOCS / "doctor" / f"{code}.md"
        page.write_text(page_of(code, page.read_text()))
    index = DOCS / "doctor.md"
    index.write_text(ROW.sub(lambda row: f"{row[1]} | {CODES[row[2]].severity} | {lead(row[2])} |", index.read_text()))
    written = TABLE.sub(lambda _: "\n".join(table(run())), COVERAGE.read_text())
    COVERAGE.write_text(CORPUS.sub(lambda _: "\n".join(corpus.table()), written))
    sys.stdout.write(f"wrote {len(EXAMPLES)} pages\n")
