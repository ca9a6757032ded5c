"""A lake by its URL: its failures are one sentence, and say what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnirecord.errors import LakeError, UsageError
from omnirecord.lake.location import Lake


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_a_slash_that_is_missing_is_named(scheme: str) -> None:
    with pytest.raises(UsageError, match=f"has one slash after the colon: write {scheme}://bucket/lake"):
        Lake(f"{scheme}:/bucket/lake")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(LakeError, match="no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        Lake("s3://bucket/lake").marker()


def test_an_error_of_the_delta_log_has_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y"), ("AWS_REGION", "us-east-1")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(LakeError) as found:
        Lake("s3://bucket/lake").table("events")
    assert "\x1b" not in str(found.value)


def test_a_damaged_log_is_no_failure_that_passes(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.init()
    (log,) = (tmp_path / "lake" / "events" / "_delta_log").glob("*.json")
    log.write_text("{")
    with pytest.raises(LakeError) as found:
        lake.table("events")
    assert "try again" not in str(found.value)
