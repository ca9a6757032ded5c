"""An upstream that does everything wrong: the client sees what it sees without us, and nothing of it lives on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.end_to_end.hostile.harness import Harness, sound
from tests.end_to_end.hostile.row import Row, Seen
from tests.end_to_end.hostile.rows_upstream import ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def harness(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    async with sound(tmp_path_factory.mktemp("hostile")) as harness:
        yield harness


def as_expected(row: Row, direct: Seen, proxied: Seen) -> bool:
    """The same but for what the row says."""
    if row.through is not None and row.through[1] is None:
        return proxied.status.endswith(row.through[0]) and b'"upstream_answer"' in proxied.body
    if row.through is not None:
        return (proxied.status.partition(b" ")[2], proxied.body) == row.through
    same = (proxied.status[9:], proxied.headers, proxied.whole) == (direct.status[9:], direct.headers, direct.whole)
    if row.may_lack:
        return same and (direct.body.startswith(proxied.body) or proxied.body.startswith(direct.body))
    return same and proxied.body == direct.body


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_the_client_sees_it_and_the_proxy_lives_on(row: Row, harness: Harness) -> None:
    direct, proxied = await harness.both(row)
    assert as_expected(row, direct, proxied), (direct, proxied)
    (exchange,) = await harness.recorded()
    assert exchange.ending == row.ending
    assert harness.kept(exchange) == proxied.body
