"""The corpus of sessions made on the real stack: what was done in each, and what `doctor` has to find in it first.

`python -m tests.support.doctor_examples` writes the table into `docs/doctor-coverage.md`. The stories are in
`tests/omnigent_rig/corpus`, those of `troubled/` in `tests/omnigent_rig/troubles.py`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.support.cassettes import SHIPPED

FOLDER = SHIPPED / "corpus"


@dataclass(frozen=True)
class Kind:
    """`first`: the code of the first finding; empty: nothing above a note. `also`: another code that has to
    be found. `hidden`: the fault is not in the recording,
    and why."""

    name: str
    done: str
    first: str = ""
    also: str = ""
    hidden: str = ""

    @property
    def path(self) -> Path:
        """Where it ships, if it is small enough."""
        found = [SHIPPED / part / f"{self.name}.jsonl" for part in ("corpus", "troubled", "")]
        found.append(FOLDER / f"{self.name}.jsonl.zst")
        return next((path for path in found if path.exists()), found[0])


PROVIDER_HOP = "Omnigent reports the turn as completed; only a recording between runner and model shows it"

BROKEN = (
    # Runner
    Kind(
        "runner_killed",
        "The runner gets SIGKILL in a turn; the client waits until the server gives up.",
        "runner-disconnected",
    ),
    Kind(
        "runner_killed_early",
        "The runner gets SIGKILL in a turn; the client leaves after two heartbeats.",
        "runner-disconnected",
    ),
    Kind(
        "runner_restarted",
        "The runner gets SIGKILL in a turn and starts again at once: the server repeats the turn.",
        "runner-restarted",
    ),
    Kind(
        "runner_restarted_late",
        "The runner gets SIGKILL in a turn and starts again after the server gave up.",
        "runner-disconnected",
    ),
    Kind(
        "runner_frozen", "The runner gets SIGSTOP in a turn; the client leaves after two heartbeats.", "runner-silent"
    ),
    Kind(
        "runner_frozen_for_a_while",
        "The runner gets SIGSTOP in a turn and SIGCONT after two heartbeats.",
        "silent-while-running",
    ),
    Kind(
        "message_without_runner",
        "The runner gets SIGKILL between two turns; the next message gets 503.",
        "message-refused",
    ),
    # Server, sessions
    Kind("server_killed", "The server gets SIGKILL in a turn; the client looks once more.", "upstream-lost"),
    Kind("server_stopped", "The server gets SIGTERM in a turn; the client looks once more.", "server-stopped"),
    Kind(
        "server_killed_back",
        "The server gets SIGKILL in a turn and starts again; the client reconnects.",
        "upstream-lost",
    ),
    Kind(
        "server_stopped_back",
        "The server gets SIGTERM in a turn and starts again; the client reconnects.",
        "server-stopped",
    ),
    Kind(
        "upstream_unreachable",
        "The recorder's upstream does not listen; the client tries to make a session.",
        "upstream-unreachable",
    ),
    Kind("session_deleted", "A client deletes the session in a turn.", "session-deleted"),
    Kind("child_deleted", "A client deletes the session of a sub-agent in its turn.", "session-deleted"),
    # Approvals
    Kind("approval_unanswered", "No answer to an approval; the recorder is stopped meanwhile.", "approval-unanswered"),
    Kind(
        "approval_timed_out",
        "No answer to an approval whose policy waits for 5 s: the server denies.",
        "approval-unanswered",
    ),
    Kind(
        "approval_post_closed",
        "No answer to an approval; the client closes its own POST after 5 s: the server denies.",
        "approval-unanswered",
    ),
    Kind(
        "approval_expired",
        "No answer to an approval; 30 s after the denial the server resolves it without an action.",
        "approval-unanswered",
    ),
    Kind("approval_too_late", "The user accepts an approval after the server has denied it.", "approval-too-late"),
    Kind(
        "approval_after_restart",
        "The server gets SIGKILL while an approval waits, and starts again; the user accepts: 202, no effect.",
        "upstream-lost",
        also="approval-lost",
    ),
    Kind("approval_answered_twice", "One client accepts, another declines after it.", "approval-answered-twice"),
    Kind("approval_pending", "Two clients leave while an approval waits.", "approval-unanswered"),
    # Requests
    Kind("patch_refused", "A client binds its new session to a runner that does not exist: 400.", "request-failed"),
    Kind("message_unbound", "A message to a session that has no runner: the server refuses it.", "message-refused"),
    Kind(
        "message_malformed",
        "A message that is not JSON, and one without content: the server refuses both.",
        "message-refused",
    ),
    Kind("gzip_refused", "A client compresses its message, and the server does not decode it: 400.", "message-refused"),
    Kind(
        "session_unknown",
        "A client asks for a session that the server does not have: 404 each time.",
        "request-failed",
    ),
    # Clients, connections, recorder
    Kind(
        "missed_end",
        "A client leaves in a turn and reconnects after its end; it reads the items.",
        "client-left-in-turn",
    ),
    Kind(
        "missed_end_unread",
        "A client leaves in a turn and reconnects after its end; it does not read the session.",
        "reconnect-missed",
    ),
    Kind("left_in_turn", "The only client leaves in a turn and does not come back.", "client-left-in-turn"),
    Kind("left_while_tool_ran", "The only client leaves while a tool runs.", "client-left-in-turn"),
    Kind(
        "slow_reader", "A client does not read for as long as the model speaks: the server drops it.", "reader-dropped"
    ),
    Kind("line_cut_below", "The connection between client and recorder breaks in a turn.", "client-left-in-turn"),
    Kind("line_cut_above", "The connection between recorder and server breaks in a turn.", "upstream-lost"),
    Kind(
        "line_cut_back",
        "The connection between recorder and server breaks in a turn; the client reconnects and hears the end.",
        "upstream-lost",
    ),
    Kind("recorder_killed", "The recorder gets SIGKILL in a turn.", "recorder-killed"),
    Kind("recorder_stopped", "The recorder is stopped in a turn.", "recorder-stopped"),
    # Tools
    Kind("tool_failed", "A shell command exits with 3.", "tool-failed"),
    Kind("tool_killed", "A shell command is killed: exit code -9.", "tool-failed"),
    Kind("tool_arguments_broken", "The model sends arguments that are not JSON.", "tool-failed"),
    Kind("tool_arguments_missing", "The model calls the shell with `{}`.", "tool-failed"),
    Kind("tool_unknown", "The model calls a tool that the agent does not have.", "turn-failed"),
    Kind("tool_file_missing", "A tool reads a file that does not exist.", "tool-failed"),
    Kind("tool_hangs", "A shell command that takes ten minutes; the client leaves.", "tool-without-output"),
    Kind("child_unfinished", "The model of a sub-agent falls silent.", "child-unfinished"),
    Kind(
        "child_hangs_unheard",
        "The model of a sub-agent falls silent; no client opens the stream of the sub-agent.",
        "child-unfinished",
    ),
    # Model
    Kind("failed", "The model refuses the request with 400.", "turn-failed"),
    Kind(
        "gzip_turn_failed",
        "A client compresses its POSTs, a proxy decodes them; the model refuses the request.",
        "turn-failed",
    ),
    Kind("model_out_of_order", "The model answers 500 to every attempt.", "turn-failed"),
    Kind("model_busy", "The model answers 429 to every attempt.", "turn-failed"),
    Kind(
        "model_silent", "The model falls silent in its answer; the client leaves after two heartbeats.", "model-silent"
    ),
    Kind("model_cut", "The connection to the model breaks in its answer.", "turn-failed"),
    Kind("model_failed", "The model ends its answer with `response.failed`.", hidden=PROVIDER_HOP),
    Kind("model_token_limit", "The model ends its answer with `response.incomplete`.", hidden=PROVIDER_HOP),
    Kind("model_empty", "The model answers with no text.", hidden="the turn completes without an item, which is valid"),
)

HEALTHY = (
    Kind("gzip_turns", "A client compresses its POSTs, and a proxy decodes them: two turns."),
    *(Kind(name, f"The scenario `{name}`.") for name in ("text", "tool", "approval", "turns", "responses")),
    Kind("interrupt", "The user interrupts a turn; another turn follows."),
    Kind("reconnect", "A client leaves in a turn and comes back before its end."),
    Kind("two_clients", "Two clients listen; one leaves early."),
    Kind("subagent", "A session asks a sub-agent; a client listens to both."),
    Kind("provider_busy", "The model answers 429, then 500, then as it should."),
    Kind("retries", "The model is silent; the runner asks once more after 3 s."),
    Kind("web_ui", "The web UI in headless Chromium: a message, an approval, an answer."),
    Kind("web_ui_old_session", "The web UI opens a session whose turns are over (`include_items=false`)."),
    Kind(
        "web_ui_new_session",
        "The web UI starts a session; reads of its terminals get 503 while the runner boots. Other reads get 404.",
    ),
    Kind("terminal_while_booting", "A client asks for terminals before the session has a runner: 409, then 200."),
    Kind("rare_events", "The server's inlet for native harnesses, and changes of a session, between two turns."),
    Kind("native_harness", "Two turns that a native harness reports through the inlet, the second one interrupted."),
    *(
        Kind(f"v{version.replace('.', '_')}_approval", f"Scenario `approval` on Omnigent {version}.")
        for version in ("0.5.1", "0.10.0", "0.17.0", "0.18.0")
    ),
    Kind("v0_5_1_approval_runner", "Scenario `approval` on Omnigent 0.5.1, whose runner is recorded as well."),
    Kind("approval_declined", "The user declines an approval."),
    Kind("one_of_two_left", "One of two clients leaves in a turn; the other hears the end."),
    Kind("interrupted_tool", "The user interrupts while a tool runs."),
    Kind("child_unheard", "A session asks a sub-agent; no client opens the stream of the sub-agent."),
    Kind(
        "child_joined_early",
        "A client opens the stream of a sub-agent between its `running` and the beginning of its turn.",
    ),
)

CORPUS = {kind.name: kind for kind in (*BROKEN, *HEALTHY)}


def table() -> list[str]:
    """The rows for `docs/doctor-coverage.md`: the cassettes of each first finding."""
    found = defaultdict[str, list[str]](list)
    for kind in (*BROKEN, *HEALTHY):
        name = str(kind.path.relative_to(SHIPPED))
        shipped = f"[`{kind.name}`](../cassettes/{name})" if kind.path.exists() else f"`{kind.name}`, not shipped"
        first = f"`{kind.first}`" if kind.first else f"none: {kind.hidden}" if kind.hidden else "nothing above a note"
        found[first + (f", then `{kind.also}`" if kind.also else "")].append(shipped)
    return ["| first finding | cassettes |", "|---|---|", *(f"| {one} | {'; '.join(found[one])} |" for one in found)]
