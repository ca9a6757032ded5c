"""Whether a tool call failed, from its output and its item's status. Pure."""

from __future__ import annotations

import signal
from contextlib import suppress

from ...omnigent.protocol import DENIED_TEXT
from ...wire.strict_json import as_dict, as_int, as_text, loads, written

_DENIED = (DENIED_TEXT, DENIED_TEXT[1:])
"""How the text begins that a tool gets in the place of an output if a policy denies the call."""
_PRINTED = ("stdout", "stderr", "output")


def failure_in(output: str | None, status: str | None = None) -> str | None:
    """Return how a tool failed; None if it did not.

    The output of a tool that failed is a JSON object with an `error`, or with an `exit_code` other than 0. A tool that
    exits with 1 and prints nothing has not failed: `grep` does so if it finds nothing. Nor has a call that a policy
    denied: it did not run.
    """
    said = as_dict(loads(output or ""))
    code = as_int(said.get("exit_code"))
    error = said.get("error")
    why = as_text(as_dict(error).get("message")) or written(error) or ""
    if why.startswith(_DENIED) or (output or "").startswith(_DENIED):
        return None
    printed = [as_text(said.get(name)) for name in _PRINTED if name in said]
    is_silent = code == 1 and bool(printed) and not any(printed)
    if code and not is_silent:
        return f"exit code {code}{_signal(-code)}"
    if said.get("timed_out") is True:
        return "timed out"
    if error:
        return why
    has_failed = status == "failed" or True in (said.get("is_error"), said.get("isError"))
    return "its status says so" if has_failed and not is_silent else None


def _signal(number: int) -> str:
    """Return the name of a signal in parentheses; empty for an unknown number."""
    with suppress(ValueError):
        return f" ({signal.Signals(number).name})"
    return ""
