"""The command line in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from omnirecord.cli import main


def invoke(*words: object, code: int | None = None, **given: Any) -> Result:
    """Return the result of `omnirecord WORDS`. `code`: its exit code, if that is known. `given`: for `CliRunner`."""
    result = CliRunner().invoke(main, [str(word) for word in words], **given)
    assert code is None or result.exit_code == code, result.output
    return result


def rows(*words: object) -> list[dict[str, Any]]:
    """Return the objects that a command prints with `--json`."""
    return [json.loads(line) for line in invoke(*words, "--json").stdout.splitlines()]
