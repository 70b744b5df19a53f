"""Oracle goes away at the worst moments: everything is there once, through the real driver."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import oracledb
import pytest

from flows.runtime.clock import system_clock
from operators.io.store.oracle import OracleStore
from operators.io.store.oracle.migrations import load
from operators.io.store.protocol import Applied, StoreError, StoreUnavailable, Writes
from operators.persist import Patience, StoreSink, rows_of
from tests.support import records as make
from tests.support.mirror import PASSWORD, USER, Mirror, free_port
from tests.support.oracle_proxy import OracleProxy, proxy

pytestmark = pytest.mark.mirror


@pytest.fixture
def between(mirror: Mirror) -> Iterator[OracleProxy]:
    with proxy(mirror.port) as opened:
        yield opened


@pytest.fixture
def store(mirror: Mirror, between: OracleProxy) -> Iterator[OracleStore]:
    opened = OracleStore(mirror.access(between.port, connections=2, acquire_timeout=0.3))
    yield opened
    opened.close()


def writes(first: int, last: int) -> Writes:
    numbers = range(first, last)
    decisions = [make.decision(number) for number in numbers]
    return rows_of(0, make.events(*decisions, *[make.outcome(number, 2) for number in numbers]))


def run(mirror: Mirror, sql: str, *values: str) -> None:
    connection = oracledb.connect(user=USER, password=PASSWORD, dsn=mirror.dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, list(values))
        connection.commit()


def counted(store: OracleStore) -> tuple[int, int]:
    counts = store.counts()
    return counts["decisions"], counts["outcomes"]


def test_a_cut_before_commit_leaves_nothing_and_the_replay_writes_it(
    store: OracleStore, between: OracleProxy
) -> None:
    between.cuts = ["before"]
    with pytest.raises(StoreUnavailable, match="DPY-4011"):
        store.apply(writes(0, 50))
    assert counted(store) == (0, 0)
    store.apply(writes(0, 50))
    assert counted(store) == (50, 50)


def test_a_cut_after_commit_is_taken_for_unknown_and_the_replay_adds_nothing(
    store: OracleStore, between: OracleProxy
) -> None:
    between.cuts = ["after"]
    with pytest.raises(StoreUnavailable, match="DPY-4011"):
        store.apply(writes(0, 50))
    assert counted(store) == (50, 50)
    store.apply(writes(0, 50))
    assert counted(store) == (50, 50)


def test_the_sink_rides_out_cuts_around_commit(store: OracleStore, between: OracleProxy) -> None:
    between.cuts = [None, "after", "before", None, "before", "after", "after"]
    naps: list[float] = []
    sink = StoreSink(lambda: store, 1, patience=Patience(sleep=naps.append))
    part = sink.build_part("store", "0", None)
    for epoch in range(6):
        part.write_batch([writes(epoch * 40, epoch * 40 + 40)])
        part.snapshot()
    assert counted(store) == (240, 240)
    assert sorted(between.done) == ["after", "after", "after", "before", "before"]
    assert len(naps) == 5


def written_on(store: OracleStore) -> list[float]:
    """Write ten more records, each once; give the naps that it took."""
    naps: list[float] = []
    sink = StoreSink(lambda: store, 1, patience=Patience(sleep=naps.append))
    part = sink.build_part("s", "0", None)
    part.write_batch([writes(10, 20)])
    part.snapshot()
    assert counted(store) == (20, 20)
    return naps


def test_a_killed_session_is_replaced(store: OracleStore, mirror: Mirror) -> None:
    store.apply(writes(0, 10))
    mirror.kill_sessions()
    written_on(store)


def test_connections_lost_while_idle_are_replaced(store: OracleStore, between: OracleProxy) -> None:
    store.apply(writes(0, 10))
    between.drop_all()
    naps = written_on(store)
    assert len(naps) <= 2


def test_an_exhausted_pool_says_not_now(store: OracleStore) -> None:
    with store._session(), store._session():  # noqa: SIM117
        with pytest.raises(StoreUnavailable, match="DPY-4005"):
            store.ping()
    store.ping()


def test_no_listener_says_not_now(mirror: Mirror) -> None:
    away = OracleStore(mirror.access(free_port(), acquire_timeout=0.3, connect_timeout=1.0))
    with pytest.raises(StoreUnavailable, match="DPY-"):
        away.apply(writes(0, 1))
    away.close()


def test_a_wrong_password_stops_and_names_the_setting(mirror: Mirror) -> None:
    wrong = OracleStore(mirror.access(password="wrong"))
    with pytest.raises(StoreError, match="BANDITFLOW_STORE_PASSWORD") as caught:
        wrong.ping()
    assert not isinstance(caught.value, StoreUnavailable)
    assert "wrong" not in repr(mirror.access(password="wrong"))
    wrong.close()


def test_two_migrators_at_once_apply_each_migration_once(mirror: Mirror) -> None:
    run(mirror, "DELETE FROM schema_migrations")
    stores = [OracleStore(mirror.access()) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        applied = [
            name
            for names in pool.map(lambda opened: opened.migrate(system_clock()), stores)
            for name in names
        ]
    expected = [f"V{migration.version:03d} {migration.name}" for migration in load()]
    assert sorted(applied) == expected
    for opened in stores:
        opened.close()


def test_a_migration_that_was_changed_after_its_release_is_refused(mirror: Mirror) -> None:
    store = OracleStore(mirror.access())
    checksum = store.status()[0]["checksum"]
    run(mirror, "UPDATE schema_migrations SET checksum = 'other' WHERE version = 1")
    try:
        with pytest.raises(StoreError, match="V001 was applied on"):
            store.migrate(system_clock())
    finally:
        run(mirror, "UPDATE schema_migrations SET checksum = :1 WHERE version = 1", checksum)
        store.close()


def test_writers_of_the_same_rows_do_not_hurt_each_other(mirror: Mirror) -> None:
    """Two processes after a bad takeover: each row is there once, whoever wins."""
    stores = [OracleStore(mirror.access()) for _ in range(2)]
    barrier = threading.Barrier(2)

    def write(store: OracleStore) -> list[Applied]:
        barrier.wait()
        part = StoreSink(lambda: store, 1, patience=Patience(sleep=lambda _: None))
        partition = part.build_part("s", "0", None)
        for epoch in range(5):
            partition.write_batch([writes(epoch * 20, epoch * 20 + 20)])
            partition.snapshot()
        return []

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, stores))
    assert counted(stores[0]) == (100, 100)
    for opened in stores:
        opened.close()
