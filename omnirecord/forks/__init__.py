"""Forks of a recorded session: call N and later ones go to the live provider, with a change.

`change` parses and applies the change of a request. `point` finds the calls of a session. `branch` decides for each
request whether the recording or the provider answers, and counts.
"""
