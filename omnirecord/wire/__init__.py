"""Bytes on the wire: SSE, header fields, content codings, WebSocket frames, event ids, payloads. Pure."""
