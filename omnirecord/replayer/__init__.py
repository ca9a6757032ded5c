"""What `serve` runs: the replay of a cassette as a server."""
