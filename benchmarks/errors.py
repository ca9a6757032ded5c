"""What a benchmark cannot go on after, in a sentence."""


class Unusable(Exception):
    """The machine, or the call, is not what is needed."""
