"""``banditflow store migrate`` and ``status``, and which store a setting opens."""

from pathlib import Path

import pytest

from flows.cli.store import migrate_lines, status_lines
from operators.io.store.open import open_store
from operators.io.store.oracle import OracleStore
from operators.io.store.protocol import StoreError
from operators.io.store.sqlite import SqliteStore
from operators.io.store.sqlite_schema import MIGRATIONS
from schemas.settings import Settings, SettingsError, load

NUMBERS = [version for version, _, _ in MIGRATIONS]


def settings(store: str) -> Settings:
    return load({}, secret="sixteen letters!", store=store, store_password="unspoken")


def test_migrate_says_what_it_did(tmp_path: Path) -> None:
    here = settings(f"sqlite:{tmp_path / 'store.db'}")
    listed = status_lines(here)
    assert listed[:2] == [
        "V001  tables                   pending",
        "V002  checkpoints              pending",
    ]
    assert [line.split()[0] for line in listed] == [f"V{number:03d}" for number in NUMBERS]
    applied = migrate_lines(here)
    assert applied[:2] == ["applied V001 tables", "applied V002 checkpoints"]
    assert [line.split()[1] for line in applied] == [f"V{number:03d}" for number in NUMBERS]
    assert migrate_lines(here) == ["the schema is current"]
    assert all("applied 20" in line for line in status_lines(here))


def test_a_setting_opens_its_store(tmp_path: Path) -> None:
    sqlite = open_store(settings(f"sqlite:{tmp_path / 'store.db'}").store)
    assert isinstance(sqlite, SqliteStore)
    sqlite.close()
    oracle = open_store(settings("oracle:db:1521/FREEPDB1").replaced(store_user="we").store)
    assert isinstance(oracle, OracleStore)
    assert oracle._access.dsn == "db:1521/FREEPDB1"
    assert "unspoken" not in repr(oracle._access)
    oracle.close()


@pytest.mark.parametrize("store", ["", "sqlite:", "oracle:", "mysql:x", "banditflow.db"])
def test_another_store_is_refused_by_the_name_of_its_setting(store: str) -> None:
    with pytest.raises(SettingsError, match="BANDITFLOW_STORE"):
        open_store(settings(store).store)


def test_a_file_that_is_no_database_stops(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)
    with pytest.raises(StoreError, match="NOTADB"):
        open_store(settings(f"sqlite:{tmp_path / 'letter.txt'}").store)


def test_a_missing_folder_stops_instead_of_waiting_for_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"BANDITFLOW_STORE: the folder of .* does not exist"):
        open_store(settings(f"sqlite:{tmp_path / 'none' / 'store.db'}").store)
