"""The durable store as the flows see it: one protocol, whatever the database."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from operators.io.store.rows import RecordPlace, Row, refusal_row
from operators.io.store.tables import DEAD_LETTERS, TABLES, Table

StoredRow = dict[str, Any]
"""A row as the store gives it back: column name to Python value, times with zone UTC."""


class StoreError(Exception):
    """The store cannot go on and waiting does not help; the message says what to do."""


class StoreUnavailable(StoreError):  # noqa: N818 (a state of the store, not a mistake)
    """The store cannot be reached or is busy for now; the same transaction may be tried again.

    ``code`` is the database's own code, a metric label of few values.
    """

    may_pass = True

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"BANDITFLOW_STORE: {code}: {message}" if message else code)
        self.code = code


class Refusal(NamedTuple):
    """A row that the database refuses for what it holds: its place in the list, the code."""

    row: int
    code: str
    column: str | None = None


class Similar(NamedTuple):
    """A neighbour by embedding: its id and the cosine distance, 0 (same direction) to 2."""

    id: str
    distance: float


class Writes:
    """The rows of one transaction by table, each with the place of its record.

    >>> writes = Writes()
    >>> row = ("e", 1767225600000000, "home", "{}")
    >>> writes.add(TABLES["experiment_results"], row, RecordPlace("test-reports", 0, 7, 0, b"{}"))
    >>> len(writes)
    1
    """

    def __init__(self) -> None:
        self.rows: defaultdict[str, list[Row]] = defaultdict(list)
        self.places: defaultdict[str, list[RecordPlace]] = defaultdict(list)

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def add(self, table: Table, row: Row, place: RecordPlace) -> None:
        """Add one row."""
        self.rows[table.name].append(row)
        self.places[table.name].append(place)

    def extend(self, other: "Writes") -> None:
        """Add all rows of another, after these."""
        for name, rows in other.rows.items():
            self.rows[name].extend(rows)
            self.places[name].extend(other.places[name])

    def tables(self) -> list[tuple[Table, list[Row], list[RecordPlace]]]:
        """List the tables that have rows in the order in which they are written."""
        return [
            (table, self.rows[name], self.places[name])
            for name, table in TABLES.items()
            if self.rows.get(name)
        ]


@dataclass(frozen=True)
class Applied:
    """What a committed transaction did: rows sent by table, refused rows by code."""

    rows: dict[str, int]
    refused: dict[str, int]


class Store(Protocol):
    """A database that keeps results.

    Every method may raise :class:`StoreUnavailable`, which means "not now", or
    :class:`StoreError`, which means "not at all".
    """

    def migrate(self, now: datetime) -> list[str]:
        """Bring the schema to this release; name what was applied, nothing if it was current.

        ``now`` is noted as the time at which it was.
        """
        ...

    def status(self) -> list[StoredRow]:
        """List the migrations: version, name, checksum, applied_at (None while pending)."""
        ...

    def apply(self, writes: Writes) -> Applied:
        """Write all rows in one transaction and commit it.

        Applying the same rows again changes nothing. A row that the database refuses for what it
        holds becomes a dead letter in the same transaction.
        """
        ...

    def ping(self) -> None:
        """Return if the store answers."""
        ...

    def decision(self, decision_id: str) -> list[StoredRow]:
        """Find all decisions with this id, each with its outcome under ``outcome`` (or None).

        Of a slate the outcome is that of the first position; each entry of ``slate`` has its own.
        """
        ...

    def profile(self, subject: str) -> StoredRow | None:
        """Find a subject's profile by pseudonym."""
        ...

    def policy(self, slot_id: str) -> StoredRow | None:
        """Find the newest policy snapshot of a slot."""
        ...

    def checkpoint(self, slot_id: str) -> list[StoredRow]:
        """List all parts of a slot's checkpoints by generation and part, complete or not."""
        ...

    def content(self, hash_: str) -> StoredRow | None:
        """Find the features that a request gave to an action, by their hash."""
        ...

    def rows(self, table: str, after: str | None = None, limit: int = 1000) -> list[StoredRow]:
        """List rows of a table of states in the order of its key, ``limit`` after ``after``."""
        ...

    def similar_profiles(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k profiles nearest by cosine distance; only of the vector's dimension.

        Raises ValueError where profiles have embeddings, but none of this dimension.
        """
        ...

    def similar_actions(self, vector: Sequence[float], k: int) -> list[Similar]:
        """Find the k actions nearest by cosine distance, as :meth:`similar_profiles`."""
        ...

    def counts(self) -> dict[str, int]:
        """Count the rows of every table."""
        ...

    def close(self) -> None:
        """Let go of the database; nothing becomes durable here."""
        ...


def compact(table: Table, rows: list[Row]) -> list[Row]:
    """Keep, of rows with the same key, the one that the table would keep (see :class:`Table`).

    >>> table = TABLES["experiment_results"]
    >>> compact(table, [("e", 1, "home", "{}"), ("e", 1, "home", "[]"), ("e", 2, "home", "{}")])
    [('e', 1, 'home', '{}'), ('e', 2, 'home', '{}')]
    """
    rows_by_key: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        key = table.identity(row)
        other = rows_by_key.setdefault(key, row)
        if other is not row and table.is_newer(row, other):
            rows_by_key[key] = row
    return list(rows_by_key.values())


Execute = Callable[[Table, list[Row]], list[Refusal]]
"""Writes rows of one table within the transaction and returns those that were refused."""


def write_all(writes: Writes, execute: Execute) -> Applied:
    """Write every table within the caller's transaction, refused rows as dead letters."""
    sent: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    dead: list[Row] = []
    for table, rows, places in writes.tables():
        refusals = execute(table, compact(table, rows))
        if refusals:  # again without compaction, to name every record and save the others
            refusals = execute(table, rows)
        dead += [_dead_letter(table, places[refusal.row], refusal) for refusal in refusals]
        refused.update(refusal.code for refusal in refusals)
        sent[table.name] += len(rows)
    if dead:
        execute(DEAD_LETTERS, dead)
    return Applied(dict(sent), dict(refused))


def _dead_letter(table: Table, place: RecordPlace, refusal: Refusal) -> Row:
    detail = f"{table.name}: {refusal.code}"
    return refusal_row(place, "refused_by_store", refusal.column, detail)


def wrong_dimension(table: Table, asked: int, stored: Sequence[int]) -> list[Similar]:
    """Answer a query for which no vector of its dimension is stored.

    Returns nothing where the table holds no vectors at all, else raises ValueError.
    """
    if not stored:
        return []
    known = ", ".join(str(dimension) for dimension in sorted(stored))
    raise ValueError(f"vector: has {asked} numbers, the embeddings of {table.name} have {known}")
