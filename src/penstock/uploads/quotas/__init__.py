"""How much a space and a user may have, and what they have."""
