"""How a step gets the bytes of an upload: the port, and one module per way."""
