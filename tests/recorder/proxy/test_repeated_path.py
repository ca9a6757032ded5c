"""Both `--upstream` and the client have `/v1`: the log and `doctor` say so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import omnirecord
from omnirecord import record
from omnirecord.wire.addresses import repeated_part
from tests.support import agents
from tests.support.examples import each
from tests.support.later import later
from tests.support.model_clients import HI, openai_client
from tests.support.providers import ModelApis

openai = later("openai")


@each(
    ("prefix", "target", "part"),
    [
        ("/v1", "/v1/responses", "/v1"),
        ("/api/v1", "/v1/responses", "/v1"),
        ("/api/v1", "/api/v1/responses", "/api/v1"),
        ("/v1", "/v1", ""),
        ("/v1", "/v10/responses", ""),
        ("", "/v1/responses", ""),
    ],
)
def test_the_repeated_part_of_a_path_is_found(prefix: str, target: str, part: str) -> None:
    assert repeated_part(prefix, target) == part


async def test_a_404_for_a_repeated_part_of_the_path_is_explained_once_in_the_log_and_by_doctor(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    db = tmp_path / "a.db"
    with caplog.at_level(logging.WARNING, "omnirecord"):
        async with (
            ModelApis(agents.SCRIPT) as provider,
            record(provider.url, db) as proxy,
            openai_client(proxy.url, max_retries=0) as client,
        ):
            for _ in range(2):
                with pytest.raises(openai.NotFoundError):
                    await client.chat.completions.create(model="m", messages=HI)
    told = [one.message for one in caplog.records if "404" in one.message]
    assert told == [
        "the upstream answers 404 to /v1/v1/chat/completions: --upstream ends with /v1, and the client sends it, too."
        " Leave /v1 out of --upstream"
    ]
    failed = [one.message for one in omnirecord.doctor(db) if one.code == "model-failed"]
    assert len(failed) == 2
    assert all(
        one.endswith(": the path is /v1/v1/chat/completions, as both --upstream and the client have /v1")
        for one in failed
    )
