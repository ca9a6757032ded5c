"""The user's pseudonym key: where it is, that it is made once, and that a file that is none gets a sentence."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from omnirecord.errors import UsageError
from omnirecord.recorder.proxy.server import Proxy
from omnirecord.recorder.thread import RecorderThread
from omnirecord.redaction.pseudonyms import UserKey, user_key
from tests.support.examples import each

KEY = "0123456789abcdef" * 4
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a state folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def written(path: Path, text: str = KEY, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_key_is_made_once_for_a_user_in_the_state_folder_and_nobody_else_may_read_it(home: Path) -> None:
    key = user_key()
    path = home / ".local" / "state" / "omnirecord" / "pseudonym-key"
    assert key == user_key() == UserKey(bytes.fromhex(path.read_text()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(("given", "found"), [("state", "state"), ("relative", ".local/state")])
def test_the_state_folder_is_the_one_that_xdg_names(
    given: str, found: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(home / given) if given == "state" else given)
    user_key()
    assert (home / found / "omnirecord" / "pseudonym-key").is_file()


def test_on_macos_the_key_is_in_application_support(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    user_key()
    assert (home / "Library" / "Application Support" / "omnirecord" / "pseudonym-key").is_file()


def test_a_named_key_beats_that_of_the_environment_which_beats_the_users(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIRECORD_PSEUDONYM_KEY", str(written(home / "environment")))
    assert user_key().secret.hex() == KEY
    named = user_key(home / "folder" / "named")
    assert named == user_key(home / "folder" / "named") != user_key()
    assert not (home / ".local").exists()


def test_recorders_that_start_at_once_have_one_key(home: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        threads = set(pool.map(lambda _: user_key().secret, range(64)))
    script = (
        "import sys; from omnirecord.redaction.pseudonyms import user_key; print(user_key(sys.argv[1]).secret.hex())"
    )
    command = [sys.executable, "-c", script, str(home / "other")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    processes = {one.communicate()[0] for one in running}
    assert len(threads) == len(processes) == 1
    assert b"" not in processes


def test_a_file_that_a_killed_recorder_left_empty_is_filled(home: Path) -> None:
    path = written(home / "key", "")
    assert user_key(path) == user_key(path)
    assert len(path.read_text()) == 65


@each(
    ("text", "mode", "says"),
    [
        (KEY[:-1], 0o600, "64 hexadecimal digits"),
        (KEY + KEY, 0o600, "64 hexadecimal digits"),
        ("not a key", 0o600, "64 hexadecimal digits"),
        (KEY, 0o640, "restrict it with chmod 600"),
        (KEY, 0o604, "restrict it with chmod 600"),
    ],
)
def test_what_is_no_key_or_open_to_others_is_refused_in_one_sentence(
    text: str, mode: int, says: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "key", text, mode)
    with pytest.raises(UsageError, match=says) as refused:
        user_key(path)
    assert str(path) in str(refused.value)
    assert KEY not in str(refused.value)


@pytest.mark.skipif(IS_ROOT, reason="root may read everything")
def test_a_key_that_cannot_be_read_is_refused(home: Path) -> None:
    user_key()
    path = home / ".local" / "state" / "omnirecord" / "pseudonym-key"
    path.chmod(0)
    with pytest.raises(UsageError, match="cannot be read"):
        user_key()
    with pytest.raises(UsageError, match="cannot be used: Permission denied"):
        user_key(path)


def test_a_pipe_a_folder_and_a_device_are_no_key(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "pipe", tmp_path / "folder", Path("/dev/null")):
        with pytest.raises(UsageError, match="is no regular file"):
            user_key(path)


@pytest.mark.parametrize("state", ["/proc/no-such-folder", "a file"])
def test_a_state_folder_that_cannot_be_written_does_not_prevent_recording(
    state: str, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", state if state.startswith("/") else str(written(home / "file")))
    RecorderThread(home / "a.db", None).stop()
    RecorderThread(home / "a.db", None).stop()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2, "each run says it once"
    assert all("its pseudonyms differ from those of other runs" in one for one in warnings)


def test_a_user_without_a_home_folder_may_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home folder")))
    assert not user_key().is_kept
    assert "no home folder" in caplog.text


def test_pseudonyms_of_another_key_in_a_cassette_are_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = (user_key(tmp_path / name) for name in ("one", "other"))
    RecorderThread(tmp_path / "a.db", None, pseudonym_key=one).stop()
    RecorderThread(tmp_path / "a.db", None, pseudonym_key=one).stop()
    assert caplog.text == ""
    RecorderThread(tmp_path / "a.db", None, pseudonym_key=other).stop()
    assert caplog.text.count("has pseudonyms of another key") == 1


async def test_a_key_that_cannot_be_used_stops_the_proxy_before_the_cassette_is_touched(tmp_path: Path) -> None:
    proxy = Proxy("http://127.0.0.1:9", tmp_path / "a.db", pseudonym_key=written(tmp_path / "key", "short"))
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        async with proxy:
            pass
    assert not (tmp_path / "a.db").exists()
