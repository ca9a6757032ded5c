"""The whole trip on the shipped cassette."""

from __future__ import annotations

from pathlib import Path

from omnirecord.cassette.open import open_store
from omnirecord.cli.demo import run_demo, shipped_cassette


async def test_the_trip_says_what_it_does_and_keeps_what_it_recorded(tmp_path: Path) -> None:
    said: list[str] = []
    assert await run_demo(tmp_path / "demo.db", said.append)
    text = "\n".join(said)
    assert "Please summarise the release notes." in text
    assert "every byte equal" in text
    assert "omnirecord proxy --upstream" in text
    store = open_store(tmp_path / "demo.db")
    (stream,) = store.streams()
    assert store.tally(stream)[0] == {"valid": 30}
    store.close()


def test_its_cassette_is_one_of_those_that_ship() -> None:
    assert shipped_cassette().exists()
