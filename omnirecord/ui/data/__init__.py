"""The values that the page for browsers asks for."""
