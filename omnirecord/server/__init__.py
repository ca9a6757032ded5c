"""What the proxy, the replay and the page share as HTTP servers: listener, access, TLS, clocks, timers."""
