"""
What Alembic runs to migrate: the scripts, on the connection and in the transaction that it is given.

There is no ini file and no logging configuration: `migrating.py` makes the configuration and begins the transaction.
"""

from __future__ import annotations

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection)
with context.begin_transaction():
    context.run_migrations()
