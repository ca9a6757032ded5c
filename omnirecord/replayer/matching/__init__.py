"""Finds the recorded exchange that answers a request. Pure.

`rules` are the rules of `--match`, and `key` is the part of a request that has to be equal. `lookup` finds the exchange
whose turn it is, or describes the nearest requests if none matches. `bodies` compares bodies.
"""

from .key import Key, key_of
from .lookup import READS, Asked, Lookup, answers
from .rules import DEFAULT, FORMS, MATCH_ON, Rules, rules_of

__all__ = ["DEFAULT", "FORMS", "MATCH_ON", "READS", "Asked", "Key", "Lookup", "Rules", "answers", "key_of", "rules_of"]
