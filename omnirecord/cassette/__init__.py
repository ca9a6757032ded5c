"""Cassettes: the SQLite and JSON Lines forms, and opening, importing, exporting, rotating and scrubbing them."""
