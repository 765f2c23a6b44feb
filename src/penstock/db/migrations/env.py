"""What Alembic runs for each command: the migrations, within the transaction that `database` has opened."""

from __future__ import annotations

from alembic import context

from penstock.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    # SQLite can undo a change of tables like any other; so all migrations are done, or none.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
