"""Files as people see them, by spaces and paths."""
