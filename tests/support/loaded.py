"""All of omnirecord, loaded: so that a process which has it can be had again and again, for the price of a fork."""

from __future__ import annotations

import gc
import importlib
import pkgutil
from pathlib import Path

from click.testing import CliRunner

import omnirecord
from omnirecord.cli import main

for module in pkgutil.walk_packages(omnirecord.__path__, "omnirecord."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
# The models of the contract are made at the first event: here once, instead of in each process.
CliRunner().invoke(main, ["show", str(Path(__file__).parent.parent.parent / "cassettes" / "subagent.jsonl")])
gc.collect()
gc.freeze()  # a collection in a forked process would copy the memory of all that is loaded
