"""How `run` waits for its command."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from omnirecord.cli import child


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_a_command_that_ends_at_once_is_noticed_beside_a_thread_that_takes_its_signal(
    script: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    spawn, over = os.posix_spawnp, threading.Event()

    def spawn_and_wait(*given: Any, **options: Any) -> int:
        pid = spawn(*given, **options)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return pid

    monkeypatch.setattr(os, "posix_spawnp", spawn_and_wait)
    other = threading.Thread(target=over.wait)
    other.start()
    try:
        with child.signals_held() as mask:
            assert child.run(["sh", "-c", script], os.environ, mask) == code
    finally:
        over.set()
        other.join()
