"""What `proxy` runs: the proxy, and the recorder that writes what it passes."""
