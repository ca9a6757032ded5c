"""Models of Omnigent's events."""
