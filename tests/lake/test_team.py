"""The statements of `docs/lake-team.md`: least rights, backup and restore, Iceberg."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from omnirecord.lake.forgotten import FOLDER
from omnirecord.lake.location import Lake
from tests.analysis.test_forgetting import FIRST, two
from tests.lake.test_forget import forget, sessions, stable
from tests.lake.test_upkeep import compact
from tests.support import forked
from tests.support.cassettes import SHIPPED
from tests.support.lakes import shipped
from tests.support.stores import each_lake_url, make_bucket, moto

__all__ = ["each_lake_url", "two"]
ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "lake-team.md").read_text()
PROGRAMS = dict(re.findall(r"```(?:python|json) (\S+)\n(.*?)```", PAGE, re.DOTALL))
ACTIONS = {
    role: re.findall(r"`(s3:\w+)`", actions)
    for role, actions in re.findall(r"^\| (reader|shipper|upkeep) \|.*?\|(.*)\|$", PAGE, re.MULTILINE)
}


def policy(role: str) -> str:
    """The policy of a role. moto checks the removal of several objects against the bucket."""
    made = json.loads(PROGRAMS["shipper"].replace("BUCKET", "team-lake"))
    objects = made["Statement"][1]
    objects["Action"] = ACTIONS[role]
    if role == "upkeep":
        objects["Resource"] = [objects["Resource"], "arn:aws:s3:::team-lake"]
    return json.dumps(made)


@pytest.fixture(scope="module")
def roles() -> Iterator[dict[str, dict[str, str]]]:
    """The environments of the roles, for a moto that enforces their policies."""
    import boto3  # type: ignore[import-untyped,unused-ignore]

    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:  # not for a moto of other tests
            patch.setenv("INITIAL_NO_AUTH_ACTION_COUNT", "1000")
            environment = stack.enter_context(moto())
        make_bucket("team-lake", environment)
        client = boto3.client(
            "iam",
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )
        made = {}
        for role in ACTIONS:
            client.create_user(UserName=role)
            client.put_user_policy(UserName=role, PolicyName="lake", PolicyDocument=policy(role))
            key = client.create_access_key(UserName=role)["AccessKey"]
            own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
            made[role] = {**environment, **own}
        client.close()
        url = f"{environment['AWS_ENDPOINT_URL']}/moto-api/reset-auth"
        request = urllib.request.Request(url, data=b"0", headers={"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=30).close()
        yield made


def run(environment: dict[str, str], *words: str, code: int = 0) -> str:
    done = forked.run(words, ROOT, environment={**os.environ, **environment})
    assert done.code == code, (words, done)
    return (done.out + done.errors).decode()


def test_the_policy_on_the_page_is_that_of_its_table() -> None:
    assert [*ACTIONS] == ["reader", "shipper", "upkeep"]
    assert json.loads(PROGRAMS["shipper"])["Statement"][1]["Action"] == ACTIONS["shipper"]


@pytest.mark.slow
def test_each_role_can_do_what_it_is_for_and_no_more(roles: dict[str, dict[str, str]]) -> None:
    url = "s3://team-lake/lake"
    reader, shipper, upkeep = (roles[one] for one in ("reader", "shipper", "upkeep"))
    denied = "access denied"
    assert denied in run(reader, "lake", "init", url, code=2)
    run(upkeep, "lake", "init", url)
    cassettes = ["cassettes/text.jsonl", "cassettes/tool.jsonl"]
    assert denied in run(reader, "ship", *cassettes, "--lake", url, code=2)
    assert "1 recording shipped" in run(shipper, "ship", cassettes[0], "--lake", url)
    assert "1 recording shipped" in run(shipper, "ship", *cassettes, "--lake", url)
    assert "717aee70" in run(reader, "lake", "sessions", url)
    assert denied in run(reader, "lake", "forget", url, "717aee70", "--yes", code=2)
    assert "events" in run(upkeep, "lake", "compact", url)
    assert "1 there already" in run(shipper, "ship", cassettes[0], "--lake", url)  # no log has its id any more
    assert "1 session" in run(upkeep, "lake", "forget", url, "717aee70", "--yes")
    assert "717aee70" not in run(reader, "lake", "sessions", url)
    assert "conditional PUT: yes" in run(upkeep, "lake", "check", url)


def copied(lake: str, copy: str) -> None:
    exec(PROGRAMS["backup"], {"lake": lake, "copy": copy})


def test_a_copy_of_a_lake_is_a_lake_with_the_same_rows(each_lake_url: str, two: Path, tmp_path: Path) -> None:
    lake = shipped(each_lake_url, two, SHIPPED / "text.jsonl")
    compact(lake)
    before = stable(lake)

    copied(each_lake_url, str(tmp_path / "backup"))
    if not lake.is_local:
        assert stable(Lake(str(tmp_path / "backup"))) == before
        return
    forget(each_lake_url, FIRST)
    copied(str(tmp_path / "backup"), str(tmp_path / "restored"))

    restored = Lake(str(tmp_path / "restored"))
    assert stable(restored) == before
    assert restored.marker() == lake.marker()
    for some in lake.objects.list(prefix=f"{FOLDER}/"):
        for one in some:
            restored.objects.put(one["path"], lake.objects.get(one["path"]).bytes())
    assert forget(restored.url)["sessions"] == [FIRST]
    assert stable(restored) == stable(lake)


def test_a_lake_is_copied_while_it_gets_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "text.jsonl")
    put, copies = Lake.refuse_overwriting, list[str]()

    def late(self: Lake) -> None:  # the program has begun
        put(self)
        copies.append(self.url)
        if len(copies) == 1:
            shipped(lake.url, SHIPPED / "tool.jsonl")

    monkeypatch.setattr(Lake, "refuse_overwriting", late)
    copied(lake.url, str(tmp_path / "backup"))
    assert sessions(str(tmp_path / "backup")) <= sessions(lake.url)
    assert stable(Lake(str(tmp_path / "backup")))["events"]


@pytest.mark.slow
def test_pyiceberg_reads_the_objects_of_each_table(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyiceberg") is None:
        pytest.skip("pyiceberg is not installed")
    lake = shipped(str(tmp_path / "lake"), SHIPPED / "text.jsonl", SHIPPED / "tool.jsonl", SHIPPED / "failed.jsonl")
    compact(lake)
    for name in ("events", "exchanges", "sessions", "turns", "findings", "recordings"):
        folder = tmp_path / name
        folder.mkdir()
        names: dict[str, Any] = {"lake": lake.url, "name": name, "folder": folder}
        exec(PROGRAMS["iceberg"], names)
        rows = names["iceberg"].scan().to_arrow().to_pylist()
        names["catalog"].close()
        assert _sorted(rows) == _sorted(_rows(lake, name)), name


def _rows(lake: Lake, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lake.table(name).to_pyarrow_table().to_pylist()
    return found


def _sorted(rows: list[dict[str, Any]]) -> list[str]:
    """Rows as texts, without the day. pyiceberg reads a list that is null as an empty one."""
    return sorted(
        str({key: None if value == [] else value for key, value in row.items() if key != "day"}) for row in rows
    )
