"""The pytest plugin reads the same settings as the command line; ini file, options and markers take precedence."""

from __future__ import annotations

import pytest

from tests.support.pytest_suite import RECORDED, TALKS, Suite
from tests.support.pytest_suite import suite as suite
from tests.support.pytest_suite import upstream as upstream

pytest_plugins = ["pytester"]

MODE = """
    import pytest

    @pytest.mark.omnirecord("talk.jsonl", allow_no_requests=True, {marker})
    def test_it(omnirecord_server):
        timing = omnirecord_server._server.timing
        mode = "instant" if timing.instant else "compressed" if timing.max_gap else "original"
        assert mode == "{mode}"
"""


@pytest.mark.parametrize(
    ("file", "ini", "variable", "option", "marker", "mode"),
    [
        ("original", "", "", "", "", "original"),
        ("original", "compressed", "", "", "", "compressed"),
        ("original", "", "compressed", "", "", "compressed"),
        ("", "original", "compressed", "", "", "compressed"),
        ("original", "", "", "compressed", "", "compressed"),
        ("", "", "original", "compressed", "", "compressed"),
        ("original", "", "", "", "timing='instant'", "instant"),
        ("", "", "original", "", "timing='instant'", "instant"),
    ],
)
def test_each_layer_takes_precedence_over_the_file(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, file: str, ini: str, variable: str, option: str, marker: str,
    mode: str,
) -> None:  # fmt: skip
    (suite.path / "omnirecord.toml").write_text(f'timing = "{file}"' if file else "")
    suite.ini(f"omnirecord_timing = {ini}" if ini else "")
    monkeypatch.setenv("OMNIRECORD_TIMING", variable)
    suite.file(test_it=MODE.format(marker=marker, mode=mode))
    suite.run(*([f"--omnirecord-timing={option}"] if option else [])).assert_outcomes(passed=1)


def test_the_header_names_the_file_and_a_variable_turns_it_off(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    path = suite.path / "pyproject.toml"
    path.write_text('[tool.omnirecord]\ntiming = "original"\nspeed = 2\ndb = "a.db"')
    suite.file(test_it=TALKS)
    suite.run().stdout.fnmatch_lines([f"omnirecord: {path} sets timing (OMNIRECORD_NO_CONFIG=1 ignores it)"])
    monkeypatch.setenv("OMNIRECORD_NO_CONFIG", "1")
    suite.run().stdout.no_fnmatch_line("omnirecord: *")


def test_a_file_names_the_upstream_the_folder_and_the_labels_of_a_recording(suite: Suite, upstream: str) -> None:
    (suite.path / "omnirecord.toml").write_text(
        f'upstream = "{upstream}"\nrecord = "once"\ncassettes = "kept"\nlabels = {{ team = "a" }}'
    )
    suite.file(test_it=RECORDED)
    suite.run().assert_outcomes(passed=1)
    assert '"team":"a"' in (suite.path / "kept" / "test_it" / "test_it.jsonl").read_text().replace(" ", "")


def test_a_wrong_file_fails_only_the_tests_that_use_it(suite: Suite) -> None:
    path = suite.path / "omnirecord.toml"
    suite.file(test_it=TALKS, test_other="def test_other(): pass")
    path.write_text('timming = "instant"')
    sentence = f"omnirecord: {path} has no 'timming': did you mean 'timing'?"
    result = suite.run()
    assert result.outlines.count(sentence) == 2  # in the header, and for the test
    result.assert_outcomes(passed=1, errors=1)
    path.write_text('match_on = "no such"')
    suite.run().stdout.fnmatch_lines([f"omnirecord: {path}: match_on has no 'no such': *"])
