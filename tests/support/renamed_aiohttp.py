"""A copy of the installed aiohttp in which the private names of omnirecord have other names.

It stands for an aiohttp that lacks them, so omnirecord has to do with public names:
`PYTHONPATH=$(python -m tests.support.renamed_aiohttp FOLDER) python -m pytest tests/recorder/proxy`.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import aiohttp

RENAMED = (
    "_request_count", "_messages", "_waiter", "_message_tail", "_upgraded", "_upgrade", "_buffer_paused", "_ErrInfo",
    "_payload", "_buffer", "_factory", "_conns",
)  # fmt: skip
"""All private names of `omnirecord.server.aiohttp_private`, except three that compiled modules of aiohttp use."""
_NAME = re.compile(rf"(?<![A-Za-z0-9_])({'|'.join(RENAMED)})(?![A-Za-z0-9_])")


def renamed(folder: Path) -> Path:
    """Make the copy in this folder, and return the folder."""
    copy = folder / "aiohttp"
    shutil.copytree(Path(aiohttp.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for module in copy.rglob("*.py"):
        module.write_text(_NAME.sub(r"\1_of_another_aiohttp", module.read_text()))
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{renamed(Path(sys.argv[1]).resolve())}\n")
