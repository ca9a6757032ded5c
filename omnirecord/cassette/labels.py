"""The labels of a recording, from the environment and from `--label` or `labels`."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Mapping

from ..errors import UsageError

VARIABLE = "OMNIRECORD_LABELS"
"""The environment variable with labels for each recording: `KEY=VALUE,KEY=VALUE`."""
MOST_LABELS = 64
LONGEST_KEY = 63
LONGEST_VALUE = 256
"""Limits of the labels of a recording; lengths are in characters."""
EXIT_CODE = "command.exit_code"
"""The label with the exit code of the command that `run` or `fork` recorded; 128 + N if the signal N ended it."""
SIGNAL = "command.signal"
"""The label with the name of the signal that `run` or `fork` got, and that ended the command."""
OUTLIVED_BY = "command.outlived_by"
"""The label with the number of processes that outlived the command."""
_OF_CODE = {128 + one.value: one.name for one in signal.Signals if one.value < 32}
"""The signals by the exit codes of commands that they end."""
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


def exit_code_of(labels: Mapping[str, str]) -> int | None:
    """Return the exit code of the recorded command; None if it is not known."""
    return _number_of(labels, EXIT_CODE)


def outlived_by(labels: Mapping[str, str]) -> int:
    """Return the number of processes that outlived the recorded command, as far as they are known."""
    return _number_of(labels, OUTLIVED_BY) or 0


def _number_of(labels: Mapping[str, str], key: str) -> int | None:
    text = labels.get(key, "")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 9 else None


def signal_of(labels: Mapping[str, str]) -> str | None:
    """Return the name of the signal that ended the recorded command; None if none is known. A command may have ended
    with another exit code than that of the signal."""
    name = labels.get(SIGNAL)
    return name if name in _OF_CODE.values() else _OF_CODE.get(exit_code_of(labels) or 0)


def told_signal(name: str) -> str:
    """Return how a signal ended a command: `interrupted by SIGINT`, `killed by SIGKILL`."""
    return f"{'interrupted' if name == signal.SIGINT.name else 'killed'} by {name}"


def labels_of(
    given: Mapping[str, str] | Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the labels of a recording, by key: those of the environment, replaced per key by the given ones. `given`
    is a mapping, or texts `KEY=VALUE`, the last of a key counts. Raises `UsageError`."""
    variable = (os.environ if environment is None else environment).get(VARIABLE, "")
    found = dict(_pair(VARIABLE, one) for one in variable.split(",") if one.strip())
    if isinstance(given, Mapping):
        found |= dict(_label("labels", key, value) for key, value in given.items())
    else:
        found |= dict(_pair("--label", one) for one in ([given] if isinstance(given, str) else given))
    if len(found) > MOST_LABELS:
        raise UsageError(f"a recording has at most {MOST_LABELS} labels, and {len(found)} are given: leave some out")
    return dict(sorted(found.items()))


def _pair(where: str, text: str) -> tuple[str, str]:
    key, equals, value = text.strip().partition("=")
    if not equals:
        raise UsageError(f"{where} {text.strip()!r} is no label: write KEY=VALUE, as in branch=main")
    return _label(where, key, value)


def _label(where: str, key: object, value: object) -> tuple[str, str]:
    if not isinstance(key, str) or not key:
        raise UsageError(f"{where}: a label has no key: write KEY=VALUE, as in branch=main")
    if len(key) > LONGEST_KEY or not _KEY.fullmatch(key):
        raise UsageError(
            f"{where}: {key[:LONGEST_KEY]!r} is no key of a label: take letters A-Z and a-z, digits, '.', '_', '-' and"
            f" '/', a letter or digit first, at most {LONGEST_KEY} characters"
        )
    if not isinstance(value, str):
        raise UsageError(f"{where}: the value of {key} is no text: write a string, as in {{'branch': 'main'}}")
    if len(value) > LONGEST_VALUE or not value.isprintable():
        allowed = f"printable characters, at most {LONGEST_VALUE}"
        raise UsageError(f"{where}: the value of {key} cannot be used: take {allowed}")
    return key, value
