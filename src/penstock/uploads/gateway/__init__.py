"""The storage side of postprocessing: what is said on the bus, and what becomes of the bytes."""
