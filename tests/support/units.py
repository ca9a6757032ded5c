"""The units of tests that `pytest-xdist` gives to its workers."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_REAL = "one real server"
_TOGETHER = dict.fromkeys(
    (
        "test_acceptance.py", "test_rig.py", "test_real_resume.py", "test_real_tail.py", "test_real_validate.py",
        "test_real_web_ui.py", "test_real_offline.py",
    ), _REAL,
)  # fmt: skip  # each uses `shared_server` of `tests/end_to_end/conftest.py`


class Units(LoadScopeScheduling):
    """A unit is a file, or the files that share a fixture that takes long to make."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _TOGETHER.get(path.rpartition("/")[2], path)
