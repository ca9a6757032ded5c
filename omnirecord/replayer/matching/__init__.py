"""Which recorded exchange answers a request. Pure.

`rules` are what a user can adjust, `key` is what of a request has to be the same by them, `lookup` finds what was
recorded and whose turn it is, with `comparing` for bodies and `jsonpaths` for what lies in them, `nearest` says what
differs where nothing is found.
"""

from .key import Key, key_of
from .lookup import READS, Asked, Lookup, answers
from .rules import DEFAULT, FORMS, MATCH_ON, Rules, rules_of

__all__ = ["DEFAULT", "FORMS", "MATCH_ON", "READS", "Asked", "Key", "Lookup", "Rules", "answers", "key_of", "rules_of"]
