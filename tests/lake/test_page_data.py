"""The list and the trends of the page on a lake: filters, counts, pages, days, and a copy that is renewed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.validate import validation
from omnirecord.cassette.open import open_store
from omnirecord.errors import LakeError, UsageError
from omnirecord.lake import page_data
from omnirecord.lake.location import Lake
from omnirecord.lake.page_data import RENEW_AFTER, LakeAnswers
from omnirecord.lake.query import LakeQuery
from tests.support.cassettes import HEALTHY
from tests.support.lake_sessions import again, drifted, filled, ship
from tests.support.lakes import shipped


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("lake")
    made = filled(str(folder / "lake"), folder)
    ship(made, [drifted(folder)])
    return made


@pytest.fixture(scope="module")
def answers(lake: Lake) -> Iterator[LakeAnswers]:
    with closing(LakeAnswers(lake)) as made:
        yield made


def listed(answers: LakeAnswers, **asked: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = answers.answer("sessions", asked)["sessions"]
    return found


def counted(answers: LakeAnswers, name: str, **asked: str) -> dict[str, int]:
    return {one["value"]: one["many"] for one in answers.answer("sessions", asked)["counts"][name]}


def test_the_list_is_that_of_the_view_over_all_recordings(lake: Lake, answers: LakeAnswers) -> None:
    with LakeQuery(lake) as query:
        wanted = list(query.rows("SELECT session_id FROM whole_sessions ORDER BY started_at DESC, session_id").rows)
    assert [(row["session_id"],) for row in listed(answers)] == wanted


@pytest.mark.parametrize(
    ("asked", "days"),
    [
        ({"from": "2026-11-24"}, {"2026-11-24"}),
        ({"to": "2026-11-20"}, {"2026-11-20"}),
        ({"from": "2026-11-21", "to": "2026-11-23"}, {"2026-11-21", "2026-11-23"}),
        ({"from": "2026-11-23T00:00", "to": "2026-11-24T00:00"}, {"2026-11-23"}),
        ({"label": "team=red"}, {"2026-11-20", "2026-11-24"}),
        ({"label": "team=blue\nenv=ci"}, {"2026-11-20", "2026-11-23"}),
        ({"finding": "runner-disconnected"}, {"2026-11-23"}),
        ({"status": "unfinished", "label": "team=blue", "to": "2026-11-22"}, {"2026-11-21"}),
        ({"text": "WAIT until"}, {"2026-11-21"}),
        ({"model": "no such"}, set()),
    ],
)  # fmt: skip
def test_each_filter_leaves_the_sessions_that_match(
    answers: LakeAnswers, asked: dict[str, str], days: set[str]
) -> None:
    assert {row["started_at"][:10] for row in listed(answers, **asked)} == days


def test_a_part_of_an_id_from_its_beginning_finds_the_session(answers: LakeAnswers) -> None:
    wanted = listed(answers)[0]["session_id"]
    assert [row["session_id"] for row in listed(answers, text=wanted[:12])] == [wanted]


def test_a_count_is_the_number_of_sessions_that_its_filter_leaves(answers: LakeAnswers) -> None:
    for name in ("finding", "status", "model", "label"):
        found = counted(answers, name, label="team=blue") if name != "label" else counted(answers, name)
        assert found, name
        for value, many in found.items():
            asked = {name: value} if name == "label" else {"label": "team=blue", name: value}
            assert len(listed(answers, **asked)) == many, (name, value)


def test_the_worst_findings_come_first_if_asked_for(answers: LakeAnswers) -> None:
    worst = [row["finding_severity"] for row in listed(answers, sort="finding")]
    order = ["error", "warning", "note", None]
    assert worst == sorted(worst, key=order.index)
    assert worst[0] == "error"


def test_pages_have_each_session_once(answers: LakeAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_data, "ON_A_PAGE", 3)
    whole = answers.answer("sessions", {})
    pages = [listed(answers, page=str(number)) for number in range(1, -(-whole["total"] // 3) + 1)]
    ids = [row["session_id"] for page in pages for row in page]
    assert len(ids) == len(set(ids)) == whole["total"]
    assert answers.answer("sessions", {"page": "99"})["page"] == len(pages), (
        "a page behind the last one is the last one"
    )


@pytest.mark.parametrize(
    "asked", [{"from": "yesterday"}, {"to": "2026-13-01"}, {"label": "team"}, {"sort": "name"}, {"page": "x"}]
)
def test_a_bad_value_gets_a_sentence(answers: LakeAnswers, asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(asked))):
        answers.answer("sessions", asked)


def test_quotes_and_sql_in_a_value_are_text(answers: LakeAnswers) -> None:
    for value in ("' OR true --", '"; DROP TABLE listed; --', "%", "$since"):
        for name in ("finding", "status", "model", "text"):
            assert listed(answers, **{name: value}) == [], (name, value)
        assert listed(answers, label=f"{value}={value}") == []
    assert listed(answers)


def test_trends_have_each_day_and_the_sums_of_the_list(answers: LakeAnswers) -> None:
    found = answers.answer("trends", {})
    assert found["days"] == [f"2026-11-{day}" for day in range(20, 25)]
    by_day = [sum(values) for values in zip(*found["sessions"].values(), strict=True)]
    assert by_day == [len(listed(answers, **{"from": day, "to": day})) for day in found["days"]]
    assert sum(by_day) == len(listed(answers))
    hanging = found["findings"]["tool-without-output"]
    assert hanging[1] == 1
    assert found["first_token"]["p50"][2] is None, "a day without a turn has no time"
    assert found["first_token"]["p50"][0] <= found["first_token"]["p95"][0]


def test_problems_are_those_of_validate_by_the_version_of_the_server(answers: LakeAnswers, tmp_path: Path) -> None:
    with closing(open_store(drifted(tmp_path))) as store:
        many = sum(one.row["count"] for one in validation(store).problems)
    assert answers.answer("trends", {})["problems"] == {"0.20.0": [0, 0, 0, 0, many]}
    assert many > 0


def test_trends_follow_the_filters_and_name_those_that_problems_do_not_have(answers: LakeAnswers) -> None:
    found = answers.answer("trends", {"label": "team=blue", "status": "unfinished"})
    assert found["days"][0] == "2026-11-21"
    assert found["problems"] == {}
    assert found["not_applied"] == ["status"]


def test_a_series_beyond_the_most_frequent_ones_is_added_up_as_other() -> None:
    rows = [("2026-11-20", f"code-{n}", 20 - n) for n in range(12)]
    made = page_data._series(rows, ["2026-11-20", "2026-11-21"])
    assert list(made) == [*(f"code-{n}" for n in range(7)), "other"]
    assert sum(values[0] for values in made.values()) == sum(many for *_, many in rows)


def test_an_empty_lake_has_no_sessions_and_no_days(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    with closing(LakeAnswers(lake)) as answers:
        assert answers.answer("sessions", {})["in_all"] == 0
        assert answers.answer("trends", {})["days"] == []


def test_a_new_commit_is_seen_after_a_minute_or_when_asked_for(tmp_path: Path) -> None:
    now = [0.0]
    lake = shipped(str(tmp_path / "lake"), HEALTHY["turns"])
    with closing(LakeAnswers(lake, clock=lambda: now[0])) as answers:
        before = len(listed(answers))
        ship(lake, [again(tmp_path, "text", "2026-11-25", 1)])
        assert len(listed(answers)) == before
        now[0] = RENEW_AFTER
        assert len(listed(answers)) == before + 1
        ship(lake, [again(tmp_path, "text", "2026-11-25", 2)])
        assert len(listed(answers, renew="1")) == before + 2


def test_a_lake_that_goes_away_leaves_the_last_state_and_a_sentence(tmp_path: Path) -> None:
    now = [0.0]
    lake = shipped(str(tmp_path / "lake"), HEALTHY["turns"])
    with closing(LakeAnswers(lake, clock=lambda: now[0])) as answers:
        before = answers.answer("sessions", {})
        assert before["total"] == 1
        assert before["trouble"] is None
        shutil.move(tmp_path / "lake", tmp_path / "away")
        now[0] = RENEW_AFTER
        after = answers.answer("sessions", {})
        assert (after["total"], after["read_at"]) == (before["total"], before["read_at"])
        assert "lake" in after["trouble"]
        with pytest.raises(LakeError):
            answers.answer("sessions", {"renew": "1"})
        shutil.move(tmp_path / "away", tmp_path / "lake")
        now[0] = 2 * RENEW_AFTER
        assert answers.answer("sessions", {})["trouble"] is None


def test_the_copies_are_in_a_temporary_file_that_is_removed_at_the_end(lake: Lake) -> None:
    with closing(LakeAnswers(lake)) as answers:
        answers.answer("sessions", {})
        assert answers._copy is not None
        folder = Path(answers._copy.query._folder.name)
        assert (folder / "copies.db").exists()
    assert not folder.exists()
