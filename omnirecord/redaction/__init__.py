"""Replaces secrets by pseudonyms, and masks them in content.

Which names are secrets is in `names`: add a header there. `content.labels` finds the names in a text, for both.
`redactor` applies the names to headers and targets, and `named` replaces values in bodies.
"""
