"""The SQL of the stream, made from the tables' descriptions and never from data."""

from functools import cache

from operators.io.store.tables import Table


@cache
def write(table: Table) -> str:
    """Give the statement that writes one row: INSERT for facts, a versioned MERGE for states.

    >>> from operators.io.store.tables import EXPERIMENT_RESULTS
    >>> write(EXPERIMENT_RESULTS)
    'INSERT INTO experiment_results (experiment_id, time, slot_id, summary) VALUES (:1, :2, :3, :4)'
    """
    return _merge(table) if table.newer else _insert(table)


def _insert(table: Table) -> str:
    binds = ", ".join(f":{at}" for at in range(1, len(table.columns) + 1))
    return f"INSERT INTO {table.name} ({', '.join(table.names)}) VALUES ({binds})"


def _merge(table: Table) -> str:
    source = ", ".join(f":{at} AS {name}" for at, name in enumerate(table.names, 1))
    match = " AND ".join(f"t.{name} = s.{name}" for name in table.key)
    changes = ", ".join(f"{name} = s.{name}" for name in table.names if name not in table.key)
    values = ", ".join(f"s.{name}" for name in table.names)
    order = ">" if table.keeps_first else ">="
    return (
        f"MERGE INTO {table.name} t USING (SELECT {source} FROM dual) s ON ({match})"
        f" WHEN MATCHED THEN UPDATE SET {changes} WHERE {_newer(table.newer, order)}"
        f" WHEN NOT MATCHED THEN INSERT ({', '.join(table.names)}) VALUES ({values})"
    )


def _newer(names: tuple[str, ...], order: str) -> str:
    """Compare by the first column, and at equal values by the others; the last one by ``order``."""
    first, rest = names[0], names[1:]
    if not rest:
        return f"s.{first} {order} t.{first}"
    return f"s.{first} > t.{first} OR s.{first} = t.{first} AND ({_newer(rest, order)})"


def select(table: Table, where: str) -> str:
    """Give the query of whole rows; ``where`` is a constant of the caller's code."""
    return f"SELECT {', '.join(table.names)} FROM {table.name} {where}"


@cache
def similar(table: Table) -> str:
    """Give the query of the nearest rows by cosine distance, exact."""
    key = table.key[0]
    return (
        f"SELECT {key}, VECTOR_DISTANCE(embedding, :query, COSINE) AS distance FROM {table.name}"
        f" WHERE dimension = :dimension AND NOT deleted ORDER BY distance, {key}"
        " FETCH FIRST :k ROWS ONLY"
    )
