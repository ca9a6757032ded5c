"""Each code has its page, and the example on it is what the command prints."""

from __future__ import annotations

import re

from omnirecord.analysis.doctor.checks import CODES, EXPLAINS
from tests.support.doctor_examples import BLOCK, DOCS, EXAMPLES, block_of, lead, story_of
from tests.support.examples import each

PAGES = DOCS / "doctor"


def test_there_is_a_page_for_each_code_and_no_other() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == set(CODES) == set(EXAMPLES)


@each("code", CODES)
def test_its_example_is_what_the_command_prints(code: str) -> None:
    page = (PAGES / f"{code}.md").read_text()
    assert BLOCK.findall(page) == [block_of(code)]
    assert re.search(rf"^(error|warning|note) +{code}( |$)", page, re.MULTILINE)
    assert story_of(EXAMPLES[code]) in page


@each("code", CODES)
def test_it_says_what_the_code_says(code: str) -> None:
    page, told = (PAGES / f"{code}.md").read_text(), CODES[code]
    assert page.startswith(f"# `{code}`\n\n{told.severity.capitalize()}. {told.why}\n")
    assert f"\n**Next step:** {told.next}\n" in page


def test_the_index_has_them_all_from_cause_to_symptom() -> None:
    index = (DOCS / "doctor.md").read_text()
    rows = re.findall(r"^\| \[`([\w-]+)`\]\(doctor/([\w-]+)\.md\) \| (\w+) \| (.*) \|$", index, re.MULTILINE)
    assert rows == [(code, code, told.severity, lead(code)) for code, told in CODES.items()]


def test_what_explains_and_what_is_explained_are_codes() -> None:
    assert set(EXPLAINS) | {code for codes in EXPLAINS.values() for code in codes} <= set(CODES)


def test_no_link_on_a_page_is_broken() -> None:
    for page in PAGES.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
