"""Sessions as plain text, for readers without knowledge of Omnigent: sessions in, lines out. No I/O, no clock.

1. A turn is in the order of its times. Its first line has the time since the beginning of the session, the others since
   the beginning of the turn.
2. No line has a control character, whatever a session contains.
3. No line is wider than `width`, unless that is too narrow. A long text is cut, and the line says so.
4. The first line of a session is its verdict, the last one says why there is no more of it.

`sentences` has the layout, the words and one turn. `show` has the sessions and their sub-agents, and the output of the
command; `follow` has the output of `show --follow`, `other_apis` has model calls and exchanges of unknown APIs.
"""
