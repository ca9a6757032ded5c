"""What docs/show.md shows is what `show` prints. `python -m tests.test_docs_show` writes it there anew."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "show.md"
BLOCK = re.compile(r"^```console\n\$ omnirecord show (\w+\.jsonl)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(name: str) -> str:
    (path,) = (ROOT / "cassettes").rglob(name)
    command = [sys.executable, "-m", "omnirecord", "show", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_what_the_page_shows_is_what_is_printed() -> None:
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 5
    for name, told in blocks:
        assert told == shown(name), name


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(lambda m: f"```console\n$ omnirecord show {m[1]}\n{shown(m[1])}```", PAGE.read_text()))
