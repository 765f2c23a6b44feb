"""Uploads: how they come in, what is known of them, and what becomes of them."""
