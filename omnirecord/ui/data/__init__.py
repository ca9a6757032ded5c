"""The values that the page requests."""
