"""A field of a record is a column of the store, in both databases, or said not to be."""

import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from msgspec import inspect
from msgspec.structs import FieldInfo, fields

from operators.io.store import sqlite
from operators.io.store.oracle.migrations import load
from operators.io.store.protocol import StoreError
from operators.io.store.rows import NOT_STORED
from operators.io.store.sqlite import SqliteStore, _checksum
from operators.io.store.sqlite_schema import CHECKS, MIGRATIONS
from operators.io.store.tables import TABLES, Kind
from operators.logic.deciding.contents import ActionContent
from schemas import results
from schemas.catalog import Action
from schemas.events import Decision, LearningMode
from schemas.fields import plain_type
from tests.support import records as make

RECORDS: dict[str, type[msgspec.Struct]] = {
    "actions": Action,
    "user_profiles": results.Profile,
    "decisions": Decision,
    "action_contents": ActionContent,
    "outcomes": results.Outcome,
    "policy_snapshots": results.PolicySnapshot,
    "policy_checkpoints": results.PolicyCheckpoint,
    "experiment_results": results.TestReport,
    "optimized_content": results.OptimizedContent,
    "deliveries": results.Delivery,
    "erasures": results.ErasureReceipt,
    "dead_letters": results.DeadLetter,
}
WHOLE = {"slots", "experiments"}
"""The tables whose column ``settings`` is the whole record."""

COMPUTED = {"user_profiles.dimension", "actions.dimension", "outcomes.version"}
KINDS: dict[type, set[Kind]] = {
    inspect.StrType: {Kind.TEXT, Kind.LONG_TEXT},
    inspect.LiteralType: {Kind.TEXT},
    inspect.DateTimeType: {Kind.TIME},
    inspect.FloatType: {Kind.REAL},
    inspect.IntType: {Kind.INTEGER},
    inspect.BoolType: {Kind.BOOLEAN},
    inspect.ListType: {Kind.JSON, Kind.VECTOR},
    inspect.DictType: {Kind.JSON},
}
VECTORS = {"decisions.features"}
"""Texts that hold a vector in base64."""

DOCUMENT = (Path(__file__).parents[2] / "docs" / "reference" / "store.md").read_text()


def test_every_table_is_checked() -> None:
    assert RECORDS.keys() | WHOLE == TABLES.keys()


@pytest.mark.parametrize("name", RECORDS)
def test_every_field_is_a_column_or_said_not_to_be_stored(name: str) -> None:
    columns = {column.source for column in TABLES[name].columns}
    skipped = NOT_STORED.get(name, {})
    known = {field.name for field in fields(RECORDS[name])}
    missing = [
        f"{name}.{field}: not a column of the store: {_remedy(name)}, or add it to NOT_STORED in "
        "operators/io/store/rows.py with the reason"
        for field in known - columns - skipped.keys()
    ]
    assert not missing, "\n".join(sorted(missing))
    assert skipped.keys() <= known - columns, f"NOT_STORED[{name!r}] names what is stored or gone"


def _remedy(name: str) -> str:
    if name in ("decisions", "outcomes"):
        return "let its type say stored_since(N), and add it in ops/sql/V00N__….sql"
    return f"add it to {name.upper()} in operators/io/store/tables.py"


@pytest.mark.parametrize("name", RECORDS)
def test_a_column_holds_what_its_field_can_say(name: str) -> None:
    of = {field.name: field for field in fields(RECORDS[name])}
    for column in TABLES[name].columns:
        where = f"{name}.{column.name}"
        if where in COMPUTED:
            continue
        field = of[column.source]
        kinds = {Kind.VECTOR} if where in VECTORS else _kinds(field)
        assert column.kind in kinds, f"{where}: {column.kind} for {field.type}"
        nullable = type(None) in get_args(plain_type(field.type))
        if column.required:
            assert not nullable, f"{where}: may be missing in the record, but not in the store"
        elif column.kind is Kind.TEXT:
            assert column.blank is not nullable, f"{where}: reads back as None, or as empty?"


def _kinds(field: FieldInfo) -> set[Kind]:
    """The kinds of column that hold a field's values."""
    type_ = inspect.type_info(plain_type(field.type))
    if isinstance(type_, inspect.UnionType):
        type_ = next(each for each in type_.types if not isinstance(each, inspect.NoneType))
    return KINDS.get(type(type_), {Kind.JSON})


def test_younger_columns_say_what_older_rows_hold() -> None:
    for table in TABLES.values():
        for column in table.columns:
            where = f"{table.name}.{column.name}"
            if column.since:
                assert not column.required or column.default is not None, f"{where}: no default"
            else:
                assert column.default is None, f"{where}: a default, but no migration adds it"


def test_released_migrations_of_sqlite_have_not_changed() -> None:
    """They follow from the tables: a column that is added there must say ``since``."""
    assert {version: _checksum(statements)[:16] for version, _, statements in MIGRATIONS[:3]} == {
        1: "0096c09ebfaf7622",
        2: "dd81893c5f7c9ba5",
        5: "911556c2572286ad",
    }


def test_a_store_of_an_older_release_is_told_to_migrate(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    store.migrate(make.START)
    store._connection.execute("ALTER TABLE decisions DROP COLUMN request_hash")
    with pytest.raises(StoreError, match="banditflow store migrate"):
        store.apply(make.writes(make.decision(1)))
    store.close()


def test_rows_that_are_older_than_a_column_say_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "store.db")
    with monkeypatch.context() as older:
        older.setattr(sqlite, "MIGRATIONS", MIGRATIONS[:2])
        store.migrate(make.START)
    ((table, (row,), _),) = make.writes(make.decision(1)).tables()
    first = [column.name for column in table.columns if not column.since]
    store._connection.execute(
        f"INSERT INTO {table.name} ({', '.join(first)}) VALUES ({', '.join('?' * len(first))})",
        row[: len(first)],
    )
    store.migrate(make.START)
    (stored,) = store.decision("d1")
    for column in table.columns[len(first) :]:
        assert stored[column.name] == ("" if column.blank else column.default), column.name
    store.close()


def test_both_databases_check_the_same() -> None:
    text = "\n".join(migration.text for migration in load())
    for name, check in CHECKS.items():
        column = name.split(".")[1]
        condition = check.format(column)
        condition = re.sub(r"(\w+) BETWEEN (\S+) AND (\S+)", r"\1 >= \2 AND \1 <= \3", condition)
        if length := re.match(r"length\(\w+\) <= (\d+)", condition):
            assert f"{column} VARCHAR2({length[1]} CHAR)" in text, name
        else:
            assert f"CHECK ({condition})" in text, f"{name}: not checked alike in ops/sql"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("decisions.learning_mode", LearningMode),
        ("outcomes.status", results.OutcomeStatus),
        ("deliveries.status", results.DeliveryStatus),
    ],
)
def test_a_column_takes_every_value_that_its_field_has(name: str, values: Any) -> None:
    assert tuple(re.findall(r"'(\w+)'", CHECKS[name])) == get_args(values), name


def test_the_reference_lists_every_table_with_its_key() -> None:
    listed: dict[str, tuple[str, ...]] = {}
    for names, key in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", _section("Tables"), re.M):
        for name in re.findall(r"`(\w+)`", names):
            listed[name] = tuple(re.findall(r"`(\w+)`", key))
    catalog = {name for name in listed if not listed[name]}
    assert catalog == {"slots", "actions", "experiments"}
    expected = {name: () if name in catalog else table.key for name, table in TABLES.items()}
    assert listed == expected


def test_the_reference_names_what_is_not_stored() -> None:
    said = re.search(r"^Not stored: (.*)$", _section("Tables"), re.M)
    assert said
    for name, skipped in NOT_STORED.items():
        for field in skipped:
            assert f"`{name}.{field}`" in said[1], f"{name}.{field}: not in docs/reference/store.md"
    names = {f"{name}.{field}" for name, skipped in NOT_STORED.items() for field in skipped}
    assert set(re.findall(r"`(\w+\.\w+)`", said[1])) == names


def _section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    assert found, heading
    return found[1]
