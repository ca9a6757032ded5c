"""Replaces secrets by pseudonyms, and masks them in content.

Which names are secrets is in `names`: add a header there. `redactor` applies the names to headers, targets and bodies.
"""
