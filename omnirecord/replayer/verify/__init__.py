"""What `verify` runs: a replay whose clients are the recorded ones, compared with the recording."""
