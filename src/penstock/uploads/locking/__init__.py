"""Who works on an upload: one at a time, in this process and among instances."""
