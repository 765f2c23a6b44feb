"""The migrations: Alembic's environment and, in `versions`, one file per change of the tables."""
