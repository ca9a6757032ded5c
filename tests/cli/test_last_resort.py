"""A signal ends a process also in C code that does not return, with and without the GIL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from omnirecord.cli import last_resort

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has F_SETSIG")
_SOON, _LATER = signal.SIGHUP, signal.SIGQUIT
"""1 s and 3 s in place of 10."""
_HOLDS_THE_GIL = """
import jsonschema_rs
inner = {f"n{i}": {"allOf": [{"$ref": f"#/$defs/n{i + 1}"}] * 4} for i in range(25)}
schema = {"$defs": {**inner, "n25": {"type": "object"}}, "$ref": "#/$defs/n0"}
print("ready", flush=True)
jsonschema_rs.Draft202012Validator(schema).is_valid({})
"""
_READS_A_PIPE = """
import sys
from obstore import store
objects = store.LocalStore(prefix=sys.argv[1])
print("ready", flush=True)
objects.get("pipe")
"""
_GOES_ON = """
import time
print("ready", flush=True)
while not came:
    time.sleep(0.01)
last_resort.call_off()
time.sleep(4)
print("went on")
"""


def _run(code: str, folder: Path, sign: int, seconds: int) -> tuple[int, str]:
    """Run code that prints `ready`, send a signal to it, and return its exit code and what else it printed."""
    start = f"import signal; came = []; signal.signal({sign:d}, lambda *_: came.append(True))\n"
    start += f"from omnirecord.cli import last_resort; last_resort.install({seconds:d})\n"
    command = [sys.executable, "-c", start + code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            process.send_signal(sign)
            out, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    return process.returncode, out


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("code", [_HOLDS_THE_GIL, _READS_A_PIPE], ids=["holds the GIL", "reads a pipe"])
def test_a_signal_ends_c_code_that_does_not_return(code: str, sign: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert _run(code, tmp_path, sign, _SOON)[0] == -signal.SIGALRM


def test_a_process_that_calls_it_off_goes_on(tmp_path: Path) -> None:
    assert _run(_GOES_ON, tmp_path, signal.SIGINT, _LATER) == (0, "went on\n")


def test_every_command_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from omnirecord import __main__

    installed = []
    monkeypatch.setattr(last_resort, "install", lambda: installed.append(True))
    monkeypatch.setattr(sys, "argv", ["omnirecord", "ls", "none.db"])
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    with pytest.raises(SystemExit):
        __main__.run()
    assert installed == [True]
    assert signal.SIGUSR1 == 10  # the seconds
