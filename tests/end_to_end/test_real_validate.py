"""`omnirecord validate` with the openapi.json of a running server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")

from tests.cli.test_validate import APPROVAL, run
from tests.omnigent_rig.stack import Stack

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]


async def test_the_document_of_a_running_server_has_no_events_and_the_error_says_where_to_get_them(
    shared_server: Stack, tmp_path: Path
) -> None:
    path = tmp_path / "openapi.json"
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        path.write_text((await http.get(f"{shared_server.url}/openapi.json")).text)
    result = run(APPROVAL, "--contract", path)
    assert result.exit_code == 2
    assert "names no events" in result.stderr
    assert "openapi.json of Omnigent's sources" in result.stderr
