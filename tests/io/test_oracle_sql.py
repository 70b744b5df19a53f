"""Our SQL is Oracle's: no idiom of another database, and the tables that the code describes."""

import re
from pathlib import Path

import pytest

from flows.runtime.clock import system_clock
from operators.io.store.oracle.migrations import FOLDER, load, statements
from operators.io.store.oracle.statements import similar, write
from operators.io.store.protocol import StoreError
from operators.io.store.sqlite import SqliteStore
from operators.io.store.tables import ACTIONS, TABLES, USER_PROFILES, Column, Kind

SCRIPTS = sorted(FOLDER.rglob("*.sql"))

FOREIGN = [
    r"\bLIMIT\s+[:\d]",
    r"\bON\s+CONFLICT\b",
    r"\bON\s+DUPLICATE\b",
    r"::",
    r"\b(SERIAL|BIGSERIAL|TEXT|BYTEA|JSONB|UUID|TIMESTAMPTZ|DOUBLE PRECISION|BIGINT)\b",
    r"\bAUTO_?INCREMENT\b",
    r"\bILIKE\b",
    r"\bNOW\s*\(\)",
    r"\bDATE_TRUNC\b",
    r"\bWHEN\s+MATCHED\s+AND\b",
    r"\bUSING\s+hnsw\b",
    r"<=>",
    r"`",
    r"\$\$",
]

RESERVED_WORDS = """
access add all alter and any as asc audit between by char check cluster column column_value
comment compress connect create current date decimal default delete desc distinct drop else
exclusive exists file float for from grant group having identified immediate in increment index
initial insert integer intersect into is level like lock long maxextents minus mlslabel mode
modify nested_table_id noaudit nocompress not nowait null number of offline on online option or
order pctfree prior public raw rename resource revoke row rowid rownum rows select session set
share size smallint start successful synonym sysdate table then to trigger uid union unique
update user validate values varchar varchar2 view whenever where with
"""
RESERVED = set(RESERVED_WORDS.split())

TYPES = {
    Kind.TEXT: r"VARCHAR2\(\d+ CHAR\)",
    Kind.LONG_TEXT: r"CLOB",
    Kind.TIME: r"TIMESTAMP\(6\)",
    Kind.REAL: r"BINARY_DOUBLE",
    Kind.INTEGER: r"NUMBER\(\d+\)",
    Kind.BOOLEAN: r"BOOLEAN",
    Kind.JSON: r"JSON",
    Kind.VECTOR: r"VECTOR\(\*, FLOAT32\)",
}


def foreign(sql: str) -> list[str]:
    text = re.sub(r"'[^']*'", "''", re.sub(r"--.*", "", sql))
    return [idiom for idiom in FOREIGN if re.search(idiom, text, re.IGNORECASE)]


def table_of(name: str) -> str:
    made = (statement for migration in load() for statement in statements(migration.text))
    (found,) = (s for s in made if s.startswith(f"CREATE TABLE IF NOT EXISTS {name} "))
    return found


def _literal(value: str | float | bool) -> str:
    if isinstance(value, str):
        return f"'{value}'"
    return str(value).upper()


def declared(column: Column) -> str:
    """What a column's declaration looks like."""
    default = "" if column.default is None else f" DEFAULT {_literal(column.default)}"
    return f"{column.name} {TYPES[column.kind]}{default}{' NOT NULL' if column.required else ''}"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_hold_no_foreign_idiom(script: Path) -> None:
    assert foreign(script.read_text()) == []


def test_the_statements_of_the_stream_hold_no_foreign_idiom() -> None:
    made = [write(table) for table in TABLES.values()]
    made += [similar(USER_PROFILES), similar(ACTIONS)]
    assert [foreign(sql) for sql in made] == [[]] * len(made)


def test_the_check_finds_foreign_idioms() -> None:
    assert foreign("SELECT a::int FROM t LIMIT 5") == [r"\bLIMIT\s+[:\d]", "::"]


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_columns_are_those_that_the_code_describes(table: object) -> None:
    from operators.io.store.tables import Table

    assert isinstance(table, Table)
    created = table_of(table.name)
    first = [column for column in table.columns if not column.since]
    for column in first:
        where = f"{table.name}.{column.name}: not as in operators/io/store/tables.py"
        assert re.search(rf"^    {declared(column)},$", created, re.MULTILINE), where
    assert len(re.findall(r"^    [a-z]\w* [A-Z]", created, re.MULTILINE)) == len(first)
    assert table.columns[: len(first)] == tuple(first), "younger columns stand last"
    for column in table.columns[len(first) :]:
        where = f"{table.name}.{column.name}: ops/sql/V{column.since:03d}__….sql does not add it"
        texts = [migration.text for migration in load() if migration.version == column.since]
        added = rf"^ALTER TABLE {table.name} ADD \({declared(column)}\);$"
        assert any(re.search(added, text, re.MULTILINE) for text in texts), where
    assert f"PRIMARY KEY ({', '.join(table.key)})" in created
    assert not RESERVED & set(table.names)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_and_column_says_what_it_holds(table: object) -> None:
    from operators.io.store.tables import Table

    assert isinstance(table, Table)
    text = "\n".join(migration.text for migration in load())
    assert f"COMMENT ON TABLE {table.name} IS '" in text
    for name in table.names:
        comment = f"COMMENT ON COLUMN {table.name}.{name} IS '"
        assert comment in text, f"{table.name}.{name}: no comment in ops/sql"


def test_migrations_can_be_run_again_from_the_middle() -> None:
    for migration in load():
        for statement in statements(migration.text):
            assert re.match(
                r"CREATE (TABLE|INDEX) IF NOT EXISTS|CREATE OR REPLACE|COMMENT ON"
                r"|ALTER TABLE \w+ ADD \(\w+ ",  # the migrator goes on where the column is there
                statement,
            ), statement


def test_misnamed_migrations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not numbered"):
        load(tmp_path)
    (tmp_path / "V002__second.sql").write_text("SELECT 1 FROM dual;")
    with pytest.raises(StoreError, match="not numbered"):
        load(tmp_path)
    (tmp_path / "V1_first.sql").write_text("SELECT 1 FROM dual;")
    with pytest.raises(StoreError, match="V001__words"):
        load(tmp_path)


def test_both_databases_have_the_same_columns_and_views(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(system_clock())
    for table in TABLES.values():
        rows = store._connection.execute(f"PRAGMA table_info({table.name})").fetchall()
        assert [(row[1], bool(row[3])) for row in rows] == [
            (column.name, column.required) for column in table.columns
        ]
    views = store._connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'")
    text = next(m.text for m in load() if m.version == 3)
    assert {name for (name,) in views} == set(re.findall(r"REPLACE VIEW (\w+)", text))
    store.close()
