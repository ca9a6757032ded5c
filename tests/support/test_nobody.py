"""A folder that other users cannot enter is found above a checkout."""

from __future__ import annotations

from pathlib import Path

from tests.support.nobody import closed_to_others


def test_the_folder_that_is_closed_to_other_users_is_found(tmp_path: Path) -> None:
    home, checkout = tmp_path / "home", tmp_path / "home" / "checkout"
    checkout.mkdir(parents=True)
    home.chmod(0o700)
    assert closed_to_others(Path("/"), checkout) == home
    assert closed_to_others(Path("/")) is None
