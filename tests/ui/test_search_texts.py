"""The search of an exported file finds what `omnirecord search` finds: in a browser, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omnirecord.analysis.search import search
from omnirecord.analysis.search.query import parse
from omnirecord.cassette.open import import_file, open_store
from omnirecord.ui.data import search_data
from omnirecord.ui.viewer import joined
from tests.support.browsing import SharedBrowser
from tests.support.cassettes import HEALTHY, TROUBLED, Made, completed, created, delta, status

pytestmark = [pytest.mark.slow, pytest.mark.browser]
Run = Callable[..., Any]
QUERIES = (
    "poem", "POEM three", "poem OR tide", '"flight recorder"', '"recorder flight"', "record*", "rec", "poem NOT three",
    "release notes OR lighthouse NOT flight", '"three lin"*', "poem.txt", "->", "$", "wc -l", "OR", "a AND", '"poem',
    "resp_f8462fcb600f4c78afb0c9f6", "approve", "nothing-has-this", "accept*", "CAFÉ", "cafe", "海は", "は広",
    "naïve 👩",
)  # fmt: skip


@pytest.fixture(scope="module")
def run(shared_browser: SharedBrowser) -> Iterator[Run]:
    with shared_browser.lent() as browser:
        page = browser.new_page()
        yield lambda module, expression, *args: page.evaluate(
            f"args => {{ {joined(module)}\n return ({expression})(...args) }}", list(args)
        )


@pytest.fixture(scope="module")
def cassette(tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("searched") / "all.db"
    tape = Made()
    texts = ("Le café. ", "The na", "ïve 👩 say", "s: 海は", "広い。 ", "Cafe\u0301 -> there. ")
    reads = [status("running"), created(), *map(delta, texts), completed()]
    tape.stream("s", 0.5, *[(1 + n / 10, read) for n, read in enumerate(reads)])
    tape.post("/v1/elsewhere", 5.0, body={"text": "a poem, but of no session"})
    tape.save(db)
    for path in (*HEALTHY.values(), *TROUBLED.values()):
        import_file(path, db)
    return db


def test_it_finds_what_the_command_finds(run: Run, cassette: Path) -> None:
    with closing(open_store(cassette)) as store:
        data = search_data(store, {x.exchange for x in store.exchanges()})
    script = "(data, queries) => queries.map(one => hits(data, one))"
    for query, found in zip(QUERIES, run("lookup.js", script, data, list(QUERIES)), strict=True):
        wanted = search(cassette, query, limit=200, width=160)
        assert found["total"] == wanted.total, query
        places = [place({**x.row, "exchange": x.exchange}) for x in wanted.hits]
        assert sorted(map(place, found["hits"])) == sorted(places), query
        assert all(one["spans"] for one in found["hits"]), query


def place(hit: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(str(hit[name]) for name in ("recording", "session_id", "stream", "seq", "exchange", "type"))


def test_what_it_marks_is_what_was_looked_for(run: Run, cassette: Path) -> None:
    with closing(open_store(cassette)) as store:
        data = search_data(store, {x.exchange for x in store.exchanges()})
    for query, words in (("café", {"café", "Cafe\u0301"}), ('"flight recorder"', {"flight recorder"}), ("->", {"->"})):
        for one in run("lookup.js", "hits", data, query)["hits"]:
            assert {one["text"][begin:end].lower() for begin, end in one["spans"]} <= {x.lower() for x in words}


def test_a_query_is_read_as_the_command_reads_it(run: Run) -> None:
    odd = ("one NOT two three", "OR OR OR", "NOT", '"a b"* c*', '" "', "**", "a OR NOT b", 'x"y"', "-> OR *", "é* ✓*")
    for text in (*QUERIES, *odd):
        told = [
            [[[one.text, one.is_prefix, one.is_symbol] for one in side] for side in (clause.wanted, clause.unwanted)]
            for clause in (parse(text) if text.strip('" ') else ())
        ]
        script = (
            "text => readQuery(text).map(one => [one.wanted, one.unwanted]"
            ".map(side => side.map(term => [term.text, term.begins, term.isSign])))"
        )
        assert run("lookup.js", script, text) == told, text


def test_of_what_is_not_in_the_file_nothing_is_found(cassette: Path) -> None:
    with closing(open_store(cassette)) as store:
        (only,) = [x.exchange for x in store.exchanges() if x.request.target == "/v1/elsewhere"]
        data = search_data(store, {only})
    assert [data["texts"][one["text"]] for one in data["docs"]] == ["a poem, but of no session"]
