"""
How a database of an older release becomes one of this release: Alembic's scripts, one for each revision of the schema.

What they say never changes, so they share nothing with `tables.py`, which does; a test holds both ends equal. There is
no way back: an append-only ledger is not unwritten.
"""
