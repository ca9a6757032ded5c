"""The page about `query` is true: each output is printed, and the tables have the columns that it lists."""

from __future__ import annotations

import re
import shlex
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from omnirecord.analysis.query import COLUMNS, query_of
from omnirecord.cassette.open import import_file, open_store
from omnirecord.cassette.sqlite.views import SELECTS
from omnirecord.cli import main
from tests.support.cassettes import HEALTHY, SHIPPED

PAGE = (Path(__file__).parent.parent.parent / "docs" / "query.md").read_text()
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
    done = CliRunner().invoke(main, shlex.split(words))
    assert (done.exit_code, done.stdout, done.stderr) == (0, output, "")


def test_the_page_answers_ten_questions() -> None:
    assert PAGE.partition("## Ten questions")[2].partition("\n## ")[0].count("$ omnirecord query ") == 10
    assert len(SHOWN) >= 12


def test_the_page_lists_each_table_and_view_with_its_columns() -> None:
    told = {
        names[0]: tuple(names[1:])
        for line in PAGE.splitlines()
        if line.startswith("| `") and line.count("|") == 3 and "--json`" not in line.split("|")[1].split(",")[0]
        and (names := [*re.findall(r"`(\w+)`", line.split("|")[1])[:1], *re.findall(r"`(\w+)`", line.split("|")[2])])
        and names[0] in (*COLUMNS, *SELECTS, "recordings")
    }  # fmt: skip
    with closing(open_store(HEALTHY["text"])) as store, closing(query_of(store)) as query:
        assert told == {name: query.names[name] for name in (*COLUMNS, *SELECTS, "recordings")}
