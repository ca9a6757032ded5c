"""What docs/show.md and the README say that `show` prints. `python -m tests.docs.test_show` writes it there anew."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import forked
from tests.support.examples import each

ROOT = Path(__file__).parent.parent.parent
PAGES = {
    ROOT / "docs" / "show.md": 2,
    ROOT / "docs" / "other-apis.md": 1,
    ROOT / "README.md": 1,
    ROOT / "docs" / "both-hops.md": 1,
}
"""The pages, and how many examples each has."""
BLOCK = re.compile(r"^```console\n\$ omnirecord show ([\w/]+\.jsonl)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown(name: str) -> str:
    (path,) = (ROOT / "cassettes").rglob(Path(name).name)
    done = forked.run(["show", path], ROOT)
    assert done.code == 0, done.errors
    return done.out.decode()


@each("page", PAGES)
def test_what_a_page_shows_is_what_is_printed(page: Path) -> None:
    blocks = BLOCK.findall(page.read_text())
    assert len(blocks) == PAGES[page]
    for name, told in blocks:
        assert told == shown(name), name


if __name__ == "__main__":
    for page in PAGES:
        written = BLOCK.sub(lambda m: f"```console\n$ omnirecord show {m[1]}\n{shown(m[1])}```", page.read_text())
        page.write_text(written)
