"""Two values beside each other: what of them means nothing, and two texts with their changes marked. Pure."""
