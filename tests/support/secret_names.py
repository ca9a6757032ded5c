"""Write `docs/secret-names.md` from the tables of `redaction/names.py`: `python -m tests.support.secret_names`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

from omnirecord.redaction import names
from tests.support.secret_vocabularies import ALL

PAGE = Path(__file__).parent.parent.parent / "docs" / "secret-names.md"
_HOW = "`python -m tests.support.secret_names` writes this page from `omnirecord/redaction/names.py`: change that file."


_KEEP = {"break_long_words": False, "break_on_hyphens": False}


def _list(found: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in found)


def _sources() -> list[str]:
    rows = ["| source | names | secrets | depends on the value | no secrets |", "|---|---|---|---|---|"]
    for source in dict.fromkeys(one[0] for one in ALL):
        of = [(is_one(name), may_be(name)) for by, _, name, is_one, may_be in ALL if by == source]
        sure, perhaps = sum(one for one, _ in of), sum(two and not one for one, two in of)
        rows.append(f"| {source} | {len(of)} | {sure} | {perhaps} | {len(of) - sure - perhaps} |")
    return rows


def page() -> str:
    """The page."""
    harmless = [f"- {why}: {_list(phrases)}" for why, phrases in names.HARMLESS.items()]
    parts = [
        "# Names that are secrets",
        "These tables decide which headers, query parameters and fields hold a secret. [Secrets](redaction.md) says in"
        " which places and formats their values are replaced.",
        "```json\n"
        + '{"dbPassword": "omnirecord-redacted-0123456789ab", "password_hint": "kept", "max_tokens": 4096}\n```',
        _HOW,
        "A name is split into words at capitals, digits and punctuation. `clientSecret`, `X-Client-Secret` and"
        " `CLIENT_SECRET` end with the same two words. The last words of a name decide, in any case.",
        "## Everywhere",
        "A name belongs to a secret in each of these cases:",
        "\n".join(
            (
                f"- Its last word ends in one of {_list(names.ENDINGS)}.",
                f"- Its last word is one of {_list(names.WORDS)}.",
                f"- Its last word is `key` or `keys` after one of {_list(names.KEYS_OF)}. Both may be one word:"
                " `privatekey`.",
                f"- Its last word is `pass` after one of {_list(names.PASSES_OF)}, or the name is `pass` alone.",
                f"- It ends with one of {_list(names.PHRASES)}.",
            )
        ),
        f"These words are skipped at the end of a name: {_list(names.IGNORED)}.",
        f"A number is a secret only if the last word ends in one of {_list(names.NUMERIC)}.",
        "## In headers",
        f"In headers, these last words name a secret, too: {_list(names.HEADERS)}. The words of the first two cases"
        " above, `session` and `sessions` may stand anywhere in the name: `Mcp-Session-Id`. These rules for headers do"
        f" not apply if the first word is `access`, or if the last word is one of {_list(names.TELLS_ABOUT)}.",
        "The values of headers that identify the user are replaced, too. Their names match this expression in any case:"
        f"\n\n```\n{names.IDENTITY.pattern}\n```",
        "## If the value looks like a secret",
        f"For query parameters with the last words {_list(names.QUERIES)}, and for `sid` alone, each value is a secret"
        " that is no number: `seed=42` stays.",
        f"For query parameters with the last words {_list(names.LOOKED_AT)}, and for fields with the last words"
        f" {_list(names.FIELDS_LOOKED_AT)}, the value decides. It looks like a secret if it has no spaces and 22"
        " characters, or 16 characters and a digit: `code=404` stays."
        " A value of `tokens`, or a string in such a list, needs 20 characters with a digit, a capital and a small"
        " letter. Or it has 32 hexadecimal digits. The value of `kubeconfig` is no secret if it is a path. The value of"
        " `mnemonic` is also a secret if it has at least twelve words.",
        "## Exceptions",
        "Names with these last words never belong to a secret:",
        "\n".join(harmless),
        "## Compared with other tools",
        "`tests/redaction/test_names.py` compares the tables with the names that other tools look for:",
        "\n".join(_sources()),
        "`tests/support/secret_vocabularies.py` has a reason for each name whose value stays.",
    ]
    return "\n\n".join(map(_wrapped, parts)) + "\n"


def _wrapped(part: str) -> str:
    if part.startswith(("#", "```", "|")) or "```" in part:
        return part
    lines = (
        textwrap.fill(line, 120, subsequent_indent="  " * line.startswith("-"), **_KEEP) for line in part.split("\n")
    )
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
