"""Differences between two recorded sessions, by meaning. No socket, no clock.

    for difference in compared("a.db", "b.db").found: ...

`diff` pairs sessions and turns, and runs the comparisons of `turns`. `align` makes comparable steps of the events of a
turn, and pairs equal elements. `differences` holds the results and prints them.
"""
