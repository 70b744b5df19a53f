"""What only a real Oracle Database can run; the contract suite runs there as well.

    docker compose up -d oracle
    docker compose exec oracle createAppUser banditflow_test PASSWORD
    BANDITFLOW_ORACLE_DSN=localhost:1521/FREEPDB1 BANDITFLOW_ORACLE_PASSWORD=PASSWORD \
        pytest -m oracle tests/io
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracledb
import pytest

from operators.io.store.oracle import OracleStore
from operators.io.store.oracle.connect import Access
from operators.io.store.oracle.migrations import FOLDER, statements
from operators.persist import rows_of
from tests.support import records as make

pytestmark = pytest.mark.oracle


@pytest.fixture
def cursor(real_oracle: Access) -> Iterator[Any]:
    store = OracleStore(real_oracle)
    numbers = range(60)
    decisions = [make.decision(number) for number in numbers]
    store.apply(rows_of(0, make.events(*decisions, *[make.outcome(at, 2) for at in numbers])))
    store.close()
    connection = oracledb.connect(
        user=real_oracle.user, password=real_oracle.password, dsn=real_oracle.dsn
    )
    with connection, connection.cursor() as opened:
        yield opened


def script(name: str) -> str:
    return Path(FOLDER / "optional" / name).read_text()


def test_decisions_of_a_day_lie_in_a_partition_of_their_own(cursor: Any) -> None:
    cursor.execute(
        "SELECT COUNT(*) FROM user_tab_partitions"
        " WHERE table_name IN ('DECISIONS', 'OUTCOMES') AND interval = 'YES'"
    )
    assert cursor.fetchone()[0] >= 2


def test_old_partitions_are_dropped_and_the_index_stays_usable(cursor: Any) -> None:
    cursor.execute(script("retention.sql").rpartition("/")[0])
    cursor.callproc("drop_older_than", [36_500])
    cursor.execute("SELECT COUNT(*) FROM decisions")
    assert cursor.fetchone()[0] == 60
    cursor.callproc("drop_older_than", [-36_500])
    cursor.execute("SELECT COUNT(*) FROM decisions")
    assert cursor.fetchone()[0] == 0
    cursor.execute("SELECT status FROM user_indexes WHERE index_name = 'DECISIONS_PK'")
    assert cursor.fetchone()[0] in ("VALID", "N/A")


def test_the_examples_of_analytics_run(cursor: Any) -> None:
    for query in statements(script("analytics.sql")):
        cursor.execute(query)
        cursor.fetchall()


def test_the_daily_report_can_be_kept(cursor: Any) -> None:
    for statement in statements(script("materialized_views.sql")):
        cursor.execute(statement)
    try:
        cursor.execute("SELECT SUM(decisions) FROM slot_daily_kept")
        assert cursor.fetchone()[0] == 60
    finally:
        cursor.execute("DROP MATERIALIZED VIEW slot_daily_kept")


def test_an_index_of_neighbours_can_be_made(cursor: Any) -> None:
    cursor.execute("CREATE TABLE indexed (id NUMBER(5), embedding VECTOR(32, FLOAT32))")
    made = [text for text in statements(script("vector_indexes.sql")) if "VECTOR INDEX" in text]
    try:
        cursor.execute(made[-1].replace("ON user_profiles", "ON indexed"))
    finally:
        cursor.execute("DROP TABLE indexed PURGE")
