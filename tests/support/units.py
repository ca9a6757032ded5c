"""The units of tests that `pytest-xdist` gives to its workers."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_TOGETHER = {
    # Each uses `shared_server` of `tests/end_to_end/conftest.py`.
    "one real server": (
        "end_to_end/test_acceptance.py", "end_to_end/test_rig.py",
        "end_to_end/test_real_tail.py", "end_to_end/test_real_validate.py", "end_to_end/test_real_web_ui.py",
        "end_to_end/test_real_offline.py",
    ),
    # Each uses `browser` or `async_browser` of `tests/conftest.py`. One unit would take longer than all else.
    "a browser for the page": ("ui/test_page.py", "ui/test_export.py"),
    "a browser for calls and addresses": (
        "ui/test_page_calls.py", "ui/test_page_address.py", "ui/test_search_texts.py",
    ),
    "a browser for parts of the page": ("ui/test_page_layout.py", "ui/test_page_wire.py", "ui/test_page_core.py"),
    "an asynchronous browser": (
        "ui/test_page_live.py", "ui/test_page_calls_live.py", "end_to_end/test_browser_control.py",
        "hostile/test_hostile_pages.py",
    ),
}  # fmt: skip
_UNITS = {path: unit for unit, paths in _TOGETHER.items() for path in paths}


class Units(LoadScopeScheduling):
    """A unit is a file, or the files that share a fixture that takes long to make."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return _UNITS.get("/".join(path.split("/")[-2:]), path)
