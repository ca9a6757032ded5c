"""What the reading commands print, as values: turns, transcripts, findings, differences, statistics, search."""
