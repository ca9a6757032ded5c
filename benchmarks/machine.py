"""What machine it was, so that figures can be compared with others; and how busy."""

from __future__ import annotations

import hashlib
import os
import platform
import sqlite3
import time
from importlib.metadata import version
from pathlib import Path

import omnirecord

from .memory import new_page_us
from .servers import LOOPS


def described() -> dict[str, object]:
    """Processor, memory, kernel and versions."""
    return {
        "processor": _after("/proc/cpuinfo", "model name") or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "aiohttp": version("aiohttp"),
        "uvloop": version("uvloop") if "uvloop" in LOOPS else None,
        "sqlite": sqlite3.sqlite_version,
        "omnirecord": omnirecord.__version__,
        "at": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": round(os.getloadavg()[0], 2),
        "new_page_us": round(new_page_us(), 2),
    }


def sentence(machine: dict[str, object]) -> str:
    uvloop = f", uvloop {machine['uvloop']}" if machine["uvloop"] else ", without uvloop"
    return (
        f"{machine['cores']} cores, {machine['processor']}, {machine['memory_gib']} GiB, {machine['kernel']}, Python"
        f" {machine['python']}, aiohttp {machine['aiohttp']}{uvloop}, SQLite {machine['sqlite']}, omnirecord"
        f" {machine['omnirecord']}. {machine['at']}, load {machine['load']}, {machine['new_page_us']} µs to get a"
        " new memory page"
    )


def pace_ms() -> float:
    """Milliseconds for a piece of work that is always the same: how fast the machine is just now."""
    data = bytes(1 << 20)
    begun = time.perf_counter()
    for _ in range(10):
        hashlib.sha256(data).digest()
    return (time.perf_counter() - begun) * 1e3


def _after(file: str, name: str) -> str | None:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), None)
