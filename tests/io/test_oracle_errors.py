"""What each error code leads to, those included that no test server gives."""

import oracledb
import pytest

from operators.io.store.oracle.errors import Verdict, column_of, translated, verdict
from operators.io.store.protocol import StoreError, StoreUnavailable

CODES = [
    ("ORA-00001", Verdict.RETRY),
    ("ORA-00054", Verdict.RETRY),
    ("ORA-00060", Verdict.RETRY),
    ("ORA-08177", Verdict.RETRY),
    ("ORA-01653", Verdict.RETRY),
    ("ORA-12954", Verdict.RETRY),
    ("ORA-51815", Verdict.RETRY),
    ("DPY-4005", Verdict.RETRY),
    ("ORA-00028", Verdict.RECONNECT),
    ("ORA-01033", Verdict.RECONNECT),
    ("ORA-03113", Verdict.RECONNECT),
    ("ORA-12514", Verdict.RECONNECT),
    ("ORA-12541", Verdict.RECONNECT),
    ("DPY-4011", Verdict.RECONNECT),
    ("DPY-4024", Verdict.RECONNECT),
    ("DPY-6005", Verdict.RECONNECT),
    ("ORA-01400", Verdict.REFUSED),
    ("ORA-01438", Verdict.REFUSED),
    ("ORA-02290", Verdict.REFUSED),
    ("ORA-12899", Verdict.REFUSED),
    ("ORA-14300", Verdict.REFUSED),
    ("ORA-40441", Verdict.REFUSED),
    ("ORA-51803", Verdict.REFUSED),
    ("ORA-00942", Verdict.STOP),
    ("ORA-01017", Verdict.STOP),
    ("ORA-01031", Verdict.STOP),
    ("ORA-00904", Verdict.STOP),
    ("DPY-9999", Verdict.STOP),
]


@pytest.mark.parametrize(("full_code", "expected"), CODES)
def test_every_class_of_code(full_code: str, expected: Verdict) -> None:
    assert verdict(full_code, int(full_code[4:]), False) is expected


def test_an_unknown_code_that_the_driver_calls_recoverable_reconnects() -> None:
    assert verdict("ORA-99999", 99999, True) is Verdict.RECONNECT
    assert verdict("ORA-99999", 99999, False) is Verdict.STOP


@pytest.mark.parametrize(
    ("message", "column"),
    [
        ('ORA-01400: cannot insert NULL into ("BF"."SLOTS"."SLOT_ID")', "slot_id"),
        ("ORA-02290: check constraint (BF.OUTCOMES_STATUS_CK) violated", None),
    ],
)
def test_the_column_is_found_without_the_value(message: str, column: str | None) -> None:
    assert column_of(message) == column


class Described:
    """What the driver attaches to an error; no server here gives these codes on demand."""

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        self.full_code = f"ORA-{code:05d}"
        self.message = f"{self.full_code}: {message}\nHelp: somewhere"
        self.isrecoverable = False


def test_waiting_and_stopping_are_told_apart() -> None:
    with pytest.raises(StoreUnavailable, match=r"^ORA-00060: deadlock$") as waiting, translated():
        raise oracledb.DatabaseError(Described(60, "deadlock"))
    assert waiting.value.code == "ORA-00060"
    with pytest.raises(StoreError, match="banditflow store migrate"), translated():
        raise oracledb.DatabaseError(Described(942, "table or view does not exist"))
    with pytest.raises(StoreError, match="banditflow store migrate"), translated():
        raise oracledb.DatabaseError(Described(904, '"WRITER": invalid identifier'))
