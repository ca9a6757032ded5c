"""The page about `query` is true: each output is printed, and the tables have the columns that it lists."""

from __future__ import annotations

import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from omnirecord.analysis.query import query_of
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite.views import SELECTS
from omnirecord.columns import TABLES
from omnirecord.lake.sessions import SHOWN as KEYS
from tests.docs import columns
from tests.support.cassettes import HEALTHY, SHIPPED
from tests.support.command import invoke

PAGE = columns.PAGE.read_text()
LAKE = columns.PAGE.with_name("lake.md").read_text()
SHOWN = re.findall(r"```console\n\$ omnirecord (.*)\n((?:(?!```).*\n)+)```", PAGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for cassette in SHIPPED.rglob("*.jsonl"):
        shutil.copy(cassette, folder)
    import_file(HEALTHY["approval"], folder / "session.db")
    return folder


@pytest.mark.parametrize(("words", "output"), SHOWN, ids=[words[:60] for words, _ in SHOWN])
def test_each_output_on_the_page_is_what_is_printed(
    words: str, output: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = invoke(*shlex.split(words))
    assert (done.exit_code, done.stdout, done.stderr) == (0, output, "")


def test_the_page_lists_each_view_with_its_columns() -> None:
    views = [name for name in (*SELECTS, "recordings") if name not in TABLES]
    section = PAGE.partition("## Views and tables")[2].partition("\n## ")[0]
    told = {
        name: tuple(re.findall(r"`(\w+)`", columns))
        for name, columns in re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    }
    with closing(open_store(HEALTHY["text"])) as store, closing(query_of(store)) as query:
        assert told == {name: query.names[name] for name in views}


def test_the_page_describes_the_columns_of_computed_tables_as_they_are_declared() -> None:
    assert columns.parts(PAGE)[1] == columns.reference(), "run python -m tests.docs.columns"
    assert re.findall(r"\[`(\w+)`\]\(#\1\)", PAGE) == list(TABLES)


def test_the_page_of_the_lake_lists_the_keys_of_its_sessions() -> None:
    told = LAKE.partition("`--json` prints one object per session, with these keys: ")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"`(\w+)`", told)) == KEYS
