"""Servers to test against: the stores of the contract suite, the Kafka brokers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracledb
import pytest

from flows.devkit.embedded import Server
from flows.runtime.clock import system_clock
from operators.io.store.oracle import OracleStore
from operators.io.store.oracle.connect import Access
from operators.io.store.protocol import Store
from operators.io.store.sqlite import SqliteStore
from operators.io.store.tables import TABLES
from tests.support.mirror import Mirror, Unavailable
from tests.support.mirror import mirror as start_mirror
from tests.support.parts import not_proven

STORES = [
    "sqlite",
    pytest.param("mirror", marks=pytest.mark.mirror),
    pytest.param("oracle", marks=pytest.mark.oracle),
]
KAFKA_SERVERS = ["broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)]


@pytest.fixture(scope="session")
def mirror_or_why() -> Iterator[Mirror | Unavailable]:
    """The session's mirror server, or why there is none."""
    starting = start_mirror()
    try:
        running = starting.__enter__()
    except Unavailable as why:
        yield why
        return
    store = OracleStore(running.access())
    store.migrate(system_clock())
    store.close()
    yield running
    starting.__exit__(None, None, None)


@pytest.fixture
def mirror(mirror_or_why: Mirror | Unavailable) -> Mirror:
    """A mirror server whose tables are migrated and empty."""
    if isinstance(mirror_or_why, Unavailable):
        not_proven("the store through Oracle's protocol, on the mirror", mirror_or_why)
        raise AssertionError
    empty(mirror_or_why.access())
    return mirror_or_why


@pytest.fixture
def real_oracle() -> Access:
    """A real Oracle Database whose tables are migrated and empty; its user says it is a test's."""
    dsn = os.environ.get("BANDITFLOW_ORACLE_DSN")
    if not dsn:
        not_proven("the store on a real Oracle Database", "BANDITFLOW_ORACLE_DSN is not set")
        raise AssertionError
    user = os.environ.get("BANDITFLOW_ORACLE_USER", "banditflow_test")
    if "test" not in user.lower():
        pytest.fail("BANDITFLOW_ORACLE_USER: its tables are emptied, so its name must say test")
    access = Access(dsn=dsn, user=user, password=os.environ["BANDITFLOW_ORACLE_PASSWORD"])
    store = OracleStore(access)
    store.migrate(system_clock())
    store.close()
    empty(access)
    return access


def empty(access: Access) -> None:
    connection: Any = oracledb.connect(user=access.user, password=access.password, dsn=access.dsn)
    with connection, connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")
        connection.commit()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store."""
    opened: Store
    if request.param == "sqlite":
        opened = SqliteStore(tmp_path / "store.db")
        opened.migrate(system_clock())
    elif request.param == "mirror":
        opened = OracleStore(request.getfixturevalue("mirror").access())
    else:
        opened = OracleStore(request.getfixturevalue("real_oracle"))
    yield opened
    opened.close()


@pytest.fixture(params=KAFKA_SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """The embedded broker, then Apache Kafka."""
    return request.getfixturevalue(request.param)
