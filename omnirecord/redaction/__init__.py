"""Secrets replaced by pseudonyms: in header fields, query strings, bodies and events."""
