"""Write `docs/secret-kinds.md` from the table of prefixes, or say what a newer list of another tool adds to the table.

`python -m tests.support.secret_prefixes` writes the page. `--compare gitleaks.toml` reads a configuration of gitleaks,
`--compare detect-secrets` the plugins of an installed detect-secrets. Each rule gets examples that match it; the script
prints the rules of which an example is not masked. Rules that search for the name of a service before a value without
a prefix are only counted: the names of fields decide about such a value.
"""

from __future__ import annotations

import random
import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omnirecord.redaction.content.patterns import KINDS
from omnirecord.redaction.content.prefixes import SOURCES, TOKENS
from omnirecord.redaction.content.scanner import PLAIN, Scanner

PAGE = Path(__file__).parent.parent.parent / "docs" / "secret-kinds.md"
EXAMPLES = 5
"""Examples of each rule."""
USUAL = 12
"""Repetitions of a part without an upper limit, or with a higher one."""
LEAST_MASKED = 8
"""Characters of an example that the mask has to hide."""
NAMED = r"[\w.-]{0,50}?"
"""Gitleaks begins a rule with it that needs the name of a service before the value."""
NOT_MASKED = {
    "public, or no secret": "flutterwave-public-key; Public IP (ipv4); pkcs12-file; Twilio API Key",
    "the name of a field, an option or a header decides": "curl-auth-header; curl-auth-user; freemius-secret-key;"
    " kubernetes-secret-yaml; nuget-config-password; AWS Access Key 1; Cloudant Credentials; Cloudant Credentials 1;"
    " IBM Cloud IAM Key; IBM COS HMAC Credentials; SoftLayer Credentials; NPM tokens",
    "the kind `url` finds a password in a URL": "sidekiq-sensitive-url; Basic Auth Credentials",
    "the rule is wider than the format of the service": "jwt; JSON Web Token; sendgrid-api-token; Telegram Bot Token;"
    " private-key; slack-config-access-token; Square OAuth Secret",
    "the rule matches the first line of a key only": "; ".join(f"Private Key {n}" for n in range(1, 8))
    + "; Private Key",
    "only the end of the secret is known": "maxmind-license-key; Mailchimp Access Key",
    "like other words, numbers or hashes": "vault-service-token; sourcegraph-access-token; facebook-access-token;"
    " Artifactory Credentials; Artifactory Credentials 1; SoftLayer Credentials 1",
}
"""Rules of other tools of which an example may stay, by reason."""


def page() -> str:
    """The page."""
    rows = ["| kind | begins with | proof |", "|---|---|---|"]
    rows += [_row(*one) for one in sorted(_merged().items())]
    others = sorted({kind.name for kind in KINDS} - {token.kind for token in TOKENS})
    parts = [
        "# Kinds of secrets",
        f"`--redact content`, `scrub` and `scrub --check` find {len({kind.name for kind in KINDS})} kinds of secrets by"
        " their beginning. `omnirecord scrub --kinds` prints the kinds. [Secrets](redaction.md) says in which places"
        " they are found, and [names that are secrets](secret-names.md) has the names of fields.",
        "`python -m tests.support.secret_prefixes` writes this page from `omnirecord/redaction/content/prefixes.py`:"
        " change that file.",
        "## Tokens of services",
        "The mask begins behind the prefix. Some prefixes are short, or frequent in other texts. There, the characters"
        " behind the prefix have to match the regular expression in the column *proof*. The mask begins behind these"
        " characters, so they stay: of a token of Databricks, the first six digits.",
        "\n".join(rows),
        f"Further kinds have no prefix of a service: {', '.join(f'`{one}`' for one in others)}."
        " [Secrets](redaction.md#with---redact-content-secrets-with-a-known-prefix) describes them.",
        "A prefix of four characters or more without a proof is also found in base64, as in a Kubernetes secret. It has"
        " to begin the encoded text.",
        "## Sources",
        "\n".join(f"- {name}: {what}" for name, what in SOURCES.items()),
        "The sources give facts: prefixes, characters and lengths. No code is theirs. `prefixes.py` names the source of"
        " each prefix. `python -m tests.support.secret_prefixes --compare gitleaks.toml` prints the rules of a newer"
        " list that the table does not cover.",
    ]
    return "\n\n".join(map(_wrapped, parts)) + "\n"


def _merged() -> dict[tuple[str, str], list[str]]:
    """Return the prefixes by kind and proof."""
    found: dict[tuple[str, str], list[str]] = {}
    for token in TOKENS:
        found.setdefault((token.kind, token.shown), []).append(token.prefix)
    return found


def _row(kind_and_proof: tuple[str, str], prefixes: list[str]) -> str:
    kind, proof = kind_and_proof
    begins, bar = ", ".join(f"`{prefix}`" for prefix in prefixes), "\\|"
    cells = [kind, begins, f"`{proof}`" if proof else ""]
    return f"| {' | '.join(cell.replace('|', bar) for cell in cells)} |".replace(r"\-", "-")


def _wrapped(part: str) -> str:
    if part.startswith(("#", "|")):
        return part
    lines = part.split("\n")
    return "\n".join(
        textwrap.fill(
            one, 120, subsequent_indent="  " * one.startswith("-"), break_long_words=False, break_on_hyphens=False
        )
        for one in lines
    )


# Comparing


def rules_of_gitleaks(file: Path) -> dict[str, str]:
    """Return the regular expression of each rule."""
    return {rule["id"]: _for_python(rule.get("regex", "")) for rule in tomllib.loads(file.read_text())["rules"]}


def rules_of_detect_secrets() -> dict[str, str]:
    """Return the expressions of the plugins of the installed detect-secrets that have a prefix."""
    if find_spec("detect_secrets") is None:
        raise SystemExit("detect-secrets is not installed: pip install detect-secrets")
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class  # type: ignore[import-not-found]

    found = {}
    for name, plugin in get_mapping_from_secret_type_to_class().items():
        for number, one in enumerate(getattr(plugin, "denylist", ())):
            found[f"{name} {number}" if number else name] = one.pattern
    return found


def _for_python(regex: str) -> str:
    """Return an expression of Go's `regexp` that Python reads. Its case is as written."""
    for old, new in (("(?i)", ""), ("(?-i:", "(?:"), ("[[:alnum:]]", "[A-Za-z0-9]"), (r"\z", r"\Z")):
        regex = regex.replace(old, new)
    return regex


def uncovered(rules: dict[str, str]) -> Iterator[str]:
    """Yield the names of the rules of which an example is not masked, except those of `NOT_MASKED`."""
    known = {name for names in NOT_MASKED.values() for name in names.split("; ")}
    for name, regex in rules.items():
        if not regex or NAMED in regex or name in known:
            continue
        dice = random.Random(name)
        made = ["".join(_example(parser.parse(regex), dice)) for _ in range(EXAMPLES)]
        if any(_hidden(one) < LEAST_MASKED for one in made):
            yield name


def _hidden(text: str) -> int:
    spans, _ = Scanner().scan(PLAIN, f" {text} ".encode())
    return len({n for span in spans for n in range(span.start, span.end)})


def _example(tree: Iterable[Any], dice: random.Random) -> Iterator[str]:
    """Yield the parts of a text that matches a parsed expression. Conditions are ignored."""
    for kind, value in tree:
        if kind is op.LITERAL:
            yield chr(value)
        elif kind is op.IN:
            yield dice.choice(_characters(value))
        elif kind is op.ANY:
            yield "."
        elif kind is op.NOT_LITERAL:
            yield "x"
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            for _ in range(min(max(value[0], USUAL), value[1]) if value[1] > 1 else value[0]):
                yield from _example(value[2], dice)
        elif kind is op.SUBPATTERN:
            yield from _example(value[3], dice)
        elif kind is op.BRANCH:
            yield from _example(dice.choice(value[1]), dice)


def _characters(members: list[tuple[Any, Any]]) -> str:
    every = [chr(n) for n in range(33, 127)]
    if members[0][0] is op.NEGATE:
        out = _characters(members[1:])
        return "".join(one for one in every if one not in out)
    found = ""
    for kind, value in members:
        if kind is op.LITERAL:
            found += chr(value)
        elif kind is op.RANGE:
            found += "".join(map(chr, range(value[0], value[1] + 1)))
        elif kind is op.CATEGORY:
            signs = {op.CATEGORY_DIGIT: r"\d", op.CATEGORY_WORD: r"\w", op.CATEGORY_SPACE: r"\s"}
            found += "".join(one for one in [*every, " "] if re.match(signs.get(value, r"\S"), one))
    return found


def main(arguments: list[str]) -> None:
    if not arguments:
        PAGE.write_text(page())
        return
    if arguments[0] != "--compare" or len(arguments) != 2:
        raise SystemExit("usage: python -m tests.support.secret_prefixes [--compare FILE|detect-secrets]")
    is_installed = arguments[1] == "detect-secrets"
    rules = rules_of_detect_secrets() if is_installed else rules_of_gitleaks(Path(arguments[1]))
    missing = list(uncovered(rules))
    by_name = sum(NAMED in regex for regex in rules.values())
    for name in missing:
        print(f"{name}: {rules[name]}")  # noqa: T201
    print(f"{len(missing)} of {len(rules)} rules are not covered; {by_name} need the name of a service")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
