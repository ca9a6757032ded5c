"""Causes and effects: each chain ends in a root that is told with its reason, and no effect is worse than that."""

from __future__ import annotations

from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.analysis.doctor.checks import CODES, EXPLAINS, RANK
from omnirecord.analysis.doctor.finding import SEVERITIES, Finding, Sign, explained, in_order

SIGNS = st.builds(
    lambda code, since, length, severity, about: Sign(
        code, "", since, since + length, 1, (since,), severity=severity, about=about
    ),
    st.sampled_from(list(CODES)),
    st.integers(0, 20),
    st.integers(0, 20),
    st.sampled_from([None, *SEVERITIES]),
    st.sampled_from([None, "a"]),
)


def level(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)


def check(found: list[Finding]) -> None:
    """Each cause is told itself, has no cause of its own, and is at least as bad as what it explains."""
    roots = {finding.code: finding for finding in found if finding.because is None}
    for finding in found:
        assert finding.why
        assert finding.next
        if finding.because is not None:
            assert finding.because in roots
            assert RANK[finding.because] < RANK[finding.code]
            assert level(finding) <= max(level(one) for one in found if one.code == finding.because)


def test_a_cause_always_stands_before_what_it_explains() -> None:
    assert all(RANK[cause] < RANK[effect] for cause, effects in EXPLAINS.items() for effect in effects)


def test_no_two_signs_explain_each_other() -> None:
    for one, other in permutations(CODES, 2):
        check(explained([Sign(one, "", 0, 9), Sign(other, "", 5, 6)], 1, "s"))


@given(st.lists(SIGNS, max_size=12), st.lists(SIGNS, max_size=3))
def test_every_chain_of_causes_ends_in_a_root_that_is_no_better(signs: list[Sign], beside: list[Sign]) -> None:
    elsewhere = [finding for sign in beside for finding in explained([sign], 1, None)]
    check(in_order([*explained(signs, 1, "s", beside), *elsewhere]))


def test_a_client_that_leaves_while_a_tool_runs_is_the_cause_of_all_that_is_missing() -> None:
    codes = ("turn-unfinished", "tool-without-output", "client-left-in-turn")
    found = explained([Sign(code, "", 0, 9) for code in codes], 1, "s")
    assert {one.code: (one.because, one.severity) for one in found} == {
        "client-left-in-turn": (None, "warning"),
        "tool-without-output": ("client-left-in-turn", "warning"),
        "turn-unfinished": ("client-left-in-turn", "warning"),
    }


@pytest.mark.parametrize(("severity", "because"), [(None, "client-left-in-turn"), ("note", None)])
def test_a_client_that_left_while_another_one_listened_explains_nothing_worse(
    severity: str | None, because: str | None
) -> None:
    left = Sign("client-left-in-turn", "", 0, 9, severity=severity)  # type: ignore[arg-type]
    (hangs,) = explained([Sign("tool-without-output", "", 3, 9)], 1, "s", [left])
    assert hangs.because == because


def test_a_long_chain_names_its_root() -> None:
    chain = ["recording-degraded", "malformed", "turn-unfinished", "status-left-running"]
    assert all(effect in EXPLAINS[cause] for cause, effect in pairwise(chain))
    found = explained([Sign(code, "", 2 * n, 2 * n + 2) for n, code in enumerate(chain)], 1, "s")
    assert [one.because for one in found] == [None, *["recording-degraded"] * 3]
