"""How bytes come in: an upload begins, is written to, and has all of them."""
