"""Columns that a newer version brings to tables that an older one made.

In: a connection and tables. Out: the same tables with every column that they lack, all rows kept. Only columns that may
be null or have a server default can come this way; it never drops or changes one. Next: `memory.py`, which calls it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Table, inspect, text
from sqlalchemy.schema import CreateColumn

from foveate.errors import NotReady


def add_missing(connection: Connection, tables: Sequence[Table]) -> tuple[str, ...]:
    """Adds what is missing and returns it as `table.column`.

    Raises NotReady for a column that old rows could not have: somebody has to say what they should hold.
    """
    inspector, added = inspect(connection), []
    for table in tables:
        present = {column["name"] for column in inspector.get_columns(table.name)}
        for column in table.columns:
            if column.name in present:
                continue
            name = f"{table.name}.{column.name}"
            if not column.nullable and column.server_default is None:
                raise NotReady(f"The database is of an older version and lacks {name}; start with an empty one.")
            created = CreateColumn(column).compile(dialect=connection.dialect)
            connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN IF NOT EXISTS {created}"))
            added.append(name)
    return tuple(added)
