"""What the two databases spell differently, in statements that are otherwise the same."""

from __future__ import annotations

_WORDS = {
    "sqlite": {"number": "INTEGER NOT NULL", "whole": "INTEGER", "bytes": "BLOB", "strict": " STRICT"},
    "postgresql": {"number": "BIGSERIAL NOT NULL", "whole": "BIGINT", "bytes": "BYTEA", "strict": ""},
}

_REFUSAL = "entries are append-only: write a new entry"
_SQLITE_REFUSAL = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END"
_POSTGRES_REFUSAL = f"BEGIN RAISE EXCEPTION '{_REFUSAL}'; END"
_ON_CHANGE = "BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT"

#: Makes the table `entries` append-only. PostgreSQL's function may be there already.
APPEND_ONLY = {
    "sqlite": (
        f"CREATE TRIGGER entries_refuse_update BEFORE UPDATE ON entries {_SQLITE_REFUSAL}",
        f"CREATE TRIGGER entries_refuse_delete BEFORE DELETE ON entries {_SQLITE_REFUSAL}",
    ),
    "postgresql": (
        f"CREATE OR REPLACE FUNCTION entries_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ {_POSTGRES_REFUSAL} $$",
        f"CREATE TRIGGER entries_refuse_change {_ON_CHANGE} EXECUTE FUNCTION entries_refuse()",
    ),
}


def spell(statement: str, dialect: str) -> str:
    """
    Return a statement as one database spells it.

    Args:
        statement: with `{number}` for the type of a row's own number, `{whole}` for int64, `{bytes}` for any bytes,
            and `{strict}` behind a table.
        dialect: `sqlite` or `postgresql`.
    """
    return statement.format(**_WORDS[dialect])
