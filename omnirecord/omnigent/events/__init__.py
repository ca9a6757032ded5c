"""Models of Omnigent's events. `union` says how to add a type."""
