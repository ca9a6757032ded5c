"""omnirecord: a flight recorder for agent event streams."""

from ._version import __version__

__all__ = ["__version__"]
