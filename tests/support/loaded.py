"""All of omnirecord, loaded: so that a process which has it can be had again and again, for the price of a fork."""

from __future__ import annotations

import importlib
import pkgutil

import omnirecord

for module in pkgutil.walk_packages(omnirecord.__path__, "omnirecord."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
