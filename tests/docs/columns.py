"""The reference of the computed tables in `docs/query.md`, from their declaration.

`python -m tests.docs.columns` writes it into the page.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from omnirecord.columns import TABLES

PAGE = Path(__file__).parent.parent.parent / "docs" / "query.md"
BEGIN, END = "## Columns of the computed tables\n\n", "## Untrusted cassettes\n"
PLAIN = """
recording session_id stream turn turns errors warnings notes output_tokens total_tokens reasoning_tokens cost_usd
streams exchanges text reasoning error_code error_message agent response_id deltas heartbeats tools approvals call_id
name called_at returned_at called_ns returned_ns elicitation_id message asked_at answered_at asked_ns answered_ns
resolved_ns started_ns ended_ns api exchange error status code severity instructions
"""
"""Columns whose name says what they hold, or that the section before the reference describes."""


def reference() -> str:
    """Return a section for each table: what it holds, what its columns mean, and the other columns."""
    made, plain = "", PLAIN.split()
    for name, table in TABLES.items():
        rows = "".join(f"- `{one.name}`: {one.about}\n" for one in table.columns if one.name not in plain)
        others = ", ".join(f"`{one.name}`" for one in table.columns if one.name in plain)
        made += f"### {name}\n\n{table.about}\n\n{rows}\n" + "\n".join(wrap(f"Also {others}.", 120)) + "\n\n"
    return made


def parts(page: str) -> tuple[str, str, str]:
    """Return the page before the reference, the reference, and the page after it."""
    before, _, rest = page.partition(BEGIN)
    told, _, after = rest.partition(END)
    return before + BEGIN, told, END + after


if __name__ == "__main__":
    before, _, after = parts(PAGE.read_text())
    PAGE.write_text(before + reference() + after)
