"""A file that is there whole or not at all."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from omnirecord.errors import UsageError
from omnirecord.files import whole_or_not


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


def test_a_link_that_waits_at_the_name_of_the_partial_copy_is_not_written_through(tmp_path: Path) -> None:
    """The name had the number of the process in it, so that others could guess it."""
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    planted = tmp_path / f".a.{os.getpid()}.partial"
    planted.symlink_to(victim)
    with whole_or_not(tmp_path / "a") as file:
        file.write(b"new")
        (partial,) = {*tmp_path.glob(".a.*.partial")} - {planted}
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
    assert victim.read_text() == "of somebody else"
    assert (tmp_path / "a").read_text() == "new"


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*: No such file"), whole_or_not(tmp_path / "b" / "a"):
        pass
