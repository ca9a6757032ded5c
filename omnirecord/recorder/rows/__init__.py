"""The rows of a cassette, made from the chunks that the proxy passes. Pure."""
