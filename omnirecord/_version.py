"""The version of this release, in one place: the package, the recordings and the wheel read it here."""

__version__ = "0.1.0"
