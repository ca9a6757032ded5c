"""The corpus: `doctor` names each fault first, and finds nothing above a note in healthy sessions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import omnirecord
from omnirecord.analysis.doctor.checks import CODES
from omnirecord.analysis.gather import whole_sessions
from omnirecord.analysis.turns.conclusion import concluded
from omnirecord.cassette.export import exported
from omnirecord.cassette.jsonl import jsonl_bytes
from omnirecord.cassette.open import import_file, open_store
from tests.support.corpus import BROKEN, CORPUS, FOLDER, HEALTHY, Kind, table
from tests.support.doctor_examples import CORPUS as TABLE
from tests.support.doctor_examples import COVERAGE

LARGEST = 60_000
LARGEST_OF_ALL = 1_500_000
LOCAL_PATH = re.compile(rb"(?<!omnirecord-home)/(?:root|home|Users|work|var/folders|private|usr/lib)/|[A-Z]:\\\\")
UNKNOWN_IN_RAW = {
    "server-stopped", "reader-dropped", "upstream-lost", "recorder-killed", "recorder-stopped", "client-left-in-turn",
    "heartbeats-stopped", "heartbeats-late", "silent-while-running", "runner-silent", "model-silent", "reader-slow",
}  # fmt: skip
"""An imported body says nothing of how its stream ended, nor of its times."""

shown = [kind for kind in BROKEN if not kind.hidden and kind.path.exists()]
quiet = [kind for kind in (*HEALTHY, *BROKEN) if not kind.first and kind.path.exists()]
shipped = sorted(FOLDER.iterdir())
each = pytest.mark.parametrize("path", shipped, ids=lambda path: path.stem)


def of(kinds: list[Kind]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=lambda kind: kind.name)


@of(shown)
def test_the_first_finding_names_the_fault(kind: Kind) -> None:
    found = [finding.code for finding in omnirecord.doctor(kind.path)]
    assert found[:1] == [kind.first]
    assert not kind.also or kind.also in found


@of(quiet)
def test_nothing_above_a_note_is_found_in_a_healthy_session(kind: Kind) -> None:
    assert [finding for finding in omnirecord.doctor(kind.path) if finding.severity != "note"] == []


@of([kind for kind in CORPUS.values() if kind.path.exists()])
def test_a_raw_body_of_it_says_nothing_of_endings_and_times(kind: Kind, tmp_path: Path) -> None:
    for body in bodies(kind.path, tmp_path):
        import_file(body, body.with_suffix(".db"))
        found = omnirecord.doctor(body.with_suffix(".db"))
        assert not UNKNOWN_IN_RAW & {finding.code for finding in found}
        if not kind.first:
            assert [finding for finding in found if finding.severity != "note"] == []


def bodies(path: Path, folder: Path) -> list[Path]:
    """A file for the body of each of its streams."""
    made = []
    store = open_store(path)
    for stream in store.streams():
        body = folder / f"{stream.stream}.sse"
        body.write_bytes(b"".join(exported("sse", store, path, stream=stream.stream)))
        made.append(body)
    store.close()
    return made


def test_an_effect_is_never_worse_than_its_cause() -> None:
    rank = {"note": 0, "warning": 1, "error": 2}
    for kind in (kind for kind in CORPUS.values() if kind.path.exists()):
        found = omnirecord.doctor(kind.path)
        worst = {
            finding.code: max(rank[one.severity] for one in found if one.code == finding.code) for finding in found
        }
        for finding in found:
            assert finding.because is None or rank[finding.severity] <= worst[finding.because], kind.name


def test_there_are_at_least_28_kinds_of_fault_and_each_names_a_code() -> None:
    assert sum(kind.path.parent.name != "troubled" for kind in BROKEN) >= 28
    assert {kind.first for kind in BROKEN if kind.first} | {kind.also for kind in BROKEN if kind.also} <= set(CODES)
    assert {path.name.partition(".")[0] for path in shipped} <= set(CORPUS)


def test_the_page_has_the_table() -> None:
    assert TABLE.findall(COVERAGE.read_text()) == ["\n".join(table())]


def test_a_story_is_told_for_each_kind_that_is_recorded_here() -> None:
    pytest.importorskip("omnigent", reason="needs the 'real' dependency group, and Python >= 3.12")
    from cassettes.record import LIVE, STANDIN
    from cassettes.webui import TRIPS
    from tests.omnigent_rig.corpus import STORIES
    from tests.omnigent_rig.troubles import TROUBLES

    old = {name for name in CORPUS if re.match(r"v\d", name)}
    assert {*STORIES, *TRIPS, *LIVE, STANDIN, *TROUBLES} | old == set(CORPUS)


def test_all_of_it_is_small_enough_for_git() -> None:
    sizes = [path.stat().st_size for path in shipped]
    assert max(sizes) < LARGEST
    assert sum(sizes) < LARGEST_OF_ALL


@each
def test_no_path_of_a_machine_is_in_it_and_reading_and_writing_it_changes_no_byte(path: Path) -> None:
    store = open_store(path)
    written = b"".join(jsonl_bytes(store))
    store.close()
    assert LOCAL_PATH.search(written) is None
    assert path.suffix == ".zst" or written == path.read_bytes()


def test_a_tool_call_that_comes_again_after_an_interrupt_is_no_second_turn() -> None:
    store = open_store(CORPUS["interrupted_tool"].path)
    (told,) = whole_sessions(store)
    store.close()
    assert [(turn.ended, [tool.name for tool in turn.tools]) for turn in told.turns] == [
        ("interrupted", ["sys_os_shell"])
    ]


def test_an_answer_after_the_denial_is_told_as_late() -> None:
    store = open_store(CORPUS["approval_too_late"].path)
    (told,) = whole_sessions(store)
    store.close()
    assert concluded(told).verdict.startswith("Failed: the answer to the approval came too late")
