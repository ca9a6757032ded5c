"""Every kind of secret is masked and found, wherever a text is split; texts that look alike stay."""

from __future__ import annotations

import json
import re
import re._parser as parser  # type: ignore[import-not-found]
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from omnirecord.cassette.scrub import scrub
from omnirecord.redaction.content import BodyMask
from omnirecord.redaction.content.patterns import KINDS, beginnings
from omnirecord.redaction.content.prefixes import SOURCES, TOKENS
from omnirecord.redaction.content.scanner import Scanner
from tests.cassette.test_scrub import saved
from tests.redaction.content.test_content import Disk, deltas, has_all_stars, scanned, texts
from tests.support import secret_prefixes
from tests.support.cassettes import Made, event
from tests.support.command import invoke
from tests.support.examples import each
from tests.support.secret_corpus import LOOK_ALIKES
from tests.support.secret_corpus import texts as corpus
from tests.support.secret_prefixes import PAGE, page, uncovered

CORPUS = corpus()
LEAST = 8
"""Characters of a secret that have to be masked; of a shorter secret, all."""


def is_hidden(out: str, text: str, secret: str) -> bool:
    at = text.rindex(secret)
    return out[at : at + len(secret)].count("*") >= min(LEAST, len(secret))


def test_the_corpus_has_the_kinds_of_the_table() -> None:
    assert len(CORPUS) >= 200
    kinds = {one.kind for one in TOKENS if any(one.prefix in text for text, _ in CORPUS.values())}
    assert {one.kind for one in TOKENS} == kinds
    assert {one.source for one in TOKENS} == SOURCES.keys()


@each("name", CORPUS)
def test_a_secret_of_each_kind_is_masked(name: str) -> None:
    text, secret = CORPUS[name]

    assert is_hidden(scanned(text.encode(), []).decode(), text, secret)
    assert is_hidden(BodyMask(Scanner(), Counter()).feed(text.encode()).decode(), text, secret)


@each("name", CORPUS)
def test_a_secret_of_each_kind_is_masked_in_two_deltas_split_anywhere(name: str) -> None:
    text, secret = CORPUS[name]
    whole = "".join(texts(Disk().feed(b"".join(deltas(text)))))

    assert is_hidden(whole, text, secret)
    for cut in range(1, len(text)):
        out = "".join(texts(Disk().feed(b"".join(deltas(text[:cut], text[cut:])))))
        assert has_all_stars(out, whole), cut


@each("text", LOOK_ALIKES)
def test_a_text_that_looks_like_a_secret_stays(text: str) -> None:
    assert scanned(text.encode(), []).decode() == text
    assert scanned(text.encode(), list(range(len(text)))).decode() == text
    assert "".join(texts(Disk().feed(b"".join(deltas(*text))))) == text


def test_no_prefix_contains_another_one() -> None:
    """The one that ends first is found, and its rules decide about the rest."""
    whole = [prefix for kind in KINDS for prefix in kind.prefixes]
    pairs = {(one, other) for one in whole for other in whole if one != other and one in other}

    assert pairs == {("sk-", "ctx7sk-"), ("eyJ", "ops_eyJ")}, "in these two, the shorter one does not begin a word"
    assert len(set(whole)) == len(whole)


def test_the_expression_of_no_kind_is_longer_than_what_a_text_keeps() -> None:
    longest = Scanner()._longest
    patterns = [one for kind in KINDS if kind.tokens for one in kind.patterns]

    assert len(patterns) > 80
    assert max(parser.parse(one).getwidth()[1] for one in patterns) <= longest


def test_the_page_of_kinds_is_that_of_the_table() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.support.secret_prefixes"


def test_the_script_names_the_rules_of_another_list_that_the_table_does_not_cover(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "gitleaks.toml"
    rules = {
        "gitlab-pat": r"glpat-[\w-]{20}",
        "new-kind": r"\b(newkind_[a-z]{32})(?:[\x60'\"\s;]|\\[nr]|$)",
        "by-name": r"[\w.-]{0,50}?(?:acme)[=:]([a-z]{32})",
        "maxmind-license-key": r"[A-Z]{6}_mmk",
    }
    file.write_text("".join(f"[[rules]]\nid = \"{name}\"\nregex = '''{regex}'''\n" for name, regex in rules.items()))

    secret_prefixes.main(["--compare", str(file)])

    *named, last = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in named] == ["new-kind"]
    assert last == "1 of 4 rules are not covered; 1 need the name of a service"


def test_the_script_generates_examples_of_the_expressions_of_others() -> None:
    rules = {"slack": r"xox[bp]-\d{10,13}-[a-zA-Z0-9-]*", "hex": r"sk-[0-9a-f]{32}", "other": r"[A-Z]{40}"}

    assert list(uncovered(rules)) == ["other"]


# scrub


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cassette with all secrets of the corpus, each in an event of its own."""
    tape = Made()
    parts = [(0.1 + n / 100, event("session.status", note=text)) for n, (text, _) in enumerate(CORPUS.values())]
    tape.stream("s", 0.0, *parts)
    return saved(tape, tmp_path_factory.mktemp("kinds") / "run.jsonl")


def test_check_finds_a_secret_of_each_kind(cassette: Path) -> None:
    found = {one.seq for one in scrub(cassette, None)}

    assert found == set(range(1, len(CORPUS) + 1))


run = partial(invoke, "scrub")


def test_check_says_what_it_looked_for(tmp_path: Path) -> None:
    tape = Made()
    tape.get("/v1/x", 0.0)
    path = saved(tape, tmp_path / "run.jsonl")

    assert run("--check", path).stdout == (
        f"{path}: none of {len(beginnings())} kinds of secrets (omnirecord scrub --kinds), and no value with a"
        " sensitive name\n"
    )
    assert run("--check", path, "--redact", "named").stdout == (
        f"{path}: no value with a sensitive name (docs/secret-names.md)\n"
    )


def test_the_kinds_are_listed() -> None:
    as_text, as_json = run("--kinds"), run("--kinds", "--json")

    assert re.search(r"^gitlab +GR1348941, .*glcbt-", as_text.stdout, re.MULTILINE)
    assert f"{len(beginnings())} kinds, and values with a sensitive name" in as_text.stdout
    rows = {row["kind"]: row["begins_with"] for row in map(json.loads, as_json.stdout.splitlines())}
    assert rows == beginnings()
    assert "dapi" in rows["databricks"]


def test_a_cassette_is_asked_for_unless_the_kinds_are() -> None:
    assert "Missing argument 'CASSETTE...'" in run("--check").output
