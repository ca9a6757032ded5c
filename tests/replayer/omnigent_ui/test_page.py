"""The files of a web UI on this machine: those below its folder and no others, and where one is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from omnirecord.errors import UsageError
from omnirecord.replayer.omnigent_ui.page import VARIABLE, BuiltUi, MadeUp, installed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ui = tmp_path / "ui"
    (ui / "assets").mkdir(parents=True)
    (ui / "index.html").write_bytes(b'<base href="/" /><script src="./assets/app.js"></script>')
    (ui / "assets" / "app.js").write_bytes(b"1")
    (ui / "favicon.svg").write_bytes(b"<svg/>")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    return ui


def got(built: BuiltUi, path: str) -> MadeUp:
    found = built(path)
    assert found is not None
    return found


def test_a_page_refers_to_its_files_from_the_root_wherever_it_is_shown(folder: Path) -> None:
    page = got(BuiltUi(folder), "/index.html")
    assert page.body == b'<script src="/assets/app.js"></script>'
    assert ("Cache-Control", "no-cache") in page.headers


def test_what_is_named_by_its_content_may_be_kept_for_good(folder: Path) -> None:
    headers = dict(got(BuiltUi(folder), "/assets/app.js").headers)
    assert (headers["Content-Type"], headers["Cache-Control"]) == (
        "text/javascript",
        "public, max-age=31536000, immutable",
    )
    icon = dict(got(BuiltUi(folder), "/favicon.svg").headers)
    assert (icon["Content-Type"], icon["Cache-Control"]) == ("image/svg+xml", "no-cache")
    assert len(icon["ETag"]) == 34


def test_nothing_outside_the_folder_is_a_file_of_it(folder: Path) -> None:
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    built = BuiltUi(folder)
    for path in ("/../secret.txt", "/link.txt", f"/{folder.parent}/secret.txt", "/assets/../../secret.txt"):
        assert built(path) is None
    for odd in ("/", "/assets", "/gone.js", "/" + "x" * 5000, "/a\0b"):
        assert built(odd) is None


def test_a_folder_without_a_page_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no index\.html: name the folder"):
        BuiltUi(tmp_path)


def test_the_folder_that_omnigent_is_told_of_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(folder))
    found = installed()
    assert found is not None
    assert found.folder == folder.resolve()


def test_an_omnigent_with_an_environment_of_its_own_is_found_by_its_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("omnirecord.replayer.omnigent_ui.page.find_spec", lambda _: None)
    site = tmp_path / "tool" / "lib" / "python3.13" / "site-packages" / "omnigent" / "server" / "static"
    site.mkdir(parents=True)
    folder.rename(site / "web-ui")
    command = tmp_path / "tool" / "bin" / "omnigent"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "omnigent").symlink_to(command)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    found = installed()
    assert found is not None
    assert found.folder == (site / "web-ui").resolve()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert installed() is None
