"""When an index is its cassette's, and what it takes to be said once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from omnirecord.analysis.search.query import Filter, matches, parse
from omnirecord.cassette.sqlite.search_index import EVER, Doc, Index, State, digest, path_beside
from tests.support.examples import each

THEN = State(7, [100, 5], [[1, "monday", "0", "omnigent", None]], is_closed=True, is_complete=True)
GROWN = [*THEN.recordings, [2, "tuesday", "0", "omnigent", None]]


@each(
    ("now", "standing"),
    [
        (THEN, "current"),
        (replace(THEN, inode=8), "other"),
        (replace(THEN, stamp=[100, 6]), "other"),
        (replace(THEN, stamp=[200, 6], recordings=GROWN), "behind"),
        (replace(THEN, stamp=None), "other"),
        (replace(THEN, is_closed=False, recordings=GROWN), "behind"),
        (replace(THEN, recordings=[[1, "sunday", "0", "omnigent", None]]), "other"),
        (replace(THEN, recordings=[]), "other"),
    ],
)
def test_an_index_is_current_or_behind_or_another_cassettes(now: State, standing: str) -> None:
    assert THEN.standing(now) == standing


@pytest.mark.parametrize(
    "then", [replace(THEN, is_closed=False), replace(THEN, stamp=None), replace(THEN, is_complete=False)]
)
def test_one_that_may_lack_something_is_looked_after(then: State) -> None:
    assert then.standing(THEN) == "behind"


def event(text: str, seq: int, at: int, says: str = "", near: int = 10) -> Doc:
    return Doc("event", "t", seq, seq, at, at, text, digest(says or text), near)


def put(index: Index, exchange: int, *docs: Doc, others: tuple[int, ...] = (1, 2)) -> None:
    with index.step():
        index.put(docs, 1, exchange, index.session(1, "s", 0), list(others))


def found(index: Index, query: str = "word") -> list[int | None]:
    return [match.doc.first_seq for match in matches(index.connection, parse(query), Filter(), 20)[1]]


@pytest.fixture
def index() -> Iterator[Index]:
    with closing(Index.in_memory()) as index:
        yield index


def test_the_nth_copy_of_one_client_is_the_nth_of_another(index: Index) -> None:
    put(index, 1, *(event("word", seq, at=100 * seq) for seq in (1, 2, 3)))
    put(index, 2, *(event("word", seq, at=100 * seq + 1) for seq in (1, 2, 3)))
    assert found(index) == [1, 2, 3]


def test_what_came_long_after_is_no_copy_unless_it_has_an_id(index: Index) -> None:
    put(index, 1, event("word", 1, at=0), event("named", 2, at=0, near=EVER))
    put(index, 2, event("word", 3, at=1000), event("named", 4, at=1000, near=EVER))
    assert found(index) == [1, 3]
    assert found(index, "named") == [2]


def test_of_what_says_the_same_that_is_shown_which_has_the_words(index: Index) -> None:
    put(index, 1, event("word", 1, at=0, says="a"))
    put(index, 2, event("word with an id", 2, at=1, says="a"))
    assert found(index, "word") == [1]
    assert found(index, "id") == [2]
    assert matches(index.connection, parse("word"), Filter(), 20)[0] == 1


def test_a_text_that_has_grown_is_found_by_what_it_says_now(index: Index) -> None:
    def text(said: str, number: int | None, key: str | None) -> Doc:
        return Doc("text", "t", 1, 2, 0, 0, said, digest(said), key=key, id=number)

    put(index, 1, text("one two", None, "k"))
    index.publish(1)
    (doc,) = index.under_way(1)
    assert (doc.text, doc.key, found(index, "two")) == ("one two", "k", [1])
    put(index, 1, text("one twofold", doc.id, None))
    assert (found(index, "twofold"), found(index, "two"), index.under_way(1)) == ([1], [], [])


def test_one_that_was_made_anew_meanwhile_is_not_called_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with closing(Index.beside(path)) as one, closing(Index.beside(path)) as other:
        made = one.begin(THEN, instead_of=0)
        assert other.begin(THEN, instead_of=0) == made, "two that find none make one"
        again = other.begin(THEN, instead_of=made)
        one.complete(made, THEN)
        with one.at_once() as is_complete:
            assert not is_complete
        other.complete(again, THEN)
        with one.at_once() as is_complete:
            assert is_complete
    assert path_beside(path).name == "a.db-search"
