"""Differences between two recorded sessions, by meaning. No socket, no clock.

    for difference in compared("a.db", "b.db").found: ...

`diff` pairs sessions and turns, and runs the comparisons of `turns`. `normalize` removes what differs from run to run,
and makes steps of the events of a turn. `align` pairs equal elements. `differences` holds the results and prints them.
"""
