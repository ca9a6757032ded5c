"""A file that is there whole or not at all."""

from __future__ import annotations

import stat
from contextlib import suppress
from pathlib import Path

import pytest

from omnirecord.cassette.files import whole_or_not
from omnirecord.errors import UsageError


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with whole_or_not(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with suppress(ValueError), whole_or_not(path) as file:
        file.write(b"new")
        raise ValueError
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


def test_the_partial_copy_is_in_a_folder_of_this_user_alone_and_leaves_nothing(tmp_path: Path) -> None:
    with whole_or_not(tmp_path / "a") as file:
        file.write(b"new")
        (folder,) = tmp_path.iterdir()
        (partial,) = folder.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*: No such file"), whole_or_not(tmp_path / "b" / "a"):
        pass
