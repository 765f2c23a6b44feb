"""Where the progress of uploads is kept: one port, a backend per file."""
