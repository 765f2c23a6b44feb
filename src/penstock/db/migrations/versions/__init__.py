"""One file per change of the tables, in order: `0001`, `0002` and so on."""
