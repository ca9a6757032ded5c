"""What holds for all tests."""

from hypothesis import settings

# How long an example takes says more about what else the machine does; work that grows too fast has tests of its own.
settings.register_profile("omnirecord", deadline=None)
settings.load_profile("omnirecord")
