"""The numbers of a session: latency, rates, counts, waits.

    for numbers in measured(store): ...

`stats` reads sessions and combines the numbers, `values` counts, divides and holds the results. An event
that two clients received counts once, except in the numbers of each stream.
"""
