"""User messages of the corpus and the model's answers to them, beside those of `script`."""

from __future__ import annotations

from collections.abc import Mapping

from tests.omnigent_rig.provider import Answer, Failure, Step, ToolCall
from tests.omnigent_rig.script import SCRIPT

FAIL_TOOL = "Run the failing check."
KILL_TOOL = "Run the check that is killed."
GARBLE_TOOL = "Run the check with broken arguments."
EMPTY_TOOL = "Run the check without arguments."
UNKNOWN_TOOL = "Run a tool that does not exist."
MISSING_FILE = "Read the file notes.txt."
SLEEP_TOOL = "Run the check that takes twenty seconds."
ALWAYS_500 = "Ask a model that is out of order."
ALWAYS_429 = "Ask a model that is too busy."
STALL = "Ask a model that falls silent."
CUT = "Ask a model whose connection breaks."
MODEL_FAILS = "Ask a model that fails in its answer."
TOKEN_LIMIT = "Ask a model that reaches its token limit."
EMPTY = "Ask a model that says nothing."
DELEGATE_SLOWLY = "Ask the reviewer to read the whole plan."
TELL_SLOWLY = "Tell me slowly about the lighthouse."
REVIEW_SLOWLY = "Please read the whole plan."

SHELL = "sys_os_shell"
_BROKEN = Failure("The server had an error.", status=500, code="server_error")
_BUSY = Failure("Too many requests.", status=429, code="rate_limit_exceeded")
_PLAN = " ".join(f"Chapter {number} of the plan is sound." for number in range(1, 60))
_KEEPER = " ".join(f"On evening {number} the keeper lit the lamp." for number in range(1, 11))

SAID: Mapping[str, Step] = {
    **SCRIPT,
    FAIL_TOOL: ToolCall(SHELL, {"command": "echo 'no such check' >&2; exit 3"}, Answer("The check failed.")),
    KILL_TOOL: ToolCall(SHELL, {"command": "kill -9 $$"}, Answer("The check was killed.")),
    GARBLE_TOOL: ToolCall(SHELL, '{"command": "echo ', Answer("My arguments were broken.")),
    EMPTY_TOOL: ToolCall(SHELL, "{}", Answer("I forgot the command.")),
    UNKNOWN_TOOL: ToolCall("sys_os_teleport", {"to": "Mars"}, Answer("There is no such tool.")),
    MISSING_FILE: ToolCall("sys_os_read", {"path": "notes.txt"}, Answer("There are no notes.")),
    SLEEP_TOOL: ToolCall(SHELL, {"command": "sleep 20"}, Answer("The check passed.")),
    ALWAYS_500: _BROKEN,
    ALWAYS_429: _BUSY,
    STALL: Answer("Let me think about", delay_ms=20, stalls=True),
    CUT: Answer("I was about to say that", delay_ms=20, ends="cut"),
    MODEL_FAILS: Answer("The first half of the answer is", delay_ms=20, ends="failed"),
    TOKEN_LIMIT: Answer("The answer would be long, but", delay_ms=20, ends="incomplete"),
    EMPTY: Answer(""),
    DELEGATE_SLOWLY: ToolCall(
        "sys_session_send",
        {"agent": "reviewer", "title": "whole plan", "args": REVIEW_SLOWLY},
        then=Answer("I have asked the reviewer and will come back with the answer."),
    ),
    TELL_SLOWLY: Answer(_KEEPER, delay_ms=300),
    REVIEW_SLOWLY: Answer(_PLAN, delay_ms=60),
}
