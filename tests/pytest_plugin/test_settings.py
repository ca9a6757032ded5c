"""What a test asks for, from several layers, and where its cassette is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omnirecord.errors import UsageError
from omnirecord.pytest_plugin.settings import cassette_path, cassettes_folder, checked, marker_layer, settings_of

MODULE = Path("/suite/tests/deep/test_it.py")
FOLDER = Path("/suite/tests/deep/cassettes")


def test_without_a_word_a_test_is_replayed_instantly() -> None:
    settings, replay = settings_of(), {"timing": "instant"}
    assert (settings.record, settings.cassette, settings.replay) == ("none", None, replay)


def test_a_later_layer_beats_an_earlier_one_where_it_says_something() -> None:
    settings = settings_of({"record": "all", "timing": "original"}, {"record": "once", "timing": None}, {"speed": 2})
    assert settings.record == "once"
    assert settings.replay == {"timing": "original", "speed": 2}


def test_of_several_markers_the_closest_wins_and_none_takes_back() -> None:
    closest, far = (("a.jsonl",), {"speed": None}), (("b.jsonl",), {"speed": 2, "max_gap": 1})
    assert marker_layer([closest, far]) == {"cassette": "a.jsonl", "speed": None, "max_gap": 1}


@pytest.mark.parametrize("key", ["gates", "faults", "match"])
def test_one_of_several_needs_no_list(key: str) -> None:
    assert settings_of({key: "one"}).replay[key] == ("one",)
    assert settings_of({key: ["one", "two"]}).replay[key] == ["one", "two"]


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [
        ({"timming": 1}, "here has no 'timming': did you mean 'timing'?"),
        ({"colour": 1}, "here has no 'colour': it takes cassette, record, timing"),
        ({"cassette": 3}, "here: a cassette is the path of a .jsonl or .db file, not 3"),
        ({"timing": "fast"}, "here: timing 'fast' is none of original, compressed, instant"),
        ({"record": "ever"}, "here: record 'ever' is none of none, once, all"),
        ({"record": "new"}, "here: record 'new' is none of none, once, all, new_episodes"),
        ({"match_on": "bodi"}, "here: match_on has no 'bodi': it takes method, path, query, body"),
        ({"match_on": ["headers"]}, "a header counts with match='add header NAME'"),
        ({"gate_timeout": "soon"}, "here: gate_timeout 'soon' is no number of seconds"),
        ({"gate_timeout": -1}, "here: gate_timeout -1 is no number of seconds"),
        ({"redact": "all"}, "here: redact is 'content' or not set, not 'all'"),
        ({"labels": 1}, "here: labels is a mapping of names to texts, or a list of KEY=VALUE, not 1"),
        ({"labels": {"a b": "1"}}, "here: labels: 'a b' is no key of a label"),
        ("instant", "here gives a dict, not 'instant'"),
    ],
)
def test_a_slip_is_a_sentence(layer: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        checked(layer, "here")
    assert sentence in str(error.value)


@pytest.mark.parametrize("mark", [(("a", "b"), {}), (("a",), {"cassette": "b"})])
def test_a_marker_takes_one_cassette(mark: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="takes one cassette"):
        marker_layer([mark])


def test_gaps_need_a_timing_that_has_some() -> None:
    with pytest.raises(UsageError, match="speed and max_gap go with timing='original' or 'compressed'"):
        settings_of({"speed": 2})


def place(*names: str, named: str | None = None, folder: Path = FOLDER, module: Path = MODULE) -> str:
    return str(cassette_path(folder, named, module, names))


def test_cassettes_are_beside_the_tests_unless_a_folder_is_chosen() -> None:
    assert cassettes_folder(None, MODULE) == FOLDER
    assert cassettes_folder(Path("/tapes"), MODULE) == Path("/tapes")


def test_a_cassette_has_the_name_of_its_test_in_a_folder_of_its_module() -> None:
    assert place("test_a") == f"{FOLDER}/test_it/test_a.jsonl"
    assert place("TestB", "test_a[x-1]") == f"{FOLDER}/test_it/TestB.test_a[x-1].jsonl"
    assert place("test_a", named="x.db") == f"{FOLDER}/x.db"


def test_modules_of_one_name_are_kept_apart_in_one_folder() -> None:
    one = Path("/suite/tests/cassettes")
    assert place("test_a", folder=one) == f"{one}/deep/test_it/test_a.jsonl"
    assert place("test_a", folder=one, module=Path("/suite/tests/test_it.py")) == f"{one}/test_it/test_a.jsonl"
    outside = place("test_a", folder=one, module=Path("/suite/deep/test_it.py"))
    assert outside.startswith(f"{one}/_-")
    assert outside.endswith("/deep/test_it/test_a.jsonl")


@given(st.lists(st.text("aA.-/ [\x00é0123456789abcdef", min_size=1, max_size=12), min_size=2, max_size=6, unique=True))
def test_two_tests_never_share_a_file_also_where_case_is_ignored(names: list[str]) -> None:
    places = [place(name) for name in names]
    assert len({one.lower() for one in places}) == len(names)
    for one in places:
        name = Path(one).name
        assert Path(one).parent == FOLDER / "test_it"
        assert len(name) < 130
        assert not name.startswith(".")
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-[]")
