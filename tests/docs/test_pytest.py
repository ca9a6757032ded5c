"""docs/pytest.md is true: its files are written, its commands are run, in the order of the page."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import omnirecord
from omnirecord.pytest_plugin.keywords import KEYS
from tests.support.pytest_suite import OPTIONS

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "pytest.md").read_text()
STEP = re.compile(r"```python\n# (\S+)\n(.*?)```|^\$ pytest (.+?)$", re.DOTALL | re.MULTILINE)


def test_the_trip_from_nothing_to_a_faulted_test_can_be_made(pytester: pytest.Pytester) -> None:
    """The server that is recorded from is a replay of the session that the page was written with."""
    pytester.syspathinsert()
    runs = 0
    with omnirecord.replay(ROOT / "cassettes" / "text.jsonl", timing="instant") as upstream:
        for name, code, command in STEP.findall(PAGE):
            if name:
                (pytester.path / name).write_text(code)
            else:
                words = shlex.split(command.replace("http://127.0.0.1:6767", upstream.url))
                result = pytester.runpytest_inprocess(*OPTIONS, *words)
                assert result.ret == 0
                runs += 1
            if "upstream" in command:
                asked = len(upstream.requests)
        assert len(upstream.requests) == asked > 0  # never again after it was recorded
    assert runs == 4
    kept = pytester.path / "cassettes" / "test_answers" / "test_an_answer_comes_whole.jsonl"
    assert str(kept.relative_to(pytester.path)) in PAGE
    assert kept.exists()


UPPER = "body $.data.content[0].text: [-What is a flight recorder?-]{+WHAT IS A FLIGHT RECORDER?+}"
STRANGERS = {
    "never posts": ("number == 0:", "number < 0:", "", "gate_timeout=S sets this limit"),
    "posts another body": ('"text": text', '"text": text.upper()', "", UPPER),
    "posts another body, which the page allows": ('"text": text', '"text": text.upper()', "match_on=[]", ""),
    "goes on without its message": ("number == 0:", "number < 0:", "skip_gates_after=0.2", ""),
}
"""What is changed in the client of the page, what the marker says, and what the failure shows; nothing: it passes."""


def project(pytester: pytest.Pytester) -> None:
    """The client and the first test of the page, written down."""
    pytester.syspathinsert()
    for name, code, _ in STEP.findall(PAGE)[:2]:
        (pytester.path / name).write_text(code)


def recorded(pytester: pytest.Pytester, mode: str = "once") -> pytest.RunResult:
    with omnirecord.replay(ROOT / "cassettes" / "text.jsonl", timing="instant") as upstream:
        where = f"--omnirecord-upstream={upstream.url}"
        return pytester.runpytest_inprocess(*OPTIONS, "test_answers.py", f"--omnirecord-record={mode}", where)


_KEPT: list[bytes] = []


def has_cassette(pytester: pytest.Pytester) -> None:
    """Give the project the cassette of its test. It is recorded once."""
    cassette = pytester.path / "cassettes" / "test_answers" / "test_an_answer_comes_whole.jsonl"
    if _KEPT:
        cassette.parent.mkdir(parents=True)
        cassette.write_bytes(_KEPT[0])
    else:
        recorded(pytester).assert_outcomes(passed=1)
        _KEPT.append(cassette.read_bytes())


@pytest.mark.parametrize("name", STRANGERS)
def test_a_project_written_from_the_page_has_the_outcome_that_the_page_says(
    pytester: pytest.Pytester, name: str
) -> None:
    before, behind, marker, said = STRANGERS[name]
    project(pytester)
    has_cassette(pytester)
    client, test = pytester.path / "answers.py", pytester.path / "test_answers.py"
    assert before in client.read_text()
    client.write_text(client.read_text().replace(before, behind))
    marked = f"import pytest\n\npytestmark = pytest.mark.omnirecord({marker})\n\n"
    test.write_text(marked + test.read_text().replace(".assert_all_matched()", ".url"))
    limit = ["--omnirecord-gate-timeout=0.5"] if "gate_timeout" in said else []
    result = pytester.runpytest_inprocess(*OPTIONS, "test_answers.py", *limit)
    if said:
        result.assert_outcomes(failed=1)
        assert said in result.stdout.str()
    else:
        result.assert_outcomes(passed=1)


def test_a_client_of_the_page_that_is_recorded_anew_has_a_new_cassette_or_one_beside_it(
    pytester: pytest.Pytester,
) -> None:
    project(pytester)
    pytester.makeini("[pytest]\nomnirecord_record = none\n")
    recorded(pytester).assert_outcomes(passed=1)
    cassette = pytester.path / "cassettes" / "test_answers" / "test_an_answer_comes_whole.jsonl"
    first = cassette.read_bytes()
    recorded(pytester, "all").assert_outcomes(passed=1)
    second = cassette.read_bytes()
    assert second != first
    test = pytester.path / "test_answers.py"
    test.write_text(test.read_text().replace("A flight recorder keeps", "Something else"))
    result = recorded(pytester, "all")
    result.assert_outcomes(failed=1)
    failed = cassette.with_name("test_an_answer_comes_whole.failed.jsonl")
    assert str(failed) in result.stdout.str()
    assert failed.exists()
    assert cassette.read_bytes() == second


def test_the_failure_on_the_page_is_what_another_message_gives(pytester: pytest.Pytester) -> None:
    project(pytester)
    has_cassette(pytester)
    test = pytester.path / "test_answers.py"
    test.write_text(test.read_text().replace("What is a flight", "WHAT IS a flight"))
    output = pytester.runpytest_inprocess(*OPTIONS, "test_answers.py").stdout.str()
    for line in re.findall(r"fails with this difference:\n\n```\n(.*?)```", PAGE, re.DOTALL)[0].splitlines():
        assert line in output


def test_every_keyword_option_and_fixture_is_on_the_page() -> None:
    names = ["record", "upstream", "cassettes", "timing", "match_on", "gate_timeout"]
    for word in [
        *KEYS,
        *(f"--omnirecord-{one.replace('_', '-')}" for one in names),
        *(f"omnirecord_{one}" for one in names),
    ]:
        assert f"`{word}`" in PAGE, word
    for button in ("pause", "play", "set_speed", "step", "run_until", "jump", "position", "reset"):
        assert f"`{button}(" in PAGE, button
