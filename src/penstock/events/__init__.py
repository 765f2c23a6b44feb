"""Event types and their codec, byte-compatible with the Go services."""
