"""Numbered SQL files applied in order, once, by one migrator at a time."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import oracledb

from operators.io.store.oracle.errors import details
from operators.io.store.protocol import StoredRow, StoreError

_COLUMN_EXISTS = 1430
"""ORA-01430: the column that a statement adds is there already."""

FOLDER = Path(__file__).resolve().parents[4] / "ops" / "sql"
_NAME = re.compile(r"V(\d{3})__(\w+)\.sql")
_SCHEMA_MIGRATIONS = """CREATE TABLE IF NOT EXISTS schema_migrations (
    version NUMBER(5) NOT NULL,
    name VARCHAR2(128 CHAR) NOT NULL,
    checksum VARCHAR2(64 CHAR) NOT NULL,
    applied_at TIMESTAMP(6) NOT NULL,
    CONSTRAINT schema_migrations_pk PRIMARY KEY (version)
)"""
_SCHEMA_LOCK = """CREATE TABLE IF NOT EXISTS schema_lock (
    id NUMBER(1) NOT NULL,
    CONSTRAINT schema_lock_pk PRIMARY KEY (id)
)"""


@dataclass(frozen=True)
class Migration:
    """A migration file; ``text`` is a script of statements that end with a semicolon."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the text: a released migration never changes."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def load(folder: Path = FOLDER) -> list[Migration]:
    """Read the migrations of this release, in order; raises StoreError where there are none."""
    migrations = []
    for path in sorted(folder.glob("V*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise StoreError(f"{path.name}: a migration is named V001__words.sql")
        migrations.append(Migration(int(match[1]), match[2].replace("_", " "), path.read_text()))
    numbers = [migration.version for migration in migrations]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise StoreError(f"{folder}: the migrations are not numbered V001, V002, ...")
    return migrations


def statements(text: str) -> list[str]:
    r"""Split a script at the semicolons that end a line, without its comments.

    >>> statements("-- why\nSELECT 1\nFROM dual;\n\nSELECT 2 FROM dual;\n")
    ['SELECT 1\nFROM dual', 'SELECT 2 FROM dual']
    """
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--")]
    parts = re.split(r";\s*(?:\n|$)", "\n".join(lines))
    return [part.strip() for part in parts if part.strip()]


def migrate(
    holder: oracledb.Connection,
    worker: oracledb.Connection,
    migrations: list[Migration],
    now: datetime,
) -> list[str]:
    """Apply what is missing and name it.

    ``holder`` keeps the lock, because each statement of ``worker`` commits. A migration that was
    cut short is run again from its start: its statements say IF NOT EXISTS or OR REPLACE, and a
    column that is there already is not added again.
    """
    with worker.cursor() as cursor:
        for statement in (_SCHEMA_MIGRATIONS, _SCHEMA_LOCK):
            cursor.execute(statement)
    _lock(holder, worker)
    try:
        return [_apply(worker, migration, now) for migration in _missing(worker, migrations)]
    finally:
        if holder.is_healthy():
            holder.rollback()


def status(connection: oracledb.Connection, migrations: list[Migration]) -> list[StoredRow]:
    """List the migrations with the time at which each was applied."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM user_tables WHERE table_name = 'SCHEMA_MIGRATIONS'")
        known = _known(connection) if cursor.fetchone()[0] else {}
    return [
        {
            "version": migration.version,
            "name": migration.name,
            "checksum": migration.checksum,
            "applied_at": known[migration.version][1] if migration.version in known else None,
        }
        for migration in migrations
    ]


def _lock(holder: oracledb.Connection, worker: oracledb.Connection) -> None:
    with worker.cursor() as cursor:
        try:
            cursor.execute("INSERT INTO schema_lock (id) VALUES (1)")
            worker.commit()
        except oracledb.IntegrityError:
            worker.rollback()
    with holder.cursor() as cursor:
        # Another migrator holds it until it is done; the call's timeout bounds the wait.
        cursor.execute("SELECT id FROM schema_lock WHERE id = 1 FOR UPDATE")
        cursor.fetchall()


def _known(connection: oracledb.Connection) -> dict[int, tuple[str, datetime]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version, checksum, applied_at FROM schema_migrations")
        return {
            int(version): (checksum, applied_at.replace(tzinfo=UTC))
            for version, checksum, applied_at in cursor
        }


def _missing(connection: oracledb.Connection, migrations: list[Migration]) -> list[Migration]:
    known = _known(connection)
    for migration in migrations:
        applied = known.get(migration.version)
        if applied is not None and applied[0] != migration.checksum:
            raise StoreError(
                f"migration V{migration.version:03d} was applied on {applied[1]:%Y-%m-%d} in"
                " another form than this release has: restore the released file"
            )
    return [migration for migration in migrations if migration.version not in known]


def _apply(connection: oracledb.Connection, migration: Migration, now: datetime) -> str:
    with connection.cursor() as cursor:
        for statement in statements(migration.text):
            try:
                cursor.execute(statement)
            except oracledb.DatabaseError as error:
                known = details(error)
                if known is None or known.code != _COLUMN_EXISTS:
                    raise
        applied_at = now.astimezone(UTC).replace(tzinfo=None)
        cursor.setinputsizes(None, None, None, oracledb.DB_TYPE_TIMESTAMP)
        cursor.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied_at)"
            " VALUES (:1, :2, :3, :4)",
            [migration.version, migration.name, migration.checksum, applied_at],
        )
    connection.commit()
    return f"V{migration.version:03d} {migration.name}"
