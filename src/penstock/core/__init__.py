"""The rules of the product: what is remembered of an upload, and what follows from an event."""
