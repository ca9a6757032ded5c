"""What the page is to show: which cassette, or which two in one, and with what it opens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.cassette.open import import_file, open_store
from omnirecord.errors import OmnirecordError, UsageError
from omnirecord.ui.data import Answers
from omnirecord.ui.viewer import Shown
from tests.support.cassettes import HEALTHY

TURNS, CLIENTS = HEALTHY["turns"], HEALTHY["two_clients"]
A, B = "df0bf5115f684102831c8684348c2169", "223bba100a5442b39354cac10a511825"


@pytest.fixture
def both() -> Iterator[Shown]:
    shown = Shown(TURNS, CLIENTS)
    yield shown
    shown.close()


def test_one_cassette_is_shown_as_it_is() -> None:
    shown = Shown(TURNS)
    assert (shown.path, shown.files, shown.place) == (TURNS, {}, "")
    assert Shown(f"{TURNS}#df0b").place == f"#/session/1.session.{A}"


def test_two_are_shown_as_one_that_knows_which_is_which(both: Shown) -> None:
    counts = []
    for path in (both.path, TURNS, CLIENTS):
        with closing(open_store(path)) as store:
            counts.append(len(store.exchanges()))
    assert counts[0] == counts[1] + counts[2]
    assert both.files == {1: "turns.jsonl", 2: "two_clients.jsonl"}
    assert both.place == "#/compare"
    with closing(Answers(lambda: both.path, both.files)) as answers:
        assert answers.answer("overview", {})["files"] == ["turns.jsonl", "two_clients.jsonl"]
        (pair,) = answers.answer("pairs", {})
        assert (pair["a"], pair["b"], pair["counts"]) == (f"1.session.{A}", f"2.session.{B}", True)
        assert pair["differences"] == len(answers.answer("comparison", {"a": pair["a"], "b": pair["b"]})["found"])


def test_a_database_may_be_one_of_them_and_the_other_one_too(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        import_file(TURNS, tmp_path / name)
    shown = Shown(tmp_path / "a.db", f"{tmp_path / 'b.db'}#df")
    assert shown.files == {1: "a.db", 2: "b.db"}
    assert shown.place == f"#/compare?b=2.session.{A}"
    shown.close()


def test_each_may_name_a_session_that_begins_so() -> None:
    shown = Shown(f"{TURNS}#df0b", f"{CLIENTS}#223")
    assert shown.place == f"#/compare?a=1.session.{A}&b=2.session.{B}"
    shown.close()


def test_two_sessions_of_one_cassette_need_no_copy_of_it(tmp_path: Path) -> None:
    db = tmp_path / "two.db"
    for path in (TURNS, CLIENTS):
        import_file(path, db)
    shown = Shown(f"{db}#df0b", f"{db}#223")
    assert (shown.path, shown.place) == (db, f"#/compare?a=1.session.{A}&b=2.session.{B}")


def test_one_beside_itself_is_two() -> None:
    shown = Shown(TURNS, TURNS)
    assert list(shown.files.values()) == [str(TURNS), f"{TURNS} (again)"]
    shown.close()


def test_nothing_is_left_of_the_copy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shown = Shown(TURNS, CLIENTS)
    assert shown.path.exists()
    shown.close()
    (tmp_path / "junk.jsonl").write_text("junk")
    for other in (tmp_path / "none.db", tmp_path / "junk.jsonl", f"{CLIENTS}#nobody"):
        with pytest.raises(OmnirecordError):
            Shown(TURNS, other)
    assert [one.name for one in tmp_path.iterdir()] == ["junk.jsonl"]


def test_a_page_of_one_cassette_has_no_pairs() -> None:
    with closing(Answers(lambda: TURNS)) as answers, pytest.raises(UsageError, match="choose two of its sessions"):
        answers.answer("pairs", {})


def test_on_the_command_line_two_are_taken_as_diff_takes_them() -> None:
    command = [sys.executable, "-m", "omnirecord", "ui", f"{TURNS}#df0b", str(CLIENTS), "--json", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        said = json.loads(server.stdout.readline())
        server.terminate()
    assert said["url"].endswith(f"/-/omnirecord/ui/#/compare?a=1.session.{A}")
    assert (said["cassette"], said["other"]) == (f"{TURNS}#df0b", str(CLIENTS))
