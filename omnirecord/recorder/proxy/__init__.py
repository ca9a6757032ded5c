"""The proxy between clients and the upstream."""
