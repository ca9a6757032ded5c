"""The reference of the computed tables in `docs/query.md`, from their declaration.

`python -m tests.docs.columns` writes it into the page.
"""

from __future__ import annotations

from pathlib import Path

from omnirecord.analysis.tables import TABLES

PAGE = Path(__file__).parent.parent.parent / "docs" / "query.md"
BEGIN, END = "## Columns of the computed tables\n\n", "## Untrusted cassettes\n"
TYPES = {str: "text", int: "integer", float: "number"}


def reference() -> str:
    """Return a section for each table: what it holds, and its columns."""
    made = ""
    for name, table in TABLES.items():
        rows = "".join(f"| `{one.name}` | {TYPES[one.type]} | {one.about} |\n" for one in table.columns)
        made += f"### {name}\n\n{table.about}\n\n| column | type | meaning |\n|---|---|---|\n{rows}\n"
    return made


def parts(page: str) -> tuple[str, str, str]:
    """Return the page before the reference, the reference, and the page after it."""
    before, _, rest = page.partition(BEGIN)
    told, _, after = rest.partition(END)
    return before + BEGIN, told, END + after


if __name__ == "__main__":
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(before + reference() + after)
